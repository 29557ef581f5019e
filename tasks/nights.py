"""What surrounds a night: runs that killed commands left open, the night before, and whose process works on tonight's cycle."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from prefect import runtime, task

from engage.config import CycleConfig, continued_config
from engage.keeping import at_work
from engage.progress import tell
from engage.workspace import Workspace
from tasks import run_log
from tasks.cycle import worth_retrying


@dataclass(frozen=True)
class Unfinished:
    """A night that tonight's finishes first, with the settings that it began with."""

    cycle_id: str
    config: CycleConfig


@task(name="mark-dead-runs", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def earlier_night(config: CycleConfig, own: str) -> Unfinished | None:
    """Mark the runs of killed commands as ended; returns the night to finish first, None without one or without `nightly.finish_interrupted`."""
    workspace = Workspace.from_env()
    for dead in at_work.mark_dead(workspace, crash_flow_run):
        tell(
            f"cycle {dead.cycle_id}: its process {dead.pid} is gone, its runs are marked as ended (it reached {dead.stage})"
        )
    found = at_work.to_finish(workspace, own) if config.nightly.finish_interrupted else None
    if found is None:
        return None
    settings = workspace.store.cycle_settings(found.cycle_id)
    if settings is None:
        run_log.log(f"cycle {found.cycle_id} ended before its settings were stored; it is left", logging.WARNING)
        return None
    earlier = continued_config(found.cycle_id, {**settings, "nightly": {}})
    return Unfinished(found.cycle_id, earlier)


@contextmanager
def at_night(cycle_id: str) -> Iterator[None]:
    """Within the body, this flow run is the cycle's night."""
    run = str(runtime.flow_run.id)
    with run_log.night(cycle_id), at_work.at_work(Workspace.from_env(), cycle_id, "nightly", run):
        yield


def crash_flow_run(flow_run: str, reason: str) -> None:
    """Mark a flow's run as Crashed unless it ended; nothing if Prefect's server is another one, or away."""
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    with suppress(Exception):  # another server, or none
        client: Any = get_client(sync_client=True)
        run = client.read_flow_run(flow_run)
        if run.state is None or not run.state.is_final():
            client.set_flow_run_state(run.id, Crashed(message=reason), force=True)
