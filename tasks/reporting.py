"""Reports a night, or a stage that ran alone: its text, then what the home and MLflow keep of it (`engage.evaluation.cycle_record`)."""

import os

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage.config import CycleConfig
from engage.evaluation import Aligned, Collected, Judged, Night, Places, night_text, stage_text, with_panel
from engage.evaluation.cycle_record import (
    add_page,
    record_night,
    record_pairs,
    record_unjudged,
    record_verdict,
    write_night_page,
)
from engage.home import Home
from engage.training import Candidate
from engage.workspace import Workspace
from tasks.cycle import stored_cycle, worth_retrying
from tasks.dialogues import ground_of, held_out_store


@task(name="report-cycle", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def report_cycle(config: CycleConfig, cycle_id: str, collected: Collected, aligned: Aligned, judged: Judged) -> Night:
    """Write the report of a whole night."""
    workspace = Workspace.from_env()
    text = night_text(cycle_id, collected, aligned, judged, places(workspace.home))
    page, run_id = add_page(workspace, cycle_id, f"{text}\n\n{judged.page}")
    record_pairs(workspace, cycle_id, aligned)
    record_verdict(workspace, config.engine.prices, cycle_id, judged, aligned.candidate)
    held = held_out_store(workspace, stored_cycle(workspace, cycle_id), ground_of(config).scenarios)
    record_night(
        workspace, held, collected, aligned, judged, with_panel(config.simulators()), config.engine.kind == "scripted"
    )
    written = write_night_page(workspace, cycle_id)
    shown = f"{page}\nDialogues, trees and pairs: `{written}`, which `engage report --cycle {cycle_id} --open` opens.\n"
    where = f"cycle {cycle_id}, MLflow run {run_id}, page {written}"
    create_markdown_artifact(shown, key="engage-cycle-report", description=where)
    workspace.snapshot()
    return Night(cycle_id, collected, aligned, judged, text)


@task(name="report-align", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def report_align(cycle_id: str, aligned: Aligned) -> None:
    """Write the report of a training on its own: its candidate is not judged yet, unless it is the one that was judged last."""
    workspace = Workspace.from_env()
    text = stage_text(cycle_id, aligned, places(workspace.home))
    add_page(workspace, cycle_id, f"# Cycle {cycle_id}: align\n\n{text}\n")
    record_pairs(workspace, cycle_id, aligned)
    record_unjudged(workspace, cycle_id, aligned.candidate)


@task(name="report-evaluation", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def report_evaluation(config: CycleConfig, cycle_id: str, judged: Judged, candidate: Candidate | None) -> None:
    """Write the report of an evaluation on its own."""
    workspace = Workspace.from_env()
    text = stage_text(cycle_id, judged, places(workspace.home))
    add_page(workspace, cycle_id, f"# Cycle {cycle_id}: evaluation\n\n{text}\n\n{judged.page}")
    record_verdict(workspace, config.engine.prices, cycle_id, judged, candidate)
    write_night_page(workspace, cycle_id)


def places(home: Home) -> Places:
    """Addresses for the report's next steps."""
    return Places(str(home.path) if "ENGAGE_HOME" in os.environ else None, home.tracking_uri)
