"""Many searches, or many fresh dialogues, at once on one engine: together they keep it full. Stores nothing itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from engage.calls import RecordingEngine
from engage.dialogue import Trajectory
from engage.engine import Engine
from engage.errors import EngineError
from engage.rollout import DialogueConfig, Dress, hold_dialogue, set_stage
from engage.scenario import Scenario
from engage.search import Search, SearchConfig
from engage.tree import CallRecord, TreeRecord, node_records

Item = TypeVar("Item")
Work = TypeVar("Work")
ADMISSION_S = 0.003

METHOD_VERSION = 2
"""Part of a cycle's identity: raise it when search, simulation or a shipped domain's prompts change, so that the same settings, seeds
and model would give other trees. A cycle of an older method takes no more trees; it is aligned and evaluated as before.

1: before cycles noted it. 2: turns end, and are cleaned, in another way.
"""


@dataclass(frozen=True)
class Sides:
    """What both sides add to the engine's own models: folders of LoRA weights, None for the model as configured."""

    policy_adapter: str | None = None
    simulator_adapter: str | None = None


@dataclass
class Outcome:
    """What came of a batch of scenarios, or of other work: how many are done, and name (scenario id) to reason for what failed for good."""

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
    sides: Sides,
    on_simulations: Callable[[int], None] = lambda _: None,
) -> TreeRecord:
    """Search one scenario whole. A request that fails for good withdraws its simulation.

    A tree that lost half of them or more raises EngineError: it is no search of that budget, and the next run tries again.
    """
    started = time.perf_counter()
    recorder = RecordingEngine(engine)
    stage = set_stage(recorder, scenario, dialogue, seed, sides.policy_adapter, sides.simulator_adapter)
    found = Search(stage, search, on_simulations)
    await found.run()
    if found.withdrawn >= len(found.simulations):
        raise found.first_error or EngineError("every simulation of the tree failed", scenario.scenario_id)
    return TreeRecord(
        cycle_id=cycle_id,
        scenario_id=scenario.scenario_id,
        seed=seed,
        nodes=node_records(found.tree),
        simulations=tuple(found.simulations),
        calls=tuple(recorder.calls),
        withdrawn=found.withdrawn,
        wall_s=time.perf_counter() - started,
    )


async def search_scenarios(
    engine: Engine,
    scenarios: Sequence[Scenario],
    dialogue: DialogueConfig,
    search: SearchConfig,
    *,
    cycle_id: str,
    seed: int,
    sides: Sides,
    on_tree: Callable[[TreeRecord], None],
    on_simulations: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Search all scenarios, as many at once as the engine has room for.

    `on_tree` is called with each as it is finished, one at a time, in another thread, because it may wait for a disk.
    `on_simulations` is told how many simulations have just been applied.
    """

    async def one(scenario: Scenario) -> TreeRecord:
        return await search_scenario(
            engine, scenario, dialogue, search, cycle_id=cycle_id, seed=seed, sides=sides, on_simulations=on_simulations
        )

    return await gather(engine, scenarios, one, on_tree, lambda scenario: scenario.scenario_id)


async def hold_dialogues(
    engine: Engine,
    work: Sequence[tuple[Scenario, int]],
    dialogue: DialogueConfig,
    *,
    sides: Sides,
    on_dialogue: Callable[[int, Trajectory, tuple[CallRecord, ...]], None],
    dress: Dress | None = None,
) -> Outcome:
    """Hold one fresh dialogue per scenario and seed of `work`, as many at once as the engine has room for.

    `on_dialogue` is called with each one's seed, the dialogue and its calls as it ends, one at a time, in another thread.
    """

    async def one(piece: tuple[Scenario, int]) -> tuple[int, Trajectory, tuple[CallRecord, ...]]:
        scenario, seed = piece
        trajectory, calls = await hold_dialogue(
            engine, scenario, dialogue, seed, sides.policy_adapter, sides.simulator_adapter, dress
        )
        return seed, trajectory, calls

    return await gather(engine, work, one, lambda item: on_dialogue(*item), lambda piece: piece[0].scenario_id)


async def gather(
    engine: Engine,
    work: Sequence[Work],
    one: Callable[[Work], Awaitable[Item]],
    keep: Callable[[Item], None],
    name_of: Callable[[Work], str],
) -> Outcome:
    """Begin work in order while the engine has room, so that what is under way keeps it full and no more.

    `keep` is called with each result, one at a time, in another thread; `name_of` names what failed for good.
    """
    outcome = Outcome()
    running: set[asyncio.Task[None]] = set()
    keeping = asyncio.Lock()

    async def guarded(piece: Work) -> None:
        try:
            item = await one(piece)
        except EngineError as error:
            outcome.failed[name_of(piece)] = str(error)
            return
        async with keeping:
            await asyncio.to_thread(keep, item)  # it waits for the disk, one at a time; the other trees go on
        outcome.done += 1

    async with asyncio.TaskGroup() as group:
        for piece in work:
            while running and not engine.has_room:
                await asyncio.sleep(ADMISSION_S)
            task = group.create_task(guarded(piece))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(ADMISSION_S)  # its first requests reach the engine before the next one is thought of
    return outcome
