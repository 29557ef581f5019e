"""MLflow's database is locked, or its server away: a task waits and goes on; in vain, it is one sentence."""

import io
import logging
import sqlite3
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from rich.console import Console

from engage import progress
from engage.errors import StoreError, StoreLocked
from engage.keeping.pruning import check_not_pruned
from engage.tracking import Tracker
from engage.tracking import client as tracking_client
from engage.tracking.client import patiently
from engage.workspace import Workspace
from tasks.cycle import worth_retrying


@pytest.fixture
def locked(home):
    """MLflow's database, locked by another connection until the yielded function is called."""
    connection = sqlite3.connect(home.mlflow_file, check_same_thread=False)
    connection.execute("begin exclusive")
    yield connection.rollback
    connection.close()


@pytest.fixture
def impatient(monkeypatch):
    """SQLite gives up after a moment, not after MLflow's 5 and 20 seconds."""
    connect = sqlite3.connect

    def soon(*args, **kwargs):
        return connect(*args, **{**kwargs, "timeout": 0.05})

    monkeypatch.setattr(sqlite3, "connect", soon)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", soon)


def test_a_task_waits_for_a_locked_database_and_goes_on(home, locked, impatient, monkeypatch):
    monkeypatch.setattr(tracking_client, "FIRST_LINE_S", 0.0)
    said: list[str] = []
    monkeypatch.setattr(progress, "tell", said.append)
    found: list[object] = []

    def work() -> None:
        tracker = Workspace(home, tracking_wait_s=60.0).tracker
        tracker.open_cycle("c1", {"cycle_id": "c1"})
        found.append(tracker.champion())

    worker = threading.Thread(target=work)
    worker.start()
    while not said:
        time.sleep(0.01)
    assert worker.is_alive()
    locked()
    worker.join(60)
    assert found == [None]
    (run,) = MlflowClient(home.tracking_uri).search_runs(["1"])
    assert run.data.tags["engage.cycle_id"] == "c1"
    assert said == [
        f"MLflow at {home.tracking_uri}: another program keeps the database locked; end it, and run the same command again; waiting for 1 "
        "more minutes at most"
    ]


def test_the_look_whether_a_cycle_was_pruned_waits_as_the_night_does(home, monkeypatch):
    workspace = Workspace(home, tracking_wait_s=60.0)
    workspace.tracker.open_cycle("c1", {"cycle_id": "c1"})
    search, tries = MlflowClient.search_runs, list[int]()

    def away(*args, **kwargs):
        tries.append(1)
        if len(tries) < 3:
            raise OSError("Connection refused")
        return search(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "search_runs", away)
    check_not_pruned(workspace, "c1")
    assert len(tries) == 3


def test_a_wait_in_vain_is_one_sentence_that_is_worth_no_retry(home, locked, impatient, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(StoreLocked, match="keeps the database locked") as failed:
        Tracker(home)
    assert not worth_retrying(None, None, SimpleNamespace(result=lambda **_: failed.value))
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_lock_that_holds_up_a_command_is_told_in_one_line(home, locked, impatient, monkeypatch, caplog):
    monkeypatch.setattr(tracking_client, "LOCKED_S", 0.0)
    monkeypatch.setattr(tracking_client, "_lock_told_s", -tracking_client.LINE_EVERY_S)
    line = f"{home.mlflow_file}: another program keeps MLflow's database locked; waiting for it"
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with tracking_client.told(home):
                time.sleep(0.3)
    assert [record.getMessage() for record in caplog.records] == [line]
    locked()
    said: list[str] = []
    monkeypatch.setattr(tracking_client, "_lock_told_s", -tracking_client.LINE_EVERY_S)
    with progress.show(Console(file=io.StringIO())):
        monkeypatch.setattr(progress, "tell", said.append)
        with tracking_client.told(home):
            time.sleep(0.3)
        assert said == []
        with closing(sqlite3.connect(home.mlflow_file)) as connection:
            connection.execute("begin exclusive")
            with tracking_client.told(home):
                time.sleep(0.3)
    assert said == [line]


def test_mlflow_logs_no_traceback_of_a_lock_that_comes_in_the_midst(home, impatient, caplog):
    tracker = Tracker(home)
    connection = sqlite3.connect(home.mlflow_file)
    connection.execute("begin exclusive")
    with caplog.at_level(logging.WARNING), pytest.raises(StoreLocked):
        tracker.champion()
    connection.close()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("mlflow")] == []


def test_only_what_passes_by_itself_is_waited_for():
    tries: list[int] = []

    def away() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise StoreLocked("away")
        return "there"

    assert patiently(60.0, away) == "there" and len(tries) == 3

    def damaged() -> None:
        tries.append(1)
        raise StoreError("damaged")

    with pytest.raises(StoreError, match="damaged"):
        patiently(60.0, damaged)
    assert len(tries) == 4


def test_a_server_that_is_away_is_waited_for_and_an_address_without_one_is_not(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for address, kind in {"http://127.0.0.1:9": StoreLocked, "http://nowhere.invalid:5000": StoreError}.items():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(StoreError) as failed:
            Tracker(home)
        assert type(failed.value) is kind
