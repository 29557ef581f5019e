"""What a night's log says of the Dask workers that search its shards: a lost one, a new one, and that none is left."""

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.task_runners import TaskRunner

from engage.progress import tell

TOPIC = "all"
"""Dask's topic for workers that come and go."""


@contextmanager
def workers_told(runner: TaskRunner[Any], scheduler: str | None) -> Iterator[None]:
    """Within the body, tell of every worker that is lost or joins; does nothing without a Dask scheduler (None)."""
    if scheduler is None:
        yield
        return
    client: Any = runner.client  # of a DaskTaskRunner
    alive, context = set(client.scheduler_info(n_workers=-1)["workers"]), contextvars.copy_context()

    def heard(event: Any) -> None:  # in a thread of Dask's, which has no run of its own
        if sentence := change_of(event[1], alive, scheduler):
            context.run(tell, sentence)

    client.subscribe_topic(TOPIC, heard)
    try:
        yield
    finally:
        client.unsubscribe_topic(TOPIC)


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
    left = f"{len(alive)} left" if alive else f"none is left: the night waits; start one with `dask worker {scheduler}`"
    return f"{went}{again}; {left}."
