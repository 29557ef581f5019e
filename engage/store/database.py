"""Opens the DuckDB file for short moments: one thread at a time within the process, waiting a limited time for other processes.

Only DuckDB opens the file, because closing any descriptor of it would drop the process's lock. A new file gets its name only when
its tables are committed. A file that an earlier version left without tables gets them.
"""

import logging
import math
import os
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from engage.errors import ConfigError, StoreError, StoreLocked
from engage.store.copying import attached, copy_of_version, copy_whole
from engage.store.schema import bring_up_to_date, is_current, newest_version, stored_version
from engage.store.trouble import explain, explain_failure, holder, is_damaged, is_locked

_CLOSED = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "lock_configuration": True,
}
"""No files beside the store, and no extensions: DuckDB would fetch one from the network to open a SQLite file."""
_HEADER_BYTES = 12_288
"""Size of a DuckDB file without a table; a shorter file is empty."""
_PARTIAL_AGE_S = 300
_LONGEST_PAUSE_S = 2.0
FIRST_WARNING_S, WARN_EVERY_S = 10.0, 300.0
_STOP_AGAIN_S = 0.1
_TELL_AFTER_S = 2.0
T = TypeVar("T")
_log = logging.getLogger(__name__)
_in_use: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def reading(path: Path, wait_s: float, on_wait: Callable[[str], None] | None = None) -> Iterator[Any]:
    """A connection that can neither write nor reach other files; ConfigError if there is no store yet, StoreError if it cannot be opened.

    `on_wait` is called once, with a sentence, if another program has kept the file for two seconds. A store of an older version is migrated first. Statements on the connection raise DuckDB's own errors, except for a damaged file (StoreError).
    """
    import duckdb

    _check_file(path)
    if not path.exists():
        raise ConfigError(f"{path}: no cycle has been run yet; run `make run` or `engage nightly`")
    with _turn(path, wait_s):
        _make_whole(path)
        connection = _open(path, wait_s, read_only=True, on_wait=on_wait)
        try:
            if not is_current(connection, path):
                connection.close()
                _bring_up_to_date(path, wait_s)
                connection = _open(path, wait_s, read_only=True)
            yield connection
        except duckdb.Error as error:
            if is_damaged(error):
                raise StoreError(explain(path, error)) from error
            raise
        finally:
            connection.close()


@contextmanager
def writing(path: Path, wait_s: float) -> Iterator[Any]:
    """One transaction on the store, which is created if missing: committed at the end, rolled back on any error.

    DuckDB's errors are raised as StoreError, except violated constraints (duckdb.IntegrityError).
    """
    import duckdb

    with _turn(path, wait_s):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent}: cannot be created: {error.strerror}") from error
        _check_file(path)
        _make_whole(path)
        remove_old_partials(path)
        connection = _open(path, wait_s, read_only=False)
        try:
            if not is_current(connection, path):
                connection = _reopened(connection, path, wait_s)
                _migrate(connection, path)
            connection.begin()
            yield connection
            connection.commit()
        except duckdb.IntegrityError:
            raise
        except duckdb.Error as error:
            raise StoreError(explain_failure(path, error)) from error
        finally:
            connection.close()


