"""ESConv (Liu et al., 2021): emotional support between two people, with the seeker's emotion intensity before and after. CC BY-NC 4.0.

In the failed dialogues and the authors' own list the seeker also scored the supporter (1..5) after every second supporter turn.

Layouts: one dialogue per line (`usr`, `sys`), the failed dialogues (`speaker`, `listener`), the authors' own list
(`seeker`, `supporter`), and an object of such lists by split.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engage.corpora.base import BY_DEFAULT, Corpus, CorpusOptions, Gathering
from engage.corpora.files import find_files, json_records
from engage.dialogue import Role
from engage.domains.emotional_support import EMOTIONAL_SUPPORT
from engage.errors import CorpusError

_SPLITS = tuple(
    f"{split}.{ending}" for split in ("train", "valid", "validation", "test") for ending in ("txt", "json", "jsonl")
)
FILES = ("ESConv.json", *_SPLITS, "FailedESConv.json")
PERSON = "someone who looks for support online"
_ROLES = {
    **dict.fromkeys(("usr", "speaker", "seeker"), Role.USER),
    **dict.fromkeys(("sys", "listener", "supporter"), Role.ASSISTANT),
}


def read_esconv(path: Path, options: CorpusOptions = BY_DEFAULT) -> Corpus:
    """All dialogues of a file, or of the corpus's files in a folder; raises CorpusError with the place and the reason."""
    gathering = Gathering("esconv", EMOTIONAL_SUPPORT, options)
    for file in find_files(path, FILES):
        gathering.folder = file.parent
        for place, record in json_records(file, "dialog"):
            _take(gathering, place, record)
    return gathering.corpus(path)


def _take(gathering: Gathering, place: str, record: dict[str, Any]) -> None:
    where = str(gathering.folder / place)
    seeker = _field(where, _field(where, record, "survey_score", dict), "seeker", dict)
    condition = {
        "person": PERSON,
        "emotion": _field(where, record, "emotion_type", str),
        "problem": _field(where, record, "problem_type", str).lower(),
        "situation": " ".join(_field(where, record, "situation", str).split()),
        "initial_intensity": _intensity(seeker.get("initial_emotion_intensity")),
    }
    dialog = _field(where, record, "dialog", list)
    said = list(_said(where, dialog))
    if condition["initial_intensity"] is None:
        return gathering.drop(place, "no initial intensity of 1 to 5")
    final = seeker.get("final_emotion_intensity")
    outcome = _intensity(final)
    unread = outcome is None and final is not None and str(final).strip() not in _NOTHING
    remarks = ["a final intensity that is not 1, 2, 3, 4 or 5"] if unread else []
    gathering.take(place, said, condition, outcome, remarks, scores=_scores(dialog))


def _field(where: str, record: dict[str, Any], name: str, kind: type) -> Any:
    value = record.get(name)
    if not isinstance(value, kind):
        wrong = "is missing" if name not in record else f"is a {type(value).__name__}, not a {kind.__name__}"
        raise CorpusError(f"{where}: {name} {wrong}; is this a file of ESConv?")
    return value


_NOTHING = {"", "-", "nan", "NaN", "None", "null", "N/A", "NA"}


def _intensity(value: Any) -> float | None:
    """An intensity or a score of 1 to 5, also as `2.0`; None for anything else."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number in EMOTIONAL_SUPPORT.survey.choices.values() else None


def _scores(dialog: list[Any]) -> dict[int, float]:
    """The seeker's scores of the supporter by the turn's number; what is not 1, 2, 3, 4 or 5 is no score."""
    given = {}
    for number, turn in enumerate(dialog):
        annotation = turn.get("annotation")
        score = _intensity(annotation.get("feedback")) if isinstance(annotation, dict) else None
        if score is not None and _ROLES[turn["speaker"]] is Role.USER:
            given[number] = score
    return given


def _said(where: str, dialog: list[Any]) -> Iterator[tuple[Role, str]]:
    for index, turn in enumerate(dialog):
        at = f"{where}: dialog[{index}]"
        if not isinstance(turn, dict):
            raise CorpusError(f"{at}: is a {type(turn).__name__}, not an object; is this a file of ESConv?")
        speaker = turn.get("speaker")
        if not isinstance(speaker, str) or speaker not in _ROLES:
            raise CorpusError(f"{at}.speaker: {speaker!r:.60} is not one of {', '.join(_ROLES)}")
        text = turn.get("text", turn.get("content"))
        if not isinstance(text, str):
            raise CorpusError(f"{at}: has no text and no content; is this a file of ESConv?")
        yield _ROLES[speaker], text
