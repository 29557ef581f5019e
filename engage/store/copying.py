"""Copies a store's file by DuckDB, because opening the file otherwise would drop the process's lock on it."""

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from engage.errors import StoreError

PARTIAL = "copying"
"""Ending of a copy that is not whole yet."""


def attached(path: str, read_only: bool, config: Any) -> Any:
    """A connection to which the file is attached as `store`; unlike one to the file itself, it may attach others."""
    import duckdb

    connection = duckdb.connect(config={"autoload_known_extensions": False, "autoinstall_known_extensions": False})
    try:
        connection.execute(f"attach '{_quoted(path)}' as store (read_only)")
    except duckdb.Error:
        connection.close()
        raise
    return connection


def copy_whole(connection: Any, path: Path, target: Path) -> None:
    """Copy the store that is `attached`, which lies at `path`, to `target`, whole or not at all. Raises DuckDB's errors and StoreError."""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.{PARTIAL}")
    try:
        connection.execute(f"attach '{_quoted(partial)}' as copied")
        connection.execute("copy from database store to copied")
        connection.execute("detach copied")  # flushes it to disk
        shutil.copymode(path, partial)
        partial.replace(target)
    except OSError as error:
        raise StoreError(f"{target}: the copy of the database cannot be written: {error.strerror}") from error
    finally:
        for left in (partial, partial.with_name(f"{partial.name}.wal")):
            with suppress(OSError):
                left.unlink(missing_ok=True)


def remove_partial_copies(path: Path) -> None:
    """Remove what killed copies left beside the store; nobody else may be copying."""
    for left in path.parent.glob(f".{path.name}*.{PARTIAL}*"):
        with suppress(OSError):
            os.unlink(left)


def older_copies(path: Path) -> list[Path]:
    """The copies that were kept before migrations, the oldest version first."""
    copies = (copy for copy in path.parent.glob(f"{path.name}.schema-*") if copy.is_file())
    found = {copy.name.rpartition("-")[2]: copy for copy in copies}
    versions = [version for version in found if version.isdecimal()]  # not what lies beside one, such as DuckDB's log
    return [found[version] for version in sorted(versions, key=int)]


def copy_of_version(path: Path, version: int) -> Path:
    """Where the copy of a store of that version is kept."""
    return path.with_name(f"{path.name}.schema-{version}")


def _quoted(path: Path | str) -> str:
    return str(path).replace("'", "''")
