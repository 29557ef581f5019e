"""Exports of cycles as Parquet files, and a list of the folders that hold them, so that a person's data can be taken out of them too."""

import json
from pathlib import Path

from filelock import FileLock

from engage.errors import StoreError
from engage.files.writing import write_whole
from engage.home import Home
from engage.store import export_cycle
from engage.workspace import Workspace

LIST = "exports.json"


def export_to(workspace: Workspace, cycle_id: str, out: Path) -> dict[str, int]:
    """Write the cycle's rows into the folder; returns the numbers of rows by table. StoreError if it cannot be written."""
    home = workspace.home
    try:
        with FileLock(home.path / f"{LIST}.lock"):
            write_whole(home.path / LIST, json.dumps(_noted(home) | {str(out.absolute()): cycle_id}, indent=1))
    except OSError as error:
        raise StoreError(f"{home.path / LIST}: cannot be written: {error.strerror}") from error
    return export_cycle(home.database, cycle_id, out, workspace.wait_s)


def exports(home: Home) -> dict[str, str]:
    """Folder to cycle of the exports that are there now."""
    return {out: cycle for out, cycle in _noted(home).items() if (Path(out) / "cycle.parquet").exists()}


def _noted(home: Home) -> dict[str, str]:
    """All that were ever written: a folder that is missing may be on a disk that is not mounted."""
    try:
        found = json.loads((home.path / LIST).read_text(encoding="utf-8"))
        return {str(out): str(cycle) for out, cycle in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}
