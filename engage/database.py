"""Opening the DuckDB file for a moment: one at a time within the process, waiting a bounded time for other processes.

The file is never opened by other means than DuckDB's: closing any descriptor of it would drop the process's lock.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engage.errors import StoreError
from engage.queries import first_line, statements

SCHEMA_VERSION = 1
_READ_ONLY = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "lock_configuration": True,
}
_in_use: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def reading(path: Path, wait_s: float) -> Iterator[Any]:
    """A connection that can neither write nor reach files; StoreError where there is no store yet or it cannot be opened.

    Errors of the statements run on it are DuckDB's own, except where the file turns out to be damaged (StoreError).
    """
    import duckdb

    if not path.exists():
        raise StoreError(f"{path}: no cycle has been run yet; run `make run` or `engage nightly`")
    _check_file(path)
    with _turn(path, wait_s):
        connection = _open(path, wait_s, read_only=True, config=_READ_ONLY)
        try:
            _check_version(connection, path, _tables(connection))
            yield connection
        except duckdb.Error as error:
            if _is_damaged(error):
                raise StoreError(_explain(path, error)) from error
            raise
        finally:
            connection.close()


@contextmanager
def writing(path: Path, wait_s: float) -> Iterator[Any]:
    """One transaction on the store, created where it is missing: committed at the end, rolled back on any error.

    What DuckDB refuses is a StoreError, except rows that break a constraint (duckdb.IntegrityError).
    """
    import duckdb

    with _turn(path, wait_s):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent}: cannot be created: {error.strerror}") from error
        _check_file(path)
        connection = _open(path, wait_s, read_only=False, config={"python_enable_replacements": False})
        try:
            connection.begin()
            _create_schema(connection, path)
            yield connection
            connection.commit()
        except duckdb.IntegrityError:
            raise
        except duckdb.Error as error:
            if "No space left" in str(error):
                raise StoreError(
                    f"{path}: the disk is full; free some space and run the same command again: nothing stored is lost, and what "
                    "is not stored yet waits in the outbox"
                ) from error
            known = _is_damaged(error)
            raise StoreError(_explain(path, error) if known else f"{path}: {first_line(error)}") from error
        finally:
            connection.close()


def _check_file(path: Path) -> None:
    """A pipe or a device would be waited for without end."""
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: is not a file; move it away")


@contextmanager
def _turn(path: Path, wait_s: float) -> Iterator[None]:
    """DuckDB refuses two kinds of connection to one file within a process: its threads take turns."""
    lock = _in_use[path.absolute()]
    if not lock.acquire(timeout=wait_s):
        raise StoreError(f"{path}: another thread has kept the database for more than {wait_s:g} s; try again")
    try:
        yield
    finally:
        lock.release()


def _open(path: Path, wait_s: float, *, read_only: bool, config: dict[str, Any]) -> Any:
    import duckdb
    from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

    attempts = Retrying(
        retry=retry_if_exception(_is_locked),
        stop=stop_before_delay(wait_s),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        reraise=True,
    )
    try:
        return attempts(duckdb.connect, str(path), read_only=read_only, config=config)
    except duckdb.Error as error:
        raise StoreError(_explain(path, error)) from error


def _is_locked(error: BaseException) -> bool:
    return "set lock on file" in str(error) or "different configuration" in str(error)


def _is_damaged(error: Exception) -> bool:
    """Blocks are checked when they are read, so that damage may show long after the file was opened."""
    import duckdb

    known = ("Corrupt database file", "Could not read enough bytes from file", "not a valid DuckDB database file")
    return isinstance(error, duckdb.FatalException | duckdb.SerializationException) or any(
        sign in str(error) for sign in known
    )


def _explain(path: Path, error: Exception) -> str:
    if _is_locked(error):
        holder = re.search(r"\(PID (\d+)\)", str(error))
        who = f"another program (process {holder[1]})" if holder else "another program"
        return f"{path}: the database is open in {who}; close its SQL session; what was collected waits in the outbox"
    if "Permission denied" in str(error):
        return f"{path}: the database cannot be opened: permission denied"
    return (
        f"{path}: not a DuckDB database, or damaged; move it away and run `make run` or `engage nightly` "
        f"({first_line(error)})"
    )


def _tables(connection: Any) -> set[str]:
    rows = connection.execute("select table_name from duckdb_tables() where not temporary").fetchall()
    return {name for (name,) in rows}


def _check_version(connection: Any, path: Path, tables: set[str]) -> None:
    if "schema_version" not in tables:
        raise StoreError(f"{path}: a DuckDB database of another program; name another file or folder")
    found = connection.execute("select version from schema_version").fetchall()
    if found != [(SCHEMA_VERSION,)]:
        have = found[0][0] if found else "none"
        raise StoreError(
            f"{path}: written by another version of engage (schema {have}, this one needs {SCHEMA_VERSION}); "
            "use that version, or move the file away"
        )


def _create_schema(connection: Any, path: Path) -> None:
    """Tables where they are missing; views and macros always, so that they are those of this version's files."""
    tables = _tables(connection)
    if tables:
        _check_version(connection, path, tables)
    for sql in statements("schema").values():
        connection.execute(sql)
    if tables:  # files of this version from before figures had a split
        connection.execute("alter table evaluation add column if not exists split varchar")
    for name, select in statements("score").items():
        connection.execute(f"create or replace view {name} as {select}")
    if not tables:
        connection.execute("insert into schema_version values ($version)", {"version": SCHEMA_VERSION})
