"""A copy of the store for readers: whoever has it open, in DuckDB's own client for a whole night, say, keeps no night waiting."""

import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from engage.store.database import reading, remove_old_partials, writing


def write_snapshot(database: Path, target: Path, wait_s: float) -> None:
    """Copy the store to `target`, whole or not at all; a reader of the earlier copy keeps that one. StoreError as `reading`; OSError for a full disk.

    What a killed process left in DuckDB's log beside the file is first moved into the file.
    """
    if database.with_name(f"{database.name}.wal").exists():
        with writing(database, wait_s):
            pass
    remove_old_partials(target)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        with reading(database, wait_s):  # nobody writes meanwhile; the lock ends with the copy, whose closing drops it
            shutil.copyfile(database, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
