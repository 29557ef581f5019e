"""The README.md of exported pairs: what they are, from where, under which licences, how many, and what was checked."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engage import __version__
from engage.corpora import licence_of
from engage.errors import ModelError
from engage.models import EMBEDDED, find_model
from engage.pages import escaped, number, table
from engage.store import TrajectoryStore
from engage.training.pair_export import ALIKE, PARTS, Export, file_name

_COLUMNS = {
    "trl": """\
| `prompt` | messages (`role`, `content`): the assistant's instructions, then the dialogue up to the user's last turn |
| `chosen`, `rejected` | the two replies, each a list of one message: TRL's conversational preference format |""",
    "kto": """\
| `prompt` | messages (`role`, `content`): the assistant's instructions, then the dialogue up to the user's last turn |
| `completion` | one of the pair's two replies, a list of one message: TRL's unpaired preference format, two rows a pair |
| `label` | whether it is the chosen reply |""",
    "sharegpt": """\
| `system` | the assistant's instructions |
| `conversations` | the dialogue up to the user's last turn (`from`, `value`) |
| `chosen`, `rejected` | the two replies (`from`, `value`): ShareGPT with a preference |""",
    "csv": """\
| `system` | the assistant's instructions |
| `dialogue` | the dialogue up to the user's last turn, one line a turn, each after its role |
| `chosen`, `rejected` | the two replies; in every text a control character is an escape such as `\\x00`, and an apostrophe stands \
before what a spreadsheet would take for a formula |""",
}
_TRAINERS = {"trl": "DPO", "kto": "KTO"}
_EVIDENCE = """\
| `p_greater` | probability that the chosen reply's value is the higher one, 0.5 to 1, by the search's own evidence |
| `q_gap`, `q_gap_raw` | difference of the two values, in reward (0 to 1): shrunk, and of the plain means |
| `chosen_visits`, `rejected_visits` | simulations that went through each reply |
| `chosen_groups`, `rejected_groups` | sampled user turns behind each value: the independent pieces of evidence |
| `cycle`, `domain`, `scenario`, `source` | where the pair was made, and from where the scenario's words come |
| `policy` | version of the champion under which both values hold; `none`: there was no champion yet |
| `exchange` | exchanges held before both replies: 0 for the first, which engage's pages call exchange 1 |
| `tree`, `decision_node`, `chosen_node`, `rejected_node` | the pair's place in engage's database |"""
_LIMITS = ("confidence", "min_q_gap", "min_groups", "max_pairs_per_prefix")
_FRONT = "---\nlicense: other\ntags: [preference, dpo, synthetic]\nconfigs:\n- config_name: default\n  data_files:\n{files}\n---\n"


def pair_card(store: TrajectoryStore, export: Export, form: str, cycles: Sequence[str], seed: int) -> str:
    """The page as Markdown, with the front matter that `datasets` reads."""
    written = [part for part in PARTS if export.parts[part]]
    files = "\n".join(f"  - split: {part}\n    path: {file_name(part, form)}" for part in written)
    simulated = (
        f"Made with engage {__version__}: a language model talked with simulated users, a tree search tried several replies at each "
        "place, and the simulated user's answer to a survey at the end of each dialogue is the reward. No person wrote a "
        "reply. Scenarios may contain people's words, see Sources."
    )
    parts = [
        f"{_FRONT.format(files=files)}\n# Preference pairs with their evidence",
        simulated,
        "## Load it",
        _how_to_load(written, form),
        "## Columns",
        f"| column | meaning |\n|---|---|\n{_COLUMNS[form]}\n{_EVIDENCE}",
        "## Counts",
        _count_table(export),
        f"Of the accepted pairs {export.repeated} were left out as near-duplicates: same opening and exchange, and dialogue, chosen and "
        f"rejected reply share at least {ALIKE:.0%} of their words each (order, case and punctuation ignored). The one with the "
        "highest P was kept. Since they were accepted, most of their reviewers called "
        f"{export.refused} nonsense or harmful: these were left out, too.",
        _split_note(export, seed),
        "## Sources and licences",
        _sources(store, export, cycles),
        "## Checks",
        _thresholds(store, export, cycles),
        _checks(store, cycles),
    ]
    return "\n\n".join(parts) + "\n"


def _how_to_load(parts: Sequence[str], form: str) -> str:
    """Python that reads the files, and that trains on them where TRL reads the format; it runs as it stands, in the export's folder."""
    kind = "csv" if form == "csv" else "json"
    files = ", ".join(f'"{part}": "{file_name(part, form)}"' for part in parts)
    load = f'from datasets import load_dataset\n\npairs = load_dataset("{kind}", data_files={{{files}}})\nprint(pairs)'
    text = f"In this folder, with the packages `datasets` and `trl` installed:\n\n```python\n{load}\n```"
    if form not in _TRAINERS:
        return f"{text}\n\nTRL trains on the formats `trl` and `kto` of `engage pairs export`."
    name = _TRAINERS[form]
    train = (
        f"from trl import {name}Config, {name}Trainer\n\n"
        'model = "HuggingFaceTB/SmolLM2-135M-Instruct"  # the model to train: a name on the hub, or a folder\n'
        f'settings = {name}Config(output_dir="trained", num_train_epochs=1, bf16=False)  # bf16=True on a GPU that has it\n'
        f'trainer = {name}Trainer(model, args=settings, train_dataset=pairs["train"])\n'
        "trainer.train()"
    )
    return f"{text}\n\nTo train on them, add below these lines:\n\n```python\n{train}\n```"


