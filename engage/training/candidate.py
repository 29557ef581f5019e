"""The cycle's candidate. One file in the cycle's folder names its adapter; everything else is read from that adapter.

The adapter's card has its training data, its fingerprint is part of the label of its dialogues, and MLflow's registry finds its
version by its folder.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engage.files.writing import write_whole
from engage.models import AdapterCard

FILE = Path("align") / "candidate"


@dataclass(frozen=True)
class Candidate:
    """The adapter that the cycle's evaluation judges: the one that was trained or requested last."""

    adapter: str

    @property
    def metrics(self) -> Mapping[str, float]:
        """The figures on its card, see `train_dpo`; ModelError if it has no card."""
        return AdapterCard.read(self.adapter).metrics


def name_candidate(folder: Path, adapter: Path | None) -> None:
    """Record in the cycle's `folder` which adapter is its candidate; None: nothing was trained."""
    write_whole(folder / FILE, str(adapter or ""))  # a kill in between must not leave "no candidate"


def latest_candidate(folder: Path, find: Callable[[str], Path]) -> Candidate | None:
    """The candidate recorded last; `find` maps a recorded folder to its place now, in case the home was moved."""
    path = folder / FILE
    named = path.read_text(encoding="utf-8") if path.is_file() else ""
    return Candidate(str(find(named))) if named else None
