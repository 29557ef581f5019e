"""MLflow's SQLite file of a home: made whole, remade where a killed first start left half of it, and moved with its home.

MLflow migrates a new database step by step, without a transaction around them: a kill in between leaves a file that it can neither
use nor mend. All functions expect that no other process of the home is at work on the file (`mlflow.lock`).
"""

import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from engage.home import ARTIFACTS

_PATHS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "model_versions": "storage_location",
    "logged_models": "artifact_location",
}
"""Tables and columns in which MLflow keeps whole paths of artifacts."""


def prepare(path: Path, experiment: str, create: Callable[[str, str], None], tell: Callable[[str], None]) -> None:
    """Let `path` be a whole database that holds the experiment, with its artifacts beside it.

    `create(ending, location)` has MLflow make one that is named as `path` with that ending, its artifacts at the location.

    A file that nothing was recorded in, and that lacks the experiment, is set aside. `tell` takes one line on what was done. What
    is no SQLite file is left as it is: MLflow says so. sqlite3.OperationalError where the file is locked or cannot be written.
    """
    location = (path.parent / ARTIFACTS).as_uri()
    try:
        if path.exists() and _is_half_made(path, experiment):
            aside = _set_aside(path)
            tell(f"{path}: was left half made by a start that was killed, and held no run; it is now {aside.name}")
        if not path.exists():
            _make(path, create, location)
        elif (before := _location(path, experiment)) and before != location and before.endswith(f"/{ARTIFACTS}"):
            _move(path, before, location)
            tell(f"{path}: the home was at {before.removesuffix(f'/{ARTIFACTS}')}; MLflow's paths now name this one")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return


def _make(path: Path, create: Callable[[str, str], None], location: str) -> None:
    """Under another name, renamed when all is done; what killed starts left is removed."""
    for left in path.parent.glob(f"{path.name}.partial-*"):
        left.unlink(missing_ok=True)
    ending = f".partial-{uuid.uuid4().hex[:8]}"
    create(ending, location)
    path.with_name(path.name + ending).replace(path)


def _is_half_made(path: Path, experiment: str) -> bool:
    """Whether there is neither the experiment nor anything else that somebody recorded."""
    if path.stat().st_size == 0:
        return True
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
        if tables and not tables & {"experiments", "alembic_version", "_alembic_tmp_experiments"}:
            return False  # of another program
        for table, where in {
            "experiments": f"name = '{experiment}' or experiment_id <> 0",
            "runs": "true",
            "registered_models": "true",
        }.items():
            if table in tables and connection.execute(f"select 1 from {table} where {where} limit 1").fetchone():
                return False
    return True


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.half-made-{number}")).exists():
        number += 1
    path.rename(aside)
    for ending in ("-journal", "-wal", "-shm"):  # they belong to that file, not to the next one
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    return aside


def _location(path: Path, experiment: str) -> str | None:
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        found = connection.execute("select artifact_location from experiments where name = ?", [experiment]).fetchone()
    return str(found[0]) if found and found[0] else None


def _move(path: Path, before: str, now: str) -> None:
    """The home has been moved or copied: its runs' artifacts are beside the database, wherever that lies."""
    with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
        for table, column in _PATHS.items():
            connection.execute(
                f"update {table} set {column} = ? || substr({column}, ?) where {column} = ? or substr({column}, 1, ?) = ?",
                [now, len(before) + 1, before, len(before) + 1, f"{before}/"],
            )
