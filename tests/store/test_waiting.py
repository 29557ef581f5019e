"""Another program has the store open: who needs it waits and says for whom; readers have a copy that keeps nobody waiting."""

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import duckdb
import pytest

from engage.errors import ConfigError, StoreError, StoreLocked
from engage.home import Home
from engage.store import TrajectoryStore, database, write_snapshot

HOLD = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('open', flush=True); time.sleep(600)"


@pytest.fixture
def store(tmp_path):
    made = TrajectoryStore(tmp_path / "engage.duckdb", wait_s=60.0)
    made.begin_cycle("c1", {})
    return made


@pytest.fixture
def hold():
    """Opens a database in another process, which is ended after the test."""
    holders = []

    def start(path):
        holders.append(subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE))
        assert holders[-1].stdout.readline() == b"open\n"
        return holders[-1]

    yield start
    for one in holders:
        one.kill()
        one.wait()


@pytest.mark.slow
def test_who_needs_the_store_waits_for_the_other_program_and_says_which(store, hold, monkeypatch, caplog):
    monkeypatch.setattr(database, "FIRST_WARNING_S", 0.0)
    holder = hold(store.path)
    writer = threading.Thread(target=store.begin_cycle, args=("c2", {}))
    writer.start()
    while not caplog.messages:
        time.sleep(0.01)
    assert writer.is_alive()
    holder.kill()
    holder.wait()
    writer.join(30)
    assert store.cycle_ids() == ["c2", "c1"]
    assert caplog.messages == [  # one warning, the next is due after five minutes
        f"{store.path}: the database is open in another program (process {holder.pid}); waiting for its end, for 1 more minutes at most"
    ]


@pytest.mark.slow
def test_a_wait_that_was_in_vain_is_an_error_of_its_own_and_worth_no_retry(store, hold):
    from tasks.cycle import worth_retrying

    hold(store.path)
    with pytest.raises(StoreLocked, match="open in another program") as locked:
        TrajectoryStore(store.path, wait_s=0.0).begin_cycle("c2", {})
    for error, retry in ((locked.value, False), (StoreError("the disk is full"), True)):
        state = SimpleNamespace(result=lambda error=error, **_: error)
        assert worth_retrying(None, None, state) is retry


@pytest.mark.parametrize(("text", "wait_s"), [("", 3600.0), ("90", 90.0), ("0", 0.0)])
def test_a_task_waits_an_hour_or_as_long_as_the_environment_says(text, wait_s, own_home, monkeypatch):
    from engage.workspace import Workspace

    monkeypatch.setenv("ENGAGE_STORE_WAIT_S", text)
    assert Workspace.from_env().store.wait_s == wait_s
    assert Workspace.from_env(patient=False).store.wait_s == 30.0


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e9"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(text):
    from engage.workspace import store_wait_s

    with pytest.raises(ConfigError, match=r"ENGAGE_STORE_WAIT_S is '.*'; write seconds"):
        store_wait_s({"ENGAGE_STORE_WAIT_S": text})


def cycles(path) -> list[str]:
    return TrajectoryStore(path).cycle_ids()


@pytest.mark.slow
def test_readers_have_a_copy_that_they_may_hold_while_it_is_renewed(store, hold, tmp_path):
    copy = tmp_path / "read.duckdb"
    write_snapshot(store.path, copy, 1.0)
    assert cycles(copy) == ["c1"]
    hold(copy)
    store.begin_cycle("c2", {})  # the reader of the copy keeps nobody waiting
    write_snapshot(store.path, copy, 1.0)
    assert cycles(copy) == ["c2", "c1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engage.duckdb", "read.duckdb"]


@pytest.mark.slow
def test_a_copy_has_what_a_killed_process_left_in_duckdbs_log(store, tmp_path):
    connection = duckdb.connect(store.path)
    connection.execute("pragma disable_checkpoint_on_shutdown")
    connection.execute("insert into cycle (cycle_id, config_hash, config, started_at) values ('c2', '', '{}', now())")
    connection.close()
    assert store.path.with_name("engage.duckdb.wal").exists()
    write_snapshot(store.path, tmp_path / "read.duckdb", 1.0)
    assert cycles(tmp_path / "read.duckdb") == ["c2", "c1"]


@pytest.mark.slow
def test_a_copy_that_cannot_be_made_leaves_the_earlier_one(store, hold, tmp_path):
    copy = tmp_path / "read.duckdb"
    write_snapshot(store.path, copy, 1.0)
    before = copy.read_bytes()
    hold(store.path)
    with pytest.raises(StoreLocked):
        write_snapshot(store.path, copy, 0.0)
    assert copy.read_bytes() == before


@pytest.mark.slow
def test_a_night_says_when_the_copy_is_not_renewed_and_goes_on(home, monkeypatch):
    from engage import progress
    from engage.workspace import Workspace

    said: list[str] = []
    monkeypatch.setattr(progress, "tell", said.append)
    Workspace(home).snapshot()
    (only,) = said
    assert only.startswith(f"{home.snapshot} is not renewed: {home.database}: no cycle has been run yet")
    TrajectoryStore(home.database).begin_cycle("c1", {})
    Workspace(home).snapshot()
    assert len(said) == 1 and cycles(Home(home.path).snapshot) == ["c1"]
