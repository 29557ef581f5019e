import numpy as np
import pytest
from card_dialogues import persuadee, seeker

from engage.dialogue import Dialogue, Reaction, Role, Turn
from engage.domains.rules.money import stated_sum
from engage.experiments.simulator_card.survey import calibration, outcomes, reliability


def stated(*texts):
    return stated_sum(Dialogue(tuple(Turn(Role.USER, text) for text in texts)), 2.0)


@pytest.mark.parametrize(
    ("text", "dollars"),
    [
        ("I will give $0.50.", 0.5),
        ("$ .20 with pleasure", 0.2),
        ("30 cents it is", 0.3),
        ("25cents", 0.25),
        ("Fifty cents then, twenty-five cents at least", 0.25),
        ("okay, a dollar", 1.0),
        ("Two bucks!", 2.0),
        ("half a dollar", 0.5),
        ("let's do half", 1.0),
        ("i can donate 0.10 $", 0.1),
        ("I think I will give 0.75", 0.75),
        ("We will donate .10 each", 0.1),
        ("two quarters", 0.5),
        ("I give $1, gladly", 1.0),
        ("75¢", 0.75),
        ("maybe $10", None),
        ("$1,000 a year", None),
        ("86% of the funds", None),
        ("I have 2 dogs", None),
        ("recent success", None),
    ],
)
def test_a_stated_amount_is_read_in_dollars(text, dollars):
    assert stated(text) == (None if dollars is None else pytest.approx(dollars))


def test_the_last_amount_counts_and_those_over_two_dollars_do_not():
    assert stated("I give $1.", "Fine, 50 cents.", "My rent is $900.") == 0.5


def test_only_the_users_amounts_count():
    talk = (Turn(Role.USER, "10 cents"), Turn(Role.ASSISTANT, "Why not $2?"))
    assert stated_sum(Dialogue(talk), 2.0) == 0.1


def read(values):
    return Reaction("expected", "", values)


def test_persuasion_is_ranked_by_the_answer_and_beside_it_by_the_stated_amount():
    humans = [
        persuadee(0, 0.0, ("I give 50 cents at most.", "No.")),
        persuadee(1, 0.0),
        persuadee(2, 0.5),
        persuadee(3, 2.0, ("I have heard of them before.", "Yes.")),
    ]
    readings = dict(zip((human.scenario_id for human in humans), map(read, (0.25, 1.0, 0.75, 1.5)), strict=True))
    found = calibration(humans, readings)
    assert found["actual"].value == 2.5 / 4 and found["predicted"].value == 3.5 / 4 and found["bias"].value == 0.25
    # outcomes 0 0 0.5 2: 0.75 beats 0.25 and not 1.0, 1.5 beats both
    assert found["auc_donated"].value == found["auc_donated_a_quarter"].value == 3 / 4
    # amounts 0.5 0.5 0.5 0: a tie with both, and nothing against both
    assert found["stated_auc_donated"].value == (0.5 + 0.5) / 4
    assert found["auc_gain_donated"].value == 0.75 - 0.25
    assert found["stated"].value == 3 / 4


def test_in_support_a_low_answer_foretells_release():
    humans = [seeker(0, 2.0), seeker(1, 4.0), seeker(2, 1.0)]
    readings = dict(zip((human.scenario_id for human in humans), map(read, (1.5, 4.5, 2.0)), strict=True))
    found = calibration(humans, readings)
    assert found["auc_released"].value == 1.0 and "stated" not in found


def test_an_answer_that_could_not_be_read_is_left_out():
    humans = [persuadee(0, 0.0), persuadee(1, 1.0)]
    readings = {humans[0].scenario_id: read(None), humans[1].scenario_id: read(0.5)}
    assert calibration(humans, readings)["actual"].n == 1
    assert [list(side) for side in outcomes(humans, readings)] == [[0.5], [1.0]]


def test_without_a_reading_no_figure_exists():
    assert {one.value for one in calibration([persuadee(0, 0.0)], {}).values()} == {None}


def test_reliability_bins_are_of_equal_size_by_rising_prediction():
    bins = reliability(np.array([0.4, 0.1, 0.2, 0.3, 0.8, 0.5, 0.6, 0.7]), np.arange(8.0))
    # eight dialogues are two bins of four: predictions 0.1-0.4 with outcomes 1 2 3 0, and 0.5-0.8 with 5 6 7 4
    assert [(round(one.predicted, 3), one.actual.value) for one in bins] == [(0.25, 1.5), (0.65, 5.5)]
    assert reliability(np.array([0.1]), np.array([1.0])) == []
