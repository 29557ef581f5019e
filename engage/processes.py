"""The cores of this process, and whether a process is still the one that was noted: its id and its time of start, because ids are given again."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


SAME_S = 1.5
"""The machine's start is known to the second."""


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def began_s(pid: int) -> float:
    """When a process of this machine began, in seconds after the machine's start: the clock may be set while it runs."""
    import psutil

    return float(psutil.Process(pid).create_time() - psutil.boot_time())


def living(pid: int, began_s: float) -> "psutil.Process | None":
    """The process if it runs and began at that time; None for another one of its id, and for an id or a time that is none.

    The time may be in seconds since 1970 too, as earlier versions noted it. 0 is the time of no process.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        now_s = process.create_time()
        same = min(abs(now_s - began_s), abs(now_s - psutil.boot_time() - began_s)) < SAME_S
        same = same and began_s > 0 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, TypeError, ValueError):  # the last two: a damaged file
        return None
    return process if same else None
