import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_scenarios import SUPPORT, as_json, rewarding, searched

from engage.dialogue import Dialogue, Role, Turn
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine, canned_choice, canned_reply
from engage.errors import EngineError
from engage.search import Search, SearchConfig
from engage.search.imcts import backup
from engage.search.tree import NodeKind, Tree
from engage.simulation import DialogueConfig, SpeechConfig, begin_episode

GOLDEN = Path(__file__).parents[1] / "golden"


def run_search(engine, search, dialogue=None, seed=7):
    found = Search(
        begin_episode(engine, SUPPORT, dialogue or DialogueConfig(max_exchanges=2), seed, None, None), search
    )
    asyncio.run(found.run())
    return found


class Unsteady(ScriptedEngine):
    """Answers after random delays; a share of the requests, chosen by their content, fails for good."""

    def __init__(self, failing: float = 0.0, delays: bool = True):
        super().__init__()
        self.failing, self.delays = failing, delays

    async def complete(self, prompt, sampling, seeds):
        if self.delays:
            await asyncio.sleep(random.random() / 500)
        if random.Random(f"{prompt.key}{seeds}").random() < self.failing:
            raise EngineError("the server is gone", prompt.key)
        return await super().complete(prompt, sampling, seeds)


@pytest.mark.parametrize("name", ["two_exchanges", "wide_first_round", "pattern_reader"])
def test_the_tree_is_the_golden_one(name):
    search = SearchConfig(num_simulations=6, round_size={"wide_first_round": 6}.get(name, 2))
    speech = SpeechConfig(reader="pattern" if name == "pattern_reader" else "expected")
    record = searched(search=search, dialogue=DialogueConfig(max_exchanges=2, speech=speech))
    assert as_json(record) + "\n" == (GOLDEN / f"{name}.json").read_text()


def test_timing_does_not_change_the_tree():
    config = SearchConfig(num_simulations=12, round_size=6)
    dialogue = DialogueConfig(max_exchanges=3)
    steady = searched(search=config, dialogue=dialogue)
    assert [searched(Unsteady(), config, dialogue) for _ in range(3)] == [steady] * 3


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_tree_with_half_of_its_simulations_failed_is_an_error(share):
    class Gone(ScriptedEngine):
        """The server fails for good after a share of the search's requests."""

        async def complete(self, prompt, sampling, seeds):
            self.asked = getattr(self, "asked", 0) + 1
            if self.asked > (1 - share) * 30:
                raise EngineError("the server is gone", prompt.key)
            return await super().complete(prompt, sampling, seeds)

    with pytest.raises(EngineError, match="the server is gone"):
        searched(Gone(), SearchConfig(num_simulations=12, round_size=6), DialogueConfig(max_exchanges=2))


def test_backup_by_hand():
    # Rewards 0.5 and 1.0 through the path, then one that could not be read: N = 3, Q = 1.5 / 2 = 0.75
    tree = Tree(Dialogue((Turn(Role.USER, "Hi, I lost my job."),)))
    reply = tree.add_child(tree.nodes[0], Turn(Role.ASSISTANT, "Since when?"), NodeKind.CHANCE, -1.0)
    for reward in (0.5, 1.0, None):
        backup([tree.nodes[0], reply], reward)
    assert [(node.visit_count, node.reward_count, node.q_value) for node in tree.nodes] == [(3, 2, 0.75)] * 2


def test_the_known_best_reply_is_found():
    good = "Tell me about him."
    found = run_search(
        rewarding(good), SearchConfig(num_simulations=32, round_size=4, c_puct=0.5), DialogueConfig(max_exchanges=1)
    )
    root = found.tree.nodes[0]
    best = max(root.children, key=lambda child: child.visit_count)
    assert (best.turn.text, best.q_value) == (good, pytest.approx(1.0))
    assert best.visit_count > 32 / 2


def test_every_reply_at_a_search_root_receives_its_visits_first():
    found = run_search(
        ScriptedEngine(),
        SearchConfig(num_simulations=12, min_visits=3, reply_factor=3, reply_exponent=0.0, round_size=5),
    )
    for node in (node for node in found.tree.nodes if node.spine_index is not None):
        assert min(child.visit_count for child in node.children) >= 3


def test_a_root_with_separated_replies_stops_early_whatever_the_timing():
    good = "Tell me about him."
    config = SearchConfig(num_simulations=64, round_size=8, min_visits=4, stop_confidence=0.95)
    dialogue = DialogueConfig(max_exchanges=1)

    def noisy(prompt, choices):
        moved = any(message.content == good for message in prompt.messages)
        peak = (1 if moved else 4) + (len(prompt.key) % 2)
        return [1.0 if float(choice) == peak else 0.01 for choice in choices]

    engine = rewarding(good)
    engine._choose = noisy
    found = run_search(engine, config, dialogue)
    assert 12 <= len(found.simulations) <= 32
    never = run_search(engine, config.model_copy(update={"stop_confidence": None}), dialogue)
    assert len(never.simulations) == 64
    assert never.simulations[: len(found.simulations)] == found.simulations


