"""Hand-written human dialogues for the tests of the simulator card, which then need no corpus."""

import csv
import itertools
from pathlib import Path

from engage.corpora.base import Gathering, HumanDialogue
from engage.dialogue import Role
from engage.domains.emotional_support import EMOTIONAL_SUPPORT
from engage.domains.persuasion import PERSUASION

SAID = ("I never heard of them, sorry.", "What do they do with it?", "I could give 50 cents.")


def persuadee(number: int, outcome: float | None, said=SAID) -> HumanDialogue:
    """A persuasion dialogue with one exchange for each of `said`; the first is the opening."""
    gathering = Gathering("p4g", PERSUASION)
    turns = [
        turn
        for text in said
        for turn in ((Role.ASSISTANT, f"Would you give something, {text[:3]}?"), (Role.USER, text))
    ]
    gathering.take("here:1", turns, {"person": f"person {number}", "situation": "I do a task online."}, outcome)
    (human,) = gathering.taken.values()
    return human


def seeker(number: int, outcome: float, said=("My cat ran away last week.", "Yes, at the door.")) -> HumanDialogue:
    """A support dialogue that begins with the first of `said`."""
    gathering = Gathering("esconv", EMOTIONAL_SUPPORT)
    condition = {"person": "p", "emotion": "sadness", "problem": "loss", "initial_intensity": 4}
    turns = [turn for text in said for turn in ((Role.USER, text), (Role.ASSISTANT, "Do you hear him?"))][:-1]
    gathering.take("here:1", turns, {**condition, "situation": f"It is silent ({number})."}, outcome)
    (human,) = gathering.taken.values()
    return human


def write_p4g(folder: Path, validation: int) -> str:
    """Write a corpus in PersuasionForGood's layout with `count` validation dialogues; returns `p4g:FOLDER`."""
    rows, people, found = [], [], 0
    for number in itertools.count():
        said = ("I never heard of them, sorry.", "What do they do?", f"I give {number} cents, then.")
        for place, text in enumerate(said):
            rows += [(f"d{number}", place, 0, "Would you give?" * (place + 1)), (f"d{number}", place, 1, text)]
        people += [(f"d{number}", 0, 0.0, 30), (f"d{number}", 1, [0.0, 0.5, 2.0][number % 3], 18 + number % 60)]
        write_tables(folder, rows, people)
        from engage.corpora import read_p4g

        found = sum(human.split == "validation" for human in read_p4g(folder).dialogues)
        if found == validation:
            return f"p4g:{folder}"
    raise AssertionError("unreachable: one dialogue in ten falls into the split")


def write_tables(folder: Path, rows, people) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns, table in (
        ("full_dialog.csv", ("B2", "Turn", "B4", "Unit"), rows),
        ("full_info.csv", ("B2", "B4", "B6", "age.x"), people),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([columns, *table])
