"""Runs many searches, or many fresh dialogues, at once on one engine, to keep it busy. Stores nothing itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from engage.dialogue import Trajectory
from engage.engines.base import Engine
from engage.engines.recording import CallRecord, RecordingEngine
from engage.errors import EngineError, TooManyFlawed, engage_error
from engage.scenario import Scenario
from engage.search.imcts import Search, SearchConfig
from engage.search.tree import TreeRecord, node_records
from engage.search.watch import TalkWatch
from engage.seeds import derive_seed
from engage.simulation import DialogueConfig, Recast, begin_episode, hold_dialogue

Item = TypeVar("Item")
Work = TypeVar("Work")
ADMISSION_S = 0.003

METHOD_VERSION = 3
"""Part of a cycle's identity. Raise it when search, simulation or a shipped domain's prompts change so that the same settings, seeds
and model give other trees. A cycle of an older version accepts no new trees; it can still be aligned and evaluated.

1: cycles did not record a version yet. 2: turns are ended and cleaned in another way.
3: a user who refuses, or names a sum that is no gift, is no longer reminded of it as their sum.
"""


@dataclass(frozen=True)
class Adapters:
    """LoRA adapter folders of policy and simulator; None: the model as configured.

    `drawn` are the simulators, label to adapter, of which each tree and each fresh dialogue draws one as its user; empty: all have
    the same one.
    """

    policy_adapter: str | None = None
    simulator_adapter: str | None = None
    drawn: Mapping[str, str] = field(default_factory=dict)

    def user(self, seed: int, scenario_id: str) -> tuple[str | None, str | None]:
        """Label (None: not drawn) and adapter of the user that talks about a scenario under a seed: a cycle's for its tree, else the dialogue's own.

        Each label gets a number from seed and scenario, and the lowest is drawn: neither the order of trees nor that of labels counts,
        and if a simulator is taken away, the trees of the others keep theirs.
        """
        if not self.drawn:
            return None, self.simulator_adapter
        label = min(self.drawn, key=lambda one: derive_seed(seed, scenario_id, "simulator", one))
        return label, self.drawn[label]


@dataclass
class BatchResult:
    """Result of a batch of scenarios or other work: how many are done; `failed` maps names (scenario ids) to reasons."""

    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)


async def search_scenario(
    engine: Engine,
    scenario: Scenario,
    dialogue: DialogueConfig,
    search: SearchConfig,
    *,
    cycle_id: str,
    seed: int,
    adapters: Adapters,
    on_simulations: Callable[[int], None] = lambda _: None,
    watch: TalkWatch | None = None,
) -> TreeRecord:
    """Search one scenario to the end. A request that fails for good makes its simulation a failed one.

    Raises EngineError if at least half of the tree's simulations failed; the next run tries the scenario again.
    """
    started = time.perf_counter()
    recorder = RecordingEngine(engine)
    simulator, user = adapters.user(seed, scenario.scenario_id)
    episode = begin_episode(recorder, scenario, dialogue, seed, adapters.policy_adapter, user)

    def advance(simulations: int) -> None:
        on_simulations(simulations)
        if watch is not None:
            watch.advance(simulations)

    tree_search = Search(episode, search, advance)
    await tree_search.run()
    if watch is not None:
        watch.note_ended((one.trajectory for one in tree_search.simulations), tree_search.unspoken)
    if tree_search.withdrawn >= len(tree_search.simulations):
        raise tree_search.first_error or EngineError("every simulation of the tree failed", scenario.scenario_id)
    return TreeRecord(
        cycle_id=cycle_id,
        scenario_id=scenario.scenario_id,
        seed=seed,
        nodes=node_records(tree_search.tree),
        simulations=tuple(tree_search.simulations),
        calls=tuple(recorder.calls),
        withdrawn=tree_search.withdrawn,
        wall_s=time.perf_counter() - started,
        simulator=simulator,
    )


async def search_scenarios(
    engine: Engine,
    scenarios: Sequence[Scenario],
    dialogue: DialogueConfig,
    search: SearchConfig,
    *,
    cycle_id: str,
    seed: int,
    adapters: Adapters,
    on_tree: Callable[[TreeRecord], None],
    on_simulations: Callable[[int], None] = lambda _: None,
    watch: TalkWatch | None = None,
) -> BatchResult:
    """Search all scenarios, as many at once as the engine has room for.

    `on_tree` is called with each finished tree, one at a time, in another thread, because it may wait for a disk.
    `on_simulations` is called with the number of simulations just applied. Raises TooManyFlawed if `watch` does; the trees stored
    until then stay.
    """

    async def one(scenario: Scenario) -> TreeRecord:
        return await search_scenario(
            engine,
            scenario,
            dialogue,
            search,
            cycle_id=cycle_id,
            seed=seed,
            adapters=adapters,
            on_simulations=on_simulations,
            watch=watch,
        )

    return await gather(engine, scenarios, one, on_tree, lambda scenario: scenario.scenario_id, watch)


async def hold_dialogues(
    engine: Engine,
    work: Sequence[tuple[Scenario, int]],
    dialogue: DialogueConfig,
    *,
    adapters: Adapters,
    on_dialogue: Callable[[int, Trajectory, tuple[CallRecord, ...]], None],
    recast: Recast | None = None,
    watch: TalkWatch | None = None,
) -> BatchResult:
    """Run one fresh dialogue per scenario and seed of `work`, as many at once as the engine has room for.

    `on_dialogue` is called with the seed, the dialogue and its calls when a dialogue ends, one at a time, in another thread.
    Raises TooManyFlawed if `watch` does.
    """

    async def one(piece: tuple[Scenario, int]) -> tuple[int, Trajectory, tuple[CallRecord, ...]]:
        scenario, seed = piece
        _, user = adapters.user(seed, scenario.scenario_id)
        trajectory, calls = await hold_dialogue(engine, scenario, dialogue, seed, adapters.policy_adapter, user, recast)
        if watch is not None:
            watch.note_ended([trajectory])
            watch.advance(1)
        return seed, trajectory, calls

    return await gather(engine, work, one, lambda item: on_dialogue(*item), lambda piece: piece[0].scenario_id, watch)


async def gather(
    engine: Engine,
    work: Sequence[Work],
    one: Callable[[Work], Awaitable[Item]],
    keep: Callable[[Item], None],
    name_of: Callable[[Work], str],
    watch: TalkWatch | None = None,
) -> BatchResult:
    """Start pieces of work in order whenever the engine has room, so that it is busy but not overfull.

    `keep` is called with each result, one at a time, in another thread; `name_of` gives the name of a piece that failed for good.
    `watch` is checked after each piece and may end the others with TooManyFlawed.
    """
    outcome = BatchResult()
    stores: set[asyncio.Task[None]] = set()
    keeping = asyncio.Lock()

    async def store(item: Item) -> None:
        async with keeping:
            await asyncio.to_thread(keep, item)  # waits for the disk; the other trees go on

    async def guarded(piece: Work) -> None:
        try:
            item = await one(piece)
        except EngineError as error:
            outcome.failed[name_of(piece)] = str(error)
        else:
            stores.add(task := asyncio.create_task(store(item)))
            await asyncio.shield(task)
            stores.discard(task)
            outcome.done += 1
        if watch is not None:
            watch.check()

    try:
        await _admit(engine, work, guarded)
    except ExceptionGroup as group:
        if isinstance(stopped := engage_error(group), TooManyFlawed):
            raise stopped from None
        raise
    finally:  # finished results are stored, whatever ended the rest
        await asyncio.gather(*stores, return_exceptions=True)
    return outcome


async def _admit(engine: Engine, work: Sequence[Work], begin: Callable[[Work], Coroutine[Any, Any, None]]) -> None:
    """Start each piece as soon as the engine has room, and wait for all of them."""
    running: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as tasks:
        for piece in work:
            while running and not engine.has_room:
                await asyncio.sleep(ADMISSION_S)
            task = tasks.create_task(begin(piece))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(ADMISSION_S)  # lets its first requests reach the engine before the next check
