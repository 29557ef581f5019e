"""Prefect's temporary server: started if none is configured, with signals blocked, and ended with this process."""

import atexit
import os
import signal
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any

from engage.errors import ConfigError
from engage.masking import mask_urls


def check_prefect(url: str) -> None:
    """Raise ConfigError if no Prefect server answers at the configured address."""
    import httpx

    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=10.0).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ConfigError(
            f"no Prefect server answers at {mask_urls(url)} (PREFECT_API_URL); start it with `prefect server start`, or unset the variable"
        ) from error


_MARK = "ENGAGE_SERVER_OF"
_WATCH = f"""read -r _
for _ in 1 2; do
    for place in $(grep -lz "^{_MARK}=$0" /proc/[0-9]*/environ); do place=${{place#/proc/}}; kill -9 "${{place%/environ}}"; done
    sleep 1
done
"""
"""Shell script: when this process ends, its pipe closes; the script then kills the server that has the mark in its environment."""


def start_server() -> None:
    """Start Prefect's temporary server if none is configured. It ends with this process, even if this process is killed."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        check_prefect(settings.api.url)
        return
    problems, mark = list[Exception](), uuid.uuid4().hex
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    starting = threading.Thread(target=_start_deaf, args=(settings.home, mark, problems), daemon=True)
    starting.start()
    try:
        starting.join()  # Ctrl-C interrupts this wait
    finally:
        atexit.register(_end_server, watcher)  # registered after Prefect's own handler, so that it runs first
    if not problems:
        return
    (problem,) = problems
    if isinstance(problem, OSError):
        raise ConfigError(
            f"{settings.home}: Prefect cannot write there ({problem.strerror or problem}); set PREFECT_HOME to a folder of yours"
        ) from problem
    if isinstance(problem, RuntimeError):
        raise ConfigError(f"Prefect's temporary server does not start: {str(problem).splitlines()[0]}") from problem
    raise problem


def _start_deaf(home: Path, mark: str, problems: list[Exception]) -> None:
    """Start the server with SIGINT and SIGTERM blocked; it inherits the blocked signals of this thread.

    Ctrl-C and `timeout` send signals to the whole process group. If the server ended at one, the flow would wait for it for more
    than a minute and then fail. A lock lets one process at a time start a server: two that create Prefect's database at the same
    time break it.
    """
    from filelock import FileLock

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / "engage.lock"):
            os.environ[_MARK] = mark
            _temporary_server().start()
    except Exception as error:
        problems.append(error)
    finally:
        os.environ.pop(_MARK, None)


def _end_server(watcher: "subprocess.Popen[bytes]") -> None:
    """Kill the server. Prefect would send SIGTERM, which is blocked there, and kill it only after five seconds."""
    if process := _temporary_server().server_process:
        process.kill()
        process.wait()
    watcher.kill()
    watcher.wait()


def _temporary_server() -> Any:
    """Prefect's own temporary server: a private class of Prefect, read at version 3.7.7; nothing else here uses it.

    This code relies on the following: the class returns the same object every time in one process; `start()` returns when the server answers, or raises
    RuntimeError; `server_process` is its Popen, None before.
    """
    from prefect.server.api.server import SubprocessASGIServer

    return SubprocessASGIServer()
