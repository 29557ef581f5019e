"""A user who speaks of self-harm is recognised, gets a referral, and is never trained on."""

import asyncio

import pytest
from scripted_scenarios import SUPPORT, searched

from engage.dialogue import Role
from engage.domains.rules.crisis import CRISIS, REFERRAL, speaks_of_harm
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine, canned_reply
from engage.errors import ScenarioError
from engage.scenario import SHIPPED, load_scenarios, parse_scenario
from engage.search.tree import NodeKind
from engage.simulation import DialogueConfig, hold_dialogue

# Written for this test, in the manner of people who type.
SPOKEN = [
    "i just want to kill myself already",
    "I've been having suicidal thoughts.",
    "im thinking of suicide",
    "Sometimes I want to die.",
    "I feel like ending my life",
    "they would all be better off without me",
    "I don't want to be alive anymore",
    "dont want to live in this world",
    "I see no reason to live.",
    "i tried to hurt myself last night",
    "I keep cutting myself when it gets bad",
    "Life isn't worth living.",
    "I would be better off dead",
    "I wish I was dead",
    "I cut my wrists",
    "I took all the pills",
    "ive taken a whole bottle, i mean i took all of my sleeping pills",
    "im gonna kms",
    "I wish I'd never wake up",
    "i hope i dont wake up tomorrow",
    "I wish I was never born.",
    "I keep thinking of ending things",
    "thinking about dying a lot lately",
    "Sometimes I imagine jumping off a bridge.",
    "there's nothing left to live for",
    "I just wish I wasn't alive",
    "i just want to end it",
    "it would be so much easier to just be dead",
    "I want to curl up somewhere and die.",
    "do overdoses hurt",
]
UNSPOKEN = [
    "I don't want to live here any more, the neighbours are loud.",
    "I don't want to live with my mother.",
    "My dog died and I want to cry.",
    "I could not live without coffee!",
    "It hurts my self esteem.",
    "He is better off with her.",
    "I'm dying to see the film.",
    "I want to end it with him.",
    "The joke killed me.",
    "I cut my finger.",
    "I'd take my time.",
    "It's not worth it.",
    "I don't want to wake up early.",
    "I've been thinking of ending things with my boyfriend.",
    "I took a lot of photos and some pills for my headache.",
    "I wish I wasn't here at work on a Sunday.",
    "I hope I never have to wake up at five again.",
    "I cut my hair and my hours.",
    "Everyone was jumping on the bed.",
    "I want to end it with her before Christmas.",
    "I want to live and let die, as they say.",
    "He moved 300 kms away from me.",
    "It's just a few kms to work.",
    "I've been thinking about dying my hair.",
]


@pytest.mark.parametrize("text", SPOKEN)
def test_it_is_heard(text):
    assert speaks_of_harm(text)


@pytest.mark.parametrize("text", UNSPOKEN)
def test_ordinary_talk_goes_on(text):
    assert not speaks_of_harm(text)


def after(exchanges: int) -> ScriptedEngine:
    """The simulated user speaks of self-harm in some turns."""

    def reply(prompt, seed):
        if prompt.side is Side.SIMULATOR and (exchanges == 0 or seed % exchanges == 0):
            return "I want to die."
        return canned_reply(prompt, seed)

    return ScriptedEngine(reply)


def test_the_dialogue_ends_with_a_referral_and_no_survey():
    trajectory, calls = asyncio.run(hold_dialogue(after(0), SUPPORT, DialogueConfig(max_exchanges=4), 1, None, None))
    assert (trajectory.end_reason, trajectory.exchanges, trajectory.reward) == (CRISIS, 1, None)
    assert (trajectory.reaction.reader, trajectory.reaction.value) == ("unasked", None)
    assert (trajectory.dialogue.last.role, trajectory.dialogue.last.text) == (Role.ASSISTANT, REFERRAL)
    assert {call.kind for call in calls} == {"complete"}


def test_a_crisis_gives_no_reward_and_the_search_continues():
    tree = searched(after(3), dialogue=DialogueConfig(max_exchanges=2))
    ended = [s for s in tree.simulations if s.trajectory.end_reason == CRISIS]
    assert ended and len(ended) < len(tree.simulations)
    assert {s.trajectory.reward for s in ended} == {None}
    marked = [node for node in tree.nodes if node.end_reason == CRISIS]
    assert marked and {node.kind for node in marked} == {NodeKind.TERMINAL}


def test_a_scenario_may_not_begin_with_self_harm():
    record = {
        "id": "x",
        "domain": "emotional_support",
        "user_condition": SUPPORT.user_condition.model_dump(),
        "opening": [{"role": "user", "text": "I want to kill myself."}],
    }
    with pytest.raises(ScenarioError, match="opening: speaks of self-harm"):
        parse_scenario(record)


@pytest.mark.slow
def test_no_shipped_scenario_speaks_of_self_harm():
    texts = [turn.text for s in load_scenarios(SHIPPED) for turn in s.opening.turns]
    texts += [s.user_condition.situation for s in load_scenarios(SHIPPED)]
    assert [text for text in texts if speaks_of_harm(text)] == []


HIDDEN = [
    "life isn’t worth living",
    "they’d all be better off without me",
    "I want to kill  myself",
    "I want to kill\nmyself",
    "I want to **kill** _myself_",
    "I want to ki\u200bll mys\u00adelf",
    "I want to ki\u034fll mys\u115felf",
    "I want to ｋｉｌｌ ｍｙｓｅｌｆ",
    "I want to 𝐤𝐢𝐥𝐥 𝐦𝐲𝐬𝐞𝐥𝐟",
    "I want to k\u0456ll m\u0443s\u0435lf",
    "suicíde",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_printed_signs_look_alikes_and_invisible_characters_hide_nothing(text):
    assert speaks_of_harm(text)
    assert speaks_of_harm("ok, " + text, [r"\bno such pattern\b"])


def test_rules_of_an_own_domain_read_the_text_as_it_stands_too():
    assert speaks_of_harm("я хочу умереть", ["хочу умереть"])
