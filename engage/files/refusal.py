"""What pydantic refuses, as one sentence for a user."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

_REASONS = {"missing": "missing", "extra_forbidden": "unknown field"}


@dataclass(frozen=True)
class Refusal:
    """The first thing that a model refused: the path to it, pydantic's name of the error, the reason, and what was given."""

    path: tuple[str, ...]
    kind: str
    reason: str
    value: Any

    @property
    def shown(self) -> str:
        """What was given, in short."""
        try:
            return f"{self.value!r:.60}"
        except (RecursionError, ValueError):  # tables within tables, or a number of thousands of digits
            return f"a {type(self.value).__name__}"

    @property
    def rule(self) -> str:
        """`field.name: reason`, the same for all that break the same rule."""
        return f"{'.'.join(map(printable, self.path))}: {self.reason}"

    def sentence(self, *before: str) -> str:
        """`field.name: reason (got value)`, the path behind `before`; what was given only where there is something to correct."""
        place = "".join(f"{name}." for name in before)
        return f"{place}{self.rule}" + ("" if self.kind in _REASONS else f" (got {self.shown})")


def first_refusal(error: ValidationError) -> Refusal:
    """Of all that is wrong the first."""
    first = error.errors()[0]
    reason = _REASONS.get(first["type"], f"{first['msg'][0].lower()}{first['msg'][1:]}")
    return Refusal(tuple(map(str, first["loc"])), first["type"], reason, first["input"])


def printable(key: str) -> str:
    """A key of the user's as it can be printed on one line."""
    return key[:60] if key and key.isprintable() else ascii(key)[:60]
