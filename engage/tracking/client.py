"""MLflow's client as the trackers use it: it waits for a database that is locked and a server that is away; other failures are one sentence."""

import contextvars
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from engage import progress
from engage.errors import StoreError, StoreLocked
from engage.home import Home
from engage.tracking.text import passes, trouble

LONGEST_PAUSE_S = 10.0
FIRST_LINE_S, LINE_EVERY_S = 10.0, 300.0
"""When a wait is first told, and how often after that."""
LOCKED_S = 3.0
"""After how long a request that a locked database holds up is told."""
_log = logging.getLogger(__name__)
_lock_told_s = -LINE_EVERY_S
T = TypeVar("T")


@dataclass(frozen=True)
class Champion:
    """The promoted adapter: registry version and folder."""

    version: str
    adapter: Path


@dataclass(frozen=True)
class CycleRun:
    """A cycle's run as the list of runs shows it; `status` is MLflow's."""

    cycle_id: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]


@contextmanager
def told(home: Home, through: Collection[str] = ()) -> Iterator[None]:
    """Raise StoreError, in one sentence, if MLflow cannot be used: no server, a damaged or full database, an unknown address.

    StoreLocked for what passes by itself: a locked database, a server that is away. MLflow's errors with a code in `through` are passed
    on unchanged. While SQLite waits for a lock, a line says so.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    late = threading.Timer(LOCKED_S, contextvars.copy_context().run, (_tell_of_lock, home.tracking_uri))
    late.daemon = True
    late.start()
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ModuleNotFoundError) as error:
        if getattr(error, "error_code", None) in through:
            raise
        kind = StoreLocked if passes(error) else StoreError
        raise kind(trouble(error, home.tracking_uri, home.path)) from error
    finally:
        late.cancel()


def _tell_of_lock(uri: str) -> None:
    """One line if another program has locked the SQLite file, to the display, or as a warning where there is none."""
    global _lock_told_s
    file = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or time.monotonic() - _lock_told_s < LINE_EVERY_S or not _is_locked(file):
        return
    _lock_told_s = time.monotonic()
    line = f"{file}: another program keeps MLflow's database locked; waiting for it"
    if progress.is_shown():
        progress.tell(line)
    else:
        _log.warning("%s", line)


def _is_locked(file: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", timeout=0, uri=True)) as connection:
            connection.execute("begin immediate")
    except sqlite3.Error as error:
        return "locked" in str(error)
    return False


def patiently(wait_s: float, work: Callable[[], T]) -> T:
    """What `work` returns; while it raises StoreLocked it is done again, with growing pauses, for up to `wait_s` seconds. A long wait is told."""
    from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

    next_s = FIRST_LINE_S

    def tell(state: Any) -> None:
        nonlocal next_s
        waited_s = (state.seconds_since_start or 0.0) + state.upcoming_sleep
        if waited_s >= next_s:
            next_s = waited_s + LINE_EVERY_S
            left = (wait_s - waited_s) / 60
            progress.tell(f"{state.outcome.exception()}; waiting for {left:.0f} more minutes at most")

    attempts = Retrying(
        retry=retry_if_exception_type(StoreLocked),
        stop=stop_before_delay(wait_s),
        wait=wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE_S),
        before_sleep=tell,
        reraise=True,
    )
    return attempts(work)


class _NoTraceback(logging.Filter):
    """Drops MLflow's traceback of a database that is locked, full or damaged: it is waited for, or reported in one sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        return not record.exc_info


logging.getLogger("mlflow.store.db.utils").addFilter(_NoTraceback())


class Client:
    """MLflow's client. Raises StoreError if the server or the database is unavailable, after `wait_s` seconds if that may pass.

    MLflow's "not found" errors are passed on unchanged.
    """

    NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second: no such alias

    def __init__(self, home: Home, client: Any = None, wait_s: float = 0.0) -> None:
        import mlflow

        self.home, self._client, self._wait_s = home, client or mlflow.MlflowClient(), wait_s

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def asked(*args: Any, **kwargs: Any) -> Any:
            def once() -> Any:
                with told(self.home, self.NOT_FOUND):
                    return method(*args, **kwargs)

            return patiently(self._wait_s, once)

        return asked
