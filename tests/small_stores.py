"""Stores and trees written by hand, with given rewards and without an engine, for the tests of the store."""

import dataclasses
import functools
import itertools
import pickle
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from engage.dialogue import Dialogue, Reaction, Role, Trajectory, Turn
from engage.engines.recording import CallRecord
from engage.scenario import parse_scenario
from engage.search import DialogueRecord, TreeRecord
from engage.search.tree import NodeRecord, SimulationRecord
from engage.store import JudgementRecord, Outbox, TrajectoryStore


def support_scenario(name, split="train", opening="My dog died.", **condition):
    """An emotional-support scenario of the given split: a number in its situation is raised until the hash falls into the split."""
    for number in itertools.count():
        scenario = parse_scenario(
            {
                "id": name,
                "domain": "emotional_support",
                "user_condition": {
                    "person": "a 40-year-old baker",
                    "emotion": "sadness",
                    "problem": "bereavement",
                    "situation": f"My dog died on Sunday and the house is silent. ({number})",
                    "initial_intensity": 4,
                    **condition,
                },
                "opening": [{"role": "user", "text": opening}],
            }
        )
        if scenario.split == split:
            return scenario
    raise AssertionError("unreachable: some number falls into the split")


def reaction_of(reward):
    """The reaction that gives a reward in emotional support, value = 5 − 4·reward; None: unreadable."""
    return Reaction("pattern", "no idea" if reward is None else "a number", None if reward is None else 5 - 4 * reward)


def hand_tree(scenario, replies, cycle_id="c1", flaws=None):
    """A tree with one search root. `replies` maps a reply's text to its user turns, each a list of rewards (one per simulation).

    Nodes are numbered as they come: 0 the root, then each reply followed by its user turns.
    """
    nodes, simulations = [_node(0, None, "decision", 0, spine_index=0)], []
    for text, groups in replies.items():
        reply_id = len(nodes)
        reply = Turn(Role.ASSISTANT, text, flaw=(flaws or {}).get(text))
        nodes.append(_node(reply_id, 0, "chance", 1, reply))
        for rewards in groups:
            turn_id = len(nodes)
            turn = Turn(Role.USER, f"I miss him ({turn_id}).")
            nodes.append(_node(turn_id, reply_id, "decision", 2, turn))
            for reward in rewards:
                dialogue = scenario.opening.add(reply).add(turn)
                trajectory = Trajectory(scenario.scenario_id, dialogue, reaction_of(reward), reward, 1, "max_exchanges")
                path = (0, reply_id, turn_id)
                simulations.append(SimulationRecord(len(simulations), 0, path, trajectory))
    call = CallRecord(f"{scenario.scenario_id}/r/replies", "policy", "complete", 3, 100, 40, 30, 0.5)
    return TreeRecord(cycle_id, scenario.scenario_id, 7, tuple(nodes), tuple(simulations), (call,), 0, 2.5)


def _node(node_id, parent_id, kind, depth, turn=None, spine_index=None):
    return NodeRecord(
        node_id=node_id,
        parent_id=parent_id,
        kind=kind,
        depth=depth,
        spine_index=spine_index,
        role=turn.role.value if turn else None,
        text=turn.text if turn else None,
        attempts=turn.attempts if turn else 1,
        flaw=turn.flaw if turn else None,
        sample_count=1,
        mean_logprob=-1.0 if turn else None,
        end_reason=None,
    )


def hand_dialogue(scenario, reward, cycle_id="c1", policy="champion", simulator="held_out", seed=1):
    """An evaluation dialogue of one exchange."""
    said = Dialogue((*scenario.opening.turns, Turn(Role.ASSISTANT, "Tell me."), Turn(Role.USER, "He was old.")))
    trajectory = Trajectory(scenario.scenario_id, said, reaction_of(reward), reward, 1, "max_exchanges")
    call = CallRecord(f"{scenario.scenario_id}/fresh", "simulator", "score", 5, 60, 50, 0, 0.25)
    return DialogueRecord(cycle_id, "evaluation", policy, simulator, seed, trajectory, (call,))


