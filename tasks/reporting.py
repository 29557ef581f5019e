"""Writes the cycle's report: to the home, to MLflow and as a Prefect artifact."""

import os

from prefect import task
from prefect.artifacts import create_markdown_artifact

from engage.evaluation import Aligned, Collected, Judged, Night, Places, night_text
from engage.home import Home
from tasks.workspace import Workspace


@task(name="report-cycle")
def report_cycle(cycle_id: str, collected: Collected, aligned: Aligned, judged: Judged) -> Night:
    """Write the report, and keep it with the cycle's MLflow run."""
    workspace = Workspace.from_env()
    text = night_text(cycle_id, collected, aligned, judged, places(workspace.home))
    page = f"{text}\n\n{judged.page}"
    workspace.write(cycle_id, "report.md", page)
    run = workspace.tracker.cycle_run(cycle_id)
    run.page(page, "report.md")
    run.metrics({**judged.metrics(), "pairs_accepted": aligned.pairs.accepted})
    create_markdown_artifact(page, key="engage-cycle-report", description=f"cycle {cycle_id}, MLflow run {run.run_id}")
    return Night(cycle_id, collected, aligned, judged, text)


def places(home: Home) -> Places:
    """Addresses for the report's next steps."""
    return Places(str(home.path) if "ENGAGE_HOME" in os.environ else None, home.tracking_uri)
