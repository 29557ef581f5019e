"""Removes whole old cycles from a home: rows, folder, MLflow's files and conversations.

A cycle is marked first, and its rows go last: a prune that was killed at any point is finished by the next, and nothing is begun meanwhile
in what it left.
"""

import re
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engage.errors import ConfigError, EngageError, in_one_line
from engage.files.sizes import disk_bytes
from engage.keeping.at_work import RUNNING, all_work, state
from engage.store import Challenges, State, champion_line, compact, count_rows, delete_rows, free_share, older_copies
from engage.tracking.files import share
from engage.tracking.removal import TrackedCycle, logged_adapters, vacuum
from engage.training import latest_candidate
from engage.workspace import Workspace

GONE = ".pruned-"
"""Prefix of a cycle's folder while it is removed."""
_FREE_SHARE = 0.05
"""Share of deleted space from which the store is written anew."""


@dataclass(frozen=True)
class Leaving:
    """A cycle that goes: its trees and dialogues in the store, and the bytes of its files."""

    cycle_id: str
    trees: int
    dialogues: int
    file_bytes: int


@dataclass(frozen=True)
class Pruning:
    """What a prune keeps, cycle to reason, and what goes, the oldest first."""

    kept: Mapping[str, str]
    going: tuple[Leaving, ...]


def plan_pruning(workspace: Workspace, keep: int) -> Pruning:
    """Which cycles go if the latest `keep` stay with everything that they, the champion and the challengers need. Deletes nothing."""
    kept = _kept(workspace, keep)
    going = [cycle for cycle in reversed(workspace.store.cycle_ids()) if cycle not in kept]
    return Pruning(kept, tuple(_leaving(workspace, cycle) for cycle in going))


def prune(workspace: Workspace, plan: Pruning, tell: Callable[[str], None]) -> int:
    """Delete what the plan names, store each remaining adapter once, give the space back to the disk; returns the bytes of the home that this freed.

    Only one process at a time may prune a home.
    """
    before = disk_bytes([workspace.home.path])
    folder = workspace.home.cycle("any").parent
    for left in folder.glob(f"{GONE}*"):
        shutil.rmtree(left)
    for one in plan.going:
        tracked = TrackedCycle(workspace.tracker, one.cycle_id)
        tracked.mark_pruned()
        place = workspace.home.cycle(one.cycle_id)
        if place.is_dir():
            gone = place.rename(folder / f"{GONE}{one.cycle_id}")
            shutil.rmtree(gone)
        tracked.remove()
    path, wait_s = workspace.home.database, workspace.wait_s
    if plan.going:
        delete_rows(path, "cycle_id", [one.cycle_id for one in plan.going], wait_s)
    for copy in older_copies(path)[:-1]:
        copy.unlink()
    for location, adapter in logged_adapters(workspace.tracker):
        share(location, adapter)
    shrink(workspace, tell)
    return before - disk_bytes([workspace.home.path])


def check_not_pruned(workspace: Workspace, cycle_id: str) -> None:
    """ConfigError for a cycle that was pruned: what is begun anew under its id would be taken for it, in MLflow and among the challenges."""
    if day := TrackedCycle(workspace.tracker, cycle_id).pruned_on():
        raise ConfigError(
            f"cycle {cycle_id!r} was pruned on {day}: its trees, pairs and adapter are deleted; leave --cycle out, or give a new id"
        )


def shrink(workspace: Workspace, tell: Callable[[str], None], at_any_rate: bool = False) -> None:
    """Give the space of deleted rows back to the disk, in the store, MLflow's file and the copy for readers. What cannot be shrunk now is told."""
    path, wait_s = workspace.home.database, workspace.wait_s
    try:
        if at_any_rate or free_share(path, wait_s) > _FREE_SHARE:
            compact(path, wait_s)
        vacuum(workspace.home)
    except EngageError as error:
        tell(f"the space of what was deleted is not free yet: {in_one_line(error)}; the same command again frees it")
    if workspace.home.snapshot.exists():
        workspace.snapshot()


def _leaving(workspace: Workspace, cycle_id: str) -> Leaving:
    rows = count_rows(workspace.home.database, "cycle_id", [cycle_id], workspace.wait_s)
    folders = [workspace.home.cycle(cycle_id), *TrackedCycle(workspace.tracker, cycle_id).folders()]
    return Leaving(cycle_id, rows["tree"], rows["trajectory"], disk_bytes(folders))


def _kept(workspace: Workspace, keep: int) -> dict[str, str]:
    """Cycle to reason: the latest ones, the champion's and the challengers', and those whose folders these name as their beginning."""
    known = workspace.store.cycle_ids()
    kept = dict.fromkeys(known[:keep], f"one of the latest {keep}")
    at_work = {one.cycle_id for one in all_work(workspace.home) if state(workspace.home, one) == RUNNING}
    kept = {cycle: "a process works on it" for cycle in known if cycle in at_work} | kept
    tracker, challenges = workspace.tracker, Challenges(workspace.store)
    if champion := tracker.champion():
        kept = {cycle: "the champion's" for cycle in _named(str(champion.adapter), known)} | kept
        for earlier in champion_line(challenges.promotions()):
            if earlier.version != champion.version:
                back = f"version {earlier.version}'s, to which `engage rollback` leads"
                kept = {cycle: back for cycle in _named(earlier.adapter, known)} | kept
    for one in challenges.all():
        if one.state in (State.OPEN, State.PASSED):
            talked = {one.cycle_id, *challenges.batches(one.number).values(), *_named(f"{one.adapter}", known)}
            kept |= {cycle: f"challenger {one.number}'s" for cycle in talked if cycle in known and cycle not in kept}
    waiting = deque(kept)
    while waiting:
        cycle = waiting.popleft()
        for needed in _needed(workspace, cycle, known):
            if needed not in kept:
                kept[needed] = f"cycle {cycle} starts from it or was judged with it"
                waiting.append(needed)
    return kept


def _needed(workspace: Workspace, cycle_id: str, known: list[str]) -> set[str]:
    """Cycles whose folders are named in this one's identity, settings and candidate: champion, configured adapters, simulators."""
    store, candidate = workspace.store, latest_candidate(workspace.home.cycle(cycle_id), workspace.home.find)
    named = f"{store.cycle_config(cycle_id)} {store.cycle_settings(cycle_id)} {candidate.adapter if candidate else ''}"
    return _named(named, known) - {cycle_id}


def _named(text: str, known: list[str]) -> set[str]:
    """The known cycles of which the text names a folder."""
    return set(re.findall(r"cycles/([A-Za-z0-9._-]+)", text)) & set(known)
