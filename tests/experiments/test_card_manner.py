"""The card's figures in the field's words: cooperativeness, frustration, lexical gap; on turns whose figures are computed by hand."""

import numpy as np
import pytest

from engage.domains.rules.patterns import matches_any
from engage.experiments.simulator_card.asking import SaidTwice
from engage.experiments.simulator_card.manner import ANNOYED, cooperates, divergence, manner_figures

ASKED, TOLD = "Have you heard of the charity?", "They feed children."


def said(human, simulated, before=TOLD):
    return SaidTwice(1, human, None, simulated, None, before)


@pytest.mark.parametrize(
    ("before", "text", "does"),
    [
        (ASKED, "Yes.", True),
        (ASKED, "No, never.", True),
        (ASKED, "Only from the radio. What is it?", True),
        (ASKED, "2 years ago", True),
        (ASKED, "Why do you ask?", False),
        (ASKED, "What do they do?", False),
        (ASKED, "I don\u2019t know.", False),
        (ASKED, "I'd rather not say what I think of that.", False),
        (ASKED, "No thanks, I heard enough.", False),
        (TOLD, "Oh, of course they do", True),
        (TOLD, "That's a good point", True),
        (TOLD, "My sister works there since last year.", True),
        (TOLD, "Okay, I am not sure.", False),  # agrees in form only
        (TOLD, "Thank you!", False),
        (TOLD, "The weather over there is not too bad.", False),  # nothing of the user
        (TOLD, "How do they do it where I live?", False),
    ],
)
def test_a_cooperative_turn_answers_agrees_or_tells_of_the_user(before, text, does):
    assert cooperates(before, text) is does


@pytest.mark.parametrize(
    ("text", "is_annoyed"),
    [
        ("Stop asking me.", True),
        ("no thank you", True),
        ("I won't donate anything.", True),
        ("You are not listening to me!", True),
        ("Whatever.", True),
        ("That doesn't help.", True),
        ("Sorry, I can't donate more than that", False),
        ("Whatever you think is best.", False),
        ("I am so frustrated with my boss.", False),  # not with the conversation
        ("It gets annoying at work.", False),
        ("I don't want to lose the friendship.", False),
    ],
)
def test_frustration_is_with_the_conversation_or_declines(text, is_annoyed):
    assert matches_any(ANNOYED, text) is is_annoyed


def test_both_sides_are_counted_by_the_same_rules():
    turns = {
        "a": (said("Yes.", "Who are you?", ASKED), said("Stop asking me.", "I agree with you.")),
        "b": (said("I give my dog a lot of it.", "No thanks.", ASKED),),
        "c": (said("Thank you!", "Sure."),),
    }
    found = manner_figures(turns)
    values = {name: one.value for name, one in found.items()}
    # people: 2 of 4 turns cooperate, both questions are answered, 1 of 4 turns in 1 of 3 dialogues is annoyed
    # simulated: 2 cooperate; "No thanks." answers too, but declines
    assert (values["human_cooperative"], values["simulated_cooperative"]) == (0.5, 0.5)
    assert (values["human_answers"], values["simulated_answers"]) == (1.0, 0.5)
    assert (values["human_frustrated"], values["simulated_frustrated"]) == (0.25, 0.25)
    assert (values["human_frustrated_dialogues"], values["simulated_frustrated_dialogues"]) == (
        pytest.approx(1 / 3), pytest.approx(1 / 3),
    )  # fmt: skip
    assert found["human_cooperative"].low is not None


def test_the_divergence_of_word_frequencies():
    one, other = np.array([0, 0, 1, 1]), np.array([2, 3])
    assert divergence(one, other, 4) == pytest.approx(1.0)  # no word in common
    assert divergence(one, np.array([0, 1]), 4) == pytest.approx(0.0)  # the same shares
    # (1, 0) and (1/2, 1/2): entropy of (3/4, 1/4) is 0.8113, minus the mean of 0 and 1
    assert divergence(np.array([0]), np.array([0, 1]), 4) == pytest.approx(0.8113 - 0.5, abs=1e-4)
    assert np.isnan(divergence(one, np.array([], dtype=int), 4))


def test_the_lexical_gap_is_read_beside_that_of_people_and_people():
    like = {str(n): (said(f"well i never {n % 3}", f"well i never {n % 3}"),) for n in range(12)}
    found = manner_figures(like)
    assert found["simulated_lexical_gap"] == found["human_lexical_gap"] and found["human_lexical_gap"].value < 0.1
    assert found["human_lexical_gap"].value > 0.0  # the halves have other numbers of 0, 1 and 2
    apart = {str(n): (said("well i never", "certainly indeed"),) for n in range(12)}
    found = manner_figures(apart)
    assert (found["human_lexical_gap"].value, found["simulated_lexical_gap"].value) == pytest.approx((0.0, 1.0))


@pytest.mark.parametrize("turns", [{}, {"a": ()}, {"a": (said("Yes.", "No."),)}])
def test_too_few_dialogues_have_no_lexical_gap(turns):
    assert manner_figures(turns)["simulated_lexical_gap"].value is None
