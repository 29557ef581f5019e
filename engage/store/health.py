"""The state of a store's file, for whoever looks after it. Changes nothing: an older store is not migrated."""

from dataclasses import dataclass
from pathlib import Path

from engage.errors import StoreError, StoreLocked
from engage.store.database import _check_file, _open, _turn
from engage.store.schema import newest_version, stored_version


@dataclass(frozen=True)
class Health:
    """State of a store's file.

    `size` in bytes; `version` of its tables (None: not known) and that of this engage; `problem` is why it cannot be read, `locked`
    whether that is because another program has it open.
    """

    size: int
    version: int | None
    newest: int
    problem: str = ""
    locked: bool = False


def health(path: Path, wait_s: float) -> Health:
    """The state of the store at a path that exists."""
    newest, size = newest_version(), 0
    try:
        size = path.stat().st_size
        _check_file(path)
        with _turn(path, wait_s):
            connection = _open(path, wait_s, read_only=True)
            try:
                return Health(size, stored_version(connection, path), newest)
            finally:
                connection.close()
    except OSError as error:
        return Health(size, None, newest, f"{path}: cannot be read: {error.strerror}")
    except StoreError as error:
        return Health(size, None, newest, str(error), isinstance(error, StoreLocked))
