"""Compares the candidate with base or champion, decides, and promotes it in the registry."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from prefect import task

from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.evaluation import Incumbent, Judged, Verdict, candidate_alpha, judge_candidate, policy_label
from engage.files.digest import digest, key_settings
from engage.search import METHOD_VERSION
from engage.store import Cycle
from engage.training import Candidate
from tasks.cycle import worth_retrying
from tasks.dialogues import held_out_store
from tasks.tracking import Tracker
from tasks.workspace import Workspace


def require_validation(config: CycleConfig) -> None:
    """Raise ConfigError if a night would be judged on the test split: only experiments may open it, and they are counted."""
    if config.evaluation.split != "validation":
        raise ConfigError(
            "evaluation.split=test: nights are judged on validation; `engage experiment comparison` opens the test split"
        )


@task(name="judge", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def judge(config: CycleConfig, cycle: Cycle, candidate: Candidate | None, failed: Mapping[str, str]) -> Judged:
    """Compare per domain, check for reward hacking, decide on promotion, and record all of it."""
    workspace = Workspace.from_env()
    store, tracker = workspace.store, workspace.tracker
    label = policy_label("candidate", candidate.adapter) if candidate else None
    look = _look(config, cycle, label) if label else None
    looks = tracker.judged(Incumbent.of(cycle).label, (cycle.cycle_id, look)) if look else 0
    alpha = candidate_alpha(looks + 1, config.evaluation.alpha)
    found = judge_candidate(held_out_store(workspace, config, cycle), label, config.simulators(), alpha)
    if candidate and found.verdict.promoted:
        found = replace(found, verdict=_promote(tracker, cycle, Path(candidate.adapter), found.verdict))
    with tracker.stage(cycle.cycle_id, "evaluation", look) as run:
        if found.has_held_out:
            run.params({"incumbent": found.incumbent.label})
        run.metrics(found.metrics())
        for name, figure in found.figures():
            run.figure(figure, name)
    for simulator, by_domain in found.comparisons.items():
        figures = {domain: asdict(comparison) for domain, comparison in by_domain.items()}
        store.add_evaluation(cycle.cycle_id, config.evaluation.split, str(label), simulator, figures)
    page = found.page(store, cycle)
    return Judged(found.incumbent.name, found.verdict, page, found.comparisons, found.failures, failed)


def _promote(tracker: Tracker, cycle: Cycle, adapter: Path, verdict: Verdict) -> Verdict:
    """Promote only if the champion is still the one compared with; an older cycle has no evidence about a newer champion."""
    version, champion = tracker.version_of(adapter), tracker.champion()
    now = champion.version if champion else None
    if now not in (cycle.champion_version, version):
        return Verdict(
            False, f"not promoted: the champion is version {now} by now, this cycle knew another; begin a new cycle"
        )
    tracker.promote(version)
    return verdict


def _look(config: CycleConfig, cycle: Cycle, label: str) -> str:
    """Identifies one test of a candidate; each test uses up part of the error rate."""
    settings = digest(key_settings(config.evaluation, exclude={"alpha"}))[:8]
    return f"{label} {settings}" + (f" method {METHOD_VERSION}" if cycle.is_older else "")
