"""Runs a function in a process of its own and measures its seconds and peak memory."""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from engage.errors import EngageError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured(Generic[Result]):
    """`seconds` is the wall time of the call, without the start of the process; `cpu_s` the processor time of all its threads.

    `peak_mb` is the largest resident set of the process (10⁶ bytes), `start_mb` its largest before the call.
    """

    result: Result
    seconds: float
    cpu_s: float
    start_mb: float
    peak_mb: float


def in_own_process(work: Callable[..., Result], *arguments: Any) -> Measured[Result]:
    """Run a module-level function in a fresh interpreter and wait; arguments, result and errors are pickled.

    Raises EngageError if the process is killed, as a system short of memory does.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        try:
            return pool.submit(_measure, work, arguments).result()
        except BrokenProcessPool as error:
            raise EngageError("the measured process was killed; free some memory or measure a smaller size") from error


def _measure(work: Callable[..., Result], arguments: tuple[Any, ...]) -> Measured[Result]:
    with open(os.devnull, "w", encoding="ascii") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # DuckDB's progress bar would stand before the figures
    before = peak_mb()
    cpu, started = time.process_time(), time.perf_counter()
    result = work(*arguments)
    return Measured(result, time.perf_counter() - started, time.process_time() - cpu, before, peak_mb())


def peak_mb() -> float:
    """Largest resident set of this process so far, in 10⁶ bytes.

    On Linux it is read from /proc: getrusage would also count the memory that the parent held when it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = (line.split() for line in status.read_text(encoding="ascii", errors="replace").splitlines())
        peak_kib = next((int(words[1]) for words in lines if words and words[0] == "VmHWM:"), None)
        if peak_kib is not None:
            return peak_kib * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
