"""MLflow's runs of a cycle, while its stages run and after they end."""

import shutil
import sqlite3
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from mlflow import MlflowClient
from prefect import flow

from engage.errors import ConfigError, EngineError, ModelError, StoreError
from engage.home import Home
from engage.tracking import Tracker
from tasks.cycle import CLOSING, worth_retrying

pytestmark = pytest.mark.slow


def statuses(home: Home) -> dict[str, str]:
    client = MlflowClient(home.tracking_uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.run_name: run.info.status for run in client.search_runs(experiments)}


def test_a_cycle_runs_from_its_beginning_to_its_end_and_when_it_is_taken_up_again(home):
    tracker = Tracker(home)
    tracker.open_cycle("c1", {})
    with tracker.stage("c1", "collect"):
        assert statuses(home) == {"c1": "RUNNING", "collect": "RUNNING"}
    assert statuses(home) == {"c1": "RUNNING", "collect": "FINISHED"}
    tracker.close_cycle("c1")
    assert statuses(home) == {"c1": "FINISHED", "collect": "FINISHED"}
    tracker.open_cycle("c1", {})
    assert statuses(home) == {"c1": "RUNNING", "collect": "FINISHED"}


def test_a_cycle_fails_with_its_stage_and_recovers_with_it(home):
    tracker = Tracker(home)
    with pytest.raises(KeyboardInterrupt), tracker.stage("c1", "align"):
        raise KeyboardInterrupt
    assert statuses(home) == {"c1": "FAILED", "align": "FAILED"}
    with tracker.stage("c1", "align"):
        assert statuses(home) == {"c1": "RUNNING", "align": "RUNNING"}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_cycles_run_ends_as_its_flow_does_wherever_that_fails(home, error):
    @flow(**CLOSING)
    def outside_of_stages(cycle_id: str) -> None:
        Tracker(home).open_cycle(cycle_id, {})
        if error is not None:
            raise error

    with nullcontext() if error is None else pytest.raises(error):
        outside_of_stages("c1")
    assert statuses(home) == {"c1": "FAILED" if error else "FINISHED"}


def test_a_flow_that_fails_before_its_cycle_begins_leaves_no_run(home):
    tracker = Tracker(home)
    tracker.close_cycle("c1", completed=False)
    assert statuses(home) == {}
    tracker.open_cycle("c1", {})
    tracker.close_cycle("c1")
    tracker.close_cycle("c1", completed=False)  # another configuration was refused before it began
    assert statuses(home) == {"c1": "FINISHED"}


def test_a_pages_first_sections_are_the_runs_description(home):
    page = "# Cycle c1\n\n![plot](plot.png)\n\n## In words\n\nA gain.\n\n## Rows\n\n" + "| a | b |\n" * 1_000
    run = Tracker(home).cycle_run("c1")
    run.page(page, "report.md")
    client = MlflowClient(home.tracking_uri)
    told = client.get_run(run.run_id).data.tags["mlflow.note.content"]
    assert told == "# Cycle c1\n\n\n## In words\n\nA gain.\n\n\nMore in the artifact `report.md`."
    assert Path(client.download_artifacts(run.run_id, "report.md")).read_text() == page


def test_an_opening_of_the_test_split_is_counted_once(home):
    tracker = Tracker(home)
    for policies in (["base", "sft"], ["base", "sft"], ["base", "search"]):
        tracker.open_test_split("c1", {"policies": policies})
    assert tracker.openings() == 2
    assert set(statuses(home).values()) == {"FINISHED"}


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """The terminal's text without the progress bars."""
    lines: list[str] = []
    monkeypatch.setattr("engage.progress.tell", lines.append)
    return lines


def test_a_database_that_a_killed_start_left_half_made_is_set_aside_and_made_whole(home, said, monkeypatch):
    # What a kill between two of MLflow's migrations leaves: a table that the recorded revision does not know yet, and others missing.
    Tracker(home)
    with sqlite3.connect(home.mlflow_file) as connection:
        connection.execute("delete from experiments")
        connection.execute("drop table trace_info")
        connection.execute("update alembic_version set version_num = '451aebb31d03'")
    half = Home(home.path / "second")
    half.make()
    (half.path / "mlflow.db.partial-0badcafe").write_text("of a start that was killed")
    shutil.copy(home.mlflow_file, half.mlflow_file)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow sets it for its own children
    tracker = Tracker(half)
    tracker.open_cycle("c1", {})
    assert statuses(half) == {"c1": "RUNNING"}
    names = sorted(file.name for file in half.path.iterdir())
    assert names == ["mlflow.db", "mlflow.db.half-made-1", "mlflow.lock"]
    assert said == [
        f"{half.mlflow_file}: was left half made by a start that was killed, and held no run; it is now mlflow.db.half-made-1"
    ]


