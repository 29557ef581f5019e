"""Dialogues in engage's own format, as in engage/data/support_dialogues.jsonl: one JSON object per line.

Fields: `id`, `domain`, `user_condition`, `turns` (`role`, `text`), and `value`, the outcome on the survey's scale.
"""

from pathlib import Path
from typing import Any

from engage.corpora.base import BY_DEFAULT, Corpus, CorpusOptions, Gathering
from engage.corpora.files import json_records
from engage.dialogue import Role
from engage.domains import Domain, Survey, load_domain
from engage.errors import ConfigError, CorpusError
from engage.files.refusal import printable

OWN = "own"
_FIELDS = {"domain": str, "user_condition": dict, "turns": list}
_KNOWN = {*_FIELDS, "id", "value"}


def read_own(path: Path, options: CorpusOptions = BY_DEFAULT, source: str = "engage") -> Corpus:
    """All dialogues of a file, which must be of one domain; raises CorpusError with the line and the reason.

    `source` is who wrote them: `engage`, or OWN for a user's.
    """
    gathering: Gathering | None = None
    for place, record in json_records(path, "turns"):
        where = str(path.parent / place)
        for name, kind in _FIELDS.items():
            if not isinstance(record.get(name), kind):
                raise CorpusError(f"{where}: {name} is missing or not a {kind.__name__}")
        if unknown := set(record) - _KNOWN:  # an outcome under another name would be lost
            raise CorpusError(f"{where}: {printable(min(unknown))} is no field; there are {', '.join(sorted(_KNOWN))}")
        if gathering is None:
            gathering = Gathering(source, _domain(where, record["domain"]), options, record["domain"], path.parent)
        if record["domain"] != gathering.name:
            raise CorpusError(f"{where}: domain {record['domain']!r} in a file of {gathering.name}")
        said = [_turn(where, turn) for turn in record["turns"]]
        outcome, own_id = _outcome(where, record, gathering.domain.survey), record.get("id")
        corpus_id = "" if own_id is None else str(own_id)
        gathering.take(place, said, record["user_condition"], outcome, corpus_id=corpus_id)
    if gathering is None:
        raise CorpusError(f"{path}: holds no dialogue; write one JSON object a line")
    return gathering.corpus(path)


def _domain(where: str, name: str) -> Domain:
    try:
        return load_domain(name)
    except ConfigError as error:
        raise CorpusError(f"{where}: {error}") from error


def _turn(where: str, turn: Any) -> tuple[Role, str]:
    try:
        if unknown := set(turn) - {"role", "text"}:
            raise ValueError(f"{printable(min(unknown))} is no field")
        if not isinstance(turn["text"], str):
            raise TypeError(f"text is a {type(turn['text']).__name__}")
        return Role(turn["role"]), turn["text"]
    except (TypeError, KeyError, ValueError) as error:
        raise CorpusError(f"{where}: turns: {error}; a turn is an object with role and text") from error


def _outcome(where: str, record: dict[str, Any], survey: Survey) -> float | None:
    value = record.get("value")
    low, high = min(survey.choices.values()), max(survey.choices.values())
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and low <= value <= high):
        raise CorpusError(f"{where}: value {value!r} is not on the survey's scale, {low:g} to {high:g}")
    return None if value is None else float(value)
