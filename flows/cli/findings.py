"""A line of `engage doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` is empty if there is nothing to do."""

    good: bool
    what: str
    remedy: str = ""

    @property
    def prevents(self) -> bool:
        """Whether a cycle cannot run, or whoever looks after it has to do something."""
        return not self.good and bool(self.remedy)

    @property
    def mark(self) -> str:
        """`ok`, `missing` (there is something to do) or `note`."""
        return "ok" if self.good else "missing" if self.remedy else "note"
