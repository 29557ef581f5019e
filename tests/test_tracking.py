"""What MLflow shows of a cycle while its stages run, and when they have ended."""

import pytest
from mlflow import MlflowClient

from engage.config import Home
from tasks.tracking import Tracker


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Home.from_env()


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
    tracker.finish_cycle("c1")
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
