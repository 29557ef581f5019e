"""PersuasionForGood (Wang et al., 2019): one person asks another to donate part of a $2 payment. Apache-2.0.

It has two tables: utterances (`B2` dialogue, `B4` 0 for the persuader and 1 for the persuadee, `Turn`, `Unit`) and participants (`B6`
the donated dollars, and personal details). The smaller `300_` layout splits turns into sentences and has no personal details.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from engage.corpora.base import BY_DEFAULT, Corpus, CorpusOptions, Gathering
from engage.corpora.files import csv_rows, find_files
from engage.corpora.persona import describe_person, describe_situation
from engage.dialogue import Role
from engage.domains.persuasion import PERSUASION
from engage.errors import CorpusError

FILES = ("full_dialog.csv", "300_dialog.csv")
MAX_DONATION_USD = 2.0
CENTS_SHARE, CENTS_AT_LEAST = 0.25, 3
"""If at least this share and number of donations are over $2, the table may be in cents. In the corpus 8 % are."""
UNKNOWN_PERSON = "someone who does paid tasks online"
_ROLES = {0.0: Role.ASSISTANT, 1.0: Role.USER}


@dataclass(frozen=True)
class _Row:
    """One row of the table of utterances; `turn` is None if the table has no such column."""

    line: int
    role: Role
    turn: float | None
    text: str


def read_p4g(path: Path, options: CorpusOptions = BY_DEFAULT) -> Corpus:
    """All dialogues of `full_dialog.csv` (if missing, of `300_dialog.csv`) in a folder or below it, or of such a file.

    The table of participants must be in the same folder. A dialogue with a donation over $2, the whole payment, is dropped. Raises
    CorpusError with the place and the reason, also for a table that may be in cents, unless the options state the unit.
    """
    table = _table(path)
    said: dict[str, list[_Row]] = {}
    for line, row in csv_rows(table, ("B2", "B4", "Unit")):
        turn = _number(table, line, "Turn", row["Turn"]) if "Turn" in row else None
        said.setdefault(row["B2"].strip(), []).append(_Row(line, _role(table, line, row["B4"]), turn, row["Unit"]))
    info = _beside(table)
    people = _persuadees(info)
    per_dollar = _per_dollar(info, [gift for _, gift in people.values() if gift is not None], options)
    gathering = Gathering("p4g", PERSUASION, options, folder=table.parent)
    for dialogue_id, rows in said.items():
        if not dialogue_id:  # of several dialogues, perhaps
            for lost in rows:
                gathering.drop(f"{table.name}:{lost.line}", "a row (each counts as one) without a dialogue's id (B2)")
            continue
        place = f"{table.name} {dialogue_id}"
        turns, remarks = _in_order(table, dialogue_id, rows)
        if dialogue_id not in people:
            gathering.drop(place, "the persuadee is not in the table of participants")
            continue
        person, given = people[dialogue_id]
        donation = None if given is None else given / per_dollar
        if donation is not None and not 0 <= donation <= MAX_DONATION_USD:
            gathering.drop(place, "a donation over 2 dollars" if donation > 0 else "a donation below 0")
            continue
        described = describe_person(person)
        condition = {"person": described or UNKNOWN_PERSON, "situation": describe_situation(person)}
        remarks += [] if described else ["who the persuadee is, is not known"]
        gathering.take(place, turns, condition, donation, remarks, f"{dialogue_id}")
    for dialogue_id in sorted(people.keys() - said.keys()):
        gathering.drop(f"{info.name} {dialogue_id}", "a participant without a dialogue")
    return gathering.corpus(path)


def _in_order(table: Path, dialogue_id: str, rows: Sequence[_Row]) -> tuple[list[tuple[Role, str]], list[str]]:
    """The turns in the order of `Turn`, and remarks about their order. CorpusError if the rows could be two dialogues.

    Rows of one turn and role are sentences, in the file's order. If rows are out of order, the persuader begins each turn.
    """
    if any(row.turn is None for row in rows):
        return [(row.role, row.text) for row in rows], ["no column Turn: in the file's order"]
    numbers = [row.turn or 0.0 for row in rows]
    remarks = ["numbers of turns are left out"] if len(set(numbers)) <= max(numbers) - min(numbers) else []
    spoken = [key for key, _ in groupby((row.turn, row.role) for row in rows)]
    ordered = all(before <= after for before, after in pairwise(numbers))
    begun = {turn: role for turn, role in reversed(spoken)}
    both = {turn for turn, _ in set(spoken) if {(turn, Role.USER), (turn, Role.ASSISTANT)} <= set(spoken)}
    if len(set(spoken)) < len(spoken):
        if not ordered:
            first, again = _met_twice(rows)
            raise CorpusError(
                f"{table}:{again.line}: dialogue {dialogue_id} has turn {again.turn:g} of this speaker on line {first.line} already; "
                "is the dialogue there twice? Take one of them out"
            )
        remarks.append("a speaker has one turn's number in two places: in the file's order")
    elif not ordered or len({begun[turn] for turn in both}) > 1:
        remarks.append("rows out of order: put into the order of Turn")
        rows = sorted(rows, key=lambda row: (row.turn, row.role is Role.USER))
    return [(row.role, row.text) for row in rows], remarks


def _met_twice(rows: Sequence[_Row]) -> tuple[_Row, _Row]:
    """The first two rows of one turn and role that are not neighbours."""
    last: dict[tuple[float | None, Role], tuple[int, _Row]] = {}
    for index, row in enumerate(rows):
        key = (row.turn, row.role)
        if key in last and last[key][0] != index - 1:
            return last[key][1], row
        last[key] = (index, row)
    raise AssertionError("called only where there are two")


def _table(path: Path) -> Path:
    """The table of utterances; CorpusError if a folder contains two of one name."""
    files = find_files(path, FILES)
    same = [file for file in files if file.name == files[0].name]
    if len(same) > 1:
        raise CorpusError(f"{path}: holds two tables of one name, {same[0]} and {same[1]}; give one of them")
    return files[0]


def _beside(table: Path) -> Path:
    info = table.with_name(table.name.replace("dialog", "info"))
    if info == table or not info.is_file():
        raise CorpusError(
            f"{table}: the table of participants is missing beside it (full_info.csv for full_dialog.csv); "
            "keep both files of the corpus in one folder"
        )
    return info


def _persuadees(table: Path) -> dict[str, tuple[dict[str, str], float | None]]:
    """By dialogue id: the persuadee's row and donation (None: empty field). CorpusError for a repeated person."""
    people: dict[str, tuple[dict[str, str], float | None]] = {}
    lines: dict[tuple[str, Role], int] = {}
    for line, row in csv_rows(table, ("B2", "B4", "B6")):
        dialogue_id, role = row["B2"].strip(), _role(table, line, row["B4"])
        if (dialogue_id, role) in lines:
            name = "persuadee" if role is Role.USER else "persuader"
            raise CorpusError(
                f"{table}:{line}: the {name} of {dialogue_id} is on line {lines[dialogue_id, role]} already; take one of them out"
            )
        lines[dialogue_id, role] = line
        if role is Role.USER:
            empty = row["B6"].strip().lower() in {"", "nan", "na", "n/a", "none", "null"}
            people[dialogue_id] = (row, None if empty else _number(table, line, "B6", row["B6"]))
    return people


