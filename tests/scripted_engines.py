"""An engine of canned answers that notes what it is asked, put in the place of every engine; and questions to a store."""

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
    """Canned answers; notes what it was asked, and fails those whose scenario is in `failing`."""

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


@contextmanager
def played_by(engine: Any) -> Iterator[Any]:
    """Every engine that is opened meanwhile is this one."""
    with pytest.MonkeyPatch.context() as patch:
        engage.engines.close_engines()
        patch.setattr(engage.engines, "_create", lambda _: engine)
        yield engine
        engage.engines.close_engines()


def ask(home: Home, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
    """Rows of a statement, with `$name` for a parameter."""
    with duckdb.connect(str(home.database), read_only=True) as connection:
        return connection.execute(sql, parameters or None).fetchall()
