"""A scripted engine that records its requests and replaces every engine; and a helper to query a store."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pytest

import engage.engines
from engage.engines.base import Side
from engage.engines.scripted import ScriptedEngine, canned_reply
from engage.errors import EngineError
from engage.home import Home


class Counted(ScriptedEngine):
    """Gives canned answers and records its requests; requests of scenarios in `failing` fail."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.requests = 0
        self.failing: set[str] = set()
        self.adapters: set[str | None] = set()
        self.scenarios: set[str] = set()

    def _answer(self, prompt, seed):
        self.requests += 1
        if prompt.side is Side.POLICY:
            self.adapters.add(prompt.adapter)
        scenario_id = prompt.key.partition("/")[0]
        self.scenarios.add(scenario_id)
        if scenario_id in self.failing:
            raise EngineError("the model is out of order", prompt.key)
        return canned_reply(prompt, seed)


class Thankful(Counted):
    """A trained policy thanks its users; `_weigh` of a subclass says how much better off they then are."""

    def __init__(self) -> None:
        super().__init__()
        self._choose = self._weigh

    def _answer(self, prompt, seed):
        thanks = " Thank you." if prompt.side is Side.POLICY and prompt.adapter else ""
        return super()._answer(prompt, seed) + thanks

    def _weigh(self, prompt, choices):
        raise NotImplementedError


@contextmanager
def played_by(engine: Any) -> Iterator[Any]:
    """A context in which this engine replaces every opened engine."""
    with pytest.MonkeyPatch.context() as patch:
        engage.engines.close_engines()
        patch.setattr(engage.engines, "_create", lambda _: engine)
        yield engine
        engage.engines.close_engines()


def ask(home: Home, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
    """Rows of a statement, with `$name` for a parameter."""
    with duckdb.connect(str(home.database), read_only=True) as connection:
        return connection.execute(sql, parameters or None).fetchall()
