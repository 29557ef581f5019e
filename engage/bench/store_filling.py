"""Fills a store to a given size: a few real searches on the scripted engine, and copies of them with other rewards and texts.

The first trees go through outbox and drain, as in a cycle, and are timed; the copies are made in SQL. The copies have no rows in
`turn` and `engine_call`, which pair extraction does not read.
"""

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engage.bench.search import in_turn
from engage.engines.base import Prompt, Side
from engage.engines.scripted import ScriptedEngine, canned_reply
from engage.scenario import SHIPPED, Scenario, load_scenarios
from engage.search import Adapters, SearchConfig, TreeRecord, search_scenarios
from engage.seeds import derive_seed
from engage.simulation import DialogueConfig
from engage.store import WAIT_S, Outbox, TrajectoryStore, writing

CYCLE_ID = "2026-01-01-020000"
BATCH_TREES = 512
OnProgress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1."""


@dataclass(frozen=True)
class Filling:
    """The cost of the insert path: `put_s` seconds into the outbox, `drain_s` from there into the database."""

    trees: int
    nodes: int
    rows: int
    put_s: float
    drain_s: float


def search_templates(trees: int, dialogue: DialogueConfig, search: SearchConfig) -> list[TreeRecord]:
    """Search shipped scenarios; the scripted replies differ in reward, so that siblings differ too."""
    records: list[TreeRecord] = []
    scenarios = renamed(trees)
    engine = ScriptedEngine(_reply, _choose)
    work = search_scenarios(
        engine, scenarios, dialogue, search, cycle_id=CYCLE_ID, seed=1, adapters=Adapters(), on_tree=records.append
    )
    asyncio.run(work)
    return sorted(records, key=lambda record: record.scenario_id)


def renamed(count: int) -> list[Scenario]:
    """`count` shipped scenarios named `b0`, `b1`, …, from the domains in turn."""
    shipped = in_turn(load_scenarios(SHIPPED), count)
    return [dataclasses.replace(scenario, scenario_id=f"b{number}") for number, scenario in enumerate(shipped)]


def _reply(prompt: Prompt, seed: int) -> str:
    return f"{canned_reply(prompt, seed)} ({seed % 1_000_003})"


def _choose(prompt: Prompt, choices: Sequence[str]) -> list[float]:
    """Weights around a point between the choices: 85 % of it is the mean worth of the scripted lines said, 15 % is chance."""
    said = "\x1f".join(message.content for message in prompt.messages[1:])
    lines = [canned_reply(Prompt("", Side.POLICY, ()), index) for index in range(6)]
    worth = [index / 5 for index, line in enumerate(lines) for _ in range(said.count(line))]
    chance = derive_seed("bench", said) % 10_007 / 10_007
    peak = (0.85 * (sum(worth) / len(worth) if worth else 0.5) + 0.15 * chance) * (len(choices) - 1)
    return [math.exp(-abs(index - peak)) for index in range(len(choices))]


def insert_measured(store: TrajectoryStore, folder: Path, templates: Sequence[TreeRecord], repeats: int) -> Filling:
    """Put `repeats` sets of the templates into the outbox and drain it; all sets but the first get new names."""
    store.begin_cycle(CYCLE_ID, {"bench": "store"})
    names = len(templates)
    scenarios = {s.scenario_id: s for s in renamed(names)}
    records, known = list(templates), list(scenarios.values())
    for repeat in range(1, repeats):
        for record in templates:
            name = f"{record.scenario_id}r{repeat}"
            records.append(copied(record, name, 1 - repeat / 1000))
            known.append(dataclasses.replace(scenarios[record.scenario_id], scenario_id=name))
    store.add_scenarios(known)
    outbox = Outbox(folder / "outbox")
    started = time.perf_counter()
    for record in records:
        outbox.put_tree(record)
    put = time.perf_counter()
    store.drain(outbox)
    drained = time.perf_counter()
    tables = ("tree", "node", "visit", "trajectory", "turn", "reaction", "engine_call")
    counts = {table: int(store.select(f"select count(*) from {table}")[1][0][0]) for table in tables}
    return Filling(counts["tree"], counts["node"], sum(counts.values()), put - started, drained - put)


def copied(record: TreeRecord, scenario_id: str, factor: float) -> TreeRecord:
    """The tree as another scenario's, with rewards scaled by `factor`: with exactly tied pairs, rounding would decide which one is kept."""
    simulations = []
    for simulation in record.simulations:
        reward = simulation.trajectory.reward
        scaled = None if reward is None else reward * factor
        trajectory = dataclasses.replace(simulation.trajectory, scenario_id=scenario_id, reward=scaled)
        simulations.append(dataclasses.replace(simulation, trajectory=trajectory))
    return dataclasses.replace(record, scenario_id=scenario_id, simulations=tuple(simulations))


