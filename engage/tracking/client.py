"""MLflow's client as the trackers use it: its failures as one sentence; and what the trackers find."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engage.errors import StoreError
from engage.home import Home
from engage.tracking.text import trouble


@dataclass(frozen=True)
class Champion:
    """The promoted adapter: registry version and folder."""

    version: str
    adapter: Path


@dataclass(frozen=True)
class CycleRun:
    """A cycle's run as the list of runs shows it; `status` is MLflow's."""

    cycle_id: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]


@contextmanager
def told(home: Home, through: Collection[str] = ()) -> Iterator[None]:
    """Raise StoreError, in one sentence, if MLflow cannot be used: no server, a damaged or full database, an unknown address.

    MLflow's errors with a code in `through` are passed on unchanged.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        if getattr(error, "error_code", None) in through:
            raise
        raise StoreError(trouble(error, home.tracking_uri, home.path)) from error


class Client:
    """MLflow's client. Raises StoreError if the server or the database is unavailable.

    MLflow's "not found" errors are passed on unchanged.
    """

    NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second: no such alias

    def __init__(self, home: Home, client: Any = None) -> None:
        import mlflow

        self._home, self._client = home, client or mlflow.MlflowClient()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def asked(*args: Any, **kwargs: Any) -> Any:
            with told(self._home, self.NOT_FOUND):
                return method(*args, **kwargs)

        return asked
