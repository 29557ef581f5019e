"""Who works on a cycle: a killed process is known as dead, its runs are ended by the next night, and nobody else's."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import duckdb
import pytest
from mlflow import MlflowClient
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Running

from engage.home import Home
from engage.keeping import at_work
from engage.keeping.at_work import COMPLETED, FAILED, INTERRUPTED, Work
from engage.tracking import Tracker
from engage.workspace import Workspace
from flows.cli.profiles import load_config
from tasks.nights import crash_flow_run, earlier_nights

BEGIN = """
import sys
from engage.home import Home
from engage.keeping import at_work
from engage.workspace import Workspace
at_work.begin(Workspace.from_env(), sys.argv[1], "nightly", sys.argv[2])
at_work.begin(Workspace.from_env(), sys.argv[1], "align", "a stage")
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def working(home):
    """Starts a process that works on a cycle until it is killed."""
    begun = []

    def start(cycle_id: str, flow_run: str = "a night") -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", BEGIN, cycle_id, flow_run]
        begun.append(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert begun[-1].stdout.readline() == b"begun\n"
        return begun[-1]

    yield start
    for one in begun:
        kill(one)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def rewrite(home, work: Work) -> None:
    (home.cycle(work.cycle_id) / "work.json").write_text(json.dumps(vars(work)), encoding="utf-8")


@pytest.mark.slow
def test_cycles_that_collect_and_those_cut_off_before_the_next_stage_are_still_collecting(home, working):
    working("collects")
    rewrite(home, replace(at_work.read(home, "collects"), stage="collect"))
    working("aligns")  # it has collected everything, whatever works on it now
    kill(working("cut-off-in-align"))
    kill(working("cut-off-in-collect"))
    rewrite(home, replace(at_work.read(home, "cut-off-in-collect"), stage="collect"))
    for name in ("done", "failed"):
        home.cycle(name).mkdir()
    rewrite(home, replace(at_work.read(home, "cut-off-in-align"), cycle_id="done", stage="collect", ended=COMPLETED))
    rewrite(home, replace(at_work.read(home, "cut-off-in-align"), cycle_id="failed", stage="nightly", ended=FAILED))
    assert at_work.collecting(home) == {"collects", "cut-off-in-collect", "failed"}


@pytest.mark.slow
def test_a_killed_process_is_dead_and_one_at_work_is_not(home, working):
    process = working("c1")
    work = at_work.read(home, "c1")
    assert (work.command, work.stage, work.pid) == ("nightly", "align", process.pid)
    assert work.flow_runs == ("a night", "a stage")
    assert work.again == f"ENGAGE_HOME='{home.path}' .venv/bin/engage nightly --cycle c1"
    assert at_work.state(home, work) == "running"
    assert at_work.mark_dead(Workspace(home), crash_flow_run) == []
    kill(process)
    assert at_work.state(home, work) == INTERRUPTED


@pytest.mark.slow
def test_a_scheduled_night_without_stored_settings_names_no_command_that_would_run_others(home):
    at_work.begin(Workspace(home), "c1", "nightly", "a night")
    assert at_work.read(home, "c1").again == ""
    at_work.end(Workspace(home), "c1", "a night", FAILED)
    assert at_work.unfinished(home, "c1") == "This cycle failed in nightly, before its end."


def test_work_of_another_host_and_a_process_id_that_was_given_again_mislead_nobody(home, working):
    process = working("c1")
    kill(process)
    work = at_work.read(home, "c1")
    assert at_work.is_dead(home, replace(work, pid=os.getpid()))  # this process has got the id of the dead one
    elsewhere = replace(work, host=f"not-{work.host}")
    rewrite(home, elsewhere)
    assert not at_work.is_dead(home, elsewhere)
    assert at_work.mark_dead(Workspace(home), crash_flow_run) == []


@pytest.mark.slow
def test_a_copy_of_a_home_calls_nobody_dead_who_works_in_the_first(home, working, tmp_path):
    process = working("c1")
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.path, copy.path)
    assert at_work.state(copy, at_work.read(copy, "c1")) == "running"
    kill(process)
    assert at_work.state(copy, at_work.read(copy, "c1")) == INTERRUPTED


@pytest.mark.slow
def test_two_processes_on_one_cycle_are_dead_when_both_are(home, working):
    first, second = working("c1"), working("c1")
    kill(second)  # the last that wrote the record
    assert at_work.state(home, at_work.read(home, "c1")) == "running"
    kill(first)
    assert at_work.state(home, at_work.read(home, "c1")) == INTERRUPTED


@pytest.mark.slow
@pytest.mark.parametrize(("error", "how"), [(None, COMPLETED), (ValueError, FAILED), (KeyboardInterrupt, INTERRUPTED)])
def test_how_a_night_ended_is_recorded_and_tries_are_counted(home, error, how):
    workspace = Workspace(home)
    for tries in (1, 2):
        try:
            with at_work.at_work(workspace, "c1", "nightly", "r"):
                assert at_work.read(home, "c1").ended == ""
                at_work.end(workspace, "c1", "a stage of it", COMPLETED)
                assert at_work.read(home, "c1").ended == ""
                if error:
                    raise error
        except (ValueError, KeyboardInterrupt):
            pass
        work = at_work.read(home, "c1")
        assert (work.ended, work.tries) == (how, tries if error else 1)


