"""The adaptive limit on concurrent requests, against simulated servers with a known capacity."""

import asyncio

import pytest

from engage.engines.openai.concurrency import AdaptiveLimit


def climb(knee: int, seconds: int, highest: int = 512) -> AdaptiveLimit:
    """Send more requests than the limit allows; the simulated server answers at most `knee` per virtual second."""
    now = 0.0
    limit = AdaptiveLimit(8, highest, lambda: now)

    async def ask() -> None:
        await limit.acquire()

    async def run() -> None:
        nonlocal now
        waiting = [asyncio.create_task(ask()) for _ in range(2000)]
        await asyncio.sleep(0)
        for _ in range(seconds):
            now += 1.0
            for _ in range(min(limit.in_flight, knee)):
                limit.release(10.0)
            waiting += [asyncio.create_task(ask()) for _ in range(min(knee, highest))]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())
    return limit


@pytest.mark.slow
@pytest.mark.parametrize("knee", [20, 100, 300])
def test_the_limit_climbs_to_the_servers_knee_and_not_far_beyond(knee):
    assert knee * 0.6 <= climb(knee, 60).limit <= knee * 2.5


def test_the_limit_stops_at_its_highest():
    assert climb(300, 60, highest=50).limit == 50


def test_a_limit_that_is_not_reached_says_nothing():
    now = 0.0
    limit = AdaptiveLimit(8, 512, lambda: now)

    async def run() -> None:
        nonlocal now
        for _ in range(100):
            await limit.acquire()
            now += 1.0
            limit.release(10.0)

    asyncio.run(run())
    assert (limit.limit, limit.in_flight) == (8, 0)


def test_a_refusal_halves_the_limit():
    limit = AdaptiveLimit(8, 512)

    async def run() -> None:
        for _ in range(2):
            await limit.acquire()
        limit.release(0.0, refused=True)
        limit.release(0.0, refused=True)

    asyncio.run(run())
    assert (limit.limit, limit.in_flight, limit.has_room) == (2, 0, True)


def test_a_cancelled_wait_takes_no_place():
    limit = AdaptiveLimit(1, 1)

    async def run() -> None:
        await limit.acquire()
        waiting = asyncio.create_task(limit.acquire())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        limit.release(1.0)
        assert limit.in_flight == 0
        await limit.acquire()
        waiting = asyncio.create_task(limit.acquire())
        await asyncio.sleep(0)
        limit.release(1.0)  # the place is given to the one that waits, who is cancelled before he takes it
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert limit.in_flight == 0

    asyncio.run(run())
