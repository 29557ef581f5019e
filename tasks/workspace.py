"""A task's surroundings: the home, its store and outbox, and MLflow. Made once per task from the environment, and passed down."""

import contextlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engage.errors import StoreError
from engage.files.writing import write_whole
from engage.home import Home
from engage.store import Outbox, TrajectoryStore
from tasks.tracking import Tracker


@dataclass(frozen=True)
class Workspace:
    """One home and its contents; nothing is opened before it is used."""

    home: Home

    @staticmethod
    def from_env() -> "Workspace":
        """The workspace of `ENGAGE_HOME` on this machine; a task on another machine has its own."""
        return Workspace(Home.from_env())

    @cached_property
    def store(self) -> TrajectoryStore:
        """The DuckDB file."""
        return TrajectoryStore(self.home.database)

    @cached_property
    def outbox(self) -> Outbox:
        """Finished trees and dialogues that wait for the store."""
        return Outbox(self.home.outbox)

    @cached_property
    def tracker(self) -> Tracker:
        """MLflow; opening it creates its database if it is missing."""
        return Tracker(self.home)

    def drain(self, must: bool = True) -> None:
        """Move the outbox into the store. Without `must`, a locked store is no error; the files then stay in the outbox."""
        with contextlib.nullcontext() if must else contextlib.suppress(StoreError):
            self.store.drain(self.outbox)

    def write(self, cycle_id: str, name: str, text: str) -> Path:
        """Write a page into the cycle's folder; returns its path."""
        path = self.home.cycle(cycle_id) / name
        write_whole(path, text)
        return path
