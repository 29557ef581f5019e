"""Human dialogues: ESConv and PersuasionForGood from a user's path, a team's own conversations, and dialogues that we wrote ourselves.

engage contains no part of the two corpora. A third corpus needs one more reader that fills an `engage.corpora.base.Gathering`.
"""

from collections.abc import Callable, Iterable
from functools import partial
from importlib import resources
from pathlib import Path
from statistics import fmean

from engage.corpora.base import BY_DEFAULT, LICENCES, Corpus, CorpusOptions, HumanDialogue, licence_of
from engage.corpora.chats import Chats, dialogue_lines, read_chats, turns_to_show
from engage.corpora.esconv import read_esconv
from engage.corpora.own import OWN, read_own
from engage.corpora.p4g import read_p4g
from engage.errors import ConfigError, CorpusError
from engage.files.writing import write_whole
from engage.scenario import SPLITS

__all__ = [
    "LICENCES",
    "READERS",
    "SHIPPED_NAME",
    "Chats",
    "Corpus",
    "CorpusOptions",
    "HumanDialogue",
    "dialogue_lines",
    "licence_of",
    "read_chats",
    "read_corpora",
    "read_corpus",
    "read_esconv",
    "read_own",
    "read_p4g",
    "read_shipped",
    "report",
    "save_lines",
    "save_scenarios",
    "turns_to_show",
]

READERS: dict[str, Callable[[Path, CorpusOptions], Corpus]] = {
    "esconv": read_esconv,
    "p4g": read_p4g,
    OWN: partial(read_own, source=OWN),
}
_TITLES = {
    "esconv": "ESConv",
    "p4g": "PersuasionForGood",
    "engage": "Dialogues of our own writing",
    OWN: "Your own conversations",
}
_EXAMPLES = 3
SHIPPED_NAME = "shipped"


def read_corpus(name: str, options: CorpusOptions = BY_DEFAULT) -> Corpus:
    """The corpus named `esconv:PATH`, `p4g:PATH` or `own:PATH`; ConfigError for another name, CorpusError if it cannot be read."""
    source, _, path = name.partition(":")
    if source not in READERS or not path:
        raise ConfigError(f"corpus {name!r} is not known; write esconv:PATH, p4g:PATH or own:PATH")
    try:
        where = Path(path).expanduser()
    except RuntimeError as error:
        raise CorpusError(f"{path}: cannot be read: {error}") from error
    return READERS[source](where, options)


def read_corpora(names: Iterable[str], options: CorpusOptions = BY_DEFAULT) -> list[Corpus]:
    """The corpora by name (SHIPPED_NAME: the dialogues in engage). CorpusError if a dialogue is in two of them."""
    corpora = [(name, read_shipped() if name == SHIPPED_NAME else read_corpus(name, options)) for name in names]
    seen: dict[tuple[str, str], str] = {}
    for name, corpus in corpora:
        for human in corpus.dialogues:
            own_id = [(human.scenario.source, human.corpus_id)] if human.corpus_id else []
            for mark in (("", human.scenario_id), *own_id):
                if mark in seen:
                    raise CorpusError(f"{human.origin} of {name}: the same dialogue as {seen[mark]}; name it once")
                seen[mark] = f"{human.origin} of {name}"
    return [corpus for _, corpus in corpora]


def read_shipped() -> Corpus:
    """The dialogues in engage, of both domains."""
    folder = Path(str(resources.files("engage") / "data"))
    read = [read_own(path) for path in sorted(folder.glob("*_dialogues.jsonl"))]
    return Corpus("engage", tuple(dialogue for corpus in read for dialogue in corpus.dialogues), {}, {})


def save_scenarios(corpus: Corpus, path: Path) -> None:
    """Write the corpus's scenarios to a scenario file, atomically."""
    save_lines((scenario.as_json() for scenario in corpus.scenarios()), path)


def save_lines(lines: Iterable[str], path: Path) -> None:
    """Write a file of lines, atomically; CorpusError if that fails."""
    try:
        write_whole(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise CorpusError(f"{path}: cannot be written: {error.strerror}; name another file with --out") from error


def report(corpus: Corpus) -> str:
    """A report: what was taken, what was left out and why, and the licence."""
    dropped = sum(len(places) for places in corpus.dropped.values())
    taken = corpus.dialogues
    lines = [
        f"{_TITLES[corpus.source]}: {len(taken) + dropped} dialogues found, {len(taken)} taken, {dropped} left out."
    ]
    for reason, places in sorted(corpus.dropped.items(), key=lambda item: -len(item[1])):
        more = ", …" if len(places) > _EXAMPLES else ""
        lines.append(f"  left out, {len(places)}: {reason} ({', '.join(places[:_EXAMPLES])}{more})")
    lines += [f"  taken, {count}: {remark}" for remark, count in corpus.remarks.items()]
    rewards = [dialogue.reward for dialogue in taken if dialogue.reward is not None]
    if rewards:
        lines.append(f"{len(rewards)} dialogues have an outcome; their mean reward is {fmean(rewards):.3f}.")
    by_split = ", ".join(f"{sum(d.split == split for d in taken)} {split}" for split in SPLITS)
    lines.append(f"Scenarios by split: {by_split}.")
    lines.append(_licence_note(corpus.source))
    return "\n".join(lines)


def _licence_note(source: str) -> str:
    if source == OWN:
        return "Licence: yours to know; engage says `not stated`."
    note = f"Licence: {licence_of(source)}."
    if "non-commercial" in licence_of(source):
        note += " Scenarios and model weights made from it are for non-commercial use and must name their source."
    return note
