"""Why DuckDB's file cannot be opened, read or written, in one sentence. Opens nothing."""

import re
from pathlib import Path

from engage.store.queries import first_line


def holder(error: BaseException | None) -> str:
    """The program that has the file, as DuckDB names it."""
    process = re.search(r"\(PID (\d+)\)", str(error))
    return f"another program (process {process[1]})" if process else "another program"


def is_locked(error: BaseException) -> bool:
    """Whether another connection has the file."""
    return "set lock on file" in str(error) or "different configuration" in str(error)


def is_damaged(error: Exception) -> bool:
    """Whether the file is damaged. Blocks are checked when they are read, so such an error can come late."""
    import duckdb

    known = ("Corrupt database file", "Could not read enough bytes from file", "not a valid DuckDB database file")
    return isinstance(error, duckdb.FatalException | duckdb.SerializationException) or any(
        sign in str(error) for sign in known
    )


def explain_failure(path: Path, error: Exception) -> str:
    """A statement that failed while the file was written."""
    if "No space left" in str(error):
        return (
            f"{path}: the disk is full; free some space and run the same command again: nothing stored is lost, and what "
            "is not stored yet waits in the outbox"
        )
    return explain(path, error) if is_damaged(error) else f"{path}: {first_line(error)}"


def explain(path: Path, error: Exception) -> str:
    """A file that could not be opened, and what to do."""
    import duckdb

    if is_locked(error):
        return f"{path}: the database is open in {holder(error)}; close its SQL session; what was collected waits in the outbox"
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
    if path.name == "read.duckdb":
        return f"{path}: not a DuckDB database, or damaged; the next night writes this copy anew ({first_line(error)})"
    return (
        f"{path}: not a DuckDB database, or damaged; move it away and run `engage restore` with a backup, into a new home; or give a "
        "copy of read.duckdb, the store after the last night, this name. Without them `engage nightly` begins anew, without what was "
        f"stored ({first_line(error)})"
    )
