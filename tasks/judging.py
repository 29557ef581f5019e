"""Compares the candidate with base or champion, weighs its challenge and the kept one, and promotes what meets the rule."""

from collections.abc import Mapping
from dataclasses import replace

from prefect import task

from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.evaluation import (
    SCRIPTED,
    SEARCH_SIMULATOR,
    Judged,
    decided,
    deciding,
    finish_earlier,
    judge_candidate,
    kept_challenger,
    look_of,
    policy_label,
    record_evaluation,
    set_apart,
    store_evaluation,
    with_panel,
)
from engage.evaluation.night_page import keep_verdict
from engage.store import Challenge, Cycle
from engage.training import Candidate
from engage.workspace import Workspace
from tasks.cycle import worth_retrying
from tasks.dialogues import digest_of, ground_of, held_out_store


def require_validation(config: CycleConfig) -> None:
    """Raise ConfigError if a night would be judged on the test split: only experiments may open it, and they are counted."""
    if config.evaluation.split != "validation":
        raise ConfigError(
            "evaluation.split=test: nights are judged on validation; `engage experiment comparison` opens the test split"
        )


def held_out_simulator(config: CycleConfig) -> str | None:
    """The label of the simulator or panel that decides promotion; None without one, and for the scripted engine, whose answers decide nothing."""
    label = deciding(with_panel(config.simulators()))
    return label if label != SEARCH_SIMULATOR and config.engine.kind != "scripted" else None


@task(name="keep-challenger", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def keep_challenger(config: CycleConfig, cycle: Cycle, candidate: Candidate | None) -> Challenge | None:
    """The challenger of an earlier night that talks tonight as well, None if there is none."""
    workspace, simulator = Workspace.from_env(), held_out_simulator(config)
    finish_earlier(workspace)
    if simulator is None:
        return None
    own, ground = policy_label("candidate", candidate.adapter) if candidate else None, ground_of(config)
    return kept_challenger(workspace, cycle, own, simulator, digest_of(config, ground), config.evaluation)


@task(name="judge", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def judge(
    config: CycleConfig,
    cycle: Cycle,
    candidate: Candidate | None,
    failed: Mapping[str, str],
    kept: Challenge | None = None,
) -> Judged:
    """Compare per domain, check for reward hacking, decide on promotion, and record all of it."""
    workspace, ground, simulator = Workspace.from_env(), ground_of(config), held_out_simulator(config)
    number = digest_of(config, ground)
    label = policy_label("candidate", candidate.adapter) if candidate else None
    held = held_out_store(workspace, cycle, ground.scenarios)
    found = judge_candidate(held, label, with_panel(config.simulators()), config.evaluation.alpha)
    # before a promotion: what is stored after it was measured again since
    store_evaluation(workspace, held, found, number, config.evaluation.split, config.tracking.dialogues)
    if simulator:
        adapter = candidate.adapter if candidate else None
        found = decided(workspace, held, found, adapter, kept, simulator, number, config.evaluation)
    elif candidate and len(config.simulators()) > 1:
        found = replace(found, verdict=SCRIPTED)
    found = replace(found, notes=(*found.notes, *ground.remarks))
    keep_verdict(workspace.home.cycle(cycle.cycle_id), label, found.verdict, found.failures)
    look = look_of(cycle, label, config.evaluation) if label else None
    settings = set_apart(candidate.adapter if candidate else None, config.evaluation)
    with workspace.tracker.stage(cycle.cycle_id, "evaluation", look, settings) as run:
        record_evaluation(run, found, number)
    return Judged(
        found.incumbent.name,
        found.verdict,
        found.page(workspace.store, cycle),
        found.comparisons,
        found.failures,
        failed,
        found.notes,
        number,
    )
