"""Real Dask workers in processes of their own, of a real scheduler or of this search: they search the shards, and one that dies loses nothing."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import psutil
import pytest
from test_schedule import free_port, wait_for

from engage.processes import cores

SLOW = Path(__file__).with_name("slow_engage.py")
SETTINGS = (
    "engine.kind=scripted",
    "engine.policy_adapter=bare",
    "engine.simulator_adapter=bare",
    "scenarios.per_domain=6",
    "search.num_simulations=4",
    "collect.shard_size=2",
    "collect.workers=2",
)
pytestmark = pytest.mark.timeout(900)


class Cluster:
    """A scheduler and its workers on loopback."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env
        self.address = f"tcp://127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        self.workers = [
            self._start(
                *("worker", self.address, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"),
                *("--host", "127.0.0.1", "--preload", str(folder / "slow_engine.py"), "--resources", f"{name}=1"),
            )
            for name in ("first", "second")
        ]

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        with (self.folder / f"dask-{len(list(self.folder.glob('dask-*')))}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "distributed.cli." + f"dask_{arguments[0]}", *arguments[1:]],
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@pytest.fixture
def env(tmp_path):
    """The environment of a command; `slow_engine.py` notes which processes search, and lets them take their time."""
    (tmp_path / "slow_engine.py").write_text(
        "import logging, os, pathlib\n"
        "import engage.engines\n"
        "from engage.engines.scripted import ScriptedEngine\n"
        "def create(_config):\n"
        f"    pathlib.Path({str(tmp_path)!r}, 'searched-by-' + str(os.getpid())).write_text(os.environ.get('OMP_NUM_THREADS', ''))\n"
        "    logging.getLogger('distributed.worker').error('Failed to communicate with scheduler during heartbeat.')\n"
        "    return ScriptedEngine(latency_s=0.1, slots=4)\n"
        "engage.engines._create = create\n"
    )
    env = {**os.environ, "ENGAGE_HOME": str(tmp_path / "home"), "PREFECT_HOME": str(tmp_path / "prefect")}
    env.pop("PREFECT_API_URL", None)
    return env


@pytest.fixture
def cluster(tmp_path, env):
    found = Cluster(tmp_path, env)
    yield found
    found.stop()


def collect(env: dict[str, str], cycle: str, *settings: str, group: bool = False) -> "subprocess.Popen[str]":
    given = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, str(SLOW), "collect", *given, "--set", "seed=1", "--cycle", cycle],
        env={**env, "ENGAGE_TEST_LATENCY_S": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=group,
    )


def trees(home: Path, cycle: str):
    sql = """
        select tree.scenario_id, count(*), string_agg(node.text, '|' order by node.node_id)
        from tree join node using (tree_id) where tree.cycle_id = ? group by all order by all
    """
    with duckdb.connect(str(home / "engage.duckdb"), read_only=True) as connection:
        return connection.execute(sql, [cycle]).fetchall()


def test_workers_search_what_threads_would_and_the_death_of_one_loses_nothing(cluster, tmp_path):
    home = tmp_path / "home"
    process = collect(cluster.env, "spread", f'collect.dask_scheduler="{cluster.address}"')
    searching = [tmp_path / f"searched-by-{worker.pid}" for worker in cluster.workers]
    wait_for(lambda: all(mark.exists() for mark in searching), 300, "a search in every worker")
    wait_for(lambda: list((home / "outbox").glob("*.tree.parquet")), 120, "the first tree")
    os.killpg(cluster.workers[0].pid, signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    lost = r"Dask worker tcp://127\.0\.0\.1:\d+ is lost; its \d shard\(s\) are searched again; 1 left\."
    assert len(re.findall(lost, out)) == 1, out
    # Dask may or may not say that it runs again what the dead worker had; nothing else is said.
    assert all("rescheduling" in line for line in err.splitlines()), err
    alone = collect(cluster.env, "alone")
    alone.communicate(timeout=300)
    assert len(trees(home, "spread")) == 12
    assert trees(home, "spread") == trees(home, "alone")


def test_workers_of_this_machine_show_their_lines_and_the_death_of_one_loses_nothing(env, tmp_path):
    home, preload = tmp_path / "home", {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "slow_engine.py")}
    process = collect(env | preload, "spread", "collect.dask_scheduler=local")
    wait_for(lambda: len(list(tmp_path.glob("searched-by-*"))) == 2, 300, "a search in every worker")
    wait_for(lambda: list((home / "outbox").glob("*.tree.parquet")), 120, "the first tree")
    threads = {mark.read_text() for mark in tmp_path.glob("searched-by-*")}
    assert threads == {str(max(1, cores() // 2))}
    os.kill(int(next(tmp_path.glob("searched-by-*")).name.rpartition("-")[2]), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), (out, err)
    assert (
        len(
            re.findall(
                r"Dask worker tls://127\.0\.0\.1:\d+ is lost; its \d shard\(s\) are searched again; 1 left\.", out
            )
        )
        == 1
    )
    assert len(re.findall(r"Dask worker tls://127\.0\.0\.1:\d+ has joined; 2 now search\.", out)) == 1
    assert len(re.findall(r"searching \d scenarios? from \S+ \(simulations\): \d+/\d+ in ", out)) >= 6, out
    collect(env, "alone").communicate(timeout=300)
    assert len(trees(home, "spread")) == 12
    assert trees(home, "spread") == trees(home, "alone")


def test_ctrl_c_ends_the_workers_of_this_machine_too(env, tmp_path):
    preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "slow_engine.py")}
    process = collect(env | preload, "stopped", "collect.dask_scheduler=local", group=True)
    wait_for(lambda: len(list(tmp_path.glob("searched-by-*"))) == 2, 300, "a search in every worker")
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of them
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, (out, err)
    assert (out + err).count("interrupted; nothing stored is lost") == 1 and "Traceback" not in out + err, (out, err)
    searched = [int(mark.name.rpartition("-")[2]) for mark in tmp_path.glob("searched-by-*")]
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in searched), 60, "the end of the workers")


def test_shards_run_only_on_workers_with_the_wanted_resource(cluster, tmp_path):
    on_second = (
        f'collect.dask_scheduler="{cluster.address}"',
        "collect.dask_resource=second",
        "scenarios.per_domain=2",
    )
    out, err = collect(cluster.env, "picky", *on_second).communicate(timeout=300)
    assert len(trees(tmp_path / "home", "picky")) == 4, (out, err)
    assert {mark.name for mark in tmp_path.glob("searched-by-*")} == {f"searched-by-{cluster.workers[1].pid}"}
    _, err = collect(cluster.env, "refused", on_second[0], "collect.dask_resource=third").communicate(timeout=200)
    assert "no worker of the Dask scheduler at" in err and "has the resource 'third'" in err


def test_without_a_scheduler_or_a_worker_one_sentence_says_so(cluster, tmp_path):
    def refused(address: str) -> str:
        process = collect(cluster.env, "c", f'collect.dask_scheduler="{address}"')
        _, err = process.communicate(timeout=200)
        assert process.returncode == 2 and err.count("\n") == 1, err
        return err

    assert "no Dask scheduler answers at" in refused(f"tcp://127.0.0.1:{free_port()}")
    for worker in cluster.workers:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(30)
    assert "has no worker" in refused(cluster.address)
