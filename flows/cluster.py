"""The Dask workers that search a night's shards: how they are reached or started, and what the log says of those that come and go."""

import contextvars
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect.task_runners import TaskRunner

from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.processes import cores
from engage.progress import show_line, tell
from tasks.run_log import lines_topic

TOPIC = "all"
"""Dask's topic for workers that come and go."""
LOCAL = "local"
"""The scheduler's address that stands for workers of this machine, started for this search."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def dask_runner(config: CycleConfig, address: str) -> TaskRunner[Any]:
    """The task runner that gives shards to the workers of the scheduler at `address`, or to local ones.

    A worker searches with its own engine and leaves its trees in the outbox of ENGAGE_HOME, which all machines share; the
    database is opened by this process alone. ConfigError if Dask is not installed, or nobody there would search.
    """
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise ConfigError("collect.dask_scheduler needs Dask: install engage with its extra `dask`") from error
    wanted, workers = config.collect.dask_resource, config.collect.workers
    if address != LOCAL:
        _check_workers(address, wanted)
        return DaskTaskRunner(address=address)
    if wanted is not None:
        raise ConfigError("collect.dask_resource: workers of this machine have no resources; leave it out")
    if config.engine.kind == "vllm" and workers > 1 and not config.engine.vllm.sizes_memory:
        raise ConfigError(
            f"collect.dask_scheduler=local: each of the {workers} workers would take nine tenths of the GPU; set "
            f"engine.vllm.engine_args.gpu_memory_utilization to {0.9 / workers:.2g} or less, or start `vllm serve` and set engine.kind=openai"
        )
    logging.getLogger("distributed").setLevel(logging.ERROR)  # the cluster would tell of each of its parts
    return DaskTaskRunner(cluster_class=_deaf_cluster, cluster_kwargs=_local_cluster(workers))


def _check_workers(address: str, wanted: str | None) -> None:
    from distributed import Client

    try:
        with Client(address, timeout="10s", set_as_default=False) as client:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address} (collect.dask_scheduler); start it with `dask scheduler`"
        ) from error
    if not workers:
        raise ConfigError(f"the Dask scheduler at {address} has no worker; start one with `dask worker {address}`")
    if wanted is not None and not any(worker["resources"].get(wanted) for worker in workers):
        raise ConfigError(
            f"no worker of the Dask scheduler at {address} has the resource {wanted!r} (collect.dask_resource); start one with "
            f"`dask worker {address} --resources {wanted}=1`"
        )


def _deaf_cluster(environment: Mapping[str, str], **settings: Any) -> Any:
    """Start processes with this environment and with SIGINT and SIGTERM blocked, as those that replace lost ones will be.

    Ctrl-C and `timeout` send signals to the whole process group; only the process of the night obeys, and ends the others in order.
    """
    from multiprocessing import resource_tracker

    import dask.config
    from distributed import LocalCluster

    resource_tracker.ensure_running()  # its first start unblocks both in the thread that starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with dask.config.set(
            {f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in environment.items()}
        ):
            return LocalCluster(**settings)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _local_cluster(workers: int) -> dict[str, Any]:
    """Processes on loopback that share the machine's cores. Dask must not end one for its memory: most of it is the model's.

    They log nothing of Dask's: a shard's error comes back with its result, and a lost worker is told of (`workers_told`).

    Dask runs what it is sent, so others on this machine are kept out by certificates of this run (`security`). The
    workers are told of the Prefect server of this run: each would start a temporary one of its own, which a killed worker leaves behind.
    """
    from prefect.client.orchestration import get_client

    return {
        "environment": {
            **dict.fromkeys(_THREADS, str(max(1, cores() // workers))),
            "DASK_LOGGING__DISTRIBUTED": "critical",  # a heartbeat that meets the end of the night is a traceback
        },
        "n_workers": workers,
        "threads_per_worker": 1,
        "processes": True,
        "host": "127.0.0.1",
        "security": True,
        "dashboard_address": None,
        "memory_limit": 0,
        "env": {"PREFECT_API_URL": str(get_client(sync_client=True).api_url).rstrip("/")},
    }


@contextmanager
def own_environment() -> Iterator[None]:
    """After the body this process has its own environment again: Dask writes that of its workers into it, and a training would use their threads."""
    names = (*_THREADS, "DASK_LOGGING__DISTRIBUTED", "MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED")
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def workers_told(runner: TaskRunner[Any], scheduler: str | None) -> Iterator[None]:
    """Within the body, tell of every worker that is lost or joins, and show the lines of the workers' searches; does nothing without a Dask
    scheduler (None)."""
    if scheduler is None:
        yield
        return
    client: Any = runner.client  # of a DaskTaskRunner
    alive, context = set(client.scheduler_info(n_workers=-1)["workers"]), contextvars.copy_context()

    def heard(event: Any) -> None:  # in a thread of Dask's, which has no run of its own
        if sentence := change_of(event[1], alive, scheduler):
            context.run(tell, sentence)

    lines = lines_topic()
    client.subscribe_topic(TOPIC, heard)
    client.subscribe_topic(lines, lambda event: show_line(str(event[1])))
    try:
        yield
    finally:
        client.unsubscribe_topic(TOPIC)
        client.unsubscribe_topic(lines)


def change_of(event: Any, alive: set[str], scheduler: str) -> str | None:
    """What an event of Dask's says in one sentence, None if it is not of a worker that came or went; `alive` is kept up to date."""
    action, worker = (event.get("action"), str(event.get("worker"))) if isinstance(event, dict) else (None, "")
    if action == "add-worker" and worker not in alive:
        alive.add(worker)
        return f"Dask worker {worker} has joined; {len(alive)} now search."
    if action != "remove-worker" or worker not in alive:
        return None
    alive.discard(worker)
    shards = len(event.get("processing-tasks", ()))
    went = f"Dask worker {worker} is lost" if not event.get("expected") else f"Dask worker {worker} was stopped"
    again = f"; its {shards} shard(s) are searched again" if shards else ""
    start = "" if scheduler == LOCAL else f"; start one with `dask worker {scheduler}`"  # a local one is started again
    left = f"{len(alive)} left" if alive else f"none is left: the night waits{start}"
    return f"{went}{again}; {left}."
