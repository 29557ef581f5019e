"""Dialogues that end because a turn has no usable text: no survey, no reward, counted by reason; too many of them end a run."""

import asyncio
import dataclasses
from collections import Counter
from zlib import crc32

import pytest
from scripted_scenarios import SUPPORT, searched

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import load_domain
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine, canned_reply
from engage.errors import EngineError, TooManyFlawed
from engage.search import Adapters, SearchConfig, TalkLimits, TalkWatch, hold_dialogues, search_scenarios
from engage.simulation import DialogueConfig, SpeechConfig, find_flaw
from engage.simulation.simulator import UNSAID

DOMAINS = {name: load_domain(name) for name in ("emotional_support", "persuasion")}
TALK = Dialogue((Turn(Role.USER, "I lost my job and I cannot sleep."),))

REFUSALS = """
I'm sorry, but I can't assist with that.
I'm sorry, I can't help with that.
I can't assist with that request.
Sorry, but I cannot help you with that.
I'm really sorry that you're feeling this way, but I'm unable to provide the help that you need. It's really important to talk things over with someone who can.
I cannot fulfill your request. I am just an AI model.
I'm not able to engage in that kind of conversation.
As an AI language model, I cannot engage in this role-play.
I apologize, but I cannot continue this conversation.
Unfortunately, I can't help with that.
I cannot create content that is harmful.
I’m sorry, but I can’t assist with that.
I won't be able to help you with this request.
I must decline to participate in this scenario.
That's not something I can help with.
I cannot generate explicit content.
I am unable to assist you with that matter.
I will not comply.
""".strip().splitlines()

SUPPORTIVE = """
I'm sorry you can't sleep.
I'm sorry, I can't imagine how hard that is for you.
I can't promise it gets better, but I am here to listen.
I'm so sorry. That sounds unbearable, and I won't pretend it is not.
You can't help how you feel about that.
I can't tell you what to do, but we can look at it together.
It is hard when you cannot help the people you love.
I am unable to sleep too when I worry; what keeps you awake?
I'm sorry to hear that you weren't able to continue with your studies.
I can't help thinking that you carry this alone.
Would it help with that to write it down?
Sometimes people say they can't assist their parents as they wish.
I cannot say enough how brave that was. What would you like to happen next?
Sorry, I misread you. You did not say that you cannot go on with the job.
I can help with that. Shall we make a list?
If you can't do that today, do it tomorrow.
""".strip().splitlines()

OF_USERS = """
Sorry, I can't help with that right now, money is tight.
I can't do that, I have rent to pay.
I'm sorry but I cannot donate anything.
I won't give to people I don't know.
No, I am not able to spare two dollars.
I can't keep talking about it.
I cannot continue like this.
I will not help them, they waste it.
""".strip().splitlines()


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_of_the_model_is_named(text):
    assert find_flaw(DOMAINS["emotional_support"], TALK, Role.ASSISTANT, text) == "refusal"


@pytest.mark.parametrize("text", SUPPORTIVE)
def test_a_supportive_reply_is_no_refusal(text):
    assert find_flaw(DOMAINS["emotional_support"], TALK, Role.ASSISTANT, text) != "refusal"


@pytest.mark.parametrize("text", OF_USERS)
def test_a_user_who_declines_is_not_flawed(text):
    assert find_flaw(DOMAINS["persuasion"], TALK, Role.USER, text) is None


@pytest.mark.parametrize("text", ["I'm sorry, but I can't assist with that.", "I cannot engage in this role-play."])
def test_a_model_that_refuses_to_play_the_user_is_named(text):
    assert find_flaw(DOMAINS["persuasion"], TALK, Role.USER, text) == "refusal"


@pytest.mark.parametrize("text", ["😭", "👍👍", "💔 ok"])
def test_an_emoji_is_a_turn(text):
    assert find_flaw(DOMAINS["emotional_support"], TALK, Role.USER, text) is None


class Wordless(ScriptedEngine):
    """Canned replies, but an empty one if `silent(prompt, seed)` gives a reason; no survey may follow."""

    def __init__(self, silent):
        super().__init__(canned_reply)
        self.silent = silent
        self.surveys: list[str] = []

    async def complete(self, prompt, sampling, seeds):
        found = await super().complete(prompt, sampling, seeds)
        reasons = [self.silent(prompt, seed) for seed in seeds]
        return [
            dataclasses.replace(one, text="", finish_reason=reason) if reason else one
            for one, reason in zip(found, reasons, strict=True)
        ]

    async def score(self, prompt, choices):
        self.surveys.append(prompt.key)
        return await super().score(prompt, choices)


