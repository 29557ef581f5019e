"""Turns a pydantic error into one sentence for a user."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

_REASONS = {"missing": "missing", "extra_forbidden": "unknown field"}


@dataclass(frozen=True)
class Refusal:
    """The first error of a pydantic model: the field's path, pydantic's name of the error, the reason, and the given value."""

    path: tuple[str, ...]
    kind: str
    reason: str
    value: Any

    @property
    def shown(self) -> str:
        """The given value, shortened."""
        try:
            return f"{self.value!r:.60}"
        except (RecursionError, ValueError):  # tables within tables, or a number of thousands of digits
            return f"a {type(self.value).__name__}"

    @property
    def rule(self) -> str:
        """`field.name: reason`, without the value, so that equal mistakes give equal texts."""
        return f"{'.'.join(map(printable, self.path))}: {self.reason}"

    def sentence(self, *before: str) -> str:
        """`field.name: reason (got value)` with `before` in front of the path; without the value if the field is missing or unknown."""
        place = "".join(f"{name}." for name in before)
        return f"{place}{self.rule}" + ("" if self.kind in _REASONS else f" (got {self.shown})")


def first_refusal(error: ValidationError) -> Refusal:
    """The first error that pydantic lists."""
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    reason = _REASONS.get(first["type"], f"{said[0].lower()}{said[1:]}")
    return Refusal(tuple(map(str, first["loc"])), first["type"], reason, first["input"])


def boolean_taken(given: Any, taken: Any) -> str | None:
    """The dotted name of the first true or false among decoded fields that a model took for a number; None if there is none."""
    for name, value in given.items() if isinstance(given, Mapping) else ():
        known = taken.get(name) if isinstance(taken, Mapping) else getattr(taken, str(name), None)
        if isinstance(value, bool) and isinstance(known, int | float) and not isinstance(known, bool):
            return str(name)
        if inner := boolean_taken(value, known):
            return f"{name}.{inner}"
    return None


def printable(key: str) -> str:
    """A user's key, shortened and escaped for one line."""
    return key[:60] if key and key.isprintable() else ascii(key)[:60]


def list_wanted(text: str) -> str:
    """The reason for text in place of a list, with the list that may have been meant: `[a,b]` and `a, b` are two names."""
    parts = [part.strip(" \"'") for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
    reason = f"write a list, such as {json.dumps([part for part in parts if part] or [text]):.200}"
    quoted = "; a shell takes its quotation marks away unless the whole setting stands in '…'"
    return reason + (quoted if text.strip().startswith("[") else "")
