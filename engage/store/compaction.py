"""Writes the store anew without the space of deleted rows, because DuckDB gives none of it back to the disk.

The new file takes the old one's name in one step: a kill at any point leaves the one or the other whole.
"""

import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from engage.errors import StoreError
from engage.store.database import _open, _turn, writing
from engage.store.trouble import explain_failure

_SETTLE_S = 0.2
"""Seconds for which the old file stays locked after the new one has its name: whoever opened it just before must not write to it."""
_ATTEMPTS = 3
_ENDING = "compact"


def compact(path: Path, wait_s: float) -> int:
    """Copy the store to a new file that replaces it; returns the bytes that this freed. The old file is locked for writers meanwhile.

    Needs as much free space as the rows take. Two compactions of one store must not run at once. StoreError as `writing`.
    """
    path = path.resolve()
    for left in path.parent.glob(f".{path.name}.*.{_ENDING}*"):  # of a killed compaction
        with suppress(OSError):
            left.unlink()
    before = path.stat().st_size
    for _ in range(_ATTEMPTS):
        with writing(path, wait_s):  # moves DuckDB's log into the file
            pass
        if _replaced(path, wait_s):
            return before - path.stat().st_size
    raise StoreError(f"{path}: other programs are writing to it all the time; compact it later")


def free_share(path: Path, wait_s: float) -> float:
    """Share of the file, 0 to 1, that belongs to deleted rows."""
    with writing(path, wait_s) as connection:
        ((total, free),) = connection.execute(
            "select total_blocks, free_blocks from pragma_database_size() where database_name = current_database()"
        ).fetchall()
    return float(free / total) if total else 0.0


def _replaced(path: Path, wait_s: float) -> bool:
    """Copy and rename; False if a process that was killed just now has left a log beside the file."""
    import duckdb

    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.{_ENDING}")
    with _turn(path, wait_s):
        connection = _open(path, wait_s, read_only=True, connect=_attached)
        try:
            if path.with_name(f"{path.name}.wal").exists():
                return False
            connection.execute(f"attach '{_quoted(partial)}' as compacted")
            connection.execute("copy from database store to compacted")
            connection.execute("detach compacted")  # flushes it to disk
            shutil.copymode(path, partial)
            partial.replace(path)
            time.sleep(_SETTLE_S)
        except duckdb.Error as error:
            raise StoreError(explain_failure(path, error)) from error
        finally:
            connection.close()
            for left in (partial, partial.with_name(f"{partial.name}.wal")):
                with suppress(OSError):
                    left.unlink(missing_ok=True)
    return True


def _attached(path: str, read_only: bool, config: Any) -> Any:
    """A connection to which the file is attached as `store`; unlike one to the file itself, it may attach others."""
    import duckdb

    connection = duckdb.connect(config={"autoload_known_extensions": False, "autoinstall_known_extensions": False})
    try:
        connection.execute(f"attach '{_quoted(path)}' as store (read_only)")
    except duckdb.Error:
        connection.close()
        raise
    return connection


def _quoted(path: Path | str) -> str:
    return str(path).replace("'", "''")
