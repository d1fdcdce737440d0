"""Waiting for the first of an event and a moment, on whatever clock is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from openclaw_ray.clock import Clock


async def until(clock: Clock, mono: float, waiting: Awaitable[Any]) -> bool:
    """Wait for `waiting`, at most until the monotonic moment `mono`.

    Returns:
        Whether it came; it is cancelled when the time ran out first.
    """
    coming: asyncio.Future[Any] = asyncio.ensure_future(waiting)
    timer: asyncio.Future[Any] = asyncio.ensure_future(clock.sleep_until(mono))
    try:
        await asyncio.wait({coming, timer}, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            coming.result()
            return True
        return False
    finally:
        for one in (coming, timer):
            if not one.done():
                one.cancel()
        await asyncio.gather(coming, timer, return_exceptions=True)
