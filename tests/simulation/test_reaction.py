import math

import pytest

from engage.domains import load_domain
from engage.simulation.reaction import read_expected, read_pattern

SUPPORT = load_domain("emotional_support").survey
PERSUASION = load_domain("persuasion").survey


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("3", 3.0),
        ("I'd say 2 out of 5.", 2.0),
        ("4/5", 4.0),
        ("Four, I think.", 4.0),
        ("It is a 2.", 2.0),
        ("5.0", 5.0),
        ("7", None),
        ("3.5", None),
        ("I don't know", None),
        ("", None),
        ("about 50%", None),
        ("25", None),
        ("On a scale of 1 to 5, I'd say 2.", 2.0),
        ("It was a 5 before, now 2", 2.0),
        ("5 at first but 3 now", 3.0),
        ("It went from 4 to 2.", 2.0),
        ("1 being calm, I'm at 4", 4.0),
        ("3. I felt like a 5 when we began.", 3.0),
        ("I'd say 2, down from 5.", 2.0),
        ("I'd rate it 2 on the 1-5 scale", 2.0),
        ("I'm at 3, before it was 5", 3.0),
        ("It's 4 now, not 5", 4.0),
        ("With 1 being calm and 5 being terrible I'd say 4", 4.0),
        ("On a scale of one to five, three", 3.0),
    ],
)
def test_intensity_is_read_from_a_free_answer(answer, value):
    assert read_pattern(SUPPORT, answer).value == value


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("$1", 1.0),
        ("$.50", 0.5),
        ("$0.75 I guess", 0.75),
        ("50 cents", 0.5),
        ("two quarters", 0.5),
        ("half a dollar", 0.5),
        ("one dollar", 1.0),
        ("4", 1.0),
        ("0", 0.0),
        ("8 quarters", 2.0),
        ("Nothing.", 0.0),
        ("I am not giving", 0.0),
        ("$5", None),
        ("12 quarters", None),
        ("maybe", None),
        ("Nothing. I keep my $2.00.", 0.0),
        ("0. I'm keeping my $2.00", 0.0),
        ("I'll keep my 8 quarters, thank you.", 0.0),
        ("None of my $2.00.", 0.0),
        ("I won't give any of my $2.00.", 0.0),
        ("I'd rather not donate. I need the 2 dollars.", 0.0),
        ("0 out of 8 quarters", 0.0),
        ("3 of the eight quarters", 0.75),
        ("Two of my eight quarters", 0.5),
        ("Of my $2.00 I give 2 quarters.", 0.5),
        ("I give half of my $2.00", 1.0),
        ("one quarter out of my $2.00 payment", 0.25),
        ("4 quarters ($1)", 1.0),
        ("2 dollars", 2.0),
        ("I'll give $1 and keep the rest", 1.0),
        ("All of my $2.00", 2.0),
        ("I can't give more than 2 quarters", 0.5),
        ("I can't give all of it but $1 is fine", 1.0),
        ("I've never donated before, but I'll give $1", 1.0),
        ("I'm not sure how much to give, maybe $1", 1.0),
        ("I can't wait to give my $2", 2.0),
        ("I'd give 4 quarters, keep it up!", 1.0),
        ("1 or 2 dollars", 2.0),
    ],
)
def test_dollars_are_read_from_a_free_answer(answer, value):
    assert read_pattern(PERSUASION, answer).value == (None if value is None else pytest.approx(value))


def test_the_expected_value_by_hand():
    # Likelihoods 0.1, 0.1, 0.2, 0.1 and nothing for "5" (of 0.5 in all): 0.2·1 + 0.2·2 + 0.4·3 + 0.2·4 = 2.6
    reaction = read_expected(SUPPORT, [math.log(0.1), math.log(0.1), math.log(0.2), math.log(0.1), -1000.0])
    assert reaction.value == pytest.approx(2.6)
    assert (reaction.text, reaction.probabilities) == ("3", pytest.approx((0.2, 0.2, 0.4, 0.2, 0.0)))
