"""Which process works on a cycle, and what it left when it was killed.

A cycle's folder has `work.json`, who works on it and how far it came, and `work.lock`, which each process at work holds with a shared lock.
The kernel drops the lock when a process ends, however it ends, so neither a reused process id nor a clock that was set misleads. A lock
tells nothing of another host: what one began is never called dead here.
"""

import fcntl
import json
import os
import re
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engage import progress
from engage.files.writing import write_whole
from engage.home import Home
from engage.processes import began_s, living
from engage.workspace import Workspace

RECORD, LOCK = "work.json", "work.lock"
RUNNING, COMPLETED, FAILED, INTERRUPTED = "running", "completed", "failed", "interrupted"
STAGES = {"evaluation": "evaluate"}
"""Flows that are named otherwise on the command line."""
LATEST, TRIES = 7, 5
"""A night finishes the unfinished ones of the LATEST nights before it, except those that were tried TRIES times: a person decides."""
COMMANDS = {
    "evaluation": "evaluate",
    "comparison": "experiment comparison",
    "credit": "experiment credit",
    "people": "experiment people",
}

OF_A_NIGHT = ("nightly", "collect", "align", "evaluation")
"""The flows that a night is made of. Others, experiments and comparisons, work on its cycle without being part of it."""

_ELSEWHERE = re.compile(r"""^ENGAGE_HOME=(?:'[^']*'|"[^"]*"|[^\s'"])* """)
"""The home's place in a command line, as `shlex.quote` writes it."""

_again: str = ""
_locks: dict[Path, int] = {}


@dataclass(frozen=True)
class Work:
    """One command's work on a cycle.

    `command` is its flow and `stage` the part that it reached; `flow_runs` are ids in Prefect, the command's own first; `again` is the
    command line that goes on, empty before there is anything to go on with. `ended` is empty while a process works, and after it was
    killed. `tries` counts commands since one completed.
    `night` is the last work of a night on the cycle, as it is written, where this command is none.
    """

    cycle_id: str
    command: str
    stage: str
    host: str
    pid: int
    process_began_s: float
    began_at: str
    flow_runs: tuple[str, ...] = ()
    ended: str = ""
    tries: int = 1
    again: str = ""
    night: Mapping[str, Any] | None = None


def goes_on_with(command: str) -> None:
    """Set the command line that goes on with what this process begins."""
    global _again
    _again = command


def read(home: Home, cycle_id: str) -> Work | None:
    """What is recorded of the last work on a cycle; None if nothing is, or if it cannot be read.

    `again` names this home, whichever place the home had when the work began.
    """
    try:
        found = json.loads((home.cycle(cycle_id) / RECORD).read_text(encoding="utf-8"))
        return _as_written(found)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _as_written(found: Mapping[str, Any]) -> Work:
    work = Work(**{**found, "flow_runs": tuple(found["flow_runs"])})
    return replace(work, again=work.again and _home() + _ELSEWHERE.sub("", work.again))


def of_night(work: Work) -> Work | None:
    """The last work of a night on the cycle: this one, or the one before an experiment or a comparison; None if none is known."""
    if work.command in OF_A_NIGHT:
        return work
    try:
        return _as_written(work.night) if work.night else None
    except (TypeError, KeyError):
        return None


def foremost(work: Work) -> Work:
    """The last work of a night on the cycle, or this work if none is known."""
    return of_night(work) or work


def all_work(home: Home) -> list[Work]:
    """The last work on each cycle, the newest first; nothing of cycles of an earlier version, which did not record it."""
    found = [read(home, path.parent.name) for path in home.cycle("any").parent.glob(f"*/{RECORD}")]
    return sorted((one for one in found if one), key=lambda one: one.began_at, reverse=True)


def is_dead(home: Home, work: Work) -> bool:
    """Whether the work began on this host, did not end, no process holds its cycle any more, and its own does not run.

    The last is for a copy of a home: its lock is another one.
    """
    if work.ended or work.host != socket.gethostname() or _is_held(home.cycle(work.cycle_id) / LOCK):
        return False
    return living(work.pid, work.process_began_s) is None


