"""What a run has written to its log on Prefect's server."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.logging.handlers import APILogHandler


def logged(flow_run_id: UUID) -> list[tuple[int, str]]:
    """Level and text of the run's log, without what Prefect itself says."""
    APILogHandler().flush()
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    logs = get_client(sync_client=True).read_logs(wanted)
    own = ("Beginning", "Finished in state", "Created", "Running hook", "Hook ")
    return [(one.level, one.message) for one in logs if not one.message.startswith(own)]
