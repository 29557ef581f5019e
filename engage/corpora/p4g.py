"""PersuasionForGood (Wang et al., 2019): one person asks another to give of a $2 payment, with what was given. Apache-2.0.

Two tables: utterances (`B2` dialogue, `B4` 0 for the persuader and 1 for the persuadee, `Unit`) and participants (`B6` the
dollars given, and who they are). The smaller `300_` layout splits turns into sentences and says nothing about the persons.
"""

import math
from pathlib import Path

from engage.corpora.base import Corpus, Gathering
from engage.corpora.files import csv_rows, find_files
from engage.corpora.persona import describe_person, describe_situation
from engage.dialogue import Role
from engage.domains.persuasion import PERSUASION
from engage.errors import CorpusError

FILES = ("full_dialog.csv", "300_dialog.csv")
MAX_DONATION_USD = 2.0
_ROLES = {"0": Role.ASSISTANT, "1": Role.USER}


def read_p4g(path: Path) -> Corpus:
    """All dialogues of `full_dialog.csv` (else of `300_dialog.csv`) in a folder or below it, or of such a file.

    The table of participants lies beside it. A dialogue whose donation is over $2, the whole payment, is dropped: cents or a
    slip. CorpusError says what cannot be read, and where.
    """
    table = find_files(path, FILES)[0]
    said: dict[str, list[tuple[Role, str]]] = {}
    for line, row in csv_rows(table, ("B2", "B4", "Unit")):
        said.setdefault(row["B2"], []).append((_role(table, line, row["B4"]), row["Unit"]))
    people = _persuadees(_beside(table))
    gathering = Gathering("p4g", PERSUASION)
    for dialogue_id, turns in said.items():
        place = f"{table.name} {dialogue_id}"
        if dialogue_id not in people:
            gathering.drop(place, "the persuadee is not in the table of participants")
            continue
        person, donation = people[dialogue_id]
        if donation is not None and not 0 <= donation <= MAX_DONATION_USD:
            gathering.drop(place, "a donation over 2 dollars" if donation > 0 else "a donation below 0")
            continue
        described = describe_person(person)
        condition = {"person": described or UNKNOWN_PERSON, "situation": describe_situation(person)}
        gathering.take(place, turns, condition, donation, [] if described else ["who the persuadee is, is not known"])
    return gathering.corpus(path)


UNKNOWN_PERSON = "someone who does paid tasks online"


def _beside(table: Path) -> Path:
    info = table.with_name(table.name.replace("dialog", "info"))
    if info == table or not info.is_file():
        raise CorpusError(
            f"{table}: the table of participants is missing beside it (full_info.csv for full_dialog.csv); "
            "keep both files of the corpus in one folder"
        )
    return info


def _persuadees(table: Path) -> dict[str, tuple[dict[str, str], float | None]]:
    """Dialogue id to the persuadee's row and the dollars given, None where the field is empty."""
    rows = csv_rows(table, ("B2", "B4", "B6"))
    return {
        row["B2"]: (row, _dollars(table, line, row["B6"]))
        for line, row in rows
        if _role(table, line, row["B4"]) is Role.USER
    }


def _role(table: Path, line: int, text: str) -> Role:
    if text not in _ROLES:
        raise CorpusError(f"{table}:{line}: B4 is {text!r}, not 0 (persuader) or 1 (persuadee)")
    return _ROLES[text]


def _dollars(table: Path, line: int, text: str) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError as error:
        raise CorpusError(f"{table}:{line}: B6 is {text!r}, not a number of dollars") from error
    return None if math.isnan(value) else value
