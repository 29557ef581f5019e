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
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from rich.console import Console

from engage.errors import ConfigError, EngageError
from engage.files.writing import write_whole
from engage.home import Home
from engage.masking import mask_urls
from engage.processes import began_s, living
from flows.cli.workers import POOL, ensure_pool, online

if TYPE_CHECKING:
    import psutil

HOST = "127.0.0.1"
NAMES = ("worker", "mlflow", "prefect")
"""In the order in which they are ended."""
WORDS = {"prefect": "Prefect's server", "mlflow": "MLflow", "worker": "the worker"}
PORTS = {"prefect": 4200, "mlflow": 5000}
LEASES, LEASES_ON_DISK = (
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "prefect.server.concurrency.lease_storage.filesystem",
)
"""Prefect's server keeps in memory, by default, when a run that ended without a word loses its place: a power cut that ends the server too
would leave the place taken for ever, and no night would begin again."""
START_S = 240.0
STOP_S = 30.0
CLONE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Service:
    """A process that `engage up` started: its id, its time of start (seconds since 1970) and its address (empty: it has none)."""

    name: str
    pid: int
    began_s: float
    address: str = ""


def folder(home: Home) -> Path:
    """Where the home keeps what belongs to its services."""
    return home.path / "services"


def running(home: Home, name: str) -> Service | None:
    """The home's service of this name, None if it does not run."""
    try:
        service = Service(**json.loads((folder(home) / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return service if _process(service) else None


def use_own_server() -> None:
    """Let this process use the home's own Prefect server if it runs and the environment names no other. Call it before prefect is imported."""
    if not os.environ.get("PREFECT_API_URL") and (server := running(Home.from_env(), "prefect")):
        os.environ["PREFECT_API_URL"] = f"{server.address}/api"


def start_services(console: Console, prefect_port: int | None, mlflow_port: int | None) -> None:
    """Start what does not run yet, wait until each answers, and print the addresses.

    A Prefect server or an MLflow server that the environment names is used instead of an own one. ConfigError for a port in use,
    EngageError for a service that does not start.
    """
    home = Home.from_env()
    home.make()
    folder(home).mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder(home) / "services.lock"):
        before = {name for name in NAMES if running(home, name)}
        use_own_server()
        begun = []
        if not os.environ.get("PREFECT_API_URL") and "prefect" not in before:
            begun.append(_start_prefect(home, prefect_port))
        if home.tracking_uri.startswith(("sqlite:", "file:")) and "mlflow" not in before:
            begun.append(_start_mlflow(home, mlflow_port))
        for service in begun:
            _wait(home, service, _answers(f"{service.address}{'/api' * (service.name == 'prefect')}/health"))
        use_own_server()
        if "worker" not in before:
            _start_worker(home)
        _print(console, home, before)


def stop_services(console: Console, force: bool) -> None:
    """End what `engage up` started in this home, and nothing else. ConfigError while a night runs, unless forced."""
    home = Home.from_env()
    found = [service for name in NAMES if (service := running(home, name))]
    if not force and (night := _night(home)):
        raise ConfigError(
            f"a run is at work under the worker (process {night}); wait for its end, or end it too with `engage down --force`: "
            "what it has collected is kept"
        )
    for service in found:
        _end(service)
        (folder(home) / f"{service.name}.json").unlink(missing_ok=True)
        console.print(f"{WORDS[service.name]} has ended (process {service.pid}).")
    if not found:
        console.print(f"nothing runs that `engage up` started in {home.path}.", soft_wrap=True)


def _start_prefect(home: Home, port: int | None) -> Service:
    port = _port("prefect", port)
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
    port = _port("mlflow", port)
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    own = {"MLFLOW_BACKEND_STORE_URI": home.tracking_uri, "DO_NOT_TRACK": "1"}
    return _start(home, "mlflow", command, f"http://{HOST}:{port}", own)


def _start_worker(home: Home) -> None:
    from flows.cli.prefect_client import connected

    with connected() as client:
        ensure_pool(client)
    name = f"engage-{socket.gethostname()}"
    command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", name]
    service = _start(home, "worker", command, "", {"ENGAGE_HOME": str(home.path)})
    with connected() as client:
        _wait(home, service, lambda: name in online(client, service.began_s))


def _start(home: Home, name: str, command: list[str], address: str, own: Mapping[str, str]) -> Service:
    log = folder(home) / f"{name}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.before"))
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
        if not _process(service) or time.monotonic() > deadline:
            _end(service)
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


def _port(name: str, wanted: int | None) -> int:
    """The wanted port, the usual one, or a free one; ConfigError if the wanted one is in use."""
    for port in (wanted,) if wanted is not None else (PORTS[name], 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError(f"--{name}-port {wanted}: the port is in use; name another, or leave the option out")


def _process(service: Service) -> "psutil.Process | None":
    """The process if it is still the one that was started."""
    return living(service.pid, service.began_s)


def _end(service: Service) -> None:
    """End the process, and then those of its children that are left."""
    import psutil

    process = _process(service)
    if process is None:
        return
    children = process.children(recursive=True)
    for generation in ([process], children):
        for one in generation:
            with suppress(psutil.NoSuchProcess):
                one.terminate()
        _, left = psutil.wait_procs(generation, timeout=STOP_S)
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, timeout=STOP_S)


def _night(home: Home) -> int | None:
    """The id of the process in which the worker runs a flow."""
    worker = running(home, "worker")
    process = worker and _process(worker)
    return next((child.pid for child in process.children()), None) if process else None


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
