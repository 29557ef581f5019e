"""Finds how many concurrent requests a server handles best, by raising the number while throughput grows."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

GROWTH = 1.5
WORTH_GROWING = 1.05
SHORTEST_EPOCH_S = 1.0
REPROBE_EPOCHS = 20


class AdaptiveLimit:
    """A limit on concurrent requests that finds the knee of a server's throughput; used from one event loop.

    An epoch lasts `limit` answers, and at least a second. Only epochs in which requests had to wait count, because otherwise the
    limit was not reached. If an epoch does at least 5 % more work per second than the best so far, the limit grows by half.
    Otherwise it returns to the best one, and a larger limit is tried again every 20 epochs. A refusal (429) halves it.
    """

    def __init__(self, start: int, highest: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = min(start, highest)
        self.in_flight = 0
        self._highest = highest
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._best_rate, self._best_limit, self._settled = 0.0, self.limit, 0
        self._begin_epoch()

    @property
    def has_room(self) -> bool:
        """Whether another request would be sent at once."""
        return self.in_flight < self.limit

    async def acquire(self) -> None:
        """Wait for a place, first come first served."""
        if self.has_room and not self._waiting:
            self.in_flight += 1
            return
        self._saturated = True
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._free()
            raise

    def release(self, work: float, refused: bool = False) -> None:
        """Give the place back. `work`: tokens of the answer, 0 without an answer; `refused`: the server had too many requests."""
        self._work += work
        self._answers += 1
        if refused:
            self.limit = max(1, self.limit // 2)
            self._best_rate, self._best_limit, self._settled = 0.0, self.limit, 1
            self._begin_epoch()
        elif self._answers >= self.limit and self._clock() - self._started >= SHORTEST_EPOCH_S:
            if self._saturated:
                self._adapt(self._work / (self._clock() - self._started))
            self._begin_epoch()
        self._free()

    def _adapt(self, rate: float) -> None:
        if self._settled:
            self._settled += 1
            self._best_rate = rate
            if self._settled <= REPROBE_EPOCHS:
                return
            self._settled, self._best_limit = 0, self.limit
        elif rate > self._best_rate * WORTH_GROWING:
            self._best_rate, self._best_limit = rate, self.limit
        else:
            self.limit, self._settled = self._best_limit, 1
            return
        self.limit = min(self._highest, max(self.limit + 1, int(self.limit * GROWTH)))

    def _free(self) -> None:
        self.in_flight -= 1
        while self._waiting and self.in_flight < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)

    def _begin_epoch(self) -> None:
        self._started, self._answers, self._work, self._saturated = self._clock(), 0, 0.0, bool(self._waiting)
