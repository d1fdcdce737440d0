"""The coordinator's sense of time: it wakes at the next deadline, and notices when it was asleep itself."""

from __future__ import annotations

import asyncio

from openclaw_ray.core import events as ev
from openclaw_ray.errors import OpenClawError
from openclaw_ray.logs import get_logger
from openclaw_ray.runtime.commit import Turn
from openclaw_ray.runtime.context import Office
from openclaw_ray.runtime.waiting import until

log = get_logger(__name__)

#: A wake-up this late (seconds) means that nobody was served meanwhile: leases must not end for it.
STALL_S = 1.0
#: A wall clock that fell behind the monotonic one by more than this (seconds) was set back, not slewed.
SET_BACK_S = 1.0
#: Observations are written at the latest after this (seconds).
OBSERVE_WITHIN_S = 30.0


class Ticker:
    """Applies `Ticked` when something is due, at least once a sweep."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._planned = 0.0
        now = office.clock.now()
        #: How far the wall clock was ahead of the monotonic one at the last tick.
        self._ahead_s = now.wall - now.mono

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="ticker")

    async def stop(self) -> None:
        """End, and wait for the end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look_again(self) -> None:
        """A deadline may have come nearer."""
        if self._next() < self._planned:
            self._wake.set()

    def _next(self) -> float:
        """Monotonic moment of the next thing to do, at most one sweep ahead."""
        office = self._office
        now = office.clock.now()
        wall, mono = office.state.next_deadline()
        candidates = [now.mono + office.settings.sweep_s]
        if wall is not None:
            candidates.append(now.mono + max(0.0, wall - now.wall))
        if mono is not None:
            candidates.append(mono)
        return max(now.mono, min(candidates))

    async def _run(self) -> None:
        office = self._office
        while True:
            self._planned = self._next()
            self._wake.clear()
            await until(office.clock, self._planned, self._wake.wait())
            now = office.clock.now()
            late_s = now.mono - self._planned
            try:
                if late_s > STALL_S and not self._wake.is_set():
                    self._forgive(late_s)
                await self._tick()
            except OpenClawError as error:
                # Refused for now (a full disk, say): what is due stays due.
                log.warning("tick refused", error=str(error))
                await office.clock.sleep_until(now.mono + office.settings.sweep_s)

    def _forgive(self, late_s: float) -> None:
        """This process was stalled: every node gets a full lease time from now."""
        office = self._office
        log.warning("stalled", seconds=round(late_s, 3))
        office.state.watch_all(office.clock.now())

    async def _tick(self) -> None:
        office = self._office
        now = office.clock.now()
        wall, mono = office.state.next_deadline()
        due = (wall is not None and wall <= now.wall) or (mono is not None and mono <= now.mono)
        observe = office.ledger.observation_due(now, OBSERVE_WITHIN_S)
        set_back = now.wall - now.mono < self._ahead_s - SET_BACK_S
        if due or observe or set_back:

            def tick(turn: Turn) -> None:
                turn.apply(ev.Ticked(set_back))
                if observe:
                    office.ledger.flush_observations(office.state, now)

            await office.commit.run(tick)
        self._ahead_s = now.wall - now.mono  # only now: a refused tick finds the same again
