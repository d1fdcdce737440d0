"""Simulated skills in simulated executor processes, and the ledger that the skills write themselves.

The ledger is the outside witness: it knows nothing of leases, only that an attempt with this token began here and how
it came to an end. What a task does is in its parameters, so that the ledger can say what its result has to be.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openclaw_ray.errors import Unavailable
from openclaw_ray.runtime.ports import ExecutorDied
from openclaw_ray.sim.clock import SimClock
from openclaw_ray.sim.loop import Process, VirtualLoop
from openclaw_ray.sim.trace import Trace
from openclaw_ray.skills.marker import FILE_NAME

#: Runs longer than this are announced (seconds), as real executors do.
ANNOUNCED_S = 0.02
#: One way between an agent and its executor (seconds), drawn between.
WAY_S = (0.0001, 0.0008)


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """What a skill wrote."""

    at: float  # the world's time, seconds
    what: str  # began, ended, died
    node: str
    token: int
    task_id: str
    attempt: int
    #: Units that its executor holds for it.
    resources: tuple[tuple[str, int], ...]
    #: Whether its lease was on disk when it began.
    leased: bool = True
    #: Its result as JSON text; None: it gave none.
    result: str | None = None


class SkillLedger:
    """All lines of a run, in order."""

    def __init__(self, loop: VirtualLoop, trace: Trace, is_leased: Callable[[int], bool]) -> None:
        self._loop = loop
        self._trace = trace
        self._is_leased = is_leased
        self.lines: list[LedgerLine] = []

    def write(self, what: str, node: str, item: dict[str, Any], key: dict[str, int], result: str | None = None) -> None:
        """One line."""
        token = int(item["token"])
        leased = self._is_leased(token) if what == "began" else True
        held = tuple(sorted(key.items()))
        line = LedgerLine(self._loop.time(), what, node, token, item["task_id"], item["attempt"], held, leased, result)
        self.lines.append(line)
        self._trace.note(what, f"{node} {item['task_id']} attempt={item['attempt']} token={token}")


class SimExecutor:
    """`runtime.ports.Executor`: one attempt at a time, in virtual time."""

    def __init__(self, host: ExecutorHost, number: int, resources: dict[str, int], scratch: Path) -> None:
        self.process = Process(host.loop, f"{host.node}/executor-{number}")
        self._host = host
        self._resources = resources
        self._scratch = scratch
        self._queue: list[dict[str, Any]] = []
        self._current: dict[str, Any] | None = None
        self._cancelled: set[int] = set()
        self._finished = 0
        self._out: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._fed = asyncio.Event()
        self.process.on_death.append(self._died)
        self.process.spawn(self._work())

    # -- the port ---------------------------------------------------------------------------------------------------

    async def feed(self, items: list[dict[str, Any]]) -> None:
        """Queue attempts."""
        await self._way()
        self._queue += items
        self._fed.set()

    async def collect(self, max_wait_s: float) -> list[dict[str, Any]]:
        """What happened since the last call."""
        await self._way()
        if not self._out:
            self._news.clear()
            try:
                async with asyncio.timeout(max_wait_s):
                    await self._news.wait()
            except TimeoutError:
                return []
        self._check()
        out, self._out = self._out, []
        return out

    async def withdraw(self, tokens: list[int]) -> list[int]:
        """Take back what has not started."""
        await self._way()
        taken = [int(item["token"]) for item in self._queue if item["token"] in tokens]
        self._queue = [item for item in self._queue if item["token"] not in taken]
        return taken

    async def cancel(self, token: int) -> None:
        """Set the flag that a polite skill looks at."""
        await self._way()
        self._cancelled.add(token)

    async def kill(self) -> None:
        """End the process; it takes a moment."""
        await asyncio.sleep(self._host.chance.uniform(0.001, 0.05))
        self.process.kill()

    async def _way(self) -> None:
        await asyncio.sleep(self._host.chance.uniform(*WAY_S))
        self._check()

    def _check(self) -> None:
        if not self.process.alive:
            raise ExecutorDied("it is gone")

    # -- inside -----------------------------------------------------------------------------------------------------

    def _died(self) -> None:
        if self._current is not None:
            self._host.ledger.write("died", self._host.node, self._current, self._resources)
            self._current = None
        self._news.set()

    async def _work(self) -> None:
        while True:
            if not self._queue:
                self._fed.clear()
                await self._fed.wait()
                continue
            self._current = item = self._queue.pop(0)
            self._mark(int(item["token"]))
            self._host.ledger.write("began", self._host.node, item, self._resources)
            entry = await self._run(item)
            self._host.ledger.write("ended", self._host.node, item, self._resources, entry["result"])
            self._current = None
            self._finished = int(item["token"])
            self._mark(0)
            self._say(entry)

    def _mark(self, running: int) -> None:
        (self._scratch / FILE_NAME).write_bytes(struct.pack("=QQ", running, self._finished))

    def _say(self, entry: dict[str, Any]) -> None:
        self._out.append(entry)
        self._news.set()

    async def _run(self, item: dict[str, Any]) -> dict[str, Any]:
        """Do what the parameters say."""
        params = json.loads(item["params"])
        fate, run_s, token = params["fate"], float(params["run_s"]), int(item["token"])
        began = self._host.clock.now()
        if run_s > ANNOUNCED_S:
            await asyncio.sleep(ANNOUNCED_S)
            self._say({"token": token, "event": "started", "at": began.wall})
        left_s = max(0.0, run_s - ANNOUNCED_S)
        while left_s > 0 and not (token in self._cancelled and params.get("polite")):
            step_s = min(left_s, 0.5)
            await asyncio.sleep(step_s)
            left_s -= step_s
        if fate == "hang":
            await asyncio.get_running_loop().create_future()
        if fate == "crash" and item["attempt"] <= params.get("bad", 99):
            self._host.loop.after(0.0, self.process.kill)
            await asyncio.get_running_loop().create_future()
        failed = fate in ("fail", "permanent") and item["attempt"] <= params.get("bad", 99)
        failed = failed or left_s > 0  # it was asked to stop and did
        ran_s = self._host.clock.now().mono - began.mono
        return {
            "token": token,
            "event": "ended",
            "outcome": "failed" if failed else "completed",
            "started_at": began.wall,
            "ended_at": began.wall + ran_s,
            "run_s": ran_s,
            "result": None if failed else json.dumps({"token": token, "n": params["n"]}, separators=(",", ":")),
            "error": {"kind": "skill_error", "type": "Fate", "message": fate, "traceback": ""} if failed else None,
            "permanent": fate == "permanent",
            "log_tail": None,
            "peak_memory": None,
        }


class ExecutorHost:
    """`runtime.ports.ExecutorFactory` of one agent's life on one machine."""

    def __init__(
        self, loop: VirtualLoop, node: str, clock: SimClock, chance: random.Random, ledger: SkillLedger
    ) -> None:
        self.loop = loop
        self.node = node
        self.clock = clock
        self.chance = chance
        self.ledger = ledger
        self.executors: list[SimExecutor] = []

    async def start(self, resources: dict[str, int], scratch: str) -> SimExecutor:
        """Start one; now and then other work of the machine holds what it needs."""
        await asyncio.sleep(self.chance.uniform(0.05, 0.8))
        if resources and self.chance.random() < 0.03:
            await asyncio.sleep(10.0)
            raise Unavailable("other work holds the resources", retry_after=5.0)
        executor = SimExecutor(self, len(self.executors) + 1, resources, Path(scratch))
        self.executors.append(executor)
        return executor

    @property
    def living(self) -> list[SimExecutor]:
        """Executors that run."""
        return [one for one in self.executors if one.process.alive]

    def kill_all(self) -> None:
        """Whatever still runs ends now."""
        for executor in self.living:
            executor.process.kill()
