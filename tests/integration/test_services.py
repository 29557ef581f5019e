"""`engage up`: a real Prefect server, worker and MLflow; `engage schedule` finds the server by itself; `engage down` ends all three."""

import os

import httpx
import pytest
from test_schedule import engage, wait_for

from engage.home import Home
from flows.cli.services import NAMES
from flows.cli.started import running


@pytest.mark.timeout(900)
def test_a_machine_without_servers_gets_them_and_is_rid_of_them(tmp_path):
    env = {**os.environ, "ENGAGE_HOME": str(tmp_path / "home"), "TZ": "UTC"}
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI"):
        env.pop(name, None)
    home = Home(tmp_path / "home")
    try:
        up = engage(env, "up")
        assert up.returncode == 0, up.stderr
        found = {name: running(home, name) for name in NAMES}
        assert None not in found.values()
        assert httpx.get(f"{found['prefect'].address}/api/health", timeout=30).is_success
        asked = httpx.get(f"{found['prefect'].address}/ui-settings", timeout=30).json()["api_url"]
        assert asked == f"{found['prefect'].address}/api"  # where its pages ask, whatever the port
        assert "mlflow" in httpx.get(found["mlflow"].address, timeout=30).text.lower()
        again = engage(env, "up")
        assert {name: running(home, name) for name in NAMES} == found
        assert again.stdout.count("which was running already") == 3
        scheduled = engage(env, "schedule", "--at", "02:00", "--set", "engine.kind=scripted")
        assert scheduled.returncode == 0, scheduled.stderr
        deployment = f"{found['prefect'].address}/api/deployments/name/nightly/laptop"
        # a worker asks for its runs, every 15 seconds
        wait_for(
            lambda: httpx.get(deployment, timeout=30).json()["status"] == "READY", 120, "a worker for the schedule"
        )
    finally:
        down = engage(env, "down", "--force")
    assert down.stdout.count("has ended") == 3, down.stderr
    assert {running(home, name) for name in NAMES} == {None}
    with pytest.raises(httpx.HTTPError):
        httpx.get(found["prefect"].address, timeout=5)