def test_a_database_in_which_something_is_recorded_is_never_set_aside(home, said):
    home.mlflow_file.unlink()
    with sqlite3.connect(home.mlflow_file) as connection:
        connection.execute("create table experiments (experiment_id, name)")
        connection.execute("create table runs (run_uuid)")
        connection.execute("insert into runs values ('a')")
    with pytest.raises(StoreError, match="cannot be used"):
        Tracker(home)
    assert (said, list(home.path.glob("*.half-made-*"))) == ([], [])


def test_what_was_deleted_in_mlflows_ui_is_restored_or_begun_anew(home, said):
    tracker, client = Tracker(home), MlflowClient(home.tracking_uri)
    with tracker.stage("c1", "collect") as run:
        first = run.run_id
    parent = tracker.cycle_run("c1").run_id
    client.delete_run(parent)
    client.delete_experiment(client.get_experiment_by_name("engage").experiment_id)
    again = Tracker(home)
    assert said == ["MLflow's experiment 'engage' had been deleted; it is restored, for this cycle is recorded in it"]
    with again.stage("c1", "collect") as run:
        # the stage's run came back with its experiment
        assert run.run_id == first
    client.delete_run(again.cycle_run("c1").run_id)
    with again.stage("c1", "collect"):
        new_parent = again.cycle_run("c1").run_id
        assert new_parent != parent
        assert client.get_run(first).data.tags["mlflow.parentRunId"] == new_parent


def test_a_home_that_was_moved_goes_on_where_it_is(home, said, tmp_path_factory, monkeypatch):
    tracker = Tracker(home)
    adapter = home.cycle("c1") / "align" / "abc" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    with tracker.stage("c1", "align") as run:
        run.model(adapter, {})
        tracker.promote(tracker.register(run, adapter, {}))
    # copied: the old one is still there, and must not be read or written
    moved = Home(tmp_path_factory.mktemp("moved") / "home")
    shutil.copytree(home.path, moved.path)
    before = sorted(home.path.rglob("*"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow sets it for its own children
    there = Tracker(moved)
    here = moved.cycle("c1") / "align" / "abc" / "adapter"
    assert there.champion().adapter == here
    assert there.version_of(here) == "1"
    with there.stage("c1", "evaluation") as later:
        later.page("# Later", "later.md")
    assert list(moved.path.glob("mlflow-artifacts/*/artifacts/later.md"))
    kept = MlflowClient(moved.tracking_uri).get_run(run.run_id).info.artifact_uri
    assert kept == f"{moved.path.as_uri()}/mlflow-artifacts/{run.run_id}/artifacts"
    assert sorted(home.path.rglob("*")) == before
    assert said == [f"{moved.mlflow_file}: the home was at {home.path.as_uri()}; MLflow's paths now name this one"]


def test_a_candidate_that_was_named_before_the_home_was_moved_is_the_one_that_is_there(
    home, tmp_path_factory, monkeypatch
):
    from engage.store import Cycle
    from tasks.training import choose_candidate, chosen_candidate

    cycle = Cycle(cycle_id="c1", seed=1, champion_version=None, champion_adapter=None)
    adapter = home.cycle("c1") / "align" / "abc" / "adapter"
    adapter.mkdir(parents=True)
    choose_candidate(cycle, adapter)
    moved = tmp_path_factory.mktemp("moved") / "home"
    shutil.copytree(home.path, moved)
    monkeypatch.setenv("ENGAGE_HOME", str(moved))
    assert chosen_candidate(cycle).adapter == str(moved / "cycles" / "c1" / "align" / "abc" / "adapter")
    choose_candidate(cycle, None)
    assert chosen_candidate(cycle) is None


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (sqlite3.OperationalError("database or disk is full"), "the disk is full"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "cannot be written"),
        (OSError(30, "Read-only file system"), "cannot be written"),
    ],
)
def test_a_full_disk_and_one_that_cannot_be_written_are_told_apart(home, problem, sentence):
    from engage.tracking.client import told

    with pytest.raises(StoreError, match=sentence) as refused, told(home):
        raise problem
    assert "start its server" not in str(refused.value) and "\n" not in str(refused.value)


def test_a_database_without_its_driver_is_one_sentence_without_the_password(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@127.0.0.1:9/mlflow")
    with pytest.raises(StoreError) as refused:
        Tracker(home)
    assert str(refused.value) == (
        "MLflow at postgresql://***@127.0.0.1:9/mlflow needs the package psycopg2: .venv/bin/pip install psycopg2"
    )


def test_a_mistake_of_the_users_is_not_tried_again_wherever_it_lies():
    from prefect.states import Failed

    def retried(error: Exception) -> bool:
        return worth_retrying(None, None, Failed(data=error))

    assert retried(EngineError("no answer", "s1")) and retried(
        ExceptionGroup("tasks", [EngineError("no answer", "s1")])
    )
    assert not retried(ConfigError("no such profile")) and not retried(
        ExceptionGroup("tasks", [ModelError("no weights")])
    )
