"""ESConv (Liu et al., 2021): emotional support between two people, with the seeker's intensity before and after. CC BY-NC 4.0.

Three layouts: one dialogue a line (`usr`, `sys`), the failed dialogues (`speaker`, `listener`), the authors' own list
(`seeker`, `supporter`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engage.corpora.base import Corpus, Gathering
from engage.corpora.files import find_files, json_records
from engage.dialogue import Role
from engage.domains.emotional_support import EMOTIONAL_SUPPORT
from engage.errors import CorpusError

FILES = ("ESConv.json", "train.txt", "valid.txt", "test.txt", "FailedESConv.json")
PERSON = "someone who looks for support online"
_ROLES = {
    **dict.fromkeys(("usr", "speaker", "seeker"), Role.USER),
    **dict.fromkeys(("sys", "listener", "supporter"), Role.ASSISTANT),
}


def read_esconv(path: Path) -> Corpus:
    """All dialogues of a file, or of the corpus's files in a folder; CorpusError says what cannot be read, and where."""
    gathering = Gathering("esconv", EMOTIONAL_SUPPORT)
    for file in find_files(path, FILES):
        for place, record in json_records(file):
            _take(gathering, file.parent, place, record)
    return gathering.corpus(path)


def _take(gathering: Gathering, folder: Path, place: str, record: dict[str, Any]) -> None:
    where = str(folder / place)
    seeker = _field(where, _field(where, record, "survey_score", dict), "seeker", dict)
    condition = {
        "person": PERSON,
        "emotion": _field(where, record, "emotion_type", str),
        "problem": _field(where, record, "problem_type", str).lower(),
        "situation": " ".join(_field(where, record, "situation", str).split()),
        "initial_intensity": _intensity(seeker.get("initial_emotion_intensity")),
    }
    said = list(_said(where, _field(where, record, "dialog", list)))
    if condition["initial_intensity"] is None:
        return gathering.drop(place, "no initial intensity of 1 to 5")
    gathering.take(place, said, condition, _intensity(seeker.get("final_emotion_intensity")))


def _field(where: str, record: dict[str, Any], name: str, kind: type) -> Any:
    value = record.get(name)
    if not isinstance(value, kind):
        found = "is missing" if name not in record else f"is a {type(value).__name__}, not a {kind.__name__}"
        raise CorpusError(f"{where}: {name} {found}; is this a file of ESConv?")
    return value


def _intensity(value: Any) -> float | None:
    text = str(value).strip()
    return float(text) if text in EMOTIONAL_SUPPORT.survey.choices else None


def _said(where: str, dialog: list[Any]) -> Iterator[tuple[Role, str]]:
    for index, turn in enumerate(dialog):
        at = f"{where}: dialog[{index}]"
        if not isinstance(turn, dict):
            raise CorpusError(f"{at}: is a {type(turn).__name__}, not an object; is this a file of ESConv?")
        speaker = turn.get("speaker")
        if speaker not in _ROLES:
            raise CorpusError(f"{at}.speaker: {speaker!r} is not one of {', '.join(_ROLES)}")
        text = turn.get("text", turn.get("content"))
        if not isinstance(text, str):
            raise CorpusError(f"{at}: has no text and no content; is this a file of ESConv?")
        yield _ROLES[speaker], text
