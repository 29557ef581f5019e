"""Trains the contenders of a comparison, holds their dialogues on the selection half, and records who is best."""

from collections.abc import Mapping, Sequence

from prefect import task

from engage.config import CycleConfig
from engage.evaluation import (
    Contender,
    Contest,
    Half,
    Judged,
    failed_lines,
    hold_contest,
    with_panel,
)
from engage.evaluation.selection import PAGE
from engage.files.digest import digest
from engage.settings import value_of
from engage.store import Cycle
from engage.tracking import GROUND_TAG
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.dialogues import digest_of, ground_of, held_out_store, hold_held_out_dialogues
from tasks.training import make_pairs, train_candidate

HALF: Half = "selection"
"""The half of the validation split on which candidates are chosen; promotion never looks at it."""


def trained(config: CycleConfig, cycle: Cycle, name: str, differs: Sequence[str]) -> Contender | None:
    """Train one combination on the cycle's trees, or find what was trained before; None if it accepts no pair."""
    pairs = make_pairs(config, cycle)
    if not pairs.accepted:
        return None
    values = config.model_dump(mode="json")
    settings = {key: str(value_of(values, key)) for key in differs}
    return Contender.trained(name, train_candidate(config, cycle, pairs), settings)


def hold_all(config: CycleConfig, cycle: Cycle, contenders: Sequence[Contender]) -> dict[str, str]:
    """Hold the missing dialogues of every contender with every simulator; returns failed scenarios with the reason."""
    failed: dict[str, str] = {}
    for simulator in config.simulators():
        for one in contenders:
            adapters = config.adapters(one.adapter, simulator)
            failed |= hold_held_out_dialogues(config, cycle, one.label, adapters, simulator, HALF)
    return failed


@task(name="choose", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def choose(config: CycleConfig, cycle: Cycle, contenders: Sequence[Contender], failed: Mapping[str, str]) -> Contest:
    """Compare the contenders on their stored dialogues, and record each as a run for MLflow's compare view."""
    workspace, ground = Workspace.from_env(), ground_of(config, HALF)
    held, simulators = held_out_store(workspace, cycle, ground.scenarios), config.simulators()
    held.require([one.label for one in contenders], simulators, failed)
    remarks = [*ground.remarks, *failed_lines(cycle.cycle_id, failed, "of the comparison")]
    contest = hold_contest(held, contenders, with_panel(simulators), digest_of(config, ground), remarks)
    for one in contenders:
        recipe = digest([one.label, contest.digest])[:12]
        with workspace.tracker.stage(cycle.cycle_id, "compare", recipe, one.settings) as run:
            run.params({"policy": one.name, **one.settings})
            run.tags({GROUND_TAG: contest.digest})
            run.newest(contest.metrics(one.name))
    write_page(cycle, contest)
    return contest


def write_page(cycle: Cycle, contest: Contest, judged: Judged | None = None) -> str:
    """Write the comparison's page into the cycle's folder, with the promotion's verdict if the best was judged; returns the text."""
    text = contest.page(f"Comparison on cycle {cycle.cycle_id}")
    if judged:
        text += f"\n## Promotion\n\nThe best was judged on the promotion half as one challenge. Verdict: {judged.verdict.reason}.\n"
    Workspace.from_env().write(cycle.cycle_id, PAGE, text)
    return text
