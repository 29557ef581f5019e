"""Nights that are killed, and the next one: it ends the runs of the dead, and finishes their cycle where it is asked to."""

import os
import signal
import sqlite3

import pytest
from mlflow import MlflowClient
from test_faults import ended, prefect, room, rooms, tiny, wait_until  # noqa: F401  # fixtures

SMALL = (
    "scenarios.per_domain=2",
    "search.num_simulations=8",
    "collect.shard_size=1",
    "collect.workers=1",
    "align.dpo.max_length=4096",
    "align.dpo.max_pairs=2",
    "evaluation={per_domain=2}",
)

pytestmark = pytest.mark.timeout(600)


def states(prefect_home) -> dict[str, str]:
    """Prefect's flow runs of `nightly` by name."""
    with sqlite3.connect(prefect_home / "prefect.db") as connection:
        query = (
            "select flow_run.name, state_type from flow_run join flow on flow.id = flow_id where flow.name = 'nightly'"
        )
        return dict(connection.execute(query).fetchall())


def test_the_next_night_ends_the_runs_of_a_killed_one_and_finishes_it(room, prefect):  # noqa: F811
    process = room.start("nightly", *SMALL, cycle="first", latency_s=0.05)
    wait_until(process, room.waiting, "a first tree")
    os.killpg(process.pid, signal.SIGKILL)
    ended(process)
    assert states(prefect)["first"] == "RUNNING"
    out = room.run("nightly", *SMALL, "nightly.finish_interrupted=true", cycle="second")
    assert f"cycle first: its process {process.pid} is gone, its runs are marked as ended (it reached collect)" in out
    assert "cycle second starts from the base model " in out
    with sqlite3.connect(prefect / "prefect.db") as connection:
        runs = "select state_type, count(*) from flow_run where state_type <> 'COMPLETED' group by state_type"
        assert dict(connection.execute(runs).fetchall()) == {"CRASHED": 2}  # the night, and its collect
    trees = dict(room.rows("select cycle_id, count(*) from tree group by all"))
    assert trees == {"first": 4, "second": 4}
    client = MlflowClient(f"sqlite:///{room.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("engage").experiment_id
    assert [run for run in client.search_runs([experiment]) if run.info.status != "FINISHED"] == []
    for cycle in ("first", "second"):
        assert (room.home / "cycles" / cycle / "report.md").is_file()
