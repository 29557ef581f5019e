"""Accepted pairs with their evidence as a data set that others train on: `datasets.load_dataset(FOLDER)` reads it without engage.

Pairs from human dialogues are left out: they have no evidence from a search, and they carry their corpus's words.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engage.dialogue import Dialogue
from engage.domains.rules.patterns import words_of
from engage.errors import ConfigError
from engage.files.digest import digest
from engage.files.writing import write_whole
from engage.store import TrajectoryStore
from engage.training.pairs import chat_prompt
from engage.visible import visible

Row = dict[str, Any]
FORMATS = ("trl", "kto", "sharegpt", "csv")
PARTS = ("train", "test")
ALIKE = 0.9
EVIDENCE = (
    "p_greater", "q_gap", "q_gap_raw", "chosen_visits", "rejected_visits", "chosen_groups", "rejected_groups",
    "cycle", "policy", "domain", "scenario", "source", "exchange", "tree", "decision_node", "chosen_node", "rejected_node",
)  # fmt: skip


@dataclass(frozen=True)
class Export:
    """The pairs of each part, as rows of `exported_pairs` with `prompt` (messages) and `group` (see `split_pairs`).

    `repeated` counts the near-duplicates that were left out, `refused` the pairs that most of their reviewers call nonsense or harmful.
    """

    parts: Mapping[str, Sequence[Row]]
    repeated: int
    refused: int

    @property
    def pairs(self) -> list[Row]:
        """All pairs."""
        return [pair for part in PARTS for pair in self.parts[part]]


def gather_pairs(store: TrajectoryStore, cycles: Sequence[str], test_share: float, seed: int) -> Export:
    """The accepted pairs of the cycles. QueryError for an unknown cycle; ConfigError if there is no pair."""
    rows = [row for cycle in dict.fromkeys(cycles) for row in store.rows("exported_pairs", {"cycle": cycle})]
    found = [_pair(row) for row in rows if row["fault"] is None]
    if rows and not found:
        raise ConfigError(f"reviewers call all {len(rows)} accepted pairs of {', '.join(cycles)} nonsense or harmful")
    if not found:
        raise ConfigError(
            f"no accepted pair in {', '.join(cycles)}; `engage sql --name pair_counts --param cycle={cycles[0]}` shows why "
            "candidate pairs were dropped"
        )
    kept = without_repeats(found)
    return Export(split_pairs(kept, test_share, seed), len(found) - len(kept), len(rows) - len(found))


def _pair(row: Row) -> Row:
    opening = json.loads(row.pop("opening"))
    prompt = chat_prompt(row["domain"], Dialogue.of([*opening, *row.pop("turns")]))
    return {**row, "prompt": list(prompt), "group": digest([row["domain"], opening])}


def without_repeats(pairs: Iterable[Row]) -> list[Row]:
    """The pairs without near-duplicates; of several, the one with the highest P, then the largest gap, is kept.

    Two pairs are near-duplicates if they have the same opening and exchange, and dialogue, chosen and rejected reply are each alike:
    the sets of their words (case and punctuation ignored) share at least ALIKE of all their words.
    """
    kept: dict[tuple[str, int], list[tuple[Row, list[frozenset[str]]]]] = {}
    for pair in sorted(pairs, key=lambda pair: (-pair["p_greater"], -pair["q_gap"])):
        said = " ".join(message["content"] for message in pair["prompt"])
        texts = [_word_set(text) for text in (said, pair["chosen"], pair["rejected"])]
        same_place = kept.setdefault((pair["group"], pair["exchange"]), [])
        if not any(all(map(_alike, texts, others)) for _, others in same_place):
            same_place.append((pair, texts))
    return sorted((pair for group in kept.values() for pair, _ in group), key=_place)


def _place(pair: Row) -> tuple[Any, ...]:
    return tuple(pair[name] for name in ("cycle", "tree", "decision_node", "chosen_node", "rejected_node"))


def _word_set(text: str) -> frozenset[str]:
    return frozenset(words_of(text)) or frozenset((text.strip(),))


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= ALIKE * len(one | other)


def split_pairs(pairs: Sequence[Row], test_share: float, seed: int) -> dict[str, list[Row]]:
    """Train and test part. All pairs of scenarios with the same domain and opening (`group`) are in one part.

    The part is a hash of seed and group, so that a scenario stays in its part in later exports. If all would be in the test part, all
    are in the train part.
    """
    parts: dict[str, list[Row]] = {part: [] for part in PARTS}
    for pair in pairs:
        point = int(hashlib.sha256(f"{seed}:{pair['group']}".encode()).hexdigest()[:8], 16) / 2**32
        parts["test" if point < test_share else "train"].append(pair)
    return parts if parts["train"] else {"train": parts["test"], "test": []}


def write_export(export: Export, form: str, card: str, out: Path) -> None:
    """Write the data set's folder, whole or not at all; ConfigError if `out` is a file or a folder with something in it."""
    temporary = out.absolute().parent / f".{uuid.uuid4().hex}.tmp"
    try:
        if out.is_symlink() or (out.exists() and not out.is_dir()) or (out.is_dir() and any(out.iterdir())):
            raise ConfigError(f"--out {out}: there is something already; name a new folder")
        for part, pairs in export.parts.items():
            if pairs:
                write_whole(temporary / file_name(part, form), _text(form, pairs))
        write_whole(temporary / "README.md", card)
        os.replace(temporary, out)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}; name another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_name(part: str, form: str) -> str:
    """The name of a part's file."""
    return f"{part}.{'csv' if form == 'csv' else 'jsonl'}"


def _text(form: str, pairs: Sequence[Row]) -> str:
    rows = [row for pair in pairs for row in _SHAPES[form](pair)]
    if form != "csv":
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Text as a spreadsheet may open it: steering characters as escapes, and nothing that begins like a formula."""
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@", "\t")) else shown


def _trl(pair: Row) -> Iterator[Row]:
    replies = {side: [{"role": "assistant", "content": pair[side]}] for side in ("chosen", "rejected")}
    yield {"prompt": pair["prompt"], **replies, **_evidence(pair)}


def _kto(pair: Row) -> Iterator[Row]:
    for side, label in (("chosen", True), ("rejected", False)):
        completion = [{"role": "assistant", "content": pair[side]}]
        yield {"prompt": pair["prompt"], "completion": completion, "label": label, **_evidence(pair)}


def _sharegpt(pair: Row) -> Iterator[Row]:
    system, *said = pair["prompt"]
    names = {"user": "human", "assistant": "gpt"}
    turns = [{"from": names[message["role"]], "value": message["content"]} for message in said]
    replies = {side: {"from": "gpt", "value": pair[side]} for side in ("chosen", "rejected")}
    yield {"system": system["content"], "conversations": turns, **replies, **_evidence(pair)}


def _csv(pair: Row) -> Iterator[Row]:
    system, *said = pair["prompt"]
    dialogue = "\n".join(f"{message['role']}: {message['content']}" for message in said)
    texts = {"system": system["content"], "dialogue": dialogue, "chosen": pair["chosen"], "rejected": pair["rejected"]}
    yield {**texts, **_evidence(pair)}


_SHAPES = {"trl": _trl, "kto": _kto, "sharegpt": _sharegpt, "csv": _csv}


def _evidence(pair: Row) -> Row:
    return {name: pair[name] for name in EVIDENCE}
