"""Measures the role check: `python -m engage.simulation.roles.measure --p4g FOLDER --esconv FOLDER --cases FILE` prints a table.

People are held-out persuadees of PersuasionForGood and seekers of ESConv (never trained on). Cases are user turns of other models,
one JSON object per line with `text`, `model` and `speaks_as_assistant` (true, false, or null if the annotator could not say).
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from engage.corpora import HumanDialogue, read_esconv, read_p4g
from engage.dialogue import Role
from engage.simulation.roles import speaks_as_assistant
from engage.stats import share


def in_words(hits: int, of: int) -> str:
    """`3 of 40: 7.5% [2.6%, 19.9%]`, with Wilson's 95 % interval."""
    part = share(hits, of)
    return "none" if part.value is None else f"{hits} of {of}: {part.value:.1%} [{part.low:.1%}, {part.high:.1%}]"


def user_turns(dialogues: Iterable[HumanDialogue]) -> list[str]:
    """The texts of all user turns."""
    return [turn.text for dialogue in dialogues for turn in dialogue.dialogue.turns if turn.role is Role.USER]


def flagged(texts: Sequence[str]) -> str:
    """The share of turns that the role check counts as an assistant's."""
    return in_words(sum(map(speaks_as_assistant, texts)), len(texts))


def case_rows(path: Path) -> list[tuple[str, str]]:
    """Recall and precision over all models, recall by model, and the share of flagged turns among those without a label."""
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    said = [(case, speaks_as_assistant(case["text"])) for case in cases]

    def hits(wanted: Callable[[dict[str, object]], bool]) -> list[bool]:
        return [hit for case, hit in said if wanted(case)]

    flips = hits(lambda case: case["speaks_as_assistant"] is True)
    users = hits(lambda case: case["speaks_as_assistant"] is False)
    rows = [
        ("recall, other models", in_words(sum(flips), len(flips))),
        ("precision, other models", in_words(sum(flips), sum(flips) + sum(users))),
        ("false alarms, other models", in_words(sum(users), len(users))),
    ]
    for model in sorted({case["model"] for case in cases}):
        own = hits(lambda case, model=model: case["model"] == model and case["speaks_as_assistant"] is True)  # type: ignore[misc]
        rows.append((f"recall, {model}", in_words(sum(own), len(own))))
    unsure = hits(lambda case: case["speaks_as_assistant"] is None)
    return [*rows, ("flagged of those that the reader left open", in_words(sum(unsure), len(unsure)))]


def people_rows(p4g: Path | None, esconv: Path | None) -> list[tuple[str, str]]:
    """False alarms on real users."""
    rows = []
    if p4g is not None:
        held_out = [dialogue for dialogue in read_p4g(p4g).dialogues if dialogue.split == "test"]
        rows.append(("false alarms, persuadees (PersuasionForGood), test split", flagged(user_turns(held_out))))
    if esconv is not None:
        rows.append(("false alarms, seekers (ESConv), all", flagged(user_turns(read_esconv(esconv).dialogues))))
    return rows


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m engage.simulation.roles.measure")
    for name in ("--p4g", "--esconv", "--cases"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    rows = people_rows(given.p4g, given.esconv) + (case_rows(given.cases) if given.cases else [])
    print("\n".join(["| | share [95 % interval] |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]))


if __name__ == "__main__":
    main()
