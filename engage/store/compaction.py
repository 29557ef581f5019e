"""Writes the store anew without the space of deleted rows, because DuckDB gives none of it back to the disk.

The new file takes the old one's name in one step: a kill at any point leaves the one or the other whole.
"""

import time
from pathlib import Path

from engage.errors import StoreError
from engage.store.copying import attached, copy_whole, remove_partial_copies
from engage.store.database import _open, _turn, writing
from engage.store.trouble import explain_failure

_SETTLE_S = 0.2
"""Seconds for which the old file stays locked after the new one has its name: whoever opened it just before must not write to it."""
_ATTEMPTS = 3


def compact(path: Path, wait_s: float) -> int:
    """Copy the store to a new file that replaces it; returns the bytes that this freed. The old file is locked for writers meanwhile.

    Needs as much free space as the rows take. Two compactions of one store must not run at once. StoreError as `writing`.
    """
    path = path.resolve()
    remove_partial_copies(path)
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

    with _turn(path, wait_s):
        connection = _open(path, wait_s, read_only=True, connect=attached)
        try:
            if path.with_name(f"{path.name}.wal").exists():
                return False
            copy_whole(connection, path, path)
            time.sleep(_SETTLE_S)
        except duckdb.Error as error:
            raise StoreError(explain_failure(path, error)) from error
        finally:
            connection.close()
    return True
