"""Policies that look ahead, in a world whose truth is known: one word of the assistant decides what the user answers to the survey."""

import asyncio
from dataclasses import replace

import pytest
from scripted_scenarios import SUPPORT

from engage.dialogue import Dialogue, Role, Turn
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine
from engage.experiments import adversary
from engage.experiments.inference import Adversary, Thinking, rehearse
from engage.search import SearchConfig
from engage.simulation import POLICY_MODEL, DialogueConfig, begin_episode, exchanges_held, hold_dialogue

GOOD = ("I see. Tell me more?", "What would a friend of yours say?")
LINES = (*GOOD, "That is nothing.", "Everybody has that.")
SEARCH = SearchConfig(num_simulations=24, round_size=8, reply_factor=4.0, reply_exponent=0.0, min_visits=2)
TALK = DialogueConfig(max_exchanges=2)


def reply(prompt, seed):
    return LINES[seed % 4] if prompt.side is Side.POLICY else ("Hm.", "Well.", "Maybe so.")[seed % 3]


def choose(prompt, choices):
    """The more good lines were said, the weaker the feeling."""
    good = sum(message.content in GOOD for message in prompt.messages)
    peak = 4 - 2 * good
    return [1.0 if index == peak else 1e-9 for index in range(len(choices))]


def hold(kind, *numbers, recast=None):
    engine = ScriptedEngine(reply, choose)
    recast = recast or Thinking(kind, *numbers).recast(SEARCH)
    held = [
        asyncio.run(hold_dialogue(engine, replace(SUPPORT, scenario_id=f"s{i}"), TALK, 7, None, None, recast))[0]
        for i in range(12)
    ]
    return [trajectory.reward for trajectory in held]


def mean(values):
    return sum(values) / len(values)


def test_search_and_best_of_n_find_the_reply_that_helps():
    # drawn at random two of four replies help, at either of two turns: each of them moves the reward by a half
    assert mean(hold("sampled")) < 0.7
    assert mean(hold("best_of", 8, 2)) > 0.85
    assert mean(hold("search")) > 0.85


def test_a_thinking_policy_keeps_to_the_length_of_the_dialogue():
    engine = ScriptedEngine(reply, choose)
    for thinking in (Thinking("search"), Thinking("best_of", 4, 2)):
        recast = thinking.recast(SEARCH)
        held, calls = asyncio.run(hold_dialogue(engine, SUPPORT, TALK, 7, None, None, recast))
        assert held.exchanges == 2
        assert len(calls) > 10  # what it thought is part of what the dialogue cost


def test_replies_are_tried_out_with_the_user_that_is_talked_to():
    episode = begin_episode(ScriptedEngine(), SUPPORT, TALK, 7, None, "held-out")
    tried = rehearse(episode)
    assert tried.user is episode.user and tried.user.adapter == "held-out"
    assert tried.seed != episode.seed


def test_the_policys_model_can_play_the_user():
    asked = []

    def speak(prompt, seed):
        asked.append((prompt.side, prompt.adapter, prompt.messages[0].content))
        return reply(prompt, seed)

    sides = ("trained", POLICY_MODEL)
    asyncio.run(hold_dialogue(ScriptedEngine(speak, choose), SUPPORT, TALK, 7, *sides))
    users = {(side, adapter) for side, adapter, system in asked if SUPPORT.user_condition.person in system}
    assert users == {(Side.POLICY, "")}
    assert {(side, adapter) for side, adapter, _ in asked} - users == {(Side.POLICY, "trained")}


def test_a_reply_whose_rollouts_have_no_reward_is_said_only_where_that_is_so_of_all():
    def in_crisis_after(lines):
        def speak(prompt, seed):
            harmed = prompt.side is Side.SIMULATOR and any(message.content in lines for message in prompt.messages)
            return "I want to kill myself." if harmed else reply(prompt, seed)

        return speak

    def as_bad_as_can_be(prompt, choices):
        return [1e-9] * (len(choices) - 1) + [1.0]  # a reward of 0, which is still a reward

    for without_reward, said in ((LINES[2:], set(GOOD)), (GOOD, set(LINES[2:])), (LINES, set(LINES))):
        engine = ScriptedEngine(in_crisis_after(without_reward), as_bad_as_can_be)
        episode = Thinking("best_of", 8, 1).recast(SEARCH)(begin_episode(engine, SUPPORT, TALK, 7, None, None))
        drawn = asyncio.run(episode.policy.replies(episode.scenario.opening, "k", range(4)))
        assert {one.turn.text for one in drawn} <= said


def test_the_prompted_baseline_names_the_domains_strategies():
    episode = begin_episode(ScriptedEngine(), SUPPORT, TALK, 7, None, None)
    recasting = Thinking("strategy").recast(SEARCH)(episode)
    system = recasting.policy.messages(episode.scenario.opening)[0].content
    assert system == f"{episode.domain.policy_prompt()} {episode.domain.strategies}"


def test_an_adversary_says_its_lines_in_turn_and_is_asked_nothing():
    episode = adversary("never_moved")(begin_episode(ScriptedEngine(), SUPPORT, TALK, 7, None, None))
    assert isinstance(episode.user, Adversary)
    lines = episode.domain.adversaries["never_moved"]
    dialogue, said = episode.scenario.opening, []
    for _ in range(len(lines) + 1):
        dialogue = dialogue.add(Turn(Role.ASSISTANT, "Why?"))
        turn = asyncio.run(episode.user.next_turn(dialogue, "k", 0)).turn
        said.append(turn.text)
        dialogue = dialogue.add(turn)
    assert said == [*lines, lines[0]]
    assert asyncio.run(episode.user.react(dialogue, "k", 0)).value is None


def test_exchanges_are_counted_after_the_opening():
    episode = begin_episode(ScriptedEngine(), SUPPORT, TALK, 7, None, None)
    opening = Dialogue((Turn(Role.USER, "I feel low."),))
    episode = replace(episode, scenario=replace(episode.scenario, opening=opening))
    assert exchanges_held(episode, opening) == 0
    assert exchanges_held(episode, opening.add(Turn(Role.ASSISTANT, "Why?")).add(Turn(Role.USER, "Hm."))) == 1


@pytest.mark.parametrize("domain", ["emotional_support", "persuasion"])
def test_no_adversary_speaks_of_self_harm_or_says_goodbye(domain):
    from engage.domains import load_domain
    from engage.domains.rules.crisis import speaks_of_harm

    kind = load_domain(domain)
    for lines in kind.adversaries.values():
        for line in lines:
            assert not speaks_of_harm(line)
            assert kind.end_reason(Dialogue((Turn(Role.USER, line),))) is None
