"""An engine that passes every request on and measures the last minute: tokens written a second, and the share of time with work.

The time before the first answer does not count: the model is loaded in it.
"""

import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

from engage.engines.base import Completion, Engine, Prompt, Sampling, Scores

WINDOW_S = 60.0
GPU_EVERY_S = 10.0
LEAST_S = 5.0
"""Seconds after the first answer before anything is said."""


@dataclass(frozen=True)
class LastMinute:
    """Tokens written a second, and the share (0 to 1) of the time in which at least one request was being answered."""

    tokens_per_s: float
    busy: float


class Meter:
    """Measures all requests to one engine. Read and written from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._written: deque[tuple[float, float, int]] = deque()
        self._worked: deque[tuple[float, float]] = deque()
        self._first: float | None = None
        self._running, self._since = 0, 0.0

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """Measures the request in the body, which calls the yielded function with the number of tokens that were written."""
        with self._lock:
            began = self._clock()
            self._since = self._since if self._running else began
            self._running += 1
        tokens: list[int] = []
        try:
            yield tokens.append
        finally:
            with self._lock:
                now = self._clock()
                self._first = now if self._first is None else self._first
                self._running -= 1
                self._written.append((began, now, sum(tokens)))
                if not self._running:
                    self._worked.append((self._since, now))
                self._forget(now - WINDOW_S)

    def _forget(self, before: float) -> None:
        for kept in (self._written, self._worked):
            while kept and kept[0][1] <= before:
                kept.popleft()

    @property
    def waits(self) -> bool:
        """Whether the engine was asked and has not answered yet: it may be loading its model."""
        return self._first is None and self._running > 0

    def last_minute(self) -> LastMinute | None:
        """None for the first LEAST_S seconds. A request's tokens count as written evenly while it was answered."""
        with self._lock:
            now = self._clock()
            if self._first is None or now - self._first < LEAST_S:
                return None
            start = max(self._first, now - WINDOW_S)
            self._forget(start)
            tokens = sum(count * _share(begin, end, start) for begin, end, count in self._written)
            worked = sum(end - max(begin, start) for begin, end in self._worked)
            worked += now - max(self._since, start) if self._running else 0.0
        return LastMinute(tokens / (now - start), worked / (now - start))


_meters: WeakKeyDictionary[Engine, Meter] = WeakKeyDictionary()
_lock = threading.Lock()


class MeteredEngine:
    """An engine with its meter, which it shares with all others that are made of the same engine; implements Engine.

    `on_answer` is called after each answered request.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.on_answer: Callable[[], object] = lambda: None
        with _lock:
            self.meter = _meters.setdefault(engine, Meter())

    @property
    def has_room(self) -> bool:
        return self._engine.has_room

    async def complete(self, prompt: Prompt, sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        with self.meter.request() as wrote:
            completions = await self._engine.complete(prompt, sampling, seeds)
            wrote(sum(one.completion_tokens or 0 for one in completions))
        self.on_answer()
        return completions

    async def score(self, prompt: Prompt, choices: Sequence[str]) -> Scores:
        with self.meter.request():
            scores = await self._engine.score(prompt, choices)
        self.on_answer()
        return scores

    def close(self) -> None:
        """Does nothing: whoever created the engine behind this one closes it."""


def _share(begin: float, end: float, start: float) -> float:
    """The share of a request's time that is after `start`."""
    return 1.0 if begin >= start else max(0.0, end - start) / (end - begin)


def gpu_busy() -> float | None:
    """Mean over the GPUs that this process may use of the share (0 to 1) of the last moments in which one computed; None without any.

    Asked of NVIDIA's `nvidia-smi` at most every GPU_EVERY_S seconds.
    """
    return _gpu_busy(int(time.monotonic() / GPU_EVERY_S))


@lru_cache(maxsize=1)
def _gpu_busy(moment: int) -> float | None:
    ask = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    if mine := os.environ.get("CUDA_VISIBLE_DEVICES"):
        ask += ["-i", mine]
    try:
        shares = subprocess.run(ask, capture_output=True, text=True, timeout=2, check=True).stdout.split()
        return sum(map(float, shares)) / len(shares) / 100
    except (OSError, subprocess.SubprocessError, ValueError, ZeroDivisionError):  # no driver, no GPU, a part of one
        return None
