"""A background thread with an event loop, so that the sync client works anywhere, also in a notebook's running loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from openclaw_ray.errors import NotConnected, UseAsyncClient

T = TypeVar("T")

#: How long `close` waits for the thread (seconds).
JOIN_S = 10.0


class LoopThread:
    """Runs coroutines for threads that have no loop. Close it; a forgotten one ends with its owner, or the process."""

    def __init__(self, name: str = "openclaw-client") -> None:
        self._loop = asyncio.new_event_loop()
        # The thread knows the loop only: an owner that nobody uses any more can be collected, and stops it.
        self._thread = threading.Thread(target=_main, args=(self._loop,), name=name, daemon=True)
        self._thread.start()
        self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end. An interrupt ends it, and nothing else.

        Raises:
            UseAsyncClient: called from a coroutine, whose loop this would stop.
        """
        try:
            self._check_caller()
        except BaseException:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise NotConnected("this client was closed", hint="connect again") from None
        except BaseException:
            future.cancel()  # KeyboardInterrupt: only the waiting ends
            raise

    def call_soon(self, fn: Any, *args: object) -> None:
        """Run a plain function in the loop, some time, unless it is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(fn, *args)

    def _check_caller(self) -> None:
        if self._closed:
            raise NotConnected("this client is closed", hint="connect again")
        own = threading.get_ident() == self._thread.ident
        if own or (_in_coroutine() and not _in_ipython()):
            raise UseAsyncClient(
                "the sync client was called from a coroutine, which would stop everything else on its loop",
                hint="use: async with oc.connect_async() as cluster: task = await cluster.submit(...); await task",
            )

    def close(self) -> None:
        """Cancel what still runs, end the loop and its threads."""
        if self._closed:
            return
        self._closed = True
        self.call_soon(self._loop.stop)
        if threading.get_ident() != self._thread.ident:
            self._thread.join(JOIN_S)

    def abandon(self) -> None:
        """`close` without waiting, for `__del__`."""
        if not self._closed:
            self._closed = True
            self.call_soon(self._loop.stop)


def _main(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def _in_coroutine() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_ipython() -> bool:
    """Whether this is a notebook or IPython, where every cell runs inside a loop that may well wait for it."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
