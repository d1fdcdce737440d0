"""Time that moves only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from openclaw_ray.core.types import Now

#: Turns of the event loop given to woken tasks before time moves on: enough for a chain of awaits without I/O.
SETTLE_TURNS = 20


class VirtualClock:
    """A `Clock` for tests: `advance` moves it and wakes sleepers in order, never really sleeping.

    Args:
        wall: Where the wall clock starts, seconds since 1970, UTC.
        mono: Where the monotonic clock starts, seconds.
    """

    def __init__(self, wall: float = 1_700_000_000.0, mono: float = 1_000.0) -> None:
        self._wall = wall
        self._mono = mono
        self._order = itertools.count()
        #: (deadline, arrival, what the sleeper awaits); cancelled sleepers stay until their deadline.
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    @property
    def sleepers(self) -> int:
        """How many tasks wait in `sleep_until`."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def now(self) -> Now:
        """The virtual instant."""
        return Now(wall=self._wall, mono=self._mono)

    async def sleep_until(self, mono: float) -> None:
        """Wait until `advance` has moved the clock to `mono`; a moment that has passed costs one turn of the loop."""
        if mono <= self._mono:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (mono, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time on by `seconds`, waking each sleeper at its own deadline.

        Tasks woken on the way run before time moves further, so what they do, and new sleeps they begin, happens at
        the right instant.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        end = self._mono + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            deadline, _, future = heapq.heappop(self._sleepers)
            if future.done():  # cancelled meanwhile
                continue
            self._move_to(deadline)
            future.set_result(None)
            await self.settle()
        self._move_to(end)
        await self.settle()

    def jump_wall(self, seconds: float) -> None:
        """Step the wall clock only, as a correction by NTP or a person does; may be negative."""
        self._wall += seconds

    async def settle(self) -> None:
        """Let every task that is ready run until it waits."""
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)

    def _move_to(self, mono: float) -> None:
        self._wall += mono - self._mono
        self._mono = mono
