"""A task's surroundings: the home, its store and outbox, and MLflow. Made once per task from the environment, and passed down."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engage import progress
from engage.errors import ConfigError, EngageError, StoreError, in_one_line
from engage.files.writing import write_whole
from engage.home import Home
from engage.store import WAIT_S, Outbox, TrajectoryStore, write_snapshot
from engage.tracking import Tracker

STORE_WAIT = "ENGAGE_STORE_WAIT_S"
PATIENCE_S = 3600.0


def store_wait_s(environment: Mapping[str, str]) -> float:
    """Seconds for which a task waits for a store that another program has open, and for MLflow; ConfigError for what is no number of seconds."""
    text = environment.get(STORE_WAIT) or str(PATIENCE_S)
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1.0
    if not 0.0 <= wait_s <= 1e6:
        raise ConfigError(f"{STORE_WAIT} is {text!r:.80}; write seconds from 0 to 1000000, such as 3600")
    return wait_s


@dataclass(frozen=True)
class Workspace:
    """One home and its contents; nothing is opened before it is used. A store in use is waited for, and MLflow too where `tracking_wait_s` says so."""

    home: Home
    wait_s: float = WAIT_S
    tracking_wait_s: float = 0.0

    @staticmethod
    def from_env(patient: bool = True) -> "Workspace":
        """The workspace of `ENGAGE_HOME` on this machine; a task on another machine has its own.

        A patient one waits for the store, and for MLflow, as long as ENGAGE_STORE_WAIT_S says.
        """
        if not patient:
            return Workspace(Home.from_env())
        wait_s = store_wait_s(os.environ)
        return Workspace(Home.from_env(), wait_s, wait_s)

    @cached_property
    def store(self) -> TrajectoryStore:
        """The DuckDB file."""
        return TrajectoryStore(self.home.database, self.wait_s)

    @cached_property
    def outbox(self) -> Outbox:
        """Finished trees and dialogues that wait for the store."""
        return Outbox(self.home.outbox)

    @cached_property
    def tracker(self) -> Tracker:
        """MLflow; opening it creates its database if it is missing."""
        return Tracker(self.home, self.tracking_wait_s)

    def drain(self, must: bool = True) -> None:
        """Move the outbox into the store. Without `must`, a locked store is no error and not waited for; the files then stay in the outbox."""
        if must:
            self.store.drain(self.outbox)
            return
        with contextlib.suppress(StoreError):
            TrajectoryStore(self.home.database).drain(self.outbox)

    def snapshot(self) -> None:
        """Copy the store for readers (`Home.snapshot`), who then keep nobody waiting. If that fails, the earlier copy stays."""
        try:
            write_snapshot(self.home.database, self.home.snapshot, WAIT_S)
        except (EngageError, OSError) as error:
            progress.tell(f"{self.home.snapshot} is not renewed: {in_one_line(error)}")

    def write(self, cycle_id: str, name: str, text: str) -> Path:
        """Write a page into the cycle's folder; returns its path."""
        path = self.home.cycle(cycle_id) / name
        write_whole(path, text)
        return path
