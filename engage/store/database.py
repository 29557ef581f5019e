"""Opens the DuckDB file for short moments: one thread at a time within the process, waiting a limited time for other processes.

Only DuckDB opens the file, because closing any descriptor of it would drop the process's lock. A new file gets its name only when
its tables are committed. A file that an earlier version left without tables gets them.
"""

import os
import re
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from engage.errors import ConfigError, StoreError
from engage.store.queries import first_line
from engage.store.schema import bring_up_to_date, is_current

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
_STOP_AGAIN_S = 0.1
_TELL_AFTER_S = 2.0
T = TypeVar("T")
_in_use: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def reading(path: Path, wait_s: float, on_wait: Callable[[str], None] = lambda _: None) -> Iterator[Any]:
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
            if _is_damaged(error):
                raise StoreError(_explain(path, error)) from error
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
        _remove_old_partials(path)
        connection = _open(path, wait_s, read_only=False)
        try:
            _migrate(connection, path)
            connection.begin()
            yield connection
            connection.commit()
        except duckdb.IntegrityError:
            raise
        except duckdb.Error as error:
            raise StoreError(_explain_failure(path, error)) from error
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
            _migrate(connection, path)
        except duckdb.Error as error:
            raise StoreError(_explain_failure(path, error)) from error
        finally:
            connection.close()
    except StoreError as error:
        raise StoreError(
            f"{error} (it was written by an older version of engage and has to be brought up to date once, which writes to it)"
        ) from error


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
        path.unlink(missing_ok=True)
        connection = _open(partial, 0.0, read_only=False)
        try:
            _migrate(connection, partial)
        finally:
            connection.close()
        with suppress(FileExistsError):  # another process was faster
            os.link(partial, path)
    except duckdb.Error as error:
        raise StoreError(_explain_failure(path, error)) from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be created: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _is_stump(path: Path) -> bool:
    """Whether the file comes from a killed first start: empty, or the beginning of DuckDB's headers (8 bytes of checksum, then DUCK)."""
    if path.stat().st_size >= _HEADER_BYTES:
        return False
    try:
        head = path.read_bytes()[:12]
    except OSError:  # DuckDB explains it
        return False
    return not head.strip(b"\0") or head[8:] == b"DUCK"


def _remove_old_partials(path: Path) -> None:
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


def _open(path: Path, wait_s: float, *, read_only: bool, on_wait: Callable[[str], None] = lambda _: None) -> Any:
    import duckdb
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

    said: list[str] = []

    def tell(state: RetryCallState) -> None:
        if not said and (state.seconds_since_start or 0.0) + state.upcoming_sleep >= _TELL_AFTER_S:
            error = state.outcome.exception() if state.outcome else None
            said.append(
                f"{path}: the database is open in {_holder(error)}; waiting for up to {wait_s:g} s, Ctrl-C ends"
            )
            on_wait(said[0])

    attempts = Retrying(
        retry=retry_if_exception(_is_locked),
        stop=stop_before_delay(wait_s),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        before_sleep=tell,
        reraise=True,
    )
    try:
        return attempts(duckdb.connect, str(path), read_only=read_only, config=_CLOSED)
    except duckdb.Error as error:
        raise StoreError(_explain(path, error)) from error


def _holder(error: BaseException | None) -> str:
    """The program that has the file, as DuckDB names it."""
    holder = re.search(r"\(PID (\d+)\)", str(error))
    return f"another program (process {holder[1]})" if holder else "another program"


def _is_locked(error: BaseException) -> bool:
    return "set lock on file" in str(error) or "different configuration" in str(error)


def _is_damaged(error: Exception) -> bool:
    """Turn DuckDB's errors about a damaged file into StoreError; blocks are checked when they are read, so they can come late."""
    import duckdb

    known = ("Corrupt database file", "Could not read enough bytes from file", "not a valid DuckDB database file")
    return isinstance(error, duckdb.FatalException | duckdb.SerializationException) or any(
        sign in str(error) for sign in known
    )


def _explain_failure(path: Path, error: Exception) -> str:
    """A statement that failed while the file was written."""
    if "No space left" in str(error):
        return (
            f"{path}: the disk is full; free some space and run the same command again: nothing stored is lost, and what "
            "is not stored yet waits in the outbox"
        )
    return _explain(path, error) if _is_damaged(error) else f"{path}: {first_line(error)}"


def _explain(path: Path, error: Exception) -> str:
    import duckdb

    if _is_locked(error):
        return f"{path}: the database is open in {_holder(error)}; close its SQL session; what was collected waits in the outbox"
    if refused := re.search("Permission denied|Read-only file system", str(error)):
        return f"{path}: the database cannot be opened: {refused[0].lower()}"
    if "storage version" in str(error) or "read a database file with version" in str(error):
        age = "an older" if "an older" in str(error) else "a newer"
        return (
            f"{path}: written by {age} DuckDB than the {duckdb.__version__} installed here, which cannot read it; "
            f"install {age} version of the package duckdb, or name another ENGAGE_HOME"
        )
    if "external extensions" in str(error):
        return f"{path}: a database of another program (of SQLite, perhaps), not of DuckDB; move it away or name another ENGAGE_HOME"
    return (
        f"{path}: not a DuckDB database, or damaged; move it away and run `make run` or `engage nightly` "
        f"({first_line(error)})"
    )
