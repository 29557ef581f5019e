"""Runs the dialogues of each policy on held-out scenarios that are not stored yet."""

from collections.abc import Iterable, Mapping, Sequence

from prefect import task

from engage import stopping
from engage.config import CycleConfig, load_cycle_scenarios
from engage.dialogue import Trajectory
from engage.domains import load_domain
from engage.engines import shared_engine
from engage.engines.metered import MeteredEngine
from engage.engines.recording import CallRecord
from engage.errors import NothingSearched, TooManyFlawed
from engage.evaluation import (
    Ground,
    Half,
    HeldOutStore,
    engine_for_label,
    evaluation_seeds,
    fixed_ground,
    ground_digest,
    users_identity,
)
from engage.progress import Bar, tell
from engage.scenario import Scenario, sample_scenarios
from engage.search import METHOD_VERSION, Adapters, DialogueRecord, TalkWatch, hold_dialogues
from engage.simulation import Recast
from engage.simulation.figures import Figures
from engage.store import Cycle
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


@task(
    name="hold-dialogues",
    task_run_name="hold-dialogues {label}, {simulator} simulator",
    retries=2,
    retry_delay_seconds=10,
    retry_condition_fn=worth_retrying,
)
def hold_held_out_dialogues(
    config: CycleConfig, cycle: Cycle, label: str, adapters: Adapters, simulator: str, half: Half = "promotion"
) -> dict[str, str]:
    """Run one policy's missing dialogues with one simulator on a half of validation; all policies get the same scenarios and seeds."""
    scenarios = ground_of(config, half).scenarios
    return hold_missing(config, cycle, (label, simulator), adapters, scenarios, config.evaluation.dialogues)


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
        tell(f"{labels[0]}, {labels[1]} simulator: its dialogues are stored already")
        return {}
    engine = MeteredEngine(
        shared_engine(engine_for_label(config.engine, config.evaluation.held_out_simulators, labels[1]))
    )
    figures = Figures(engine.meter)
    bar = Bar(f"{labels[0]} talks, {labels[1]} simulator", len(missing), figures)
    engine.on_answer = bar.tell_if_due

    def keep(seed: int, trajectory: Trajectory, calls: tuple[CallRecord, ...]) -> None:
        record = DialogueRecord(cycle.cycle_id, "evaluation", *labels, seed, trajectory, calls)
        workspace.outbox.put_dialogues([record])
        figures.add([trajectory])
        bar.advance()

    watch = TalkWatch(config.collect, reader=config.dialogue.speech.reader)
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


def ground_of(config: CycleConfig, half: Half = "promotion") -> Ground:
    """The held-out scenarios of a half of the validation split: the same in every cycle. NothingSearched if the split is empty."""
    ground = fixed_ground(load_cycle_scenarios(config.scenarios), half, config.evaluation.per_domain)
    if not ground.scenarios:
        raise NothingSearched(
            f"none of the scenarios in {', '.join(config.scenarios.sources)} is in the validation split (15 % are, by their content): "
            "nothing can be judged; add scenarios"
        )
    return ground


def digest_of(config: CycleConfig, ground: Ground) -> str:
    """The digest of a ground with the users and settings of its dialogues: equal in cycles whose results can be compared."""
    domains = sorted({scenario.domain for scenario in ground.scenarios})
    settings = {
        "dialogue": config.dialogue.model_dump(mode="json"),
        "method": METHOD_VERSION,
        "prompts": {name: load_domain(name).fingerprint() for name in domains},
    }
    return ground_digest(
        ground.scenarios, users_identity(config.engine, config.evaluation.held_out_simulators), settings
    )


def held_out(config: CycleConfig, cycle: Cycle) -> list[Scenario]:
    """The held-out scenarios of an experiment, sampled anew for each cycle."""
    scenarios = load_cycle_scenarios(config.scenarios)
    return sample_scenarios(scenarios, config.evaluation.split, config.evaluation.per_domain, cycle.seed)


def held_out_store(workspace: Workspace, cycle: Cycle, scenarios: Sequence[Scenario]) -> HeldOutStore:
    """The stored dialogues of the cycle's policies on these scenarios."""
    return HeldOutStore(workspace.store, cycle, {scenario.scenario_id: scenario for scenario in scenarios})


def require_dialogues(config: CycleConfig, cycle: Cycle, labels: Iterable[str], failed: Mapping[str, str]) -> None:
    """Raise NothingSearched if all of a policy's dialogues with one simulator failed."""
    held = held_out_store(Workspace.from_env(), cycle, ground_of(config).scenarios)
    held.require(labels, config.simulators(), failed)
