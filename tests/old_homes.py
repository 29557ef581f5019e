"""Homes that an earlier version of engage left, packed under fixtures/homes/ by the commit that wrote them."""

import tarfile
from pathlib import Path

from engage.store import Outbox, TrajectoryStore

HOMES = Path(__file__).parent / "fixtures" / "homes"
FIRST = "1bcfb22"


def old_home(folder: Path, commit: str = FIRST) -> Path:
    """The home, unpacked below `folder`."""
    with tarfile.open(HOMES / f"{commit}.tar.xz") as packed:
        packed.extractall(folder / "home", filter="data")
    return folder / "home"


def old_store(folder: Path) -> tuple[TrajectoryStore, Outbox]:
    """Its store and its outbox."""
    home = old_home(folder)
    return TrajectoryStore(home / "engage.duckdb", wait_s=10.0), Outbox(home / "outbox")
