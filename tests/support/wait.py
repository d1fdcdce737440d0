"""Waiting for something another process does: the only place in the tests that may sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")
Dump = Callable[[], object]

#: Polling starts quick and slows down, so that a long wait does not take the machine from those waited for.
FIRST_POLL_S = 0.005
LAST_POLL_S = 0.1


def wait_until(
    predicate: Callable[[], T], timeout_s: float = 10.0, on_timeout: Callable[[], object] | None = None
) -> T:
    """Call `predicate` until its answer is true, and return that answer.

    Args:
        predicate: Asked again and again; an exception from it ends the waiting.
        timeout_s: Seconds until the test fails.
        on_timeout: Says how things stood; its answer becomes part of the failure.

    Raises:
        AssertionError: The time was over.
    """
    end, pause = time.monotonic() + timeout_s, FIRST_POLL_S
    while not (answer := predicate()):
        if time.monotonic() >= end:
            raise AssertionError(_text(predicate, timeout_s, on_timeout() if on_timeout else None))
        time.sleep(pause)
        pause = min(pause * 1.5, LAST_POLL_S)
    return answer


@overload
async def wait_until_async(
    predicate: Callable[[], Coroutine[Any, Any, T]], timeout_s: float = ..., on_timeout: Dump | None = ...
) -> T: ...
@overload
async def wait_until_async(predicate: Callable[[], T], timeout_s: float = ..., on_timeout: Dump | None = ...) -> T: ...
async def wait_until_async(
    predicate: Callable[[], Any], timeout_s: float = 10.0, on_timeout: Dump | None = None
) -> Any:
    """`wait_until` on a running event loop; `predicate` may be a coroutine function, and so may `on_timeout`."""
    end, pause = time.monotonic() + timeout_s, FIRST_POLL_S
    while not (answer := await _settled(predicate())):
        if time.monotonic() >= end:
            dump = await _settled(on_timeout()) if on_timeout else None
            raise AssertionError(_text(predicate, timeout_s, dump))
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LAST_POLL_S)
    return answer


async def _settled(answer: object) -> object:
    return await answer if isinstance(answer, Awaitable) else answer


def _text(predicate: Callable[[], object], timeout_s: float, dump: object) -> str:
    name = getattr(predicate, "__qualname__", repr(predicate))
    return f"{name} did not hold within {timeout_s} s" + ("" if dump is None else f"\n{dump}")
