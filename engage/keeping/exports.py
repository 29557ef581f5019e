"""Exports of cycles as Parquet files, and a list of the folders that hold them, so that a person's data can be taken out of them too."""

import json
from pathlib import Path

from engage.errors import StoreError
from engage.files.writing import write_whole
from engage.home import Home
from engage.store import export_cycle
from engage.workspace import Workspace

LIST = "exports.json"


def export_to(workspace: Workspace, cycle_id: str, out: Path) -> dict[str, int]:
    """Write the cycle's rows into the folder; returns the numbers of rows by table. StoreError if it cannot be written."""
    known = exports(workspace.home) | {str(out.absolute()): cycle_id}
    try:
        write_whole(workspace.home.path / LIST, json.dumps(known, indent=1))
    except OSError as error:
        raise StoreError(f"{workspace.home.path / LIST}: cannot be written: {error.strerror}") from error
    return export_cycle(workspace.home.database, cycle_id, out, workspace.wait_s)


def exports(home: Home) -> dict[str, str]:
    """Folder to cycle of the exports that are still there."""
    try:
        found = json.loads((home.path / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(out): str(cycle) for out, cycle in found.items() if (Path(out) / "cycle.parquet").exists()}