def test_the_nights_to_finish_are_the_unfinished_ones_of_the_last_seven_oldest_first(home):
    def recorded(cycle_id, minute, ended, command="nightly", tries=1):
        home.cycle(cycle_id).mkdir(parents=True, exist_ok=True)
        began = f"2026-11-20T02:{minute:02}:00+00:00"
        rewrite(home, Work(cycle_id, command, "collect", "here", 1, 0.0, began, ("r",), ended, tries))

    def found():
        return [work.cycle_id for work in at_work.to_finish(Workspace(home), "tonight")]

    assert found() == []
    recorded("c1", 1, INTERRUPTED)
    recorded("tonight", 2, FAILED)  # a flow run that Prefect tries again
    recorded("c2", 3, INTERRUPTED, command="collect")
    assert found() == ["c1"]
    recorded("c3", 4, FAILED)  # two power cuts, one after the other
    assert found() == ["c1", "c3"]
    recorded("c1", 1, INTERRUPTED, tries=4)
    assert found() == ["c1", "c3"]
    recorded("c1", 1, INTERRUPTED, tries=5)
    recorded("c4", 5, COMPLETED)
    assert found() == ["c3"]
    for minute in range(10, 16):
        recorded(f"d{minute}", minute, COMPLETED)
    assert found() == []  # the eighth night, counted from the latest


@flow
def open_stage() -> str:
    from prefect.runtime import flow_run

    return str(flow_run.id)


@flow
def open_run(name: str) -> tuple[str, str]:
    """A flow that was killed just after it began a stage, which no file records yet."""
    from prefect.runtime import flow_run

    return str(flow_run.id), open_stage()


@pytest.mark.usefixtures("prefect_server")
def test_the_runs_of_the_dead_are_ended_and_those_of_the_living_stay_open(home, working):
    client, tracker = get_client(sync_client=True), Tracker(home)
    runs = {name: open_run(name) for name in ("dead", "alive")}
    processes, stages = {}, []
    for name, (run, stage) in runs.items():
        for one in (run, stage):
            client.set_flow_run_state(one, Running(), force=True)
        tracker.open_cycle(name, {"cycle_id": name})
        stages.append(tracker.stage(name, "collect"))
        stages[-1].__enter__()
        processes[name] = working(name, run)
    kill(processes["dead"])
    (marked,) = at_work.mark_dead(Workspace(home), crash_flow_run)
    assert (marked.cycle_id, marked.ended) == ("dead", INTERRUPTED)
    states = {name: [client.read_flow_run(one).state for one in both] for name, both in runs.items()}
    assert [state.name for state in states["dead"]] == ["Crashed", "Crashed"]
    assert [state.name for state in states["alive"]] == ["Running", "Running"]
    assert states["dead"][0].message == f"process {processes['dead'].pid} on {marked.host} is gone"
    found = MlflowClient(home.tracking_uri).search_runs(["1"])
    assert sorted((run.data.tags["engage.cycle_id"], run.info.status) for run in found) == [
        ("alive", "RUNNING"),
        ("alive", "RUNNING"),
        ("dead", "KILLED"),
        ("dead", "KILLED"),
    ]
    assert at_work.mark_dead(Workspace(home), crash_flow_run) == []


def unfinished_night(home, cycle_id, minute):
    """A night that began, kept its settings and was cut off."""
    home.cycle(cycle_id).mkdir(parents=True, exist_ok=True)
    settings = load_config("laptop").model_dump(mode="json")
    Workspace(home).store.begin_cycle(cycle_id, {"seed": 7}, settings=settings)
    began = f"2026-11-20T02:{minute:02}:00+00:00"
    rewrite(home, Work(cycle_id, "nightly", "collect", "here", 1, 0.0, began, ("r",), INTERRUPTED, 1))
    return settings


def test_a_night_whose_settings_are_refused_today_keeps_no_other_from_being_finished(home):
    settings = unfinished_night(home, "c1", 1)
    unfinished_night(home, "c2", 2)
    refused = json.dumps({**settings, "search": {**settings["search"], "num_simulations": -1}})
    with duckdb.connect(str(home.database)) as connection:
        connection.execute("update cycle set settings = ? where cycle_id = 'c1'", [refused])
    config = load_config("laptop", ["nightly.finish_interrupted=true"])
    assert [cycle for cycle, _ in earlier_nights.fn(config, "tonight")] == ["c2"]


def test_an_earlier_night_that_another_one_works_on_by_now_waits_no_longer(home):
    unfinished_night(home, "c1", 1)
    assert at_work.still_waits(Workspace(home), "c1", "tonight")
    with at_work.at_work(Workspace(home), "c1", "nightly", "another night's"):
        assert not at_work.still_waits(Workspace(home), "c1", "tonight")
    assert not at_work.still_waits(Workspace(home), "c1", "tonight")
