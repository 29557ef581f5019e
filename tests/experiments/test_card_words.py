"""The yardstick beside the exit survey: what a simple model reads from the words alone."""

import pytest
from card_dialogues import persuadee
from scripted_scenarios import SUPPORT

from engage.corpora import HumanDialogue
from engage.dialogue import Dialogue, Reaction, Role, Turn
from engage.experiments.simulator_card.card import SimulatorFigures
from engage.experiments.simulator_card.page import Heading, card_page
from engage.experiments.simulator_card.survey import calibration
from engage.experiments.simulator_card.words import MIN_TRAIN_DIALOGUES, _stated, predicted_from_words

GLAD = ("I never heard of them, sorry.", "I will gladly do that.")
SORRY = ("I never heard of them, sorry.", "I would rather keep it.")


def people(count: int, first: int = 0):
    """Every second one gives a dollar and says so in the same words, the others nothing."""
    return [
        persuadee(number, float(number % 2), GLAD if number % 2 else SORRY) for number in range(first, first + count)
    ]


def test_outcomes_that_the_words_tell_are_predicted():
    held_out = people(10, first=1_000)
    found = predicted_from_words(people(MIN_TRAIN_DIALOGUES), held_out)
    assert [found[human.scenario_id] for human in held_out] == pytest.approx([0.0, 1.0] * 5, abs=0.05)


def test_a_sum_that_was_never_named_before_counts():
    def giving(cents: int):
        return persuadee(cents, cents / 100, ("I never heard of them, sorry.", f"I will give {cents} cents."))

    found = predicted_from_words([giving(2 * n) for n in range(MIN_TRAIN_DIALOGUES)], [giving(31), giving(151)])
    assert list(found.values()) == pytest.approx([0.31, 1.51], abs=0.1)


def test_half_is_no_sum_where_nothing_is_given():
    said = Dialogue((Turn(Role.USER, "half my friends left"),))
    assert _stated([HumanDialogue(SUPPORT, said, 3.0, "")]).tolist() == [[0.0]]


def test_words_that_tell_nothing_predict_the_mean():
    alike = [persuadee(number, float(number % 2), GLAD) for number in range(MIN_TRAIN_DIALOGUES)]
    assert list(predicted_from_words(alike, people(2, first=1_000)).values()) == pytest.approx([0.5, 0.5], abs=0.05)


def test_nothing_is_predicted_from_too_few_or_where_all_ended_alike():
    held_out = people(2, first=1_000)
    assert predicted_from_words(people(MIN_TRAIN_DIALOGUES - 1), held_out) == {}
    assert predicted_from_words([persuadee(number, 0.5) for number in range(MIN_TRAIN_DIALOGUES)], held_out) == {}


def test_the_card_shows_it_beside_the_answers():
    humans = people(6)
    readings = {human.scenario_id: Reaction("expected", "", 0.5) for human in humans}
    from_words = {human.scenario_id: float(human.outcome or 0) for human in humans}
    figures = calibration(humans, readings, from_words=from_words)
    assert figures["words_auc_donated"].value == 1.0 and figures["auc_donated"].value == 0.5
    assert figures["words_spearman"].value == pytest.approx(1.0)
    shown = {f"survey_{name}": one for name, one in figures.items()}
    page = card_page(Heading({}), [SimulatorFigures("bare", "persuasion", 6, shown)])
    assert (
        "| Spearman of a model on the user's words alone | | 1.00 [1.00, 1.00] |" in page and "By words alone:" in page
    )
    assert "By words alone" not in card_page(Heading({}), [SimulatorFigures("bare", "persuasion", 6, {})])


def test_a_prediction_below_nothing_ranks_last_and_spoils_no_figure():
    humans = people(6)
    readings = {human.scenario_id: Reaction("expected", "", 0.5) for human in humans}
    from_words = {human.scenario_id: 2.1 if human.outcome else -0.03 for human in humans}
    assert calibration(humans, readings, from_words=from_words)["words_auc_donated"].value == 1.0