def _count_table(export: Export) -> str:
    keys = sorted({(pair["cycle"], pair["domain"]) for pair in export.pairs})
    counts = {part: Counter((pair["cycle"], pair["domain"]) for pair in export.parts[part]) for part in PARTS}
    rows = [[*map(escaped, key), *(str(counts[part][key]) for part in PARTS), _means(export, key)] for key in keys]
    return table(["cycle", "domain", "train", "test", "mean P"], rows, words=2)


def _means(export: Export, key: tuple[str, str]) -> str:
    stated = [pair["p_greater"] for pair in export.pairs if (pair["cycle"], pair["domain"]) == key]
    return number(sum(stated) / len(stated), "{:.2f}")


def _split_note(export: Export, seed: int) -> str:
    groups = {part: len({pair["group"] for pair in export.parts[part]}) for part in PARTS}
    none = "" if groups["test"] else " The test part is empty: the scenarios are too few, or no share was asked for."
    return (
        f"Train and test part have no opening in common ({groups['train']} and {groups['test']} openings): scenarios with the same "
        f"opening are in the same part, by a hash of seed {seed} and the opening.{none} All pairs come from engage's own train split."
    )


def _sources(store: TrajectoryStore, export: Export, cycles: Iterable[str]) -> str:
    count = Counter(pair["source"] for pair in export.pairs)
    of_models = {
        name: licence for cycle in cycles for name, licence in _models(store.cycle_config(cycle) or {}).items()
    }
    rows = [[f"scenarios: {escaped(source)}", escaped(licence_of(source)), str(n)] for source, n in count.items()]
    rows += [
        [f"model: {escaped(Path(name).name)}", escaped(licence), ""] for name, licence in sorted(of_models.items())
    ]
    return (
        table(["source", "licence", "pairs"], rows, words=2)
        + "\n\nThe pairs keep the terms of their scenarios, and the models' licences may limit what their output may be used for. "
        "`not stated`: ask where the scenarios or the model come from."
    )


def _models(config: Mapping[str, Any]) -> dict[str, str]:
    """Licences of a cycle's models by name, from its identity."""
    named = {
        str(value) if name.startswith("served ") else name: name
        for name, value in (config.get("models") or {}).items()
        if not name.startswith(("asked ", "adapter "))
    }
    return {name: _model_licence(name) for name in named}


def _model_licence(name: str) -> str:
    """What the model card in the model's folder states."""
    if name == EMBEDDED:
        return "Apache-2.0 (SmolLM2-135M-Instruct, Hugging Face)"
    try:
        found = find_model(name)
        card = (found.path / "README.md").read_text(encoding="utf-8") if found else ""
    except (ModelError, OSError, UnicodeDecodeError):
        card = ""
    stated = re.search(r"\A---\n.*?^license: *([^\n]{1,100})$", card, re.MULTILINE | re.DOTALL)
    return stated[1].strip() if stated else "not stated"


def _checks(store: TrajectoryStore, cycles: Iterable[str]) -> str:
    fates: Counter[str] = Counter()
    for cycle in cycles:
        for row in store.rows("pair_counts", {"cycle": cycle}):
            fates[row["fate"]] += row["pairs"]
    rows = [[fate, str(count)] for fate, count in fates.most_common()]
    return (
        "Every two replies with evidence were judged. A pair is dropped for the first reason that applies: too little evidence "
        "(`min_groups`, `gap`, `confidence`), an empty or equal text, a flawed chosen reply, thoughts, a reply that speaks for the other "
        "side, a chosen reply that deceives or promises (rules in English), a chosen reply after which a user spoke of self-harm, a "
        "better pair at the same place, or what most of its reviewers called it (`harmful`, `nonsense`)."
        f"\n\n{table(['fate', 'pairs'], rows)}\n\n{_judged(store, cycles)}: rules miss things."
    )


def _thresholds(store: TrajectoryStore, export: Export, cycles: Iterable[str]) -> str:
    """What a pair had to reach by each cycle's settings, and the smallest of what is exported."""
    rows = []
    for cycle in cycles:
        asked = (store.cycle_settings(cycle) or {}).get("pairs") or {}
        own = [pair for pair in export.pairs if pair["cycle"] == cycle]
        limits = [str(asked.get(name, "not stored")) for name in _LIMITS]
        smallest = (number(min((pair[name] for pair in own), default=None)) for name in ("p_greater", "q_gap"))
        rows.append([escaped(cycle), *limits, *smallest])
    return (
        "What a pair had to reach, by the settings that its cycle was last collected with, and the smallest values of this export:\n\n"
        + table(["cycle", *(f"`pairs.{name}`" for name in _LIMITS), "smallest `p_greater`", "smallest `q_gap`"], rows)
    )


def _judged(store: TrajectoryStore, cycles: Iterable[str]) -> str:
    count = len({row["item_id"] for cycle in cycles for row in store.rows("judged_pairs", {"cycle": cycle})})
    return (
        f"People judged {count} of all these pairs; nobody has read the others"
        if count
        else "Nobody has read all of them"
    )
