"""Runs asynchronous work in the threads of tasks, and stops it: a thread cannot be interrupted, but what it awaits can.

Without this, Ctrl-C would wait until every running search has ended.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from engage.errors import TooManyFlawed

Result = TypeVar("Result")

_running: set[tuple[asyncio.AbstractEventLoop, "asyncio.Task[Any] | None"]] = set()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run the coroutine and return its result; KeyboardInterrupt if `stopped_on_interrupt` stopped it from another thread."""

    async def registered() -> Result:
        entry = (asyncio.get_running_loop(), asyncio.current_task())
        _running.add(entry)
        try:
            return await work
        finally:
            _running.discard(entry)

    try:
        return asyncio.run(registered())
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error


@contextlib.contextmanager
def stopped_on_interrupt() -> Iterator[None]:
    """Stop the work in other threads when the body ends by Ctrl-C, a termination signal or too many dialogues that went wrong. After any other
    failure that work finishes."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, TooManyFlawed):
            raise
        for loop, task in list(_running):
            if task is not None:
                with contextlib.suppress(RuntimeError):  # it ended meanwhile
                    loop.call_soon_threadsafe(task.cancel)
        raise


def awaits_here() -> bool:
    """Whether this thread is within `run`."""
    return bool(_here())


def cancel_here() -> None:
    """Cancel what this thread awaits in `run`; safe in a signal handler."""
    for loop, task in _here():
        if task is not None:
            loop.call_soon_threadsafe(task.cancel)


def _here() -> list[tuple[asyncio.AbstractEventLoop, "asyncio.Task[Any] | None"]]:
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        return []
    return [(loop, task) for loop, task in list(_running) if loop is here]
