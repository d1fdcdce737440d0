"""One run: the real parts of a cluster in one process on virtual time, a plan of faults, and what came of it.

Faults come first, then everything heals, and every task must end. What is seen on the way is evidence; `checker` reads
it afterwards and shares no code with what it judges.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from openclaw_ray.config import Settings
from openclaw_ray.runtime.coordinator import Coordinator
from openclaw_ray.sim.alarms import Alarms
from openclaw_ray.sim.chance import governed, stream
from openclaw_ray.sim.client import Client
from openclaw_ray.sim.clock import SimClock
from openclaw_ray.sim.disk import Disk, SimStore
from openclaw_ray.sim.evidence import Evidence, Tables
from openclaw_ray.sim.loop import NothingLeft, Process, VirtualLoop
from openclaw_ray.sim.machine import Machine
from openclaw_ray.sim.mirror import memory_differs
from openclaw_ray.sim.nemesis import Nemesis
from openclaw_ray.sim.network import Network
from openclaw_ray.sim.plan import Plan
from openclaw_ray.sim.scheduler import SimScheduler
from openclaw_ray.sim.skills import SkillLedger
from openclaw_ray.sim.trace import Trace
from openclaw_ray.sim.work import History, draw_jobs

#: After the last fault everything must have ended within this (seconds): the longest backoff, and some attempts.
ENDS_WITHIN_S = 500.0
#: How long an agent works without contact (seconds): less than the longest cut of a plan.
OFFLINE_WORK_S = 60.0
#: Memory is compared with the disk about so often (seconds).
COMPARE_S = 10.0
#: How soon the StateManager is started again after it ended by itself (seconds), drawn between.
RESTART_S = (0.5, 3.0)

_LIVE = "SELECT COUNT(*) FROM tasks WHERE status IN ('pending', 'scheduled', 'running')"
_OPEN = "SELECT COUNT(*) FROM attempts WHERE outcome IS NULL"


class StateServer:
    """One life of the StateManager process; see `network.Server`."""

    def __init__(self, world: World, create_for: str | None) -> None:
        self.process = Process(world.loop, "state")
        self.coordinator = Coordinator(
            world.settings,
            world.state_clock,
            on_fatal=lambda: world.crash_state(world.chance.uniform(*RESTART_S)),
            open_store=SimStore.opener(world.disk),
        )
        self._starting = self.process.spawn(self.coordinator.start(create_for=create_for))

    async def answer(self, verb: str, body: str) -> str:
        """Carry out one call, once it has started."""
        await asyncio.shield(self._starting)
        return await self.coordinator.call_json(verb, body)


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan, home: Path, loop: VirtualLoop, kept: int | None) -> None:
        self.plan = plan
        self.loop = loop
        self.settings = Settings(home=home, offline_work_s=OFFLINE_WORK_S)
        self.chance = stream(plan.seed, "world")
        self.trace = Trace(loop, kept)
        self.faults: Counter[str] = Counter()
        self.network = Network(loop, stream(plan.seed, "network"), self.trace)
        self.disk = Disk(stream(plan.seed, "disk"), self.trace)
        self.disk.crash = lambda: self.crash_state(self.chance.uniform(*RESTART_S))
        self.ledger = SkillLedger(loop, self.trace, self._is_leased)
        self.history = History()
        self.jobs = draw_jobs(plan)
        self.state_clock = SimClock(loop)
        self.state: StateServer | None = None
        self.machines = {
            name: Machine(
                name,
                slots=plan.slots,
                settings=self.settings,
                loop=loop,
                network=self.network,
                chance=stream(plan.seed, name),
                ledger=self.ledger,
                trace=self.trace,
            )
            for name in (f"node-{i + 1}" for i in range(plan.nodes))
        }
        self.scheduler: SimScheduler
        self.client: Client
        self.differences: list[str] = []
        self.began = loop.time()

    def _is_leased(self, token: int) -> bool:
        return bool(self.disk.rows("SELECT 1 FROM attempts WHERE token = ?", token))

    # -- processes --------------------------------------------------------------------------------------------------

    def start_state(self) -> None:
        """Start the StateManager; nothing where it lives."""
        if self.state is not None and self.state.process.alive:
            return
        first = self.state is None
        self.trace.note("state", "starts")
        self.state = StateServer(self, "cluster-sim" if first else None)
        self.network.server = self.state

    def crash_state(self, down_s: float) -> None:
        """Kill -9 of the StateManager; it is started again after a while."""
        if self.state is not None and self.state.process.alive:
            self.trace.note("state", "dies")
            self.state.process.kill()
            self.loop.after(down_s, self.start_state)

    def start_scheduler(self) -> None:
        """Start the Scheduler; nothing where it lives."""
        if hasattr(self, "scheduler") and self.scheduler.process.alive:
            return
        self.trace.note("scheduler", "starts")
        self.scheduler = SimScheduler(self.loop, self.network, self.settings, self.state_clock, self.machines)
        self.scheduler.start()

    def start_client(self) -> None:
        """Start a driver; nothing where one lives."""
        if hasattr(self, "client") and self.client.process.alive:
            return
        chance = stream(self.plan.seed, "client")
        self.client = Client(self.loop, self.network, chance, self.trace, self.disk, self.history, self.jobs)
        self.client.start(self.began)

    def resume_all(self) -> None:
        """Whoever is paused goes on."""
        machines = [m.process for m in self.machines.values() if m.process is not None]
        middle = [self.state.process] if self.state is not None else []
        for process in (*middle, self.scheduler.process, self.client.process, *machines):
            if process.paused:
                process.resume()

    # -- a run ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Begin, break, heal, and wait for the end."""
        self.start_state()
        self.start_scheduler()
        self.start_client()
        nemesis = Nemesis(self, self.plan)
        nemesis.start()
        comparing = asyncio.create_task(self._compare())
        await asyncio.sleep(self.plan.faulty_s + 1.0)
        self.trace.note("world", "heals")
        nemesis.heal()
        for _ in range(int(ENDS_WITHIN_S)):
            if self.done:
                break
            await asyncio.sleep(1.0)
        await asyncio.sleep(8.0)  # agents hear that their last reports were taken
        comparing.cancel()
        await asyncio.gather(comparing, return_exceptions=True)
        await self._compare_once()

    @property
    def done(self) -> bool:
        """Whether all work was handed in, has ended, and whoever waited knows it."""
        told = all(
            job.n in self.history.acked and all(i in self.history.heard for i in self.history.acked[job.n].ids)
            for job in self.jobs
        )
        return told and self.disk.rows(_LIVE) == [(0,)] and self.disk.rows(_OPEN) == [(0,)]

    async def _compare(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_S)
            await self._compare_once()

    async def _compare_once(self) -> None:
        server = self.state
        if server is not None and server.process.alive and not server.process.paused:
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(5.0):
                    self.differences += await memory_differs(server.coordinator, self.disk)


