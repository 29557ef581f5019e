"""What Prefect's page of a run shows: log lines, a bar of progress, tags, and the final state's message.

Outside of a run all of it does nothing. A server that does not answer neither fails nor stops the work. Importing this module makes Prefect
log an EngageError as its one sentence, without a traceback: its text says what was wrong and what to do.
"""

import contextvars
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from engage import progress
from engage.errors import engage_error
from engage.evaluation import Aligned, Collected, Judged, Night, outcome_line, stage_lines

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
"""Prefect's loggers of runs; their records go to the server."""
PATIENCE_S = 5.0
"""How long the end of a piece of work waits for the server to take the bar's last state."""

Result = TypeVar("Result", Collected, Aligned, Judged, Night)
Logger = logging.Logger | logging.LoggerAdapter[Any]

_night: Logger | None = None


def loggers() -> list[Logger]:
    """The loggers of the present run and, within `night`, of the whole night; empty outside of a run."""
    from prefect import get_run_logger
    from prefect.exceptions import MissingContextError

    try:
        own = get_run_logger()
    except MissingContextError:
        return []
    return [own] if _night is None or _flow_run(own) == _flow_run(_night) else [own, _night]


def log(text: str, level: int = logging.INFO) -> None:
    """Write a line to the log of the present run, and to that of the night it belongs to."""
    for logger in loggers():
        logger.log(level, "%s", text)


def lines_topic() -> str:
    """Dask's topic for the lines of the present flow run's workers, which the night's own process shows; several nights share a scheduler."""
    return "-".join(["engage-lines", *(str(_flow_run(logger)) for logger in loggers()[:1])])


def _log_and_send(text: str) -> None:
    """Write a line to the run's log; on a Dask worker, which has no display, send it to the night's own process too."""
    log(text)
    distributed: Any = sys.modules.get("distributed")
    if distributed is not None:
        with suppress(ValueError):  # not a worker
            distributed.get_worker().log_event(lines_topic(), text)


@contextmanager
def night(cycle_id: str) -> Iterator[None]:
    """Within the body, all runs carry the cycle's tag, and the present run's log also gets the lines of its stages."""
    from prefect import get_run_logger, tags

    global _night
    before, _night = _night, get_run_logger()
    add_tag(f"cycle:{cycle_id}")
    try:
        with tags(f"cycle:{cycle_id}"):
            yield
    finally:
        _night = before


def add_tag(tag: str) -> None:
    """Give the present flow run one more tag."""
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context and context.flow_run
    if run is None or tag in run.tags:
        return
    run.tags = [*run.tags, tag]
    with suppress(Exception):  # a tag is not worth a night
        get_client(sync_client=True).update_flow_run(run.id, tags=run.tags)


def finished(cycle_id: str, result: Result) -> Result:
    """What a flow returns so that its caller gets `result` and its final state's message is `outcome_line`; a stage's lines go to the log."""
    from prefect.context import FlowRunContext
    from prefect.states import Completed

    if not isinstance(result, Night):
        for line in filter(str.strip, stage_lines(cycle_id, result)):
            log(line)
    context = FlowRunContext.get()
    took_s = (datetime.now(UTC) - context.start_time).total_seconds() if context else 0.0
    return cast(Result, Completed(data=result, message=outcome_line(result, took_s)))


@contextmanager
def sent_only() -> Iterator[None]:
    """Within the body, the logs of runs go to Prefect's server and not to the terminal; at the end all that waits is sent."""
    import prefect.main  # noqa: F401  # it sets the levels when it is imported
    from prefect.logging.handlers import APILogHandler

    found = [logging.getLogger(name) for name in RUN_LOGGERS]
    before = [(logger.level, logger.propagate) for logger in found]
    for logger in found:
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        with suppress(Exception):
            APILogHandler().flush()
        for logger, (level, propagate) in zip(found, before, strict=True):
            logger.setLevel(level)
            logger.propagate = propagate


class ProgressBar:
    """A bar among the artifacts of the present run; made when the first state is shown, and sent by a thread of its own."""

    def __init__(self) -> None:
        from prefect.context import FlowRunContext, TaskRunContext

        self._within = bool(FlowRunContext.get() or TaskRunContext.get())
        self._context = contextvars.copy_context()
        self._sending: threading.Thread | None = None
        self._artifact_id: Any = None

    def show(self, share: float, text: str, last: bool = False) -> None:
        """Show the share of the work that is done (0 to 1). A state that comes while another is being sent is left out, unless it is the last."""
        if not self._within:
            return
        if self._sending and last:
            self._sending.join(PATIENCE_S)
        if self._sending and self._sending.is_alive():
            return
        self._sending = threading.Thread(target=self._context.copy().run, args=(self._send, share, text), daemon=True)
        self._sending.start()
        if last:
            self._sending.join(PATIENCE_S)

    def _send(self, share: float, text: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        percent = round(100 * min(1.0, max(0.0, share)), 1)
        with suppress(Exception):  # nor is a bar
            if self._artifact_id is None:
                self._artifact_id = create_progress_artifact(percent, description=text)
            else:
                update_progress_artifact(self._artifact_id, percent, description=text)


class _OneSentence(logging.Filter):
    """Replaces the traceback of an EngageError by its text."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        error = engage_error(record.exc_info[1]) if record.exc_info else None
        if error is not None:
            record.msg, record.args, record.exc_info, record.exc_text = str(error), (), None, None
        return True


class _ToRun(logging.Handler):
    """Writes what the method warns of (a wait for the store, damaged files) to the run's log too."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        if loggers():
            log(record.getMessage(), record.levelno)
        elif not logging.getLogger().handlers and logging.lastResort:
            logging.lastResort.handle(record)


def _flow_run(logger: Logger) -> Any:
    return (getattr(logger, "extra", None) or {}).get("flow_run_id")


logging.getLogger("engage").addHandler(_ToRun(logging.WARNING))
_one_sentence = _OneSentence()
for _name in RUN_LOGGERS:
    logging.getLogger(_name).addFilter(_one_sentence)
progress.also_to(_log_and_send, ProgressBar)
