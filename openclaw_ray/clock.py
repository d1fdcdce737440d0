"""Time as a value that is handed in, so that everything above can run on virtual time.

The core never asks for the time: the shells read a `Clock` once per batch and pass `Now` down. Must not know what is
being waited for.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from openclaw_ray.core.types import Now


class Clock(Protocol):
    """Both clocks of this process, and the only way to wait for a moment."""

    def now(self) -> Now:
        """The present instant. `mono` never goes back; `wall` may jump."""
        ...

    async def sleep_until(self, mono: float) -> None:
        """Wait until the monotonic clock shows `mono`.

        Always gives other tasks a turn, also for a moment that has passed, so that a loop with a late deadline cannot
        starve its neighbours. Cancellation passes through.

        Args:
            mono: Seconds on the clock of `now().mono`; `math.inf` waits until cancelled.
        """
        ...


class SystemClock:
    """The machine's clocks."""

    #: asyncio.sleep adds its delay to the loop's time; beyond a day the selector may refuse it (inf does for sure).
    SLICE_S = 86_400.0

    def now(self) -> Now:
        """The present instant, from `time.time` and `time.monotonic`."""
        return Now(wall=time.time(), mono=time.monotonic())

    async def sleep_until(self, mono: float) -> None:
        """Wait until `time.monotonic()` is at least `mono` seconds."""
        while True:
            rest = mono - time.monotonic()
            # The loop's timer may fire a clock tick early, hence the loop around it.
            await asyncio.sleep(min(max(rest, 0.0), self.SLICE_S))
            if rest <= 0 or time.monotonic() >= mono:
                return