def copy_templates(database: Path, templates: int, copies: int, on_progress: OnProgress) -> None:
    """Add `copies` copies of every template (`b0` … ), each with other rewards and most with other texts."""
    step = max(1, BATCH_TREES // templates)
    for start in range(1, copies + 1, step):
        with writing(database, WAIT_S) as connection:
            connection.execute(
                "create temp table copy as select range as number from range($first, $last)",
                {"first": start, "last": min(start + step, copies + 1)},
            )
            connection.execute(
                "create temp table template as select tree_id, scenario_id from tree where scenario_id ~ '^b[0-9]+$'"
            )
            for statement in _COPYING:
                connection.execute(statement)
        on_progress("copying trees", min(1.0, (start + step) / (copies + 1)))


_CHANCE = "hash(node.tree_id, node.node_id, copy.number)"
_COPYING = (
    # one in ten is in the test split
    """
    insert into scenario by name
    select scenario.* replace (
        scenario.scenario_id || '~' || copy.number as scenario_id,
        case when hash(scenario.scenario_id, copy.number) % 10 = 0 then 'test' else 'train' end as split
    )
    from scenario join template using (scenario_id) cross join copy
    """,
    """
    insert into tree by name
    select tree.* replace (
        tree.tree_id || '~' || copy.number as tree_id, tree.scenario_id || '~' || copy.number as scenario_id
    )
    from tree join template using (tree_id) cross join copy
    """,
    # one copy in fifty keeps its template's texts; a few replies are empty, leak the role or promise something
    f"""
    insert into node by name
    select node.* replace (
        node.tree_id || '~' || copy.number as tree_id,
        case
            when node.text is null or copy.number % 50 = 0 then node.text
            when {_CHANCE} % 97 = 0 then '...'
            when {_CHANCE} % 89 = 0 then 'User: ' || node.text
            when {_CHANCE} % 83 = 0 then 'I promise you will be fine. ' || node.text
            else node.text || ' ' || copy.number
        end as text
    )
    from node join template using (tree_id) cross join copy
    """,
    """
    insert into visit by name
    select visit.* replace (visit.tree_id || '~' || copy.number as tree_id)
    from visit join template using (tree_id) cross join copy
    """,
    """
    insert into trajectory by name
    select trajectory.* replace (
        trajectory.tree_id || '~' || copy.number || '/' || trajectory.simulation as trajectory_id,
        trajectory.tree_id || '~' || copy.number as tree_id,
        trajectory.scenario_id || '~' || copy.number as scenario_id
    )
    from trajectory join template using (tree_id) cross join copy
    """,
    # one in fifty is unreadable
    """
    insert into reaction by name
    select reaction.* replace (
        trajectory.tree_id || '~' || copy.number || '/' || trajectory.simulation as trajectory_id,
        case
            when hash(reaction.trajectory_id, copy.number, 1) % 50 > 0
            then 0.8 * reaction.reward + 0.2 * (hash(reaction.trajectory_id, copy.number) % 1000003) / 1000003
        end as reward
    )
    from reaction
    join trajectory using (trajectory_id)
    join template on template.tree_id = trajectory.tree_id
    cross join copy
    """,
    "drop table template",
    "drop table copy",
)
