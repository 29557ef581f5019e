import asyncio
import itertools
from pathlib import Path

import pytest

from engage.corpora.base import Gathering, HumanDialogue
from engage.corpora.p4g import read_p4g
from engage.dialogue import UNSPOKEN, Dialogue, Role
from engage.domains import load_domain
from engage.engines.base import Completion, Side
from engage.engines.scripted import ScriptedEngine
from engage.errors import EngineError
from engage.scenario import parse_scenario
from engage.simulation import SpeechConfig, policy_messages
from engage.store import Outbox, TrajectoryStore
from engage.training import HumanConfig, PreferencePair, pair_licences, reply_places
from engage.training.human_pairs import draw_human_pairs, drop_reason, went_well

SPEECH = SpeechConfig()  # the policy says at most 48 tokens, that is 36 words
REPLIES = ("You keep a place for him. What do you miss most?", "Mornings must be very quiet now.")


def human_dialogue(split="train", replies=REPLIES, outcome=2.0, initial=4) -> HumanDialogue:
    """A support dialogue whose situation carries a number, raised until its scenario falls into the split."""
    for number in itertools.count():
        said = [(Role.USER, "My cat ran away last week.")]
        for place, reply in enumerate(replies):
            said += [(Role.ASSISTANT, reply), (Role.USER, f"Yes, I hear him at the door ({place}).")]
        gathering = Gathering("esconv", load_domain("emotional_support"))
        condition = {"person": "p", "emotion": "sadness", "problem": "loss", "situation": f"It is silent ({number})."}
        gathering.take("here:1", said, {**condition, "initial_intensity": initial}, outcome)
        (human,) = gathering.taken.values()
        if human.split == split:
            return human
    raise AssertionError("unreachable: some number falls into the split")


def drawn(dialogues, wanted=10, reply=lambda prompt, seed: "I see.", seed=7, engine=None, **changes):
    settings = {"config": HumanConfig(), "speech": SPEECH, "max_length": 512, "adapter": None, **changes}
    return asyncio.run(draw_human_pairs(engine or ScriptedEngine(reply), dialogues, wanted, seed=seed, **settings))


def test_the_human_reply_is_chosen_and_the_policys_rejected_after_the_same_prefix():
    human = human_dialogue()
    pairs = sorted(drawn([human]).pairs, key=lambda pair: len(pair.prompt))
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [(REPLIES[0], "I see."), (REPLIES[1], "I see.")]
    # system text, user, assistant, user: the prefix of the second reply, as the policy sees it
    assert [message["content"] for message in pairs[1].prompt[1:]] == [
        "My cat ran away last week.",
        REPLIES[0],
        "Yes, I hear him at the door (0).",
    ]
    assert {(pair.source, pair.scenario_id, pair.domain) for pair in pairs} == {
        ("human", human.scenario_id, "emotional_support")
    }


def test_the_policy_is_asked_as_itself_with_its_adapter_and_once_per_place():
    asked = []

    def reply(prompt, seed):
        asked.append((prompt.side, prompt.adapter, len(prompt.messages)))
        return "I see."

    drawn([human_dialogue()], reply=reply, adapter="champion")
    assert sorted(asked) == [(Side.POLICY, "champion", 2), (Side.POLICY, "champion", 4)]


def test_no_more_places_are_sampled_than_pairs_are_wanted():
    found = drawn([human_dialogue(), human_dialogue(outcome=1.0)], wanted=3)
    # two dialogues of two replies
    assert found.counts == {"dialogues": 2, "places": 4, "sampled": 3, "accepted": 3}
    assert drawn([human_dialogue()], wanted=0).pairs == []


@pytest.mark.parametrize("split", ["validation", "test"])
def test_dialogues_outside_the_train_split_are_never_used(split):
    train = human_dialogue()
    found = drawn([human_dialogue(split), train])
    assert (
        {pair.scenario_id for pair in found.pairs} == {train.scenario_id} == {s.scenario_id for s in found.scenarios()}
    )
    assert drawn([human_dialogue(split)]).counts == {"dialogues": 0, "places": 0, "sampled": 0, "accepted": 0}


@pytest.mark.parametrize(
    ("outcome", "initial", "well"),
    [
        (3.0, 4, True),  # (5 - 3) / 4 = 0.5, one point of relief
        (4.0, 5, False),  # relief, but (5 - 4) / 4 = 0.25
        (3.0, 3, False),  # 0.5, no relief
        (None, 4, False),
    ],
)
def test_a_dialogue_went_well_if_its_reward_is_half_and_the_user_improved(outcome, initial, well):
    assert went_well(human_dialogue(outcome=outcome, initial=initial), 0.5) is well


def test_a_persuasion_dialogue_went_well_by_its_reward_alone():
    giver = read_p4g(Path(__file__).parents[1] / "fixtures" / "p4g").dialogues[0]
    # 30 cents of two dollars: 0.15
    assert went_well(giver, 0.15) and not went_well(giver, 0.5)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("What do you miss most?", None),
        ("...", "empty"),
        ("[INST] What do you miss most?", "role_leak"),
        ("My husband left me as well, you know.", "flawed"),
        ("I promise he comes back.", "deceptive"),
        ("There is a website with more on it, URL", "link"),
        ("Read www.example.org first.", "link"),
        ("Write to help@example.org about him.", "link"),
        ("You can call [phone] about him.", "link"),
        ("Do you have his number on your phone?", None),
        ("Did you email your friend <3 today?", None),
        (" ".join(f"word{number}" for number in range(38)), "too_long"),  # 38 words, about 51 tokens of 48
    ],
)
def test_what_must_not_be_taught_is_left_out_by_reason(reply, reason):
    (place,) = reply_places([human_dialogue(replies=(reply,))])
    assert drop_reason(place, SPEECH, 512) == reason


