"""`engage up` and `engage down` with processes that stand in for the services; the real ones: tests/integration/test_services.py."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from engage.errors import ConfigError, EngageError
from engage.home import Home
from engage.keeping import at_work
from engage.processes import began_s
from engage.workspace import Workspace
from flows.cli import services
from flows.cli.started import Service, end, folder, running, use_own_server

SLEEP = "import time; time.sleep(600)"
PARENT = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); print('up', flush=True); {SLEEP}"
)


@pytest.fixture
def home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    found = Home(own_home)
    folder(found).mkdir(parents=True)
    return found


@pytest.fixture
def started(home):
    """Starts a process that is known as a service of the home; all are ended after the test."""
    begun = []

    def start(name: str, code: str = SLEEP, address: str = "") -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
        begun.append(process)
        if code == PARENT and process.stdout:
            process.stdout.readline()
        note(home, Service(name, process.pid, began_s(process.pid), address))
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()


INTERRUPTED_UP = """
import os, signal, sys
from flows.cli import entry, services

def began_s(pid):
    os.kill(os.getpid(), signal.SIGINT)
    return noted_s(pid)

noted_s, services.began_s, services.sys.executable = services.began_s, began_s, sys.argv[1]
sys.argv = ["engage", "up"]
entry.main()
"""


def test_ctrl_c_says_that_what_was_started_runs_on_and_down_ends_it(home, engage, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    (service := tmp_path / "service").write_text("#!/bin/sh\nexec sleep 600\n")
    service.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_UP, service], capture_output=True, text=True, timeout=60, check=False
    )
    said = "interrupted; what was started runs on: `engage up` starts the rest, `engage down` ends it\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", said)
    process = running(home, "prefect")
    assert process is not None
    assert engage("down")[1] == f"Prefect's server has ended (process {process.pid}).\n"
    assert not psutil.pid_exists(process.pid)


def note(home: Home, service: Service) -> None:
    (folder(home) / f"{service.name}.json").write_text(json.dumps(asdict(service)))


@pytest.mark.slow
def test_down_ends_what_up_started_with_its_children_and_nothing_else(home, started, engage):
    other = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        server = started("prefect", PARENT, "http://127.0.0.1:1")
        child = psutil.Process(server.pid).children()[0]
        code, out, _ = engage("down")
        assert (code, out) == (0, f"Prefect's server has ended (process {server.pid}).\n")
        assert not psutil.pid_exists(server.pid) and not child.is_running()
        assert other.poll() is None
        assert engage("down")[1].startswith("nothing runs that `engage up` started in ")
    finally:
        other.kill()
        other.wait()


@pytest.mark.slow
def test_what_a_killed_service_left_is_ended_and_its_port_is_taken_again(home, started, engage):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for act in (lambda: engage("down"), lambda: services._port(home, "mlflow", None)):
        server = started("mlflow", PARENT, f"http://127.0.0.1:{port}")
        child = psutil.Process(server.pid).children()[0]
        server.kill()
        server.wait()
        assert running(home, "mlflow") is None and child.is_running()
        found = act()
        assert not child.is_running()
    assert found == port


@pytest.mark.slow
def test_a_night_whose_worker_was_killed_is_not_ended_by_accident(home, started, engage):
    worker = started("worker", PARENT)
    night = psutil.Process(worker.pid).children()[0]
    worker.kill()
    worker.wait()
    code, _, err = engage("down")
    assert code == 2 and f"a run is at work, and needs Prefect's server (process {night.pid})" in err
    assert night.is_running() and engage("down", "--force")[0] == 0 and not night.is_running()


def test_a_night_in_a_terminal_is_not_left_without_its_server(home, started, engage):
    server = started("prefect", address="http://127.0.0.1:1")
    with at_work.at_work(Workspace(home), "c1", "nightly", "run"):
        code, _, err = engage("down")
        assert code == 2 and f"a run is at work, and needs Prefect's server (process {os.getpid()})" in err
    assert server.poll() is None and engage("down")[0] == 0


@pytest.mark.slow
def test_a_worker_of_another_server_is_replaced_unless_it_runs_a_night(home, started, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://one/api")
    started("worker")
    assert not services._is_deaf(home)
    monkeypatch.setenv("PREFECT_API_URL", "http://two/api")
    assert services._is_deaf(home) and running(home, "worker") is None
    monkeypatch.setenv("PREFECT_API_URL", "http://one/api")
    busy = started("worker", PARENT)
    monkeypatch.setenv("PREFECT_API_URL", "http://two/api")
    with pytest.raises(ConfigError, match="runs a night and uses another Prefect server"):
        services._is_deaf(home)
    assert busy.poll() is None
    end(Service("worker", busy.pid, began_s(busy.pid)))


def test_a_service_is_known_after_the_clock_was_set(home, started, monkeypatch):
    process = started("prefect")
    create_time, boot_time = psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_time() + 3600)
    found = running(home, "prefect")
    assert found and found.pid == process.pid


@pytest.mark.slow
def test_a_night_is_not_ended_by_accident(home, started, engage):
    worker = started("worker", PARENT)
    code, _, err = engage("down")
    assert code == 2 and "a run is at work" in err and "engage down --force" in err
    assert worker.poll() is None
    assert engage("down", "--force")[0] == 0 and not psutil.pid_exists(worker.pid)


def test_a_process_id_that_is_somebody_elses_by_now_is_left_alone(home, engage):
    me = psutil.Process()
    note(home, Service("mlflow", me.pid, began_s(me.pid) - 3600, "http://127.0.0.1:1"))
    assert running(home, "mlflow") is None
    assert engage("down")[1].startswith("nothing runs")


@pytest.mark.parametrize(
    "text", ["", "{}", '{"name": "mlflow", "pid": "x"}', "[1]", '{"name": "mlflow", "pid": -1, "began_s": 1}']
)
def test_a_file_that_names_no_process_means_that_none_runs(text, home):
    (folder(home) / "mlflow.json").write_text(text)
    assert running(home, "mlflow") is None


def test_a_service_that_has_ended_and_was_not_waited_for_does_not_run(home, started):
    process = started("prefect", "pass")
    with suppress(psutil.NoSuchProcess):  # somebody else may have waited for it
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    assert running(home, "prefect") is None


def test_a_port_in_use_is_refused_when_asked_for_and_avoided_otherwise(home, monkeypatch, engage):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = engage("up", "--prefect-port", str(port))
        assert code == 2 and f"--prefect-port {port}: the port is in use" in err
        monkeypatch.setitem(services.PORTS, "prefect", port)
        assert services._port(home, "prefect", None) not in (port, 0)


def test_a_service_that_does_not_start_is_told_with_the_last_line_of_its_log(home, started):
    process = started("mlflow", "pass")
    process.wait()
    (folder(home) / "mlflow.log").write_text("INFO\nError: cannot reach postgresql://me:secret@host/db\n\n")
    service = Service("mlflow", process.pid, 0.0, "")
    with pytest.raises(
        EngageError, match=r"^MLflow does not start; the end of .*mlflow\.log: Error: .*//\*\*\*@host/db$"
    ):
        services._wait(home, service, lambda: False)


def test_the_homes_own_server_is_used_unless_the_environment_names_one(home, started, monkeypatch):
    use_own_server()
    assert "PREFECT_API_URL" not in os.environ
    started("prefect", address="http://127.0.0.1:4711")
    monkeypatch.setenv("PREFECT_API_URL", "http://other/api")
    use_own_server()
    assert os.environ["PREFECT_API_URL"] == "http://other/api"
    monkeypatch.setenv("PREFECT_API_URL", "")
    use_own_server()
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4711/api"


def test_what_the_environment_names_is_not_started(home, started, engage, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://me:pw@prefect.example/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    started("worker")
    code, out, _ = engage("up")
    assert code == 0
    assert "Prefect's server: yours, at http://***@prefect.example/api" in out
    assert "MLflow: yours, at http://mlflow.example" in out
    assert "the worker: process" in out and "which was running already" in out