def of_side(side, reason):
    return lambda prompt, _: reason if prompt.side is side else None


def held(engine, scenario=SUPPORT, watch=None):
    found = []
    keep = lambda seed, trajectory, calls: found.append(trajectory)  # noqa: E731
    work = [(scenario, seed) for seed in range(40 if watch else 1)]
    config = DialogueConfig(max_exchanges=2)
    outcome = asyncio.run(hold_dialogues(engine, work, config, adapters=Adapters(), on_dialogue=keep, watch=watch))
    return found, outcome


@pytest.mark.parametrize("reason", ["refusal", "content_filter", "thought", "stop"])
@pytest.mark.parametrize("side", Side)
def test_a_dialogue_in_which_nothing_is_said_has_no_survey_and_no_reward(side, reason):
    engine = Wordless(of_side(side, reason))
    (trajectory,), _ = held(engine)
    flaw = "empty" if reason == "stop" else reason
    last = trajectory.dialogue.last
    assert (last.text, last.attempts, last.flaw, last.role) == (
        UNSAID,
        3,
        flaw,
        Role.ASSISTANT if side is Side.POLICY else Role.USER,
    )
    assert (trajectory.end_reason, trajectory.reward) == (flaw, None)
    assert (trajectory.reaction.reader, trajectory.reaction.value, engine.surveys) == ("unasked", None, [])


def test_a_search_continues_with_the_usable_replies():
    engine = Wordless(lambda prompt, seed: "refusal" if prompt.side is Side.POLICY and seed % 3 == 0 else None)
    record = searched(engine, SearchConfig(num_simulations=16, round_size=4))
    silent = {node.node_id for node in record.nodes if node.flaw == "refusal"}
    visited = Counter(node for one in record.simulations for node in one.node_ids)
    assert not silent & set(visited)
    assert len(record.simulations) == 16 * 2
    for one in record.simulations:
        refused = one.trajectory.end_reason == "refusal"
        assert (one.trajectory.reward is None) == refused


def test_a_failed_user_turn_ends_the_branch_without_a_reward():
    engine = Wordless(
        lambda prompt, seed: "content_filter" if prompt.side is Side.SIMULATOR and seed % 4 == 0 else None
    )
    record = searched(engine, SearchConfig(num_simulations=16, round_size=4))
    ends = [node for node in record.nodes if node.flaw == "content_filter"]
    assert ends and all((node.kind, node.end_reason) == ("terminal", "content_filter") for node in ends)
    for one in record.simulations:
        assert (one.trajectory.end_reason == "content_filter") == (one.trajectory.reward is None)


def test_a_tree_without_any_reply_fails_for_that_reason():
    with pytest.raises(EngineError, match=r"the policy gave no usable reply \(refusal\)"):
        searched(Wordless(of_side(Side.POLICY, "refusal")))


def test_too_many_flawed_dialogues_end_a_search_and_nothing_is_lost():
    scenarios = [dataclasses.replace(SUPPORT, scenario_id=f"s{index}") for index in range(12)]
    engine = Wordless(
        lambda prompt, _: "refusal" if prompt.side is Side.SIMULATOR and crc32(prompt.key.encode()) % 2 else None
    )
    engine._slots = 1
    kept = []
    with pytest.raises(
        TooManyFlawed,
        match=r"the model gave no usable turn \(refusal \d+\), more than the share of 0.2 that collect.max",
    ):
        asyncio.run(
            search_scenarios(
                engine, scenarios, DialogueConfig(max_exchanges=2), SearchConfig(num_simulations=16, round_size=4),
                cycle_id="c1", seed=7, adapters=Adapters(), on_tree=kept.append, watch=TalkWatch(TalkLimits(max_flawed_share=0.2)),
            )
        )  # fmt: skip
    assert 1 <= len(kept) < 12


def test_too_many_flawed_dialogues_end_an_evaluation():
    with pytest.raises(TooManyFlawed, match=r"in 3\d of 3\d dialogues"):
        held(Wordless(of_side(Side.POLICY, "content_filter")), watch=TalkWatch(TalkLimits(max_flawed_share=0.2)))


