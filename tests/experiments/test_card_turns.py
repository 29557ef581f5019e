import pytest

from engage.experiments.simulator_card.asking import SaidTwice
from engage.experiments.simulator_card.turns import told_apart, turn_figures


def said(human, simulated, human_flaw=None, simulated_flaw=None):
    return SaidTwice(1, human, human_flaw, simulated, simulated_flaw)


TURNS = {
    "a": (said("Why me?", "I give one dollar", simulated_flaw="role_flip"), said("I do not know", "No.")),
    "b": (said("Really? When?", "User: yes", "greeting", "role_leak"),),
    "c": (said("Go on then.", "I give one dollar now", None, "repetition"),),
}


def test_turns_are_counted_on_both_sides():
    found = turn_figures(TURNS)
    # people: 2 + 4 + 2 + 3 words in four turns, two of them with a question; simulated: 4 + 1 + 2 + 5, none
    assert (found["human_words"].value, found["simulated_words"].value) == (11 / 4, 12 / 4)
    assert (found["human_questions"].value, found["simulated_questions"].value) == (0.5, 0.0)


def test_leaks_count_as_role_flips_and_other_flaws_apart():
    found = turn_figures(TURNS)
    assert (found["simulated_role_flips"].value, found["simulated_other_flaws"].value) == (0.5, 0.25)
    assert (found["human_role_flips"].value, found["human_other_flaws"].value) == (0.0, 0.25)


def test_distinct_word_pairs_are_compared_on_equal_numbers():
    found = turn_figures(TURNS)
    # people have 1 + 3 + 1 + 2 = 7 pairs, all different; of the simulated 3 + 0 + 1 + 4 = 8 the first seven hold three twice
    assert found["human_distinct_2"].value == 1.0
    # of people's 11 words `i` and `do` do not recur: 11 different; of the simulated 12 the first 11 are i give one dollar (twice), no, user, yes
    assert found["human_distinct_1"].value == 1.0
    assert found["simulated_distinct_1"].value == pytest.approx(7 / 11)
    assert found["simulated_distinct_2"].value == pytest.approx(4 / 7)


def test_a_classifier_tells_two_vocabularies_apart_and_the_same_words_not():
    apart = {str(n): (said(f"well i dunno {n}", f"Certainly, I shall consider {n}."),) for n in range(20)}
    alike = {str(n): (said(f"maybe {n}", f"maybe {n}"),) for n in range(20)}
    assert told_apart(apart, "words").value == told_apart(apart, "characters").value == 1.0
    assert told_apart(alike, "words").value == pytest.approx(0.5)


def test_case_is_a_habit_that_only_the_characters_show():
    cased = {str(n): (said(f"maybe later {n}", f"MAYBE LATER {n}"),) for n in range(20)}
    assert told_apart(cased, "characters").value == 1.0
    assert told_apart(cased, "words").value == pytest.approx(0.5)


@pytest.mark.parametrize("turns", [{}, {"a": ()}, {"a": TURNS["a"]}])
def test_too_few_dialogues_give_no_classifier(turns):
    assert told_apart(turns, "words").value is None
    turn_figures(turns)