def state(home: Home, work: Work) -> str:
    """`running`, `completed`, `failed` or `interrupted`."""
    return work.ended or (INTERRUPTED if is_dead(home, work) else RUNNING)


def collecting(home: Home) -> set[str]:
    """The cycles that have not collected everything: a process is at it, or it was cut off or failed before the next stage."""
    works = map(foremost, all_work(home))
    return {one.cycle_id for one in works if one.stage in ("nightly", "collect") and one.ended != COMPLETED}


def unfinished(home: Home, cycle_id: str) -> str:
    """How the last command on a cycle was cut off, and how to go on, in one sentence; empty if it ended or is at work."""
    last = read(home, cycle_id)
    work = last and foremost(last)
    if work is None or (found := state(home, work)) not in (FAILED, INTERRUPTED):
        return ""
    how = "failed" if found == FAILED else "was interrupted"
    go_on = f" Go on with `{work.again}`." if work.again else ""
    return f"This cycle {how} in {work.stage}, before its end.{go_on}"


def begin(workspace: Workspace, cycle_id: str, flow: str, flow_run: str) -> None:
    """Record that this process works on the cycle, in this flow; a flow within the command that began it is a stage of that command's."""
    home, before = workspace.home, read(workspace.home, cycle_id)
    stage = STAGES.get(flow, flow)
    was, before_runs = (state(home, before), before.flow_runs) if before else ("", ())
    held = _hold(home, cycle_id)  # first: a record whose lock nobody holds counts as dead
    for own in (before, of_night(before)) if held and before else ():  # the second: an experiment began meanwhile
        if own and not own.ended and own.pid == os.getpid():
            runs, again = tuple(dict.fromkeys((*own.flow_runs, flow_run))), own.again or _by_id(own.command, cycle_id)
            found = replace(own, stage=stage, flow_runs=runs, again=again)
            _write(home, found if own is before or not before else replace(before, night=asdict(found)))
            return
    last = foremost(before) if before and flow in OF_A_NIGHT else before
    tries = last.tries + 1 if last and last.ended != COMPLETED else 1
    # a night has no settings in the store before its first stage: by its id alone it would go on with others
    again = _by_id(flow, cycle_id) if flow != "nightly" else last.again if last else ""
    if _again and (
        flow != "nightly" or _again.endswith(f" {cycle_id}")
    ):  # else it is the night before, which this one finishes
        again = _again
    now = datetime.now(UTC).isoformat()
    host, pid = socket.gethostname(), os.getpid()
    work = Work(cycle_id, flow, stage, host, pid, began_s(pid), now, (flow_run,), tries=tries, again=again)
    night = of_night(before) if before and flow not in OF_A_NIGHT else None
    if night and was == INTERRUPTED and night.flow_runs == before_runs:
        night = replace(night, ended=INTERRUPTED)
    _write(home, replace(work, night=asdict(night) if night else None))


def end(workspace: Workspace, cycle_id: str, flow_run: str, how: str) -> None:
    """Record how the command ended that this flow run began; nothing for a stage of it."""
    work = read(workspace.home, cycle_id)
    night = work and of_night(work)
    if work and night and night != work and night.flow_runs[:1] == (flow_run,):  # an experiment began meanwhile
        _write(workspace.home, replace(work, night=asdict(replace(night, ended=night.ended or how))))
    elif work is None or work.ended or work.flow_runs[:1] != (flow_run,):
        return
    elif night and night != work and not night.ended:  # it may be at work still
        _write(workspace.home, night)
    else:
        _write(workspace.home, replace(work, ended=how))
    if (held := _locks.pop(workspace.home.cycle(cycle_id) / LOCK, None)) is not None:
        os.close(held)


