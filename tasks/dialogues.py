"""Runs the dialogues of each policy on held-out scenarios that are not stored yet."""

from collections.abc import Iterable, Mapping, Sequence

from prefect import task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.dialogue import Trajectory
from engage.engines import shared_engine
from engage.engines.recording import CallRecord
from engage.errors import TooManyFlawed
from engage.evaluation import HeldOutStore, evaluation_seeds
from engage.scenario import Scenario, sample_scenarios
from engage.search import Adapters, DialogueRecord, TalkWatch, hold_dialogues
from engage.simulation import Recast
from engage.store import Cycle
from tasks import stopping
from tasks.cycle import worth_retrying
from tasks.progress import Bar
from tasks.workspace import Workspace


@task(name="hold-dialogues", retries=2, retry_delay_seconds=10, retry_condition_fn=worth_retrying)
def hold_held_out_dialogues(
    config: CycleConfig, cycle: Cycle, label: str, adapters: Adapters, simulator: str
) -> dict[str, str]:
    """Run one policy's missing dialogues with one simulator; all policies get the same scenarios and seeds."""
    return hold_missing(
        config, cycle, (label, simulator), adapters, held_out(config, cycle), config.evaluation.dialogues
    )


def hold_missing(
    config: CycleConfig,
    cycle: Cycle,
    labels: tuple[str, str],
    adapters: Adapters,
    scenarios: Sequence[Scenario],
    dialogues: int,
    recast: Recast | None = None,
) -> dict[str, str]:
    """Run the dialogues of a policy with a simulator (`labels`) that are not stored yet, `dialogues` per scenario.

    Each goes to the outbox when it ends, so that an interrupted evaluation resumes where it stopped. Returns failed scenarios by id,
    with the reason.
    """
    workspace = Workspace.from_env()
    workspace.drain()
    missing: list[tuple[Scenario, int]] = []
    for seed in evaluation_seeds(cycle, dialogues):
        done = workspace.store.stored_dialogues(cycle.cycle_id, "evaluation", *labels, seed)
        missing += [(scenario, seed) for scenario in scenarios if scenario.scenario_id not in done]
    if not missing:
        return {}
    bar = Bar(f"{labels[0]} talks, {labels[1]} simulator", len(missing))

    def keep(seed: int, trajectory: Trajectory, calls: tuple[CallRecord, ...]) -> None:
        record = DialogueRecord(cycle.cycle_id, "evaluation", *labels, seed, trajectory, calls)
        workspace.outbox.put_dialogues([record])
        bar.advance()

    engine, watch = shared_engine(config.engine), TalkWatch(config.collect.max_flawed_share)
    held = hold_dialogues(
        engine, missing, config.dialogue, adapters=adapters, on_dialogue=keep, recast=recast, watch=watch
    )
    try:
        failed = stopping.run(held).failed
    except (
        TooManyFlawed
    ):  # its dialogues show why; after an interrupt they wait in the outbox, and the command ends at once
        workspace.drain()
        raise
    bar.finish()
    workspace.drain()
    return failed


def held_out(config: CycleConfig, cycle: Cycle) -> list[Scenario]:
    """The cycle's held-out scenarios, sampled anew for each cycle."""
    scenarios = load_cycle_scenarios(config.scenarios)
    return sample_scenarios(scenarios, config.evaluation.split, config.evaluation.per_domain, cycle.seed)


def held_out_store(workspace: Workspace, config: CycleConfig, cycle: Cycle) -> HeldOutStore:
    """The stored dialogues of the cycle's policies on its held-out scenarios."""
    scenarios = {scenario.scenario_id: scenario for scenario in held_out(config, cycle)}
    return HeldOutStore(workspace.store, cycle, scenarios)


def require_dialogues(config: CycleConfig, cycle: Cycle, labels: Iterable[str], failed: Mapping[str, str]) -> None:
    """Raise NothingSearched if all of a policy's dialogues with one simulator failed."""
    held_out_store(Workspace.from_env(), config, cycle).require(labels, config.simulators(), failed)