def test_few_dialogues_are_checked_only_at_the_end():
    watch = TalkWatch(TalkLimits(max_flawed_share=0.2))
    watch.note(["refusal"] * 29)
    watch.check()
    with pytest.raises(TooManyFlawed, match="in 29 of 29 dialogues"):
        watch.check(least=1)


def test_a_share_that_is_allowed_goes_on():
    watch = TalkWatch(TalkLimits(max_flawed_share=0.2))
    watch.note(["farewell"] * 80, {"refusal": 20})  # 20 of 100
    watch.check()
    watch.note(["empty"])  # 21 of 101
    with pytest.raises(
        TooManyFlawed, match=r"in 21 of 101 dialogues the model gave no usable turn \(refusal 20, empty 1\)"
    ):
        watch.check()
    TalkWatch(TalkLimits(max_flawed_share=1.0)).check(least=1)
    met = TalkWatch(TalkLimits(max_flawed_share=0.29))
    met.note(["farewell"] * 71 + ["empty"] * 29)
    met.check()


@pytest.mark.parametrize(
    ("ends", "unreadable", "said"),
    [
        ({"max_exchanges": 40}, 21, r"in 21 of 40 dialogues the answer to the exit survey could not be read, more than the "
         r"share of 0.5 that collect.max_unreadable_share allows; nothing collected is lost. .* or raise collect.max_unreadable_share"),
        ({"max_exchanges": 29, "crisis": 11}, 0, r"in 11 of 40 dialogues the user spoke of self-harm, more than the share of 0.25"),
    ],
)  # fmt: skip
def test_unreadable_answers_and_crises_have_limits_too(ends, unreadable, said):
    watch = TalkWatch(TalkLimits())
    watch.note(Counter(ends).elements(), unreadable=unreadable)
    with pytest.raises(TooManyFlawed, match=said):
        watch.check()
    allowed = TalkWatch(TalkLimits())
    allowed.note(["max_exchanges"] * 30 + ["crisis"] * 10, unreadable=20)  # 10 of 40 and 20 of 40 are at the limits
    allowed.check()


@pytest.mark.parametrize(
    ("reader", "advice"),
    [
        ("pattern", r"use the reader `expected` \(dialogue.speech.reader\), or raise"),
        (
            "expected",
            r"use a simulator whose server gives log-probabilities \(the reader `expected` needs them\), or raise",
        ),
    ],
)
def test_what_helps_against_unreadable_answers_depends_on_the_reader(reader, advice):
    watch = TalkWatch(TalkLimits(), reader=reader)
    watch.note(["max_exchanges"] * 40, unreadable=21)
    with pytest.raises(TooManyFlawed, match=advice):
        watch.check()


def test_dialogues_that_come_too_slowly_end_a_run_after_ten_minutes():
    now = [0.0]
    watch = TalkWatch(TalkLimits(min_dialogues_per_hour=120), clock=lambda: now[0])
    now[0] = 599.0
    watch.advance(1)
    now[0] = 600.0
    watch.advance(19)  # 20 in 10 minutes are 120 an hour
    now[0] = 631.0  # 21 in 631 s are 119.8 an hour
    with pytest.raises(
        TooManyFlawed, match=r"in 11 minutes there were 21 dialogues, 119.8 an hour, fewer than the 120 .* or lower"
    ):
        watch.advance(1)
    slow = TalkWatch(TalkLimits(), clock=lambda: now[0])
    now[0] = 1e6
    slow.advance(1)


def test_a_search_whose_answers_cannot_be_read_ends_and_keeps_its_trees():
    scenarios = [dataclasses.replace(SUPPORT, scenario_id=f"s{index}") for index in range(12)]
    speech = SpeechConfig(reader="pattern")
    engine = ScriptedEngine(
        lambda prompt, seed: "Who knows?" if "/survey/" in prompt.key else canned_reply(prompt, seed), slots=1
    )
    kept = []
    with pytest.raises(
        TooManyFlawed, match=r"in (\d+) of \1 dialogues the answer to the exit survey could not be read"
    ):
        asyncio.run(
            search_scenarios(
                engine, scenarios, DialogueConfig(max_exchanges=2, speech=speech), SearchConfig(num_simulations=16, round_size=4),
                cycle_id="c1", seed=7, adapters=Adapters(), on_tree=kept.append, watch=TalkWatch(TalkLimits()),
            )
        )  # fmt: skip
    assert 1 <= len(kept) < 12
