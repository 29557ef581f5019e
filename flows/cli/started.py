"""What `engage up` has started: the file of each service in `HOME/services/`, and its processes.

A file names the process with its time of start, because a process id alone may by now be somebody else's.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engage.home import Home
from engage.processes import living

if TYPE_CHECKING:
    import psutil

STOP_S = 30.0


@dataclass(frozen=True)
class Service:
    """A process that `engage up` started: its id, when it began (`processes.began_s`) and its address (empty: it has none).

    It leads a session of its own, by which the processes that it started are known if it was killed and they were not.
    """

    name: str
    pid: int
    began_s: float
    address: str = ""


def folder(home: Home) -> Path:
    """Where the home keeps what belongs to its services."""
    return home.path / "services"


def running(home: Home, name: str) -> Service | None:
    """The home's service of this name, None if it does not run."""
    service = noted(home, name)
    return service if service and process_of(service) else None


def noted(home: Home, name: str) -> Service | None:
    """The service that was started last under this name, whether it runs or not."""
    try:
        service = Service(**json.loads((folder(home) / f"{name}.json").read_text(encoding="utf-8")))
        return service if service.pid > 0 else None
    except (OSError, ValueError, TypeError):
        return None


def use_own_server() -> None:
    """Let this process use the home's own Prefect server if it runs and the environment names no other. Call it before prefect is imported."""
    if not os.environ.get("PREFECT_API_URL") and (server := running(Home.from_env(), "prefect")):
        os.environ["PREFECT_API_URL"] = f"{server.address}/api"


def process_of(service: Service) -> "psutil.Process | None":
    """The process if it is still the one that was started."""
    return living(service.pid, service.began_s)


def processes(service: Service) -> "list[psutil.Process]":
    """What is left of the service: its process first, if it runs, and those that it started, which outlive it if it is killed."""
    import psutil

    first = process_of(service)
    with suppress(psutil.NoSuchProcess):
        if first is None and psutil.Process(service.pid).status() != psutil.STATUS_ZOMBIE:
            return []  # the id is somebody else's by now, so no process of that session is left
    found = [first] if first else []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if process.pid != service.pid and os.getsid(process.pid) == service.pid:
                found.append(process)
    return found


def end(service: Service) -> None:
    """End the process, and then what is left of those that it started."""
    import psutil

    found = processes(service)
    for generation in (found[:1], found[1:]):
        for one in generation:
            with suppress(psutil.NoSuchProcess):
                one.terminate()
        _, left = psutil.wait_procs(generation, timeout=STOP_S)
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(left, timeout=STOP_S)