def hand_judgement(verdict, reviewer="ann", scenario="baker", left="1", right="4", minute=0, cycle_id="c1", **changed):
    """A judgement of a pair of the scenario's tree: `left` and `right` are nodes; or of two dialogues, where they are trajectories."""
    of_pair = left.isdigit()
    tree = f"{cycle_id}/{scenario}" if of_pair else None
    sides = sorted((left, right), key=int if of_pair else str)
    return JudgementRecord(
        cycle_id=cycle_id,
        kind="pair" if of_pair else "dialogue",
        item_id=":".join([*([tree] if tree else []), *sides]),
        scenario_id=scenario,
        tree_id=tree,
        left_id=left,
        right_id=right,
        verdict=verdict,
        reviewer=reviewer,
        judged_at=datetime(2026, 1, 1) + timedelta(minutes=minute),
        **{"seconds": 9.5, "sample": "random", "sample_size": 30, "sample_seed": 7, "population": 40, **changed},
    )


def judge(store, *records):
    """Put judgements into an outbox beside the store, and drain it."""
    outbox = Outbox(store.path.parent / "outbox")
    for record in records:
        outbox.put_judgement(record)
    return store.drain(outbox)


@functools.cache
def _empty_store() -> bytes:
    """An empty database with its tables, to copy: making one takes longer than a small test."""
    with tempfile.TemporaryDirectory() as folder:
        store = TrajectoryStore(Path(folder) / "engage.duckdb", wait_s=10.0)
        store.add_scenarios([])
        return store.path.read_bytes()


_filled: dict[bytes, dict[Path, bytes]] = {}
"""The files of the last stores that `filled` made in empty folders, by what is in them: most tests of a file ask for the same one.
A test that changes what is computed when dialogues are stored empties it."""


def filled(folder, scenarios, trees=(), dialogues=(), cycle_ids=("c1",)):
    """A store under `folder` with all of it, drained from the outbox."""
    store = TrajectoryStore(folder / "engage.duckdb", wait_s=10.0)
    if store.path.exists() or (folder / "outbox").exists():
        return _fill(folder, scenarios, trees, dialogues, cycle_ids)
    key = pickle.dumps((scenarios, trees, dialogues, cycle_ids))
    if key in _filled:
        for name, content in _filled[key].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return store
    folder.mkdir(parents=True, exist_ok=True)
    before = {path for path in folder.rglob("*")}
    store.path.write_bytes(_empty_store())
    _fill(folder, scenarios, trees, dialogues, cycle_ids)
    made = [path for path in folder.rglob("*") if path.is_file() and path not in before]
    _filled[key] = {path.relative_to(folder): path.read_bytes() for path in made}
    for oldest in list(_filled)[:-8]:
        del _filled[oldest]
    return store


def _fill(folder, scenarios, trees, dialogues, cycle_ids):
    store, outbox = TrajectoryStore(folder / "engage.duckdb", wait_s=10.0), Outbox(folder / "outbox")
    for cycle_id in cycle_ids:
        store.begin_cycle(cycle_id, {"seed": 7})
    store.add_scenarios(scenarios)
    for tree in trees:
        outbox.put_tree(tree)
    outbox.put_dialogues(dialogues)
    store.drain(outbox)
    return store


def count(store, table):
    """Rows of a table or view."""
    return store.select(f"select count(*) from {table}")[1][0][0]


TABLES = ("tree", "node", "trajectory", "turn", "reaction", "visit", "engine_call")


def counts(store):
    """Rows of every table that the outbox fills."""
    return {table: count(store, table) for table in TABLES}


def renamed(record, scenario_id):
    """The same tree of another scenario."""
    simulations = tuple(
        dataclasses.replace(one, trajectory=dataclasses.replace(one.trajectory, scenario_id=scenario_id))
        for one in record.simulations
    )
    return dataclasses.replace(record, scenario_id=scenario_id, simulations=simulations)