def test_a_prompt_that_training_would_leave_out_is_too_long():
    (place,) = reply_places([human_dialogue(replies=REPLIES[:1])])
    words = sum(len(m.content.split()) for m in policy_messages(load_domain("emotional_support"), place.prefix))
    tokens = (words + 11) * 4 / 3  # the reply has eleven words
    assert (drop_reason(place, SPEECH, int(tokens) + 1), drop_reason(place, SPEECH, int(tokens) - 1)) == (
        None,
        "too_long",
    )


def test_places_left_out_before_sampling_are_counted_and_made_up_for():
    found = drawn(
        [human_dialogue(replies=("I promise he comes back.", REPLIES[0]))], wanted=1, seed=0
    )  # draws the lie first
    assert found.counts == {"dialogues": 1, "places": 2, "sampled": 1, "accepted": 1, "deceptive": 1}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (REPLIES[0].upper(), "same_text"),
        ("...", "empty"),
        ("Assistant: I see.", "role_leak"),
        ("I'm sorry, but I can't help with that.", "refusal"),
    ],
)
def test_an_answer_of_the_policy_that_makes_no_pair_is_counted(said, reason):
    found = drawn([human_dialogue(replies=REPLIES[:1])], reply=lambda prompt, seed: said)
    assert found.counts == {"dialogues": 1, "places": 1, "sampled": 1, "accepted": 0, reason: 1}


class Withheld(ScriptedEngine):
    """A server that gives no reply, for a reason of its own."""

    def __init__(self, reason, text):
        super().__init__()
        self.reason, self.text = reason, text

    async def complete(self, prompt, sampling, seeds):
        return [Completion(self.text, 1, 0, 0, None, self.reason, seed) for seed in seeds]


@pytest.mark.parametrize("text", ["", "You could"])  # a filter may leave the words before it
@pytest.mark.parametrize("reason", UNSPOKEN)
def test_a_reply_that_the_server_withheld_is_never_the_rejected_side_and_counted(reason, text):
    found = drawn([human_dialogue(replies=REPLIES[:1])], engine=Withheld(reason, text))
    assert found.counts == {"dialogues": 1, "places": 1, "sampled": 1, "accepted": 0, reason: 1}


def test_a_request_that_fails_loses_its_pair_alone_and_all_that_fail_are_an_error():
    def reply(prompt, seed):
        if len(prompt.messages) == 2:
            raise EngineError("out of memory", prompt.key)
        return "I see."

    found = drawn([human_dialogue()], reply=reply)
    assert (found.counts["failed"], [pair.chosen for pair in found.pairs]) == (1, [REPLIES[1]])
    with pytest.raises(EngineError, match="human/1"):
        drawn([human_dialogue(replies=REPLIES[:1])], reply=reply)


def test_the_same_seed_draws_the_same_pairs_whatever_the_order_of_the_corpora():
    dialogues = [human_dialogue(outcome=1.0), human_dialogue(), human_dialogue(initial=5)]

    def reply(prompt, seed):
        return f"I see {seed}."

    one, other = drawn(dialogues, 3, reply), drawn(dialogues[::-1], 3, reply)
    assert one.pairs == other.pairs and one.pairs != drawn(dialogues, 3, reply, seed=8).pairs


@pytest.mark.slow
def test_used_dialogues_are_stored_as_human_trajectories(tmp_path):
    human = human_dialogue()
    found = drawn([human])
    store, outbox = TrajectoryStore(tmp_path / "store.duckdb"), Outbox(tmp_path / "outbox")
    store.begin_cycle("c1", {})
    for _ in range(2):  # doing it again changes nothing
        store.add_scenarios(found.scenarios())
        outbox.put_dialogues(found.records("c1"))
        store.drain(outbox)
    columns = "purpose, policy, domain, reader, reaction_text, value, reward, exchanges, opening_turns"
    # (5 - 2) / 4; two replies after an opening of one turn
    assert store.select(f"select {columns} from outcome")[1] == [
        ("human", "human", "emotional_support", "human", "2", 2.0, 0.75, 2, 1)
    ]
    turns = store.select("select text from turn order by turn_index")[1]
    assert [text for (text,) in turns] == [turn.text for turn in human.dialogue.turns]
    # one request at each of the two places
    assert store.select("select purpose, side, samples from engine_call")[1] == [("human", "policy", 1)] * 2


def test_licences_are_named_as_the_adapters_card_names_its_data():
    human = human_dialogue()
    record = {
        "id": "mine",
        "domain": "persuasion",
        "user_condition": {"person": "p", "situation": "s"},
        "opening": [{"role": "assistant", "text": "Hi."}, {"role": "user", "text": "Hi."}],
    }
    mine, other = parse_scenario(record), parse_scenario({**record, "id": "other", "source": "p4g"})
    pairs = [
        PreferencePair((), "a", "b", "emotional_support", human.scenario_id, "human"),
        PreferencePair((), "a", "b", "persuasion", "mine", "search"),
        PreferencePair((), "a", "b", "persuasion", "other", "search"),
    ]
    assert pair_licences(pairs, [human.scenario, mine, other]) == {
        "human:emotional_support": "CC BY-NC 4.0, non-commercial (ESConv, Liu et al. 2021)",
        "search": "Apache-2.0 (PersuasionForGood, Wang et al. 2019); not stated",
    }


def test_a_prefix_is_a_dialogue_that_ends_with_the_user():
    for place in reply_places([human_dialogue()]):
        assert isinstance(place.prefix, Dialogue) and place.prefix.turns[-1].role is Role.USER
