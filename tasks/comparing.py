"""Trains the contenders of a comparison, holds their dialogues on the selection half, and records who is best."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import task

from engage.config import CycleConfig, load_cycle_scenarios
from engage.evaluation import (
    Contender,
    Contest,
    Ground,
    HeldOutStore,
    Incumbent,
    failed_lines,
    fixed_ground,
    ground_digest,
    hold_contest,
    policy_label,
)
from engage.files.digest import digest
from engage.models import AdapterCard
from engage.search import Adapters
from engage.settings import value_of
from engage.store import Cycle
from tasks.cycle import worth_retrying
from tasks.dialogues import hold_missing
from tasks.human import draw_human_pairs
from tasks.training import extract_pairs, score_pairs, train_candidate
from tasks.workspace import Workspace

PAGE = "compare.md"


def incumbent(cycle: Cycle) -> Contender:
    """What every combination is compared with: the champion at the cycle's beginning, or the base model."""
    held = Incumbent.of(cycle)
    return Contender(held.name, held.label, cycle.champion_adapter)


def trained(config: CycleConfig, cycle: Cycle, name: str, differs: Sequence[str]) -> Contender | None:
    """Train one combination on the cycle's trees, or find what was trained before; None if it accepts no pair."""
    scored = score_pairs(config, cycle)
    human = draw_human_pairs(config, cycle, scored["accepted"])
    pairs = extract_pairs(config, cycle, scored, human)
    if not pairs.accepted:
        return None
    values = config.model_dump(mode="json")
    settings = {key: str(value_of(values, key)) for key in differs}
    return contender(name, train_candidate(config, cycle, pairs), settings)


def contender(name: str, adapter: Path, settings: Mapping[str, str] | None = None) -> Contender:
    """A policy with an adapter that engage trained."""
    card = AdapterCard.read(adapter)
    return Contender(name, policy_label("candidate", str(adapter)), str(adapter), card.metrics, settings or {})


def selection_ground(config: CycleConfig) -> Ground:
    """The scenarios on which candidates are chosen; promotion never looks at them."""
    return fixed_ground(load_cycle_scenarios(config.scenarios), "selection", config.evaluation.per_domain)


def hold_all(config: CycleConfig, cycle: Cycle, contenders: Sequence[Contender], ground: Ground) -> dict[str, str]:
    """Hold the missing dialogues of every contender with every simulator; returns failed scenarios with the reason."""
    failed: dict[str, str] = {}
    for simulator, user in config.simulators().items():
        for one in contenders:
            failed |= hold_contenders_dialogues(config, cycle, one, Adapters(one.adapter, user), simulator, ground)
    return failed


@task(
    name="hold-dialogues",
    task_run_name="hold-dialogues {one.name}, {simulator} simulator",
    retries=2,
    retry_delay_seconds=10,
    retry_condition_fn=worth_retrying,
)
def hold_contenders_dialogues(
    config: CycleConfig, cycle: Cycle, one: Contender, adapters: Adapters, simulator: str, ground: Ground
) -> dict[str, str]:
    """Hold the missing dialogues of one contender with one simulator."""
    return hold_missing(config, cycle, (one.label, simulator), adapters, ground.scenarios, config.evaluation.dialogues)


@task(name="choose", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def choose(
    config: CycleConfig, cycle: Cycle, contenders: Sequence[Contender], ground: Ground, failed: Mapping[str, str]
) -> Contest:
    """Compare the contenders on their stored dialogues, and record each as a run of MLflow's compare view."""
    workspace = Workspace.from_env()
    held = HeldOutStore(workspace.store, cycle, {one.scenario_id: one for one in ground.scenarios})
    simulators = config.simulators()
    held.require([one.label for one in contenders], simulators, failed)
    settings = {"dialogue": config.model_dump(mode="json")["dialogue"], "dialogues": config.evaluation.dialogues}
    remarks = [*ground.remarks, *failed_lines(cycle.cycle_id, failed, "of the comparison")]
    found = hold_contest(
        held, contenders, list(simulators), ground_digest(ground.scenarios, simulators, settings), remarks
    )
    for one in contenders:
        recipe = digest([one.label, found.digest])[:12]
        with workspace.tracker.stage(cycle.cycle_id, "compare", recipe) as run:
            run.params({"policy": one.name, **one.settings})
            run.metrics(found.metrics(one.name))
    text = found.page(f"Comparison on cycle {cycle.cycle_id}")
    workspace.write(cycle.cycle_id, PAGE, text)
    return found
