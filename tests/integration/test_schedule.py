"""A real Prefect server, a real worker: a scheduled run of `nightly` reaches Completed. Minutes; part of `make integration`."""

import os
import socket
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from engage.config import CycleConfig

CLONE = Path(__file__).resolve().parents[2]
SMALL = {
    "engine.kind": "scripted",
    "scenarios.per_domain": 2,
    "evaluation.per_domain": 2,
    "align.dpo.max_pairs": 2,
    "align.dpo.batch_size": 2,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition, timeout_s: float, what: str):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(1.0)
    pytest.fail(f"{what} did not happen within {timeout_s:g} s")


def end(process, seconds):
    """End a process of Prefect's. Its worker has once slept on after SIGTERM, with its run completed: that is not tested here."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(seconds)


@pytest.fixture
def prefect(tmp_path):
    """A server of its own and the environment that names it."""
    port = free_port()
    env = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "ENGAGE_HOME": str(tmp_path / "home"),
        "TZ": "UTC",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: healthy(env), 120, "the Prefect server's start")
            yield env
        finally:
            end(server, 30)


def healthy(env) -> bool:
    try:
        return httpx.get(f"{env['PREFECT_API_URL']}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def runs(env, flow: str):
    """Nothing while the server cannot say: its SQLite is locked for up to a minute now and then."""
    try:
        answer = httpx.post(
            f"{env['PREFECT_API_URL']}/flow_runs/filter",
            json={"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_ASC"},
            timeout=10,
        )
        return answer.raise_for_status().json()
    except httpx.HTTPError:
        return []


def logs(env, flow_run_id):
    wanted = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}}
    return httpx.post(f"{env['PREFECT_API_URL']}/logs/filter", json=wanted, timeout=30).raise_for_status().json()


def engage(env, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], env=env, cwd=CLONE, capture_output=True, text=True, timeout=300
    )


@pytest.mark.timeout(900)
def test_a_scheduled_run_is_completed_by_a_worker(prefect, tmp_path):
    due = datetime.now() + timedelta(seconds=120)  # --at has no seconds: it is due in one to two minutes
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    scheduled = engage(prefect, "schedule", "--at", f"{due:%H:%M}", "--profile", "laptop", *settings)
    assert scheduled.returncode == 0, scheduled.stderr
    worker_command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "engage"]
    with (tmp_path / "worker.log").open("w") as log:
        worker = subprocess.Popen(worker_command, env=prefect, cwd=CLONE, stdout=log, stderr=subprocess.STDOUT)
        try:
            finished = wait_for(
                lambda: [
                    run for run in runs(prefect, "nightly") if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}
                ],
                600,
                "the scheduled run's end",
            )
        finally:
            end(worker, 60)
    assert finished[0]["state_type"] == "COMPLETED", (tmp_path / "worker.log").read_text()[-3000:]
    assert finished[0]["auto_scheduled"]
    assert "profile:laptop" in finished[0]["tags"] and f"cycle:{finished[0]['name']}" in finished[0]["tags"]
    assert "not promoted: " in finished[0]["state"]["message"] and finished[0]["state"]["message"].endswith(" min")
    said = {line["message"] for line in logs(prefect, finished[0]["id"])}
    assert any(line.startswith("searching 4 scenarios ") for line in said)
    assert any(line.startswith("Verdict: not promoted") for line in said)
    trees = engage(prefect, "sql", "select count(*) as trees from tree", "--format", "csv")
    assert trees.stdout == "trees\n4\n"


def deployment_id(env):
    return httpx.get(f"{env['PREFECT_API_URL']}/deployments/name/nightly/laptop", timeout=30).json()["id"]


def deployment(env):
    """What the server holds of `nightly/laptop`, without what differs by the clock or by whose environment it is."""
    found = httpx.get(f"{env['PREFECT_API_URL']}/deployments/name/nightly/laptop", timeout=30).raise_for_status().json()
    schedules = [(one["schedule"]["cron"], one["schedule"]["timezone"], one["active"]) for one in found["schedules"]]
    config = CycleConfig.model_validate(found["parameters"].pop("config"))
    kept = ("name", "entrypoint", "parameters", "work_pool_name", "paused", "enforce_parameter_schema")
    limit = (found["global_concurrency_limit"] or {}).get("limit", found["concurrency_limit"])
    return {name: found[name] for name in kept} | {"schedules": schedules, "config": config, "limit": limit}


@pytest.mark.timeout(400)
def test_prefects_own_file_deploys_what_engage_schedule_does(prefect):
    scheduled = engage(prefect, "schedule", "--at", "02:00", "--profile", "laptop")
    assert scheduled.returncode == 0, scheduled.stderr
    by_engage = deployment(prefect)
    httpx.delete(f"{prefect['PREFECT_API_URL']}/deployments/{deployment_id(prefect)}", timeout=30).raise_for_status()
    command = ["-m", "prefect", "--no-prompt", "deploy", "--prefect-file", "deployments/prefect.yaml", "--all"]
    env = {**prefect, "ENGAGE_CLONE": str(CLONE)}
    done = subprocess.run([sys.executable, *command], env=env, cwd=CLONE, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployment(prefect) == by_engage


@pytest.mark.timeout(400)
def test_a_schedule_keeps_its_zone_rests_on_demand_and_is_removed(prefect):
    assert engage(prefect, "schedule", "--at", "02:00", "--timezone", "Asia/Tokyo").returncode == 0
    again = engage(prefect, "schedule", "--cron", "30 3 * * 1-5", "--skip-if-running", "--set", "seed=3")
    told = "nightly/laptop is scheduled at 30 3 * * 1-5 (Asia/Tokyo)."
    assert any(line.startswith(told) for line in again.stdout.splitlines())
    found = httpx.get(f"{prefect['PREFECT_API_URL']}/deployments/name/nightly/laptop", timeout=30).json()
    assert (found["schedules"][0]["schedule"]["timezone"], found["concurrency_options"]["collision_strategy"]) == (
        "Asia/Tokyo",
        "CANCEL_NEW",
    )
    assert found["tags"] == ["profile:laptop"] and "overrides: `seed=3`" in found["description"] and found["version"]
    assert "nightly/laptop" in engage(prefect, "schedule", "--list").stdout
    assert engage(prefect, "schedule", "--pause").returncode == 0
    assert deployment(prefect)["paused"] and "paused" in engage(prefect, "schedule", "--list").stdout
    assert engage(prefect, "schedule", "--resume").returncode == 0
    assert not deployment(prefect)["paused"]
    assert engage(prefect, "schedule", "--remove").returncode == 0
    assert "nothing is scheduled" in engage(prefect, "schedule", "--list").stdout
    unknown = engage(prefect, "schedule", "--pause", "--profile", "gpu")
    assert unknown.returncode == 2 and "nightly/gpu is not scheduled (scheduled: nothing)" in unknown.stderr


def test_scheduling_without_a_server_says_what_to_do(tmp_path):
    env = {**os.environ, "PREFECT_HOME": str(tmp_path), "ENGAGE_HOME": str(tmp_path / "home")}
    env.pop("PREFECT_API_URL", None)
    refused = engage(env, "schedule", "--at", "02:00", "--profile", "laptop")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        "engage up" in refused.stderr and "prefect server start" in refused.stderr and "Traceback" not in refused.stderr
    )
