"""What test files share: a home, Prefect's server, a tiny model, a server that misbehaves, the command line; and the markers.

`slow` is what a change need not wait for, `prefect` runs flows against Prefect's server, `model` opens or trains one of torch's
models. The last two follow from the fixtures that a test takes.
"""

import contextlib
import contextvars
import logging
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes of tests share two cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

FIXTURES = {"prefect_server": ("prefect", "slow"), "tiny_model": ("model",)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the fixtures that it takes."""
    for item in items:
        for fixture, markers in FIXTURES.items():
            if fixture in getattr(item, "fixturenames", ()):
                for marker in markers:
                    item.add_marker(marker)


def pytest_unconfigure() -> None:
    """Let nobody log into pytest's streams, which are closed from here on: Prefect does when the process ends."""
    logging.raiseExceptions = False


@pytest.fixture(scope="session")
def _one_prefect_server() -> Iterator[Any]:
    """The settings under which flows run on one temporary server; they hold in no other test's context."""
    from prefect.settings import get_current_settings
    from prefect.testing.utilities import prefect_test_harness

    context = contextvars.copy_context()
    harness = prefect_test_harness(server_startup_timeout=300)
    context.run(harness.__enter__)
    yield context.run(get_current_settings)
    context.run(harness.__exit__, None, None, None)


@pytest.fixture(scope="module")
def prefect_server(_one_prefect_server: Any) -> Iterator[None]:
    """Flows of this file run against a temporary server, which other files use too."""
    from prefect.context import SettingsContext, get_settings_context

    with SettingsContext(profile=get_settings_context().profile, settings=_one_prefect_server):
        yield


@pytest.fixture(scope="session")
def _mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database as the tracker makes it in a new home: its migrations take seconds."""
    from engage.home import Home
    from tasks.tracking import Tracker

    home = Home(tmp_path_factory.mktemp("mlflow"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.delenv("MLFLOW_TRACKING_URI")
        Tracker(home)
    return home.mlflow_file


@pytest.fixture(scope="session")
def open_home(_mlflow_database: Path) -> Callable[..., Any]:
    """A context manager: the environment's home is a folder, MLflow's database is there, and no engine is open before and after."""
    import engage.engines
    from engage.home import Home

    @contextlib.contextmanager
    def opened(path: Path) -> Iterator[Home]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ENGAGE_HOME", str(path))
            patch.setenv(
                "MLFLOW_TRACKING_URI", ""
            )  # so that it is taken away again: MLflow sets it for its own children
            patch.delenv("MLFLOW_TRACKING_URI")
            engage.engines.close_engines()
            home = Home.from_env()
            home.make()
            if not home.mlflow_file.exists():
                shutil.copy(_mlflow_database, home.mlflow_file)
                with contextlib.closing(sqlite3.connect(home.mlflow_file)) as connection, connection:
                    move = "update experiments set artifact_location = replace(artifact_location, ?, ?)"
                    connection.execute(move, (_mlflow_database.parent.as_uri(), home.path.as_uri()))
            yield home
            engage.engines.close_engines()

    return opened


@pytest.fixture
def home(tmp_path: Path, open_home: Callable[..., Any]) -> Iterator[Any]:
    """A home of this test's own; its path has a blank in it, as many have."""
    with open_home(tmp_path / "my home") as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model of `tiny_models`; read only."""
    from tiny_models import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def server() -> Iterator[Any]:
    """A server of the test's own that speaks OpenAI's protocol, well or badly."""
    from chat_server import ChatServer

    running = ChatServer()
    yield running
    running.stop()


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment names a home and a cache that are not there yet."""
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENGAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return tmp_path / "home"


@pytest.fixture
def engage(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process; returns its exit code, standard output and standard error."""
    from flows.cli import commands, entry
    from flows.cli.showing import Terminal

    monkeypatch.setattr(commands, "console", Terminal(width=80))
    monkeypatch.setattr(entry, "errors", Terminal(width=80, stderr=True))
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["engage", *arguments])
        with pytest.raises(SystemExit) as stop:
            entry.main()
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    return run
