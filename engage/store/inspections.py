"""The named queries of sql/inspect/ as their comments describe them: what a row is, which question they answer, their parameters."""

import re
from dataclasses import dataclass
from functools import cache

from engage.errors import QueryError
from engage.store.comments import heading
from engage.store.queries import statements

QUESTIONS = (
    "How did users end up?",
    "Where do dialogues end?",
    "What was said?",
    "Which replies are better, and how sure is that?",
    "Which pairs are trained on, and why not the others?",
    "What went wrong?",
    "What changed since?",
    "What did it cost?",
    "What does an evaluation rest on?",
    "What did people judge?",
)
"""What the named queries answer, in the order in which they are listed."""
_CYCLE = "one cycle; the latest by default"


@dataclass(frozen=True)
class Inspection:
    """A named query. `grain` says what one row is; `parameters` maps a name to its meaning; `question` is None for one that only commands use."""

    name: str
    sql: str
    grain: str
    question: str | None
    parameters: dict[str, str]

    @property
    def own_parameters(self) -> dict[str, str]:
        """Those without the cycle, where it means what it means everywhere."""
        return {name: meaning for name, meaning in self.parameters.items() if meaning != _CYCLE}


@cache
def inspections() -> dict[str, Inspection]:
    """All named queries by name, the internal ones too."""
    return {name: _read(name, sql) for name, sql in statements("inspect").items()}


def named_query(name: str) -> Inspection:
    """A named query; QueryError lists the public ones for an unknown name."""
    known = inspections()
    if name not in known:
        names = ", ".join(name for name, one in known.items() if one.question)
        raise QueryError(f"there is no query {name!r:.80}; use one of {names}")
    return known[name]


def _read(name: str, sql: str) -> Inspection:
    grain: list[str] = []
    question = None
    parameters: dict[str, str] = {}
    for line in heading(sql):
        if match := re.match(r"\$(\w+): (.+)", line):
            parameters[match[1]] = match[2]
        elif line.startswith("Answers: "):
            question = line.removeprefix("Answers: ")
        elif line != "Internal":
            grain.append(line)
    if "$cycle" in sql:
        parameters.setdefault("cycle", _CYCLE)
    return Inspection(name, sql, " ".join(grain), question, parameters)
