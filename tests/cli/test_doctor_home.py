"""What the doctor says about a home and its servers; it changes nothing of them."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from engage.engines import EngineConfig
from engage.home import Home
from engage.keeping import at_work
from engage.store import TrajectoryStore
from engage.store.schema import newest_version
from engage.workspace import Workspace
from flows.cli import doctor
from flows.cli.doctor_home import examine_home, examine_prefect, examine_server, examine_tracking
from flows.cli.profiles import load_config

HOLD = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('open', flush=True); time.sleep(600)"


@pytest.fixture
def made(own_home: Path) -> Home:
    """A home with a store and nothing else."""
    home = Home(own_home)
    home.make()
    TrajectoryStore(home.database).begin_cycle("c1", {})
    return home


def said(findings) -> dict[str, str]:
    """Mark and remedy by text."""
    return {one.what: one.mark + (f": {one.remedy}" if one.prevents else "") for one in findings}


def only(findings, start: str) -> tuple[str, str]:
    """Text and mark of the one finding that begins so."""
    (found,) = [(what, mark) for what, mark in said(findings).items() if what.startswith(start)]
    return found


def test_a_home_that_is_not_there_yet_is_no_fault_and_is_not_made(own_home):
    home = Home(own_home)
    assert said(examine_home(home)) == {f"home {own_home}: not made yet, the first cycle makes it": "ok"}
    assert said(examine_tracking(home, load_config("laptop"))) == {
        f"MLflow {own_home}/mlflow.db: not made yet, the first cycle makes it": "ok"
    }
    assert not own_home.exists()


def test_a_whole_store_is_told_with_size_and_version(made):
    what, mark = only(examine_home(made), "store ")
    size = made.database.stat().st_size / 1e6
    assert (what, mark) == (
        f"store {made.database}: {size:.1f} MB, schema {newest_version()}, open in no other program",
        "ok",
    )


@pytest.mark.slow
def test_a_store_that_another_program_holds_is_told_with_its_process_and_is_no_fault(made):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(made.database)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"open\n"
        what, mark = only(examine_home(made), "store ")
    finally:
        holder.kill()
        holder.wait()
    assert f"the database is open in another program (process {holder.pid})" in what and mark == "note"


def test_an_older_store_is_told_and_not_migrated(made):
    with duckdb.connect(made.database) as connection:
        connection.execute("update schema_version set version = version - 1")
    before = made.database.read_bytes()
    what, mark = only(examine_home(made), "store ")
    newest = newest_version()
    assert (
        what.endswith(f"schema {newest - 1}; the next command that opens it brings it to {newest}") and mark == "note"
    )
    assert made.database.read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "remedy"),
    [
        (lambda path: path.write_bytes(b"x" * 20_000), "not a DuckDB database, or damaged; move it away"),
        (
            lambda path: duckdb.connect(path).execute("update schema_version set version = 99").close(),
            "written by a newer version",
        ),
        (lambda path: (path.unlink(), path.mkdir()), "is not a file; move it away"),
    ],
)
def test_a_store_that_cannot_be_used_is_a_fault_with_what_to_do(spoil, remedy, made):
    spoil(made.database)
    _, mark = only(examine_home(made), "store ")
    assert mark.startswith("missing: ") and remedy in mark


def test_what_waits_and_what_is_damaged_in_the_outbox_is_counted(made):
    made.outbox.mkdir()
    for name in ("a.tree.parquet", "b.dialogues.parquet", "c.tree.parquet.damaged"):
        (made.outbox / name).write_bytes(b"")
    assert only(examine_home(made), "outbox: 2 files")[1] == "ok"
    _, mark = only(examine_home(made), "outbox: 1 damaged files were set aside")
    assert mark.startswith(f"missing: look at {made.outbox}/*.damaged; delete them")


def test_a_home_that_others_may_read_is_told_and_left_as_it_is(made, monkeypatch):
    assert made.path.stat().st_mode & 0o777 == 0o700
    assert [what for what in said(examine_home(made)) if "other accounts" in what] == []
    made.path.chmod(0o755)
    what, mark = only(examine_home(made), f"home {made.path}: other accounts")
    assert "(mode 755); `chmod 700 " in what and mark == "note"
    made.make()
    assert made.path.stat().st_mode & 0o777 == 0o755
    monkeypatch.setenv("ENGAGE_HOME_MODE", "755")
    assert [what for what in said(examine_home(made)) if "other accounts" in what] == []


def test_the_size_of_the_home_is_told_by_kind(made):
    (made.cycle("c1")).mkdir(parents=True)
    (made.cycle("c1") / "weights").write_bytes(b"x" * 2_000_000)
    made.artifacts.mkdir()
    os.link(made.cycle("c1") / "weights", made.artifacts / "weights")  # one file with two names
    database = made.database.stat().st_size
    total = (database + 2_000_000) / 1e6
    what, _ = only(examine_home(made), "the home takes ")
    assert what == (
        f"the home takes {total:.1f} MB: database {database / 1e6:.1f} MB, cycles and adapters 2.0 MB, MLflow 2.0 MB "
        "(`engage prune` makes it smaller)"
    )


def test_a_clock_that_was_set_back_is_noticed(made):
    later = time.time() + 3 * 3600
    os.utime(made.database, (later, later))
    _, mark = only(examine_home(made), "the home was changed 180 minutes in the future")
    assert mark.startswith("missing: set the clock")


@pytest.mark.slow
def test_a_champion_whose_adapter_is_gone_is_a_fault(home):
    from engage.tracking import Tracker

    config = load_config("laptop")
    assert said(examine_tracking(home, config))["champion: none yet, nights start from the configured policy"] == "ok"
    gone = home.path / "cycles" / "c1" / "align" / "x" / "adapter"
    gone.mkdir(parents=True)
    (gone / "adapter_config.json").write_text("{}")
    tracker = Tracker(home)
    with tracker.stage("c1", "align") as run:
        run.model(gone, {})
        tracker.promote(tracker.register(run, gone, {}))
    shutil.rmtree(gone)
    what, mark = only(examine_tracking(home, config), "champion: version 1, ")
    assert str(gone) in what and "missing: the champion of this home: " in mark


def test_a_model_server_is_asked_a_real_question(server):
    def found():
        policy = {"base_urls": [server.url], "model": "m"}
        engine = EngineConfig(kind="openai", openai={"policy": policy}, policy_adapter="bare", simulator_adapter="bare")
        return said(examine_server(load_config("laptop").model_copy(update={"engine": engine})))

    assert {what.partition(" in ")[0] for what in found()} == {
        "the policy's model server answers",
        "the simulator's model server answers",
    }
    assert [body["messages"][-1]["content"] for body in server.bodies] == ["Say yes.", "Say yes."]
    server.stop()
    marks = found()
    assert set(marks) == {"the policy's model server does not answer", "the simulator's model server does not answer"}
    assert all(mark.startswith("missing: ") for mark in marks.values())


def test_schedules_without_a_worker_and_a_night_that_failed_are_faults(prefect_server, own_home, monkeypatch):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.settings import get_current_settings
    from prefect.states import Failed

    monkeypatch.setenv("PREFECT_API_URL", get_current_settings().api.url)
    client = get_client(sync_client=True)
    daily = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 2 * * *", timezone="Asia/Tokyo"))
    flow_id = client.create_flow_from_name("nightly")
    deployment_id = client.create_deployment(flow_id, "doctor", schedules=[daily])
    try:
        run = client.create_flow_run_from_deployment(deployment_id, name="2026-11-26-020000-1f2a")
        client.set_flow_run_state(run.id, Failed(), force=True)
        marks = said(examine_prefect())
        assert marks["worker: none is online, so nothing that is scheduled runs"] == "missing: start one: `engage up`"
        night, failed = "2026-11-26-020000-1f2a", "nightly/doctor: the last night, 2026-11-26-020000-1f2a, has failed"
        assert marks[failed] == "missing: read its log on Prefect's page"  # it stored no settings to go on with
        workspace = Workspace(Home(own_home))
        for begun in ("nightly", "collect"):
            at_work.begin(workspace, night, begun, begun)
        at_work.end(workspace, night, "nightly", at_work.FAILED)
        go_on = f"`ENGAGE_HOME={own_home} .venv/bin/engage nightly --cycle {night}` goes on with it"
        assert said(examine_prefect())[failed] == f"missing: read its log on Prefect's page; {go_on}"
        at_work.begin(workspace, night, "nightly", "again")
        at_work.end(workspace, night, "again", at_work.COMPLETED)
        assert said(examine_prefect())[f"{failed}, and was finished since"] == "ok"
        client.pause_deployment(deployment_id)
        assert (
            said(examine_prefect())["nightly/doctor: paused (`engage schedule --resume` lets it run again)"] == "note"
        )
    finally:
        client.delete_deployment(deployment_id)


def test_a_prefect_server_that_does_not_answer_is_a_fault(monkeypatch, prefect_server):
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    monkeypatch.setenv("PREFECT_API_URL", "http://me:pw@127.0.0.1:9/api")
    with temporary_settings({PREFECT_API_URL: "http://me:pw@127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        ((what, mark),) = said(examine_prefect()).items()
    assert what == "Prefect server http://***@127.0.0.1:9/api does not answer" and "start it or correct" in mark
    assert "pw" not in mark


def test_for_a_monitor_the_doctor_prints_json_and_exits_with_1_if_there_is_something_to_do(engage, made, monkeypatch):
    monkeypatch.setattr(doctor, "_free_memory_gb", lambda: 64.0)
    monkeypatch.setattr(doctor, "DISK_GB", 0.0)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    code, out, _ = engage("doctor", "--json", "--set", "engine.kind=scripted")
    found = json.loads(out)
    assert code == 0 and {one["state"] for one in found} <= {"ok", "note"}
    assert {"state": "ok", "what": "outbox: 0 files wait for the store", "remedy": ""} in found
    made.outbox.mkdir()
    (made.outbox / "c.tree.parquet.damaged").write_bytes(b"")
    code, out, _ = engage("doctor", "--json", "--set", "engine.kind=scripted")
    (fault,) = [one for one in json.loads(out) if one["state"] == "missing"]
    assert code == 1 and fault["what"] == "outbox: 1 damaged files were set aside" and fault["remedy"]
