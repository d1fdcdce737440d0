"""What each node has yet to hear: leases and stops, repeated in every poll until the agent says that it knows.

A lease counts as delivered only when a later poll's `have`, or a report, names its token; a stop is repeated until the
token leaves `have`. So a lost or doubled reply costs nothing and no lease can be forgotten on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Outbox:
    """One node's undelivered leases and open stops."""

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        #: Number of the newest poll; an older one is answered with nothing.
        self.poll_n = 0
        #: Tokens granted and not yet known to the agent, in the order of leases.
        self.leases: dict[int, None] = {}
        self.stops: dict[int, str] = {}
        #: Stops that a reply has carried: they wake no poll again, but every reply repeats them.
        self.told: set[int] = set()
        #: A skill was registered since the last reply.
        self.registry_news = False
        self._wake = asyncio.Event()

    def grant(self, token: int) -> None:
        """A lease waits to be fetched."""
        self.leases[token] = None
        self._wake.set()

    def stop(self, token: int, why: str) -> None:
        """A run is to be stopped or handed back."""
        self.stops[token] = why
        self.told.discard(token)
        self._wake.set()

    def forget(self, token: int) -> None:
        """The agent reported it, or it ended here: nothing is owed any more."""
        self.leases.pop(token, None)
        if self.stops.pop(token, None) is not None:
            self.told.discard(token)

    def has(self, tokens: Iterable[int]) -> None:
        """The agent holds these: their leases are delivered; stops for others have been carried out."""
        held = set(tokens)
        for token in held:
            self.leases.pop(token, None)

    def nudge(self) -> None:
        """Wake a parked poll, for example because a newer one came."""
        self._wake.set()

    def supersede(self) -> None:
        """Another outbox takes its place: a parked poll carries nothing."""
        self.poll_n = -1
        self._wake.set()

    def registry_changed(self) -> None:
        """A skill was registered: a parked poll tells its agent at once."""
        self.registry_news = True
        self._wake.set()

    def news(self, held: set[int]) -> bool:
        """Whether a poll has something to carry."""
        untold = (token for token in self.stops if token not in self.told)
        return bool(self.leases) or any(token in held or token in self.leases for token in untold)

    async def wait(self, n: int, held: set[int], registry_is_new: bool) -> bool:
        """Wait for news; False when a newer poll took over. The caller bounds the time."""
        while True:
            if self.poll_n != n:
                return False
            if registry_is_new or self.registry_news or self.news(held):
                self.registry_news = False
                return True
            self._wake.clear()
            await self._wake.wait()
