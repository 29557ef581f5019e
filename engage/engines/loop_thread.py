"""An event loop on a thread of its own, for engines whose clients are bound to one loop while callers await from any loop."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines for callers on other loops and threads, until it is closed."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self.closed = False

    async def call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on this loop and await it from another loop; RuntimeError if this loop is or gets closed."""
        if self.closed:
            work.close()
            raise RuntimeError("the loop is closed")
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is None or caller.cancelling() or not self.closed:
                raise
            raise RuntimeError("the loop was closed") from None

    def wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on this loop and block until it is done."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Cancel all running coroutines and end the thread."""
        if self.closed:
            return
        self.closed = True
        self.wait(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
