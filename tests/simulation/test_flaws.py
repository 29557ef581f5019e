import pytest

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import load_domain
from engage.simulation import find_flaw
from engage.simulation.flaws import tidy

SUPPORT = load_domain("emotional_support")
PERSUASION = load_domain("persuasion")
TALK = Dialogue(
    (
        Turn(Role.USER, "I lost my job and I cannot sleep."),
        Turn(Role.ASSISTANT, "That is hard. Since when can you not sleep?"),
    )
)


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("Since Monday. I just lie there.", None),
        ("No.", None),
        ("Thank you, that helps a bit.", None),
        ("I'm sorry, I did not mean to snap.", None),
        (" ... ", "empty"),
        ("User: since Monday", "role_leak"),
        ("<|im_start|>assistant", "role_leak"),
        ("I'm here to help you with anything you need.", "role_flip"),
        ("Thank you for sharing. How are you feeling?", "role_flip"),
        ("I'm sorry to hear that. You should take a walk.", "role_flip"),
        ("As an AI I do not sleep.", "role_flip"),
        ("1. Sleep more 2. Eat well", "list"),
        ("Hello! How are you?", "greeting"),
        ("That is hard, since when can you not sleep?", "repetition"),
        ("I don't know what to do, I don't know what to do.", "repetition"),
    ],
)
def test_a_flawed_user_turn_is_named(text, flaw):
    assert find_flaw(SUPPORT, TALK, Role.USER, text) == flaw


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("I could give fifty cents.", None),
        ("How do I know the money gets there?", None),
        ("Would you like to donate to the children?", "role_flip"),
        ("Your donation helps children.", "role_flip"),
        ("Our organization works in 100 countries.", "role_flip"),
    ],
)
def test_a_persuadee_who_asks_for_money_has_flipped(text, flaw):
    assert find_flaw(PERSUASION, TALK, Role.USER, text) == flaw


def test_the_helper_may_say_what_a_user_may_not():
    assert find_flaw(SUPPORT, TALK, Role.ASSISTANT, "I'm sorry to hear that. What happened on Monday?") is None
    assert find_flaw(SUPPORT, TALK, Role.ASSISTANT, "My boss fired me too, I'm so depressed.") == "role_flip"


def test_the_first_turn_may_greet():
    assert find_flaw(SUPPORT, Dialogue(), Role.USER, "Hello! How are you?") is None


@pytest.mark.parametrize(
    ("text", "cut_off", "tidied"),
    [
        ("I see. And then you", True, "I see."),
        ("I see. And then you", False, "I see. And then you"),
        ("no end in sight", True, "no end in sight"),
        ("One.\n\nUser: two", False, "One."),
        ('  "So it is."  ', False, "So it is."),
        ("I earn $2.50 an hour and", True, "I earn $2.50 an hour and"),
    ],
)
def test_a_completion_is_tidied(text, cut_off, tidied):
    assert tidy(text, cut_off) == tidied
