"""A night's own state is kept and shown after an experiment on its cycle was cut off."""

import os
import subprocess
import sys

import pytest

from engage.keeping import at_work
from engage.keeping.at_work import COMPLETED, FAILED, INTERRUPTED
from engage.tracking import Tracker
from engage.workspace import Workspace
from flows.cli.runs import selected


def worked(home, flow, how):
    at_work.begin(Workspace(home), "c1", flow, flow)
    if flow == "nightly":
        at_work.begin(Workspace(home), "c1", "collect", "its first stage")
    at_work.end(Workspace(home), "c1", flow, how)


@pytest.mark.parametrize("experiment", ["credit", "people", "transfer", "abilities", "compare"])
@pytest.mark.parametrize("ended", [COMPLETED, FAILED])
def test_an_interrupted_experiment_changes_no_nights_state(home, experiment, ended):
    Tracker(home).open_cycle("c1", {"cycle_id": "c1"})
    worked(home, "nightly", ended)
    worked(home, experiment, INTERRUPTED)
    worked(home, "people", FAILED)
    (shown,) = selected(Workspace(home), "nights")
    assert shown["state"] == ended
    assert ("nightly --cycle c1" in shown["continue"]) == (ended == FAILED)
    assert ("failed in collect" in at_work.unfinished(home, "c1")) == (ended == FAILED)
    assert [one.cycle_id for one in at_work.to_finish(Workspace(home), "c2")] == (["c1"] if ended == FAILED else [])


def test_a_night_that_ends_while_an_experiment_works_is_recorded(home):
    at_work.begin(Workspace(home), "c1", "nightly", "a night")
    night = at_work.read(home, "c1")
    at_work._write(home, at_work.replace(night, pid=1))  # another process
    at_work.begin(Workspace(home), "c1", "credit", "an experiment")
    at_work.end(Workspace(home), "c1", "a night", COMPLETED)
    last = at_work.read(home, "c1")
    assert (last.command, last.ended, at_work.of_night(last).ended) == ("credit", "", COMPLETED)


BOTH_WORK = """
import os, sys
from engage.home import Home
from engage.keeping import at_work
from engage.workspace import Workspace
workspace = Workspace(Home.from_env())
at_work.begin(workspace, "c1", "nightly", "a night")
at_work.begin(workspace, "c1", "collect", "its collect")
if os.fork() == 0:
    at_work._locks.clear()
    at_work.begin(workspace, "c1", "credit", "an experiment")
    if sys.argv[1] == "ends":
        at_work.end(workspace, "c1", "an experiment", "completed")
    os._exit(0)
os.wait()
at_work.begin(workspace, "c1", "align", "its align")
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("experiment", ["ends", "dies"])
def test_a_night_is_finished_though_an_experiment_worked_on_its_cycle_when_it_was_killed(home, experiment):
    Tracker(home).open_cycle("c1", {"cycle_id": "c1"})
    subprocess.run(
        [sys.executable, "-c", BOTH_WORK, experiment], check=False, env={**os.environ, "ENGAGE_HOME": str(home.path)}
    )
    ended: list[str] = []
    at_work.mark_dead(Workspace(home), lambda run, _: ended.append(run))
    assert set(ended) == {"a night", "its collect", "its align", *(["an experiment"] if experiment == "dies" else [])}
    (night,) = at_work.to_finish(Workspace(home), "c2")
    assert (night.command, night.stage, night.ended) == ("nightly", "align", INTERRUPTED)
    (shown,) = selected(Workspace(home), "nights")
    assert (shown["reached"], shown["state"]) == ("align", INTERRUPTED)


def test_a_night_after_a_failed_experiment_counts_its_own_tries(home):
    worked(home, "nightly", FAILED)
    worked(home, "credit", COMPLETED)
    worked(home, "nightly", FAILED)
    assert at_work.read(home, "c1").tries == 2