def run(plan: Plan, *, kept: int | None = 0) -> Evidence:
    """Carry out a plan.

    Args:
        plan: What to do.
        kept: How many of the last lines of the trace are kept; None: all.
    """
    loop = VirtualLoop()
    home = Path(tempfile.mkdtemp(prefix="openclaw-sim-"))
    collecting = gc.isenabled()
    gc.disable()  # nothing that dies may say so in the middle of the run
    try:
        world = World(plan, home, loop, kept)
        with (
            Alarms() as alarms,
            governed(plan.seed, lambda: world.state_clock.now().wall, lambda scratch: _clear(world, scratch)),
        ):
            finished = _finished(loop, world.run())
            evidence = _evidence(world, alarms, finished)
            loop.bury_all()
        return evidence
    finally:
        if collecting:
            gc.enable()
        loop.close()
        shutil.rmtree(home, ignore_errors=True)


def _clear(world: World, scratch: Path) -> list[Any]:
    machine = world.machines.get(scratch.parent.name)
    if machine is not None:
        machine.clear_leftovers()
    return []


def _finished(loop: VirtualLoop, work: Coroutine[Any, Any, None]) -> bool:
    """Run to the end; False when everybody waits for something that will never happen."""
    try:
        loop.run_until_complete(work)
    except NothingLeft:
        return False
    return True


def _evidence(world: World, alarms: Alarms, finished: bool) -> Evidence:
    refusals = [f"{m.node_id}: {error.code}: {error}" for m in world.machines.values() for error in m.refusals]
    return Evidence(
        plan=world.plan,
        history=world.history,
        ledger=world.ledger.lines,
        tables=Tables.read(world.disk),
        jobs=world.jobs,
        slots={name: machine.slots for name, machine in world.machines.items()},
        differences=world.differences,
        alarms=[*alarms.lines, *world.loop.unheard],
        refusals=refusals,
        done=finished and world.done,
        began=world.began,
        seconds=world.loop.time() - world.began,
        faults=dict(world.faults),
        messages=dict(world.trace.counts),
        trace_sha256=world.trace.sha256,
        trace=list(world.trace.lines),
    )
