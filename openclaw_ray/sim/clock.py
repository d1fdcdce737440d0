"""The clocks of one machine: a wall clock that can be wrong, and the loop's time as its monotonic one."""

from __future__ import annotations

import asyncio
import math

from openclaw_ray.core.types import Now
from openclaw_ray.sim.loop import VirtualLoop

#: Wall time at the beginning of every run (seconds since 1970): a Tuesday in November 2023.
WALL_START = 1_700_000_000.0


class SimClock:
    """`clock.Clock` of the processes of one machine."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._began = loop.time()
        #: How far its wall clock is off (seconds).
        self.offset_s = 0.0

    def now(self) -> Now:
        """The present instant on this machine."""
        mono = self._loop.time()
        return Now(wall=WALL_START + mono - self._began + self.offset_s, mono=mono)

    async def sleep_until(self, mono: float) -> None:
        """Wait until the loop's time is `mono`."""
        if mono <= self._loop.time():
            await asyncio.sleep(0)
            return
        waiting = self._loop.create_future()
        if math.isinf(mono):
            await waiting
            return
        timer = self._loop.call_at(mono, _wake, waiting)
        try:
            await waiting
        finally:
            timer.cancel()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
