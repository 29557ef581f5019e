"""A corpus in PersuasionForGood's layout for the tests of `engage experiment people`, and likelihoods that nobody had to compute."""

from pathlib import Path

from card_dialogues import write_tables

from engage.experiments.people.plan import People, PeopleConfig, human_turns, read_people
from engage.experiments.simulator_card.perplexity import Likelihood

DIALOGUES = 140
TOKENS = 10


def write_people(folder: Path, dialogues: int = DIALOGUES, gift: str | None = None) -> str:
    """Write dialogues with three replies after the opening, whose persuadees give 0, 0.5 or 2 dollars; returns `p4g:FOLDER`.

    `gift` replaces every gift.
    """
    rows, people = [], []
    for number in range(dialogues):
        said = ("I never heard of them, sorry.", "What do they do?", f"I have {number} cats.", "We shall see.")
        for place, text in enumerate(said):
            asked = f"Would you give something to them{', please' * (number % 4)}?"
            rows += [(f"d{number}", place, 0, asked), (f"d{number}", place, 1, text)]
        given = [0.0, 0.5, 2.0][number % 3] if gift is None else gift
        people += [(f"d{number}", 0, 0.0, 30), (f"d{number}", 1, given, 18 + number % 60)]
    write_tables(folder, rows, people)
    return f"p4g:{folder}"


def read_all(corpus: str, **settings) -> People:
    return read_people(PeopleConfig(corpus=corpus, **settings), {"persuasion"})


def scores(people: People, nats):
    """Every reply's likelihood over TOKENS tokens; `nats` gives those per token from the reply."""
    found: dict[str, dict[int, Likelihood]] = {}
    for turn in human_turns(people.scored):
        of_it = found.setdefault(turn.human.scenario_id, {})
        of_it[turn.number] = Likelihood(TOKENS * nats(turn), TOKENS)
    return found