def test_equal_replies_are_merged_and_their_samples_counted():
    engine = ScriptedEngine(
        lambda prompt, seed: "Tell me more." if prompt.side is Side.POLICY else f"It is {seed} days now."
    )
    found = run_search(engine, SearchConfig(num_simulations=4, reply_factor=5, reply_exponent=0.0))
    assert [(child.turn.text, child.sample_count) for child in found.tree.nodes[0].children] == [("Tell me more.", 5)]


def test_a_search_follows_the_spine_to_the_end_of_the_dialogue():
    found = run_search(ScriptedEngine(), SearchConfig(num_simulations=6), DialogueConfig(max_exchanges=3))
    spine = [node for node in found.tree.nodes if node.spine_index is not None]
    assert [(node.spine_index, node.exchanges, node.kind) for node in spine] == [
        (i, i, NodeKind.DECISION) for i in range(3)
    ]
    assert [sum(s.root_id == node.node_id for s in found.simulations) for node in spine] == [6, 6, 6]


def test_a_farewell_ends_the_dialogue_and_its_outcome_is_terminal():
    engine = ScriptedEngine(
        lambda prompt, seed: "Bye." if prompt.side is Side.SIMULATOR else canned_reply(prompt, seed)
    )
    found = run_search(engine, SearchConfig(num_simulations=5), DialogueConfig(max_exchanges=4))
    assert {node.kind for node in found.tree.nodes if node.turn and node.turn.role is Role.USER} == {NodeKind.TERMINAL}
    assert {s.trajectory.end_reason for s in found.simulations} == {"farewell"}
    assert {node.visit_count for node in found.tree.nodes if node.kind is NodeKind.TERMINAL} == {1}


def test_an_unreadable_reaction_counts_as_a_visit_and_as_no_reward():
    speech = SpeechConfig(reader="pattern")
    found = run_search(
        ScriptedEngine(), SearchConfig(num_simulations=4), DialogueConfig(max_exchanges=1, speech=speech)
    )
    root = found.tree.nodes[0]
    assert (root.visit_count, root.reward_count, root.q_value) == (4, 0, None)
    assert {s.trajectory.reward for s in found.simulations} == {None}


def test_a_flawed_reply_is_drawn_again_and_counted():
    engine = ScriptedEngine(lambda prompt, seed: "User: no idea" if seed % 2 else f"What happened on day {seed}?")
    found = run_search(engine, SearchConfig(num_simulations=8, reply_factor=8, reply_exponent=0.0))
    kept = found.tree.nodes[0].children
    assert any(child.turn.attempts > 1 for child in kept)
    assert all(child.turn.flaw == ("role_leak" if child.turn.text == "…" else None) for child in kept)


def violations(tree):
    """Violated invariants of a tree without running simulations, one sentence each; empty for a valid tree."""
    problems = []
    for node in tree.nodes:
        below = sum(child.visit_count for child in node.children) + node.own_rollouts
        if node.virtual_visits:
            problems.append(f"{node.path}: {node.virtual_visits} virtual visits are left")
        if node.visit_count != below and node.kind is not NodeKind.TERMINAL:
            problems.append(f"{node.path}: {node.visit_count} visits, {below} over children and own rollouts")
        if node.kind is NodeKind.TERMINAL and (node.visit_count > 1 or node.children):
            problems.append(f"{node.path}: a terminal with {node.visit_count} visits and {len(node.children)} children")
        if node.q_value is not None and not -1e-9 <= node.q_value <= 1 + 1e-9:
            problems.append(f"{node.path}: Q = {node.q_value} is outside [0, 1]")
    return problems


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    num_simulations=st.integers(1, 20),
    round_size=st.integers(1, 12),
    reply_factor=st.floats(0.5, 4),
    outcome_exponent=st.floats(0, 1),
    min_visits=st.integers(1, 4),
    max_exchanges=st.integers(1, 4),
    failing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 2**63 - 1),
)
def test_invariants(
    num_simulations, round_size, reply_factor, outcome_exponent, min_visits, max_exchanges, failing, seed
):
    config = SearchConfig(
        num_simulations=num_simulations,
        round_size=round_size,
        reply_factor=reply_factor,
        outcome_exponent=outcome_exponent,
        min_visits=min_visits,
    )
    found = run_search(Unsteady(failing, delays=False), config, DialogueConfig(max_exchanges=max_exchanges), seed)
    assert violations(found.tree) == []
    assert len(found.simulations) + found.withdrawn == num_simulations * sum(
        n.spine_index is not None for n in found.tree.nodes
    )
    assert found.withdrawn == 0 or failing
    assert found.tree.nodes[0].visit_count == len(found.simulations)


def test_a_tree_whose_every_request_fails_is_an_engine_error_that_names_it():
    with pytest.raises(EngineError, match="s1"):
        searched(Unsteady(failing=1.0))


def test_a_choice_of_the_canned_engine_depends_on_the_dialogue():
    found = run_search(ScriptedEngine(canned_reply, canned_choice), SearchConfig(num_simulations=8))
    assert len({s.trajectory.reward for s in found.simulations}) > 1
