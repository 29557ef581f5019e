"""The machine of the simulated month: a Prefect server, a worker, a home on a disk of its own, and what may happen to them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.cli.services import LEASES, LEASES_ON_DISK

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 900.0
DISK_MB = 700
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
"""Debian's package libfaketime; None: nothing here sets a clock wrong."""


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = LONGEST_S) -> None:
    """Wait until the condition is true; SystemExit after the time."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"{what} did not happen within {timeout_s:.0f} s")
        time.sleep(0.2)


class Machine:
    """Server and worker are real processes, which `power_cut` kills together. `clone` is the code that commands and nights run."""

    def __init__(self, folder: Path, clone: Path) -> None:
        self.folder, self.clone = folder, clone
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.api = f"http://127.0.0.1:{port}/api"
        self.disk, self.own_disk = folder / "disk", False
        self.disk.mkdir()
        self.home = self.disk / "home"
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", self.disk], capture_output=True, check=False
        )
        self.own_disk = done.returncode == 0

    @property
    def env(self) -> dict[str, str]:
        """What commands, server and worker get."""
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "ENGAGE_"))
        }
        return own | {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            LEASES: LEASES_ON_DISK,
            "ENGAGE_HOME": str(self.home),
            "ENGAGE_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": str(self.clone),
            "OMP_NUM_THREADS": "1",
            "TZ": "UTC",
        }

    def start_server(self) -> None:
        port = self.api.rpartition(":")[2].removesuffix("/api")
        self.server = self._start("server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
        wait_for(self.answers, "the Prefect server's start")

    def start_worker(self) -> None:
        self.worker = self._start("worker", "prefect", "worker", "start", "--pool", "engage", "--type", "process")

    def _start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.env,
                cwd=self.clone,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def answers(self) -> bool:
        """Whether the server does."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.api}/health", timeout=2).is_success
        return False

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What Prefect's server answers to a POST request."""
        return self.ask("post", path, body).json()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """A request to Prefect's server; it is tried again while its database is locked (503)."""
        until = time.monotonic() + 120
        while True:
            try:
                return httpx.request(method, f"{self.api}/{path}", json=body, timeout=60).raise_for_status()
            except httpx.HTTPError as error:
                if time.monotonic() > until:
                    raise SystemExit(f"{path}: {error}") from error
                time.sleep(1.0)

    def engage(self, *arguments: str) -> str:
        """What a command of engage prints; SystemExit if it fails."""
        command = [sys.executable, "-m", "flows.cli", *arguments]
        done = subprocess.run(
            command, env=self.env, cwd=self.clone, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
        if done.returncode:
            raise SystemExit(f"engage {' '.join(arguments)}: exit code {done.returncode}: {done.stderr[-1500:]}")
        return done.stdout

    def deploy(self, settings: Sequence[str], entrypoint: Path) -> str:
        """Schedule the night with `engage schedule`, put the scripted speakers in, and return the deployment's id."""
        given = [part for setting in settings for part in ("--set", setting)]
        self.engage("schedule", "--at", "02:00", "--profile", "laptop", *given)
        found = str(self.ask("get", "deployments/name/nightly/laptop").json()["id"])
        self.ask("patch", f"deployments/{found}", {"entrypoint": f"{entrypoint}:nightly", "paused": False})
        return found

    def begin_night(self, deployment: str, cycle: str, clock_h: float) -> str:
        """Have the deployment's night run now as this cycle, its own clock wrong by some hours; returns the flow run's id."""
        clock = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{clock_h:+.2f}h"} if clock_h else {}
        body = {
            "state": {"type": "SCHEDULED"},
            "parameters": {"cycle_id": cycle},
            "job_variables": {"env": self._carried(deployment) | clock} if clock else None,
        }
        return str(self.post(f"deployments/{deployment}/create_flow_run", body)["id"])

    def _carried(self, deployment: str) -> dict[str, str]:
        return dict(self.ask("get", f"deployments/{deployment}").json()["job_variables"].get("env", {}))

    def state(self, run: str) -> tuple[str, str]:
        """Type and message of a flow run's state; empty while the server is away."""
        with contextlib.suppress(httpx.HTTPError):
            found = httpx.get(f"{self.api}/flow_runs/{run}", timeout=30).raise_for_status().json()["state"] or {}
            return found.get("type", ""), found.get("message") or ""
        return "", ""

    def stage_running(self, stage: str, since: datetime) -> bool:
        """Whether a flow of that name runs that began since then; one of an earlier night that was killed may still seem to run."""
        runs = {"state": {"type": {"any_": ["RUNNING"]}}, "start_time": {"after_": since.isoformat()}}
        asked = {"flows": {"name": {"any_": [stage]}}, "flow_runs": runs}
        with contextlib.suppress(httpx.HTTPError):
            return bool(httpx.post(f"{self.api}/flow_runs/filter", json=asked, timeout=30).raise_for_status().json())
        return False

    def night_processes(self) -> list[psutil.Process]:
        """The processes below the worker."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.worker.pid).children(recursive=True) if self.worker else []
        return []

    def kill_night(self) -> None:
        """SIGKILL to the night's processes."""
        for process in self.night_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self, *names: str) -> None:
        """SIGKILL to the server, the worker, or both, with what is below them."""
        if "worker" in names:
            self.kill_night()
        for name in names:
            process = getattr(self, name)
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)
                setattr(self, name, None)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Within the body, the home's disk has no free byte."""
        balloon = self.disk / "balloon"
        with balloon.open("wb", buffering=0) as file:
            for block in (2**20, 2**12):  # others write meanwhile: fill what is left, whatever it is
                with contextlib.suppress(OSError):
                    while file.write(bytes(block)):
                        pass
        try:
            yield
        finally:
            balloon.unlink()

    @contextlib.contextmanager
    def holding(self, how: str) -> Iterator[None]:
        """Within the body, another program has a database open: `store` (an analyst's session) or `mlflow` (SQLite's exclusive lock)."""
        opened = {
            "store": f"import duckdb; held = duckdb.connect({str(self.home / 'engage.duckdb')!r}, read_only=True)",
            "mlflow": f"import sqlite3; held = sqlite3.connect({str(self.home / 'mlflow.db')!r}, timeout=60); "
            "held.execute('begin exclusive')",
        }[how]
        code = f"import time\nwhile True:\n  try:\n    {opened}; break\n  except Exception: time.sleep(0.05)\nprint('held', flush=True)\ntime.sleep(600)"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def close(self, keep: bool) -> None:
        """End everything; unless it is kept, remove the folder."""
        self.stop("worker", "server")
        kept = self.folder / "kept"
        if keep:
            shutil.copytree(self.disk, kept, dirs_exist_ok=True)
        if self.own_disk:
            subprocess.run(["umount", self.disk], check=False)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def outbox_ids(home: Path) -> set[str]:
    """Ids of the trees and dialogues that wait in the home's outbox."""
    import pyarrow.parquet as pq

    found: set[str] = set()
    for file in (home / "outbox").glob("[!.]*.parquet"):
        with contextlib.suppress(FileNotFoundError):
            column = "tree_id" if file.name.endswith(".tree.parquet") else "trajectory_id"
            found |= set(pq.read_table(file, columns=[column])[column].to_pylist())
    return found


def stored_ids(home: Path) -> set[str]:
    """Ids of the trees and held-out dialogues in the home's database."""
    import duckdb

    with duckdb.connect(str(home / "engage.duckdb"), read_only=True) as connection:
        trees = connection.execute("select tree_id from tree").fetchall()
        dialogues = connection.execute("select trajectory_id from trajectory where tree_id is null").fetchall()
    return {name for (name,) in trees + dialogues}


def sizes_mb(home: Path) -> dict[str, float]:
    """Sizes of what lies in the home, by kind, in 10⁶ bytes; a file with several names counts once."""
    kinds = {
        "store": "engage.duckdb*",
        "readers": "read.duckdb",
        "cycles": "cycles",
        "mlflow": "mlflow*",
        "backups": "*backup*",
        "outbox": "outbox",
    }
    found, seen = {}, set[int]()
    for kind, pattern in kinds.items():
        total = 0
        for place in home.glob(pattern):
            for file in (place, *place.rglob("*")) if place.is_dir() else (place,):
                status = file.lstat()
                if file.is_file() and status.st_ino not in seen:
                    seen.add(status.st_ino)
                    total += status.st_size
        found[kind] = total / 1e6
    return found
