"""Tables in PersuasionForGood's layout, written by hand: one dialogue or many, with their donations."""

import csv
import io
from pathlib import Path

HEADER = ("", "Unit", "Turn", "B4", "B2")
PEOPLE = ("B2", "B3", "B4", "B6", "age.x", "sex.x")


def p4g_rows(dialogue="d1", turns=12):
    """Index, words, turn, role and dialogue, as in the corpus."""
    sides = ("persuader", "persuadee")
    return [
        (2 * turn + role, f"This is what the {sides[role]} says, number {turn}.", turn, role, dialogue)
        for turn in range(turns)
        for role in (0, 1)
    ]


def p4g(folder, rows, people=None, header=HEADER, delimiter=",", encoding="utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    people = people or [
        (d, f"{d}u{role}", role, 0.5, 30, "Male") for d in sorted({row[-1] for row in rows}) for role in (0, 1)
    ]
    for name, table in (("full_dialog.csv", (header, *rows)), ("full_info.csv", (PEOPLE, *people))):
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows(table)
        (folder / name).write_bytes(text.getvalue().encode(encoding))
    return folder


def gifts(*given):
    rows = [row for number in range(len(given)) for row in p4g_rows(f"d{number}", turns=2)]
    return rows, [(f"d{number}", f"u{number}", 1, gift, 30 + number, "Male") for number, gift in enumerate(given)]
