"""Tonight's candidate. One file in the cycle's folder names its adapter; whatever else is said of it is read from that adapter.

The adapter's card says on what it was trained, its fingerprint under what name its dialogues are stored, and MLflow's registry
finds its version by its folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engage.models import AdapterCard

FILE = Path("align") / "candidate"


@dataclass(frozen=True)
class Candidate:
    """The adapter that the cycle's evaluation judges: the one that was trained, or asked for again, last."""

    adapter: str

    @property
    def trained_pairs(self) -> int:
        """On how many pairs it was trained, from its card; ModelError where there is none."""
        return int(AdapterCard.read(self.adapter).metrics["pairs"])


def name_candidate(folder: Path, adapter: Path | None) -> None:
    """Say in the cycle's `folder` which adapter is its candidate; None where nothing was trained."""
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")  # a kill in between must not leave "no candidate"
    partial.write_text(str(adapter or ""), encoding="utf-8")
    partial.replace(path)


def latest_candidate(folder: Path, find: Callable[[str], Path]) -> Candidate | None:
    """The one that was named last; `find` says where a folder lies that was named before the home was moved."""
    path = folder / FILE
    named = path.read_text(encoding="utf-8") if path.is_file() else ""
    return Candidate(str(find(named))) if named else None
