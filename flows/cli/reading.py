"""Which database the commands that look read: the copy for readers, which keeps no night waiting, or the store itself."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from engage.errors import EngageError
from engage.home import Home
from engage.store import TrajectoryStore, health, write_snapshot


def store_to_read(home: Home, live: bool, tell: Callable[[str], None]) -> TrajectoryStore:
    """The copy, if there is one that can be read, else the store; with `live` always the store.

    `tell` gets one line: of when the copy is, and whether the store has changed since; or why the store is read although there is a copy.
    """
    copy = home.snapshot
    if live or not copy.exists() or not home.database.exists():
        return TrajectoryStore(home.database, on_wait=tell)
    found = health(copy, 0.0)
    if not found.problem and found.version != found.newest:
        store = TrajectoryStore(home.database, on_wait=tell)
        store.cycle_ids()  # this brings a store of an older version up to date
        with suppress(EngageError, OSError):
            write_snapshot(home.database, copy, 0.0)
        found = health(copy, 0.0)
    if found.problem or found.version != found.newest:
        why = found.problem or f"{copy}: of another version of engage; the next stage of a cycle writes it anew"
        tell(f"{why}; reading the store instead")
        return TrajectoryStore(home.database, on_wait=tell)
    of, changed = copy.stat().st_mtime, _changed_s(home.database)
    later = f"; the store has changed since ({_time(changed)}), --live reads it" if changed > of else ""
    tell(f"read from {copy.name} of {_time(of)}{later}")
    return TrajectoryStore(copy, on_wait=tell)


def _changed_s(database: Path) -> float:
    """When the store or DuckDB's log beside it was last written, in seconds since 1970."""
    files = (database, database.with_name(f"{database.name}.wal"))
    return max(file.stat().st_mtime for file in files if file.exists())


def _time(seconds: float) -> str:
    """In this machine's time zone, as `ls` shows it."""
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
