"""Shared fixtures: a home, Prefect's server, a tiny model, a server that misbehaves, the command line. Also the markers.

`slow` tests are left out of the quick run (`pytest -m "not slow"`), `prefect` tests run flows against Prefect's server, `model` tests
open or train a torch model. The last two markers follow from a test's fixtures.
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


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run in two processes, a file at a time, unless files are named or options say otherwise: two more starts slow a single file down."""
    option, whole = config.option, config.args_source is config.ArgsSource.TESTPATHS
    unasked = getattr(option, "numprocesses", 0) is None and option.dist == "no" and not option.usepdb
    if whole and unasked and "PYTEST_XDIST_WORKER" not in os.environ:
        option.numprocesses, option.dist = 2, "loadfile"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its fixtures."""
    for item in items:
        for fixture, markers in FIXTURES.items():
            if fixture in getattr(item, "fixturenames", ()):
                for marker in markers:
                    item.add_marker(marker)


def pytest_unconfigure() -> None:
    """Silence logging errors: Prefect logs when the process ends, after pytest has closed its streams."""
    logging.raiseExceptions = False


@pytest.fixture(scope="session")
def _one_prefect_server() -> Iterator[Any]:
    """The settings for flows on one temporary server; only tests that use the server get them."""
    from prefect.settings import get_current_settings
    from prefect.testing.utilities import prefect_test_harness

    context = contextvars.copy_context()
    harness = prefect_test_harness(server_startup_timeout=300)
    context.run(harness.__enter__)
    yield context.run(get_current_settings)
    context.run(harness.__exit__, None, None, None)


@pytest.fixture(scope="module")
def prefect_server(_one_prefect_server: Any) -> Iterator[None]:
    """Run the flows of this file against the temporary server, which all files share."""
    from prefect.context import SettingsContext, get_settings_context

    with SettingsContext(profile=get_settings_context().profile, settings=_one_prefect_server):
        yield


@pytest.fixture(scope="session")
def _mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database to copy, because its migrations take seconds."""
    from engage.home import Home
    from engage.tracking import Tracker

    home = Home(tmp_path_factory.mktemp("mlflow"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.delenv("MLFLOW_TRACKING_URI")
        Tracker(home)
    return home.mlflow_file


@pytest.fixture(scope="session")
def open_home(_mlflow_database: Path) -> Callable[..., Any]:
    """A context manager: ENGAGE_HOME is a folder with MLflow's database, and no engine is open before and after."""
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
    """A home for this test; its path contains a space, as many do."""
    with open_home(tmp_path / "my home") as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model of `tiny_models`; read only."""
    from tiny_models import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def server() -> Iterator[Any]:
    """A server for this test with OpenAI's protocol, which can misbehave."""
    from chat_server import ChatServer

    running = ChatServer()
    yield running
    running.stop()


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sets ENGAGE_HOME and ENGAGE_CACHE to folders that do not exist yet."""
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
    from flows.cli import commands, entry, keeping, looking, scenarios, talking
    from flows.cli.showing import Terminal

    for module in (commands, keeping, looking, scenarios, talking):
        monkeypatch.setattr(module, "console", Terminal(width=80))
    monkeypatch.setattr(entry, "errors", Terminal(width=80, stderr=True))
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["engage", *arguments])
        with pytest.raises(SystemExit) as stop:
            entry.main()
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    return run