@contextmanager
def at_work(workspace: Workspace, cycle_id: str, flow: str, flow_run: str) -> Iterator[None]:
    """Within the body, this process works on the cycle."""
    begin(workspace, cycle_id, flow, flow_run)
    how = INTERRUPTED
    try:
        yield
        how = COMPLETED
    except Exception:
        how = FAILED
        raise
    finally:
        with suppress(OSError):
            end(workspace, cycle_id, flow_run, how)


def mark_dead(workspace: Workspace, crash: Callable[[str, str], None]) -> list[Work]:
    """End the runs of work whose process is gone, in MLflow as KILLED, and tell so; returns that work, the newest first.

    `crash` ends a flow's run in Prefect, by its id and with a reason. What is at work, or was begun on another host, is left alone.
    """
    found = [one for one in all_work(workspace.home) if is_dead(workspace.home, one)]
    for one in found:
        night = None if one.command in OF_A_NIGHT else of_night(one)  # it died with the experiment unless it had ended
        for each in (one, night):
            for flow_run in each.flow_runs if each and not each.ended else ():
                crash(flow_run, f"process {one.pid} on {one.host} is gone")
        if night and night.ended:
            workspace.tracker.close_cycle(one.cycle_id, night.ended == COMPLETED)
        workspace.tracker.end_runs(one.cycle_id)
        below = asdict(replace(night, ended=night.ended or INTERRUPTED)) if night else None
        _write(workspace.home, replace(one, ended=INTERRUPTED, night=below))
        gone = f"its process {one.pid} is gone, its runs are marked as ended"
        progress.tell(f"cycle {one.cycle_id}: {gone} (it reached {one.stage})")
    return [replace(one, ended=INTERRUPTED) for one in found]


def adopt(home: Home) -> None:
    """Let a home that was unpacked from a backup know that nobody works on it: what was at work then, on whichever host, is dead here.

    The next night marks its runs in MLflow. Those in Prefect are the first home's, whose night may still run.
    """
    for one in all_work(home):
        if not one.ended:
            (home.cycle(one.cycle_id) / LOCK).touch()
            _write(home, replace(one, host=socket.gethostname(), process_began_s=0.0, flow_runs=()))


def to_finish(workspace: Workspace, own: str) -> list[Work]:
    """The nights to finish before tonight's, which is the cycle `own`: interrupted or failed, the oldest first.

    Only among the last `LATEST` nights, and none that was tried `TRIES` times: it may be what stops the process.
    """
    known = [of_night(one) for one in all_work(workspace.home) if one.cycle_id != own]
    nights = [one for one in known if one and one.command == "nightly"]
    left = [one for one in nights[:LATEST] if one.ended in (INTERRUPTED, FAILED) and one.tries < TRIES]
    return left[::-1]


def still_waits(workspace: Workspace, cycle_id: str, own: str) -> bool:
    """Whether an earlier night still waits to be finished; another night may have begun with it in the meantime."""
    return cycle_id in [one.cycle_id for one in to_finish(workspace, own)]


def _hold(home: Home, cycle_id: str) -> bool:
    """Hold the cycle's lock until `end`, or the end of this process; True if this process held it already."""
    path = home.cycle(cycle_id) / LOCK
    if path in _locks:
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    _locks[path] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    with suppress(OSError):  # a file system without locks: then nothing is called dead
        fcntl.flock(_locks[path], fcntl.LOCK_SH)
    return False


def _is_held(path: Path) -> bool:
    """Whether a process holds the lock; also true where that cannot be known."""
    try:
        probe = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(probe)
    return False


def _write(home: Home, work: Work) -> None:
    write_whole(home.cycle(work.cycle_id) / RECORD, json.dumps(asdict(work), indent=1))


def _by_id(flow: str, cycle_id: str) -> str:
    return f"{_home()}.venv/bin/engage {COMMANDS.get(flow, flow)} --cycle {cycle_id}"


def _home() -> str:
    home = os.environ.get("ENGAGE_HOME")
    return f"ENGAGE_HOME={shlex.quote(home)} " if home else ""
