"""Writes what is known of a cycle: its report, the cycle's MLflow run, the registry version, the run of all nights.

The newest stage counts. Earlier pages of a cycle stay below the newest one.
"""

import os
from datetime import datetime
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage.config import CycleConfig
from engage.evaluation import (
    Aligned,
    Collected,
    Judged,
    Night,
    Places,
    champion_over_base,
    deciding,
    headline,
    night_text,
    stage_text,
    tokens_of,
    usd_of,
)
from engage.evaluation.night_page import night_page
from engage.home import Home
from engage.pages import bounded
from engage.tracking import GROUND_TAG, NIGHTS
from engage.tracking.text import version_facts
from engage.training import Candidate, latest_candidate
from engage.workspace import Workspace
from tasks.cycle import stored_cycle, worth_retrying
from tasks.dialogues import ground_of, held_out_store

JUDGED_TAG = "engage.judged"
"""The adapter that the cycle's run tells of, relative to the home; empty if there was no candidate."""
NOT_JUDGED, NONE_YET = "not judged yet", "none yet"


@task(name="report-cycle", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def report_cycle(config: CycleConfig, cycle_id: str, collected: Collected, aligned: Aligned, judged: Judged) -> Night:
    """Write the report of a whole night."""
    workspace = Workspace.from_env()
    text = night_text(cycle_id, collected, aligned, judged, places(workspace.home))
    page, run_id = _page(workspace, cycle_id, f"{text}\n\n{judged.page}")
    _record_pairs(workspace, cycle_id, aligned)
    _record_verdict(workspace, config, cycle_id, judged, aligned.candidate)
    _record_night(workspace, config, cycle_id, collected, aligned, judged)
    written = _write_night_page(workspace, cycle_id)
    shown = f"{page}\nDialogues, trees and pairs: `{written}`, which `engage report --cycle {cycle_id} --open` opens.\n"
    where = f"cycle {cycle_id}, MLflow run {run_id}, page {written}"
    create_markdown_artifact(shown, key="engage-cycle-report", description=where)
    workspace.snapshot()
    return Night(cycle_id, collected, aligned, judged, text)


@task(name="report-align")
def report_align(cycle_id: str, aligned: Aligned) -> None:
    """Write the report of a training on its own: its candidate is not judged yet, unless it is the one that was judged last."""
    workspace = Workspace.from_env()
    _page(
        workspace, cycle_id, f"# Cycle {cycle_id}: align\n\n{stage_text(cycle_id, aligned, places(workspace.home))}\n"
    )
    _record_pairs(workspace, cycle_id, aligned)
    run = workspace.tracker.cycle_run(cycle_id)
    trained = _shown(workspace, aligned.candidate)
    if run.tag(JUDGED_TAG) != trained:
        verdict = NOT_JUDGED if aligned.candidate else "no candidate was trained"
        run.newest(headline({}))
        run.tags({"verdict": verdict, "promoted": "no", JUDGED_TAG: NONE_YET})


@task(name="report-evaluation")
def report_evaluation(config: CycleConfig, cycle_id: str, judged: Judged, candidate: Candidate | None) -> None:
    """Write the report of an evaluation on its own."""
    workspace = Workspace.from_env()
    text = stage_text(cycle_id, judged, places(workspace.home))
    _page(workspace, cycle_id, f"# Cycle {cycle_id}: evaluation\n\n{text}\n\n{judged.page}")
    _record_verdict(workspace, config, cycle_id, judged, candidate)
    _write_night_page(workspace, cycle_id)


def _write_night_page(workspace: Workspace, cycle_id: str) -> Path:
    """Write the page of the night into the cycle's folder and into MLflow; returns its path."""
    folder = workspace.home.cycle(cycle_id)
    candidate = latest_candidate(folder, workspace.home.find)
    page = night_page(workspace.store, cycle_id, folder, Path(candidate.adapter) if candidate else None)
    written = workspace.write(cycle_id, "report.html", page)
    workspace.tracker.cycle_run(cycle_id).files(written, "page")
    return written


def places(home: Home) -> Places:
    """Addresses for the report's next steps."""
    return Places(str(home.path) if "ENGAGE_HOME" in os.environ else None, home.tracking_uri)


def _page(workspace: Workspace, cycle_id: str, newest: str) -> tuple[str, str]:
    """Put a page on top of the cycle's report, here and in MLflow, unless it is there; returns the report and the run's id."""
    path = workspace.home.cycle(cycle_id) / "report.md"
    earlier = path.read_text(encoding="utf-8") if path.is_file() else ""
    page = newest
    if earlier == newest or earlier.startswith(f"{newest}\n---\n"):
        page = earlier
    elif earlier:
        until = datetime.fromtimestamp(path.stat().st_mtime)
        page = f"{newest}\n---\n\n*Written {until:%Y-%m-%d %H:%M}, and replaced by the above:*\n\n{earlier}"
    workspace.write(cycle_id, "report.md", page)
    run = workspace.tracker.cycle_run(cycle_id)
    run.page(page, "report.md")
    return page, run.run_id


def _record_pairs(workspace: Workspace, cycle_id: str, aligned: Aligned) -> None:
    figures = {"pairs": aligned.pairs.accepted, "tokens_m": _tokens_m(workspace, cycle_id)}
    workspace.tracker.cycle_run(cycle_id).newest(figures)


def _tokens_m(workspace: Workspace, cycle_id: str) -> float | None:
    """Millions of tokens of the cycle so far, None if a server did not report them."""
    tokens = tokens_of(workspace.store, cycle_id)
    return None if tokens is None else tokens / 1e6


def _record_verdict(
    workspace: Workspace, config: CycleConfig, cycle_id: str, judged: Judged, candidate: Candidate | None
) -> None:
    """Record what was decided with the cycle's run, and in the description of the candidate's version."""
    promoted = "yes" if judged.verdict.promoted else "no"
    found, run = headline(judged.comparisons), workspace.tracker.cycle_run(cycle_id)
    cost = {"tokens_m": _tokens_m(workspace, cycle_id), "usd": usd_of(workspace.store, cycle_id, config.engine.prices)}
    run.newest({**found, **cost})
    tags = {"verdict": judged.verdict.reason, "promoted": promoted, JUDGED_TAG: _shown(workspace, candidate)}
    run.tags({**tags, GROUND_TAG: judged.ground, "judged_with": deciding(judged.comparisons) or "nobody"})
    if candidate:
        adapter = workspace.home.find(candidate.adapter)
        gain = bounded(found["gain"], found["gain_low"], found["gain_high"], "{:+.3f}")
        facts = version_facts(
            judged.verdict.reason, cycle_id, adapter, f"{gain} ({deciding(judged.comparisons)} simulator)"
        )
        tracker = workspace.tracker
        tracker.describe(
            tracker.version_of(adapter), adapter, facts, {"verdict": judged.verdict.reason, "promoted": promoted}
        )


def _record_night(
    workspace: Workspace, config: CycleConfig, cycle_id: str, collected: Collected, aligned: Aligned, judged: Judged
) -> None:
    """Add the night to the run of all nights; scripted ones, which try the program, have a run of their own."""
    cycle, run = stored_cycle(workspace, cycle_id), workspace.tracker.cycle_run(cycle_id)
    flips = collected.users_as_assistants
    figures = {
        **headline(judged.comparisons),
        "champion_over_base": champion_over_base(
            held_out_store(workspace, cycle, ground_of(config).scenarios), config.simulators()
        ),
        "pairs": aligned.pairs.accepted,
        "tokens_m": _tokens_m(workspace, cycle_id),
        "minutes": run.metric("minutes"),
        "role_flips": flips.value if flips else None,
        "unspoken": sum(collected.unspoken.values()),
        "crises": collected.crises,
    }
    workspace.tracker.night(cycle_id, figures, f"scripted {NIGHTS}" if config.engine.kind == "scripted" else NIGHTS)


def _shown(workspace: Workspace, candidate: Candidate | None) -> str:
    return workspace.tracker.shown(workspace.home.find(candidate.adapter)) if candidate else ""
