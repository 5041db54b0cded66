"""An event loop in its own thread, so that synchronous code, notebooks included, can keep connections open.

anyio's blocking portal does the same in fewer lines, but its `start_task_soon` waits until the loop has taken the task:
a third of the tasks per second and three times the CPU time of `run_coroutine_threadsafe`. It also joins its thread
without a time limit. So the loop is run by hand.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar

T = TypeVar("T")
TICK_SECONDS = 0.2
CLOSE_SECONDS = 10.0


class Background:
    """Runs coroutines on one daemon thread, which starts with the first of them."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start the coroutine and return at once."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="model-client", daemon=True).start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], tick: Callable[[], Any] | None = None) -> T:
        """Return the coroutine's result; `tick` is called meanwhile in the caller's thread, about 5 times a second.

        An interrupt of the caller cancels the coroutine.
        """
        future = self.submit(work)
        try:
            while tick and wait([future], TICK_SECONDS).not_done:
                tick()
            return future.result()
        except CancelledError as error:
            raise RuntimeError("the client was closed while requests were in flight") from error
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel all coroutines and end the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(CLOSE_SECONDS)
            loop.call_soon_threadsafe(loop.stop)


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
