"""What is told of Dask workers that come and go; the workers themselves: tests/integration/test_dask.py."""

import os

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from engage.config import CycleConfig
from engage.errors import ConfigError
from flows.cluster import LOCAL, change_of, dask_runner, own_environment

ONE, TWO, SCHEDULER = "tcp://10.0.0.2:1", "tcp://10.0.0.3:1", "tcp://10.0.0.1:8786"


def gone(worker, expected=False, tasks=()):
    return {"action": "remove-worker", "worker": worker, "expected": expected, "processing-tasks": set(tasks)}


def test_every_change_is_told_once_and_the_last_lost_worker_says_what_to_do():
    alive = {ONE, TWO}
    assert change_of(gone(ONE, tasks=["a", "b"]), alive, SCHEDULER) == (
        f"Dask worker {ONE} is lost; its 2 shard(s) are searched again; 1 left."
    )
    assert change_of(gone(ONE), alive, SCHEDULER) is None
    assert change_of(gone(TWO, expected=True), alive, SCHEDULER) == (
        f"Dask worker {TWO} was stopped; none is left: the night waits; start one with `dask worker {SCHEDULER}`."
    )
    assert (
        change_of({"action": "add-worker", "worker": ONE}, alive, SCHEDULER)
        == f"Dask worker {ONE} has joined; 1 now search."
    )
    assert alive == {ONE}


def test_other_events_say_nothing():
    alive = {ONE}
    for event in ({"action": "retire-workers", "worker": ONE}, "text", None, {"action": "add-worker", "worker": ONE}):
        assert change_of(event, alive, SCHEDULER) is None


def test_a_lost_worker_of_this_machine_is_started_again():
    assert change_of(gone(ONE), {ONE}, LOCAL) == f"Dask worker {ONE} is lost; none is left: the night waits."


def local(workers, **settings):
    return CycleConfig.model_validate({"collect": {"dask_scheduler": LOCAL, "workers": workers}, **settings})


def test_workers_of_this_machine_share_its_cores_and_know_the_runs_server(monkeypatch):
    monkeypatch.setattr("flows.cluster.cores", lambda: 7)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        given = dask_runner(local(3), LOCAL).cluster_kwargs
    assert (given["n_workers"], given["threads_per_worker"], given["host"]) == (3, 1, "127.0.0.1")
    assert given["security"] is True
    assert given["env"] == {"PREFECT_API_URL": "http://127.0.0.1:1/api"}
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    assert {name: given["environment"][name] for name in threads} == dict.fromkeys(threads, "2")


def test_what_dask_writes_into_the_environment_is_gone_after_the_search(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with own_environment():
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_what_workers_of_this_machine_cannot_do_is_one_sentence():
    with pytest.raises(ConfigError, match=r"^collect\.dask_resource: workers of this machine have no resources"):
        dask_runner(CycleConfig.model_validate({"collect": {"dask_scheduler": LOCAL, "dask_resource": "GPU"}}), LOCAL)
    with pytest.raises(ConfigError, match=r"each of the 3 workers .*gpu_memory_utilization to 0\.3 or less"):
        dask_runner(local(3, engine={"kind": "vllm"}), LOCAL)