def _per_dollar(table: Path, given: Iterable[float], options: CorpusOptions) -> float:
    """How many of the table's units are a dollar. CorpusError if the unit is in doubt and the options do not state it."""
    if options.donation_unit is not None:
        return 100.0 if options.donation_unit == "cents" else 1.0
    gifts = [gift for gift in given if gift > 0]
    over = [gift for gift in gifts if gift > MAX_DONATION_USD]
    many = 2 * len(over) > len(gifts) or len(over) >= max(CENTS_AT_LEAST, CENTS_SHARE * len(gifts))
    if over and (many or all(gift.is_integer() for gift in gifts)):
        raise CorpusError(
            f"{table}: {len(over)} of {len(gifts)} donations (B6) are over 2, the whole payment in dollars: the table may be in cents. "
            "State the unit: --donation-unit cents (or dollars), in a profile human.donation_unit"
        )
    return 1.0


def _number(table: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CorpusError(f"{table}:{line}: {column} is {text!r:.60}, not a number")
    return value


def _role(table: Path, line: int, text: str) -> Role:
    """The speaker from 0 or 1, also as `1.0`."""
    try:
        return _ROLES[float(text)]
    except (ValueError, KeyError) as error:
        raise CorpusError(f"{table}:{line}: B4 is {text!r:.60}, not 0 (persuader) or 1 (persuadee)") from error