def interruptible(connection: Any, work: Callable[[], T]) -> T:
    """What `work` returns or raises; Ctrl-C, or what another signal raises here, stops the statement that it runs on the connection.

    DuckDB runs some statements to their end before Python may handle a signal, so `work` has a thread of its own.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return done.result()
    except BaseException:
        while not done.done():
            connection.interrupt()
            wait([done], timeout=_STOP_AGAIN_S)
        raise


def _bring_up_to_date(path: Path, wait_s: float) -> None:
    """Migrate the store for a reader; StoreError if the file cannot be written or is open elsewhere."""
    import duckdb

    try:
        connection = _open(path, wait_s, read_only=False)
        try:
            connection = _reopened(connection, path, wait_s)
            _migrate(connection, path)
        except duckdb.Error as error:
            raise StoreError(explain_failure(path, error)) from error
        finally:
            connection.close()
    except StoreError as error:
        if "the disk is full" in str(error):
            raise
        raise StoreError(
            f"{error} (it was written by an older version of engage and has to be brought up to date once, which writes to it)"
        ) from error


def _reopened(connection: Any, path: Path, wait_s: float) -> Any:
    """The connection, or another one after a store of an older version was copied (`copy_of_version`); a copy that is there stays."""
    version = stored_version(connection, path)
    if version is None or version >= newest_version() or (kept := copy_of_version(path, version)).is_file():
        return connection
    connection.close()
    reader = _open(path, wait_s, read_only=True, connect=attached)
    try:
        copy_whole(reader, path, kept)
    finally:
        reader.close()
    return _open(path, wait_s, read_only=False)


def _migrate(connection: Any, path: Path) -> None:
    """Migrate in one transaction, so that a kill leaves the older version intact."""
    if not is_current(connection, path):
        connection.begin()
        bring_up_to_date(connection, path)
        connection.commit()


def _make_whole(path: Path) -> None:
    """Create a missing file with its tables under a temporary name, then rename it, so that a kill leaves all of it or nothing.

    A beginning of a DuckDB file, shorter than its headers, counts as missing: a killed first start leaves such a file.
    """
    import duckdb

    if path.exists() and not _is_stump(path):
        return
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        connection = _open(partial, 0.0, read_only=False)
        try:
            _migrate(connection, partial)
        finally:
            connection.close()
        if path.exists() and _is_stump(path):
            partial.replace(path)
        else:
            with suppress(FileExistsError):  # another process was faster
                os.link(partial, path)
    except duckdb.Error as error:
        raise StoreError(explain_failure(path, error)) from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be created: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _is_stump(path: Path) -> bool:
    """Whether the file comes from a killed first start: empty, or the beginning of DuckDB's headers (8 bytes of checksum, then DUCK)."""
    try:
        if path.stat().st_size >= _HEADER_BYTES:
            return False
        head = path.read_bytes()[:12]
    except OSError:  # DuckDB explains it
        return False
    return not head.strip(b"\0") or head[8:] == b"DUCK"


def remove_old_partials(path: Path) -> None:
    """Remove what processes that were killed minutes ago left of this file under temporary names."""
    for left in path.parent.glob(f".{path.name}.*.partial*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _PARTIAL_AGE_S:
                left.unlink()


def _check_file(path: Path) -> None:
    """Refuse pipes and devices, because opening one could wait forever, and a link to a missing file, because a new one would replace it."""
    if path.is_symlink() and not path.exists():
        raise StoreError(
            f"{path}: is a link to {os.readlink(path)}, which is missing; restore that, or remove the link"
        )
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: is not a file; move it away")


@contextmanager
def _turn(path: Path, wait_s: float) -> Iterator[None]:
    """Let threads take turns, because DuckDB refuses two kinds of connection to one file within a process."""
    lock = _in_use[path.absolute()]
    if not lock.acquire(timeout=wait_s):
        raise StoreError(f"{path}: another thread has kept the database for more than {wait_s:g} s; try again")
    try:
        yield
    finally:
        lock.release()


def _open(
    path: Path,
    wait_s: float,
    *,
    read_only: bool,
    on_wait: Callable[[str], None] | None = None,
    connect: Callable[..., Any] | None = None,
) -> Any:
    """A connection to the file, after waiting for other processes; `connect` opens it (default: DuckDB's, closed to other files)."""
    import duckdb
    from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

    attempts = Retrying(
        retry=retry_if_exception(is_locked),
        stop=stop_before_delay(wait_s),
        wait=wait_random_exponential(multiplier=0.05, max=_LONGEST_PAUSE_S),
        before_sleep=_Told(path, wait_s, on_wait),
        reraise=True,
    )
    try:
        return attempts(connect or duckdb.connect, str(path), read_only=read_only, config=_CLOSED)
    except duckdb.Error as error:
        kind = StoreLocked if is_locked(error) else StoreError
        raise kind(explain(path, error)) from error


class _Told:
    """Tells of a long wait: `on_wait` once, after _TELL_AFTER_S; without it, a warning in the log after FIRST_WARNING_S and then every WARN_EVERY_S."""

    def __init__(self, path: Path, wait_s: float, on_wait: Callable[[str], None] | None) -> None:
        self._path, self._wait_s, self._on_wait = path, wait_s, on_wait
        self._next_s = _TELL_AFTER_S if on_wait else FIRST_WARNING_S

    def __call__(self, state: Any) -> None:
        waited_s = (state.seconds_since_start or 0.0) + state.upcoming_sleep
        if waited_s < self._next_s:
            return
        self._next_s += math.inf if self._on_wait else WARN_EVERY_S
        held = f"{self._path}: the database is open in {holder(state.outcome.exception())}"
        if self._on_wait:
            self._on_wait(f"{held}; waiting for up to {self._wait_s:g} s, Ctrl-C ends")
        else:
            _log.warning("%s; waiting for its end, for %.0f more minutes at most", held, (self._wait_s - waited_s) / 60)
