"""Messages between the parts: lost, doubled, late, out of order, or cut off in one direction.

A call is a request and an answer, each with a way of its own. What becomes of a message is drawn when it is sent; its
sender only ever learns of it by an answer, an error, or the end of its patience.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from openclaw_ray.errors import NotConnected, OpenClawError, OutcomeUnknown
from openclaw_ray.sim.loop import Process, VirtualLoop
from openclaw_ray.sim.trace import Trace

#: One way of a message on a healthy network (seconds), drawn between.
WAY_S = (0.0002, 0.002)
#: How soon a caller hears that the other side has died (seconds), drawn between.
NOTICE_S = (0.01, 0.5)


@dataclass(frozen=True, slots=True)
class Noise:
    """What a stretch of time does to messages."""

    #: Chance that a message is lost, and that it comes twice.
    lost: float = 0.0
    doubled: float = 0.0
    #: Chance that it is late, and by how much at most (seconds).
    late: float = 0.0
    late_s: float = 0.0


class Server(Protocol):
    """Who answers calls."""

    process: Process

    def answer(self, verb: str, body: str) -> Coroutine[Any, Any, str]:
        """Carry out one call."""
        ...


class Network:
    """All ways to the StateManager, and back."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, trace: Trace) -> None:
        self._loop = loop
        self._chance = chance
        self._trace = trace
        #: Who answers now; None: nobody is there.
        self.server: Server | None = None
        #: (from, to): nothing gets through in this direction.
        self.cuts: set[tuple[str, str]] = set()
        self.noises: dict[int, Noise] = {}
        self._messages = 0

    def port(self, source: str) -> SimPort:
        """The way of one part to the StateManager."""
        return SimPort(self, source)

    def ways(self, source: str, target: str, what: str) -> list[float]:
        """When a message arrives, once for each time that it does (seconds from now)."""
        chance = self._chance
        if (source, target) in self.cuts:
            self._trace.note("cut", what)
            return []
        ways = [chance.uniform(*WAY_S)]
        for noise in self.noises.values():
            if chance.random() < noise.lost:
                self._trace.note("lost", what)
                return []
            if chance.random() < noise.late:
                self._trace.note("late", what)
                ways[0] += chance.uniform(0.0, noise.late_s)
            if chance.random() < noise.doubled:
                self._trace.note("doubled", what)
                ways.append(chance.uniform(*WAY_S) + chance.uniform(0.0, noise.late_s or 1.0))
        return ways

    def call(self, source: str, verb: str, body: str, told: Callable[[str | OpenClawError], None]) -> None:
        """Send a request; `told` hears what comes back, as often as something does."""
        self._messages += 1
        what = f"{source}>state {verb} {self._messages} {zlib.crc32(body.encode()):08x}"
        self._trace.note("send", what)
        for way in self.ways(source, "state", what):
            self._loop.after(way, self._arrived, source, verb, body, what, told)

    def _arrived(self, source: str, verb: str, body: str, what: str, told: Callable[[Any], None]) -> None:
        server = self.server
        if server is None or not server.process.alive:
            error = NotConnected("there is no coordinator", retry_after=0.3)
            self._loop.after(self._chance.uniform(*WAY_S), told, error)
            return
        answering = server.process.spawn(server.answer(verb, body), f"answer {verb}")
        answered = False

        def done(task: asyncio.Task[str]) -> None:
            nonlocal answered
            answered = True
            self._reply(source, what, _outcome_of(task), told)

        def died() -> None:
            if not answered:
                error = OutcomeUnknown(f"{verb}: the coordinator died")
                self._loop.after(self._chance.uniform(*NOTICE_S), told, error)

        answering.add_done_callback(done, context=self._loop.outside)
        server.process.on_death.append(died)

    def _reply(self, source: str, what: str, answer: str | OpenClawError, told: Callable[[Any], None]) -> None:
        size = zlib.crc32(answer.encode()) if isinstance(answer, str) else 0
        self._trace.note("reply", f"{what} {size:08x}")
        for way in self.ways("state", source, f"reply {what}"):
            self._loop.after(way, told, answer)


def _outcome_of(task: asyncio.Task[str]) -> str | OpenClawError:
    if task.cancelled():
        return OutcomeUnknown("the call was ended")
    error = task.exception()
    if error is None:
        return task.result()
    return error if isinstance(error, OpenClawError) else OutcomeUnknown(f"{type(error).__name__}: {error}")


class SimPort:
    """`runtime.ports.Coordinator` of one part."""

    def __init__(self, network: Network, source: str) -> None:
        self._network = network
        self._source = source

    async def call(self, verb: str, body: str, timeout_s: float) -> str:
        """One call.

        Raises:
            NotConnected: nobody was there.
            OutcomeUnknown: no answer in time, or the other side died.
        """
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def told(answer: str | OpenClawError) -> None:
            if waiting.done():
                return
            if isinstance(answer, str):
                waiting.set_result(answer)
            else:
                waiting.set_exception(answer)

        self._network.call(self._source, verb, body, told)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiting
        except TimeoutError:
            raise OutcomeUnknown(f"{verb}: no answer within {timeout_s:.1f} s") from None
