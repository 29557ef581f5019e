"""What surrounds a night: runs that killed commands left open, earlier nights, and whose process works on tonight's cycle."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prefect import runtime, task

from engage.config import CycleConfig, night_to_finish
from engage.keeping import at_work
from engage.keeping.pruning import check_not_pruned
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


def require_kept(cycle_id: str) -> None:
    """Raise ConfigError for a cycle that was pruned, before the night makes its folder anew."""
    check_not_pruned(Workspace.from_env(), cycle_id)


@task(name="mark-dead-runs", retries=3, retry_delay_seconds=20, retry_condition_fn=worth_retrying)
def earlier_nights(config: CycleConfig, own: str) -> list[tuple[str, CycleConfig]]:
    """Mark the runs of killed commands as ended; returns the nights to finish first, with their settings; none without the setting.

    A night that was killed before its settings were stored had collected nothing: there is nothing to finish. One whose settings this version
    refuses is named and left alone.
    """
    workspace = Workspace.from_env()
    at_work.mark_dead(workspace, crash_flow_run)
    left = [one.cycle_id for one in at_work.to_finish(workspace, own)] if config.nightly.finish_interrupted else []
    found = [(cycle, night_to_finish(cycle, workspace.store.cycle_settings(cycle))) for cycle in left]
    return [(cycle, settings) for cycle, settings in found if settings]


@contextmanager
def at_night(cycle_id: str) -> Iterator[None]:
    """Within the body, this flow run works on the cycle's night."""
    with at_work.at_work(Workspace.from_env(), cycle_id, "nightly", str(runtime.flow_run.id)):
        yield


def crash_flow_run(flow_run: str, reason: str) -> None:
    """Mark a flow's run, and what runs within it, as Crashed unless it ended; nothing if Prefect's server is another one, or away."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
    from prefect.states import Crashed

    with suppress(Exception):  # another server, or none
        client: Any = get_client(sync_client=True)
        run = client.read_flow_run(flow_run)
        if run.state is None or not run.state.is_final():
            client.set_flow_run_state(run.id, Crashed(message=reason), force=True)
        within = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
        for stage in client.read_flow_runs(flow_run_filter=within):
            crash_flow_run(str(stage.id), reason)
