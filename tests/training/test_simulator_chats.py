from pathlib import Path

import pytest

from engage.corpora import read_esconv, read_p4g
from engage.dialogue import Role
from engage.domains.persuasion import PERSUASION
from engage.engines.base import Message
from engage.training import simulator_chat
from engage.training.simulator_chats import nearest_choice

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_a_simulators_chat_trains_all_user_turns_and_the_answer():
    cat = read_esconv(FIXTURES / "esconv" / "train.txt").dialogues[0]
    chat = simulator_chat(cat)
    assert chat.messages[0].role == "system" and "My cat is gone" in chat.messages[0].content
    spoken = [chat.messages[place] for place in chat.trained]
    assert [message.content for message in spoken] == [
        "Hello",
        "My cat ran away last week. I still put his bowl out.",
        "His noise in the morning.",
        "2",
    ]
    # the dialogue ends with the supporter: the question follows in the same message
    assert chat.messages[-2].role == "user" and chat.messages[-2].content.startswith(
        "Mornings must be very quiet now.\n\nThe"
    )
    assert chat.source == "esconv"


def test_without_an_outcome_no_answer_is_trained():
    (rent,) = read_esconv(FIXTURES / "esconv" / "valid.txt").dialogues
    assert simulator_chat(rent).messages[-1] == Message("assistant", "Half of what I earn.")


@pytest.mark.parametrize(
    ("dollars", "quarters"), [(0.0, "0"), (0.1, "0"), (0.125, "0"), (0.3, "1"), (0.4, "2"), (1.72, "7"), (2.0, "8")]
)
def test_a_donation_off_the_grid_is_the_nearest_number_of_quarters(dollars, quarters):
    assert nearest_choice(PERSUASION.survey, dollars) == quarters


def test_the_donation_of_a_dialogue_is_its_trained_answer():
    giver = read_p4g(FIXTURES / "p4g").dialogues[0]
    assert giver.dialogue.turns[-1].role is Role.USER
    assert simulator_chat(giver).messages[-1].content == "1"  # 30 cents
