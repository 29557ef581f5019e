"""`engage up` and `engage down`: Prefect's server, a worker and MLflow's pages on this machine, for people who have none.

They listen on 127.0.0.1 only and outlive the command. `HOME/services/` holds their logs, Prefect's database and one file per process that
names it, with its time of start: a process id alone may by now be somebody else's.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock
from rich.console import Console

from engage.errors import ConfigError, EngageError
from engage.files.writing import write_whole
from engage.home import Home
from engage.masking import mask_urls
from engage.processes import began_s
from flows.cli import interrupts
from flows.cli.started import Service, end, folder, noted, process_of, processes, running, use_own_server
from flows.cli.workers import POOL, ensure_pool, online

HOST = "127.0.0.1"
NAMES = ("worker", "mlflow", "prefect")
"""In the order in which they are ended."""
WORDS = {"prefect": "Prefect's server", "mlflow": "MLflow", "worker": "the worker"}
PORTS = {"prefect": 4200, "mlflow": 5000}
HEALTH = {"prefect": "/api/health", "mlflow": "/health"}
LEASES, LEASES_ON_DISK = (
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "prefect.server.concurrency.lease_storage.filesystem",
)
"""Prefect's server keeps in memory, by default, when a run that ended without a word loses its place: a power cut that ends the server too
would leave the place taken for ever, and no night would begin again."""
START_S = 240.0
CLONE = Path(__file__).resolve().parents[2]


def start_services(console: Console, prefect_port: int | None, mlflow_port: int | None) -> None:
    """Start what does not run yet, wait until each answers, and print the addresses.

    A Prefect server or an MLflow server that the environment names is used instead of an own one. ConfigError for a port in use,
    EngageError for a service that does not start.
    """
    home = Home.from_env()
    home.make()
    folder(home).mkdir(mode=0o700, exist_ok=True)
    interrupts.say("interrupted; what was started runs on: `engage up` starts the rest, `engage down` ends it")
    with FileLock(folder(home) / "services.lock"):
        before = {name for name in NAMES if running(home, name)}
        use_own_server()
        if not os.environ.get("PREFECT_API_URL") and "prefect" not in before:
            _start_prefect(home, prefect_port)
        if home.tracking_uri.startswith(("sqlite:", "file:")) and "mlflow" not in before:
            _start_mlflow(home, mlflow_port)
        for name, path in HEALTH.items():
            if service := running(home, name):
                _wait(home, service, _answers(f"{service.address}{path}"))
        use_own_server()
        if "worker" in before and _is_deaf(home):
            before.discard("worker")
        if "worker" not in before:
            _start_worker(home)
        _print(console, home, before)


def stop_services(console: Console, force: bool) -> None:
    """End what `engage up` started in this home, and nothing else. ConfigError while a night runs, unless forced."""
    home = Home.from_env()
    found = [service for name in NAMES if (service := noted(home, name)) and processes(service)]
    if found and not force and (night := _night(home)):
        raise ConfigError(
            f"a run is at work, and needs Prefect's server (process {night}); wait for its end, or use `engage down --force`, which ends "
            "what the worker runs too: what it has collected is kept"
        )
    for service in found:
        end(service)
        (folder(home) / f"{service.name}.json").unlink(missing_ok=True)
        console.print(f"{WORDS[service.name]} has ended (process {service.pid}).")
    if not found:
        console.print(f"nothing runs that `engage up` started in {home.path}.", soft_wrap=True)


def _start_prefect(home: Home, port: int | None) -> Service:
    port = _port(home, "prefect", port)
    own = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{port}/api",  # else its pages ask at port 4200
        LEASES: LEASES_ON_DISK,
    }
    if not os.environ.get("PREFECT_HOME"):
        own["PREFECT_HOME"] = str(folder(home) / "prefect")
    command = ["prefect", "server", "start", "--host", HOST, "--port", str(port)]
    return _start(home, "prefect", command, f"http://{HOST}:{port}", own)


def _start_mlflow(home: Home, port: int | None) -> Service:
    from flows.cli.running import quieten

    quieten(verbose=False)
    from engage.workspace import Workspace

    Workspace(home).tracker.champion()  # makes or migrates the database, which two processes must not do at once
    port = _port(home, "mlflow", port)
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    own = {"MLFLOW_BACKEND_STORE_URI": home.tracking_uri, "DO_NOT_TRACK": "1"}
    return _start(home, "mlflow", command, f"http://{HOST}:{port}", own)


def _start_worker(home: Home) -> None:
    from flows.cli.prefect_client import connected

    with connected() as client:
        ensure_pool(client)
    name = f"engage-{socket.gethostname()}"
    command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", name]
    since_s = time.time()
    service = _start(home, "worker", command, "", {"ENGAGE_HOME": str(home.path)})
    with connected() as client:
        _wait(home, service, lambda: name in online(client, since_s))


def _is_deaf(home: Home) -> bool:
    """Whether the running worker knew another Prefect server than this process uses; it is then ended. ConfigError while it runs a night."""
    worker = running(home, "worker")
    process = process_of(worker) if worker else None
    known = process.environ().get("PREFECT_API_URL") if process else None  # none at the very start of a process
    if worker is None or known in (None, os.environ["PREFECT_API_URL"]):
        return False
    if len(processes(worker)) > 1:
        raise ConfigError(
            f"the worker (process {worker.pid}) runs a night and uses another Prefect server; `engage up` again after its end"
        )
    end(worker)
    return True


def _start(home: Home, name: str, command: list[str], address: str, own: Mapping[str, str]) -> Service:
    log = folder(home) / f"{name}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.before"))
    # on another thread, because Ctrl-C must not come between a start and its note, by which `engage down` knows it
    with ThreadPoolExecutor() as apart:
        return apart.submit(_begin, home, name, command, address, own, log).result()


def _begin(home: Home, name: str, command: list[str], address: str, own: Mapping[str, str], log: Path) -> Service:
    """Start the process and note it."""
    python = os.pathsep.join(filter(None, (str(CLONE), os.environ.get("PYTHONPATH"))))
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=CLONE,
            env={**os.environ, **own, "PYTHONPATH": python},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    service = Service(name, process.pid, began_s(process.pid), address)
    write_whole(folder(home) / f"{name}.json", json.dumps(asdict(service)))
    return service


def _wait(home: Home, service: Service, answers: Callable[[], bool]) -> None:
    """Wait until the service answers; EngageError if it ends or takes too long, and then it is ended."""
    deadline = time.monotonic() + START_S
    while not answers():
        if not process_of(service) or time.monotonic() > deadline:
            end(service)
            log = folder(home) / f"{service.name}.log"
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
            raise EngageError(f"{WORDS[service.name]} does not start; the end of {log}: {mask_urls(last)[:300]}")
        time.sleep(0.5)


def _answers(url: str) -> Callable[[], bool]:
    import httpx

    def asked() -> bool:
        try:
            return httpx.get(url, timeout=5.0).is_success
        except httpx.HTTPError:
            return False

    return asked


def _port(home: Home, name: str, wanted: int | None) -> int:
    """The wanted port, the one of before, the usual one, or a free one; ConfigError if the wanted one is in use.

    A service whose processes are left from one that was killed is ended first: they hold its port.
    """
    before = noted(home, name)
    if before:
        end(before)
    known = (urlsplit(before.address).port if before else None, PORTS[name], 0)
    for port in (wanted,) if wanted is not None else known:
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError(f"--{name}-port {wanted}: the port is in use; name another, or leave the option out")


def _night(home: Home) -> int | None:
    """The id of a process of this machine that runs a flow with this home: under the worker, in a terminal, or of a worker that was killed."""
    from engage.keeping import at_work

    worker = noted(home, "worker")
    under = [one.pid for one in processes(worker) if one.pid != worker.pid] if worker else []
    here = (one for one in at_work.all_work(home) if one.host == socket.gethostname())
    return next(iter((*under, *(one.pid for one in here if at_work.state(home, one) == at_work.RUNNING))), None)


def _print(console: Console, home: Home, before: set[str]) -> None:
    for name in reversed(NAMES):
        if service := running(home, name):
            again = ", which was running already" if name in before else ""
            where = service.address or f"process {service.pid}"
            console.print(f"{WORDS[name]}: {where}{again}", soft_wrap=True)
        else:
            named = os.environ.get("PREFECT_API_URL", "") if name == "prefect" else home.tracking_uri
            console.print(f"{WORDS[name]}: yours, at {mask_urls(named)}", soft_wrap=True)
    console.print(
        f"Logs: {folder(home)}. `engage down` ends them; after a restart of the machine, `engage up` again.",
        soft_wrap=True,
    )
    if running(home, "prefect"):
        console.print(
            "With this home, engage uses the server by itself; Prefect's own commands need "
            f"`export PREFECT_API_URL={os.environ['PREFECT_API_URL']}`.",
            soft_wrap=True,
        )
    console.print("Next: engage schedule --at 02:00", soft_wrap=True)
