"""The held-out dialogues as MLflow shows them: which checks a policy's replies fail."""

from dataclasses import replace

from small_stores import filled, hand_dialogue

from engage.dialogue import Dialogue, Role, Turn
from engage.evaluation import HeldOutStore, conversations
from engage.scenario import parse_scenario
from engage.store import Cycle

ASKED = parse_scenario(
    {
        "id": "p0",
        "domain": "persuasion",
        "user_condition": {"person": "a nurse", "situation": "A paid chat."},
        "opening": [{"role": "assistant", "text": "Hello."}, {"role": "user", "text": "Hi there."}],
    }
)


def told(tmp_path, reply):
    held = hand_dialogue(ASKED, 0.5, policy="base", simulator="search")
    said = Dialogue((*ASKED.opening.turns, Turn(Role.ASSISTANT, reply), Turn(Role.USER, "I see.")))
    held = replace(held, trajectory=replace(held.trajectory, dialogue=said))
    store = filled(tmp_path, [ASKED], dialogues=[held])
    cycle = Cycle(cycle_id="c1", seed=7, champion_version=None, champion_adapter=None)
    (found,) = conversations(HeldOutStore(store, cycle, {"p0": ASKED}), "base", 9)
    return found


def test_a_conversation_fails_the_deception_check_as_promotion_counts_it(tmp_path):
    # no rule matches it; the check was fitted on such replies
    assert told(tmp_path / "gives", "That's it. I'm happy, I'll give 1.50.").checks == ("likely_deception",)
    assert told(tmp_path / "asks", "What do you know about the charity?").checks == ()
