"""Dialogues in engage's own format, as engage/data/support_dialogues.jsonl: one JSON object a line.

Fields: `id`, `domain`, `user_condition`, `turns` (`role`, `text`), and `value`, the outcome on the survey's scale.
"""

from pathlib import Path
from typing import Any

from engage.corpora.base import Corpus, Gathering
from engage.corpora.files import json_records
from engage.dialogue import Role
from engage.domains import Survey, load_domain
from engage.errors import CorpusError

_FIELDS = {"domain": str, "user_condition": dict, "turns": list}


def read_own(path: Path) -> Corpus:
    """All dialogues of a file, which are of one domain; CorpusError says what is wrong with a line."""
    gathering: Gathering | None = None
    for place, record in json_records(path):
        where = str(path.parent / place)
        for name, kind in _FIELDS.items():
            if not isinstance(record.get(name), kind):
                raise CorpusError(f"{where}: {name} is missing or not a {kind.__name__}")
        gathering = gathering or Gathering("engage", load_domain(record["domain"]))
        if record["domain"] != gathering.domain.name:
            raise CorpusError(f"{where}: domain {record['domain']!r} in a file of {gathering.domain.name}")
        said = [_turn(where, turn) for turn in record["turns"]]
        gathering.take(place, said, record["user_condition"], _outcome(where, record, gathering.domain.survey))
    assert gathering is not None  # a file without a record was refused as empty
    return gathering.corpus(path)


def _turn(where: str, turn: Any) -> tuple[Role, str]:
    try:
        return Role(turn["role"]), str(turn["text"])
    except (TypeError, KeyError, ValueError) as error:
        raise CorpusError(f"{where}: turns: {error}; a turn is an object with role and text") from error


def _outcome(where: str, record: dict[str, Any], survey: Survey) -> float | None:
    value = record.get("value")
    low, high = min(survey.choices.values()), max(survey.choices.values())
    if value is not None and not (isinstance(value, int | float) and low <= value <= high):
        raise CorpusError(f"{where}: value {value!r} is not on the survey's scale, {low:g} to {high:g}")
    return None if value is None else float(value)
