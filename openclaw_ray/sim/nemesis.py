"""Carries out the faults of a plan on a world, and takes everything back at the end.

Each kind of fault is one function; what it broke it mends itself after its seconds, unless the world healed before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from openclaw_ray.errors import OpenClawError
from openclaw_ray.runtime.link import Link
from openclaw_ray.sim.loop import Process
from openclaw_ray.sim.network import Noise
from openclaw_ray.sim.plan import Fault, Plan

if TYPE_CHECKING:
    from openclaw_ray.sim.world import World

#: Patience of an owner's call, and the pause before its repeat (seconds).
CALL_S, AGAIN_S = 5.0, 1.0


class Nemesis:
    """What goes wrong in one run."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._plan = plan
        self._healed = False
        self._owner = Process(world.loop, "owner")
        self._link = Link(world.network.port("owner"))
        #: Nodes that are drained now, with how many drains are under way.
        self._drained: set[str] = set()

    def start(self) -> None:
        """Set every fault to its moment."""
        for number, fault in enumerate(self._plan.faults):
            self._world.loop.after(fault.at, self._strike, number, fault)

    def _strike(self, number: int, fault: Fault) -> None:
        if not self._healed:
            self._world.trace.note("fault", f"{number} {fault.kind} {fault.target} {fault.seconds} {fault.more}")
            self._world.faults[fault.kind] += 1
            _STRIKES[fault.kind](self, number, fault)

    def _later(self, fault: Fault, mend: Callable[[], object]) -> None:
        self._world.loop.after(fault.seconds, mend)

    def heal(self) -> None:
        """No more faults; what is broken is mended, what is drained is given back."""
        self._healed = True
        world = self._world
        world.network.cuts.clear()
        world.network.noises.clear()
        disk = world.disk
        disk.refusing, disk.slow_s = None, 0.0
        disk.unknown.clear()
        disk.crash_at.clear()
        world.state_clock.offset_s = 0.0
        world.resume_all()
        for machine in world.machines.values():
            machine.clock.offset_s = 0.0
            machine.return_()
        for node_id in sorted(self._drained):
            self._owner.spawn(self._undrain(node_id))

    # -- the middle -------------------------------------------------------------------------------------------------

    def _crash_state(self, number: int, fault: Fault) -> None:
        self._world.crash_state(fault.seconds)

    def _stall_state(self, number: int, fault: Fault) -> None:
        self._pause(self._world.state.process if self._world.state else None, fault)

    def _crash_at_call(self, number: int, fault: Fault) -> None:
        disk = self._world.disk
        disk.crash_at[disk.calls + int(fault.more["call"])] = bool(fault.more["after"])

    def _crash_scheduler(self, number: int, fault: Fault) -> None:
        self._world.scheduler.process.kill()
        self._later(fault, self._world.start_scheduler)

    def _pause_scheduler(self, number: int, fault: Fault) -> None:
        self._pause(self._world.scheduler.process, fault)

    def _pause(self, process: Process | None, fault: Fault) -> None:
        if process is not None and process.alive:
            process.pause()
            self._later(fault, process.resume)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _crash_agent(self, number: int, fault: Fault) -> None:
        self._world.machines[fault.target].kill_agent()

    def _pause_agent(self, number: int, fault: Fault) -> None:
        self._pause(self._world.machines[fault.target].process, fault)

    def _kill_executor(self, number: int, fault: Fault) -> None:
        killed = self._world.machines[fault.target].kill_executor()
        self._world.trace.note("killed", killed)

    def _lose_machine(self, number: int, fault: Fault) -> None:
        machine = self._world.machines[fault.target]
        machine.lose(noticed=bool(fault.more["noticed"]), keeps_spool=bool(fault.more["spool"]))
        self._later(fault, machine.return_)

    def _verdict(self, number: int, fault: Fault) -> None:
        scheduler = self._world.scheduler
        if scheduler.process.alive:
            scheduler.process.spawn(scheduler.gone(fault.target, "a wrong verdict"))

    def _drain(self, number: int, fault: Fault) -> None:
        self._drained.add(fault.target)
        self._owner.spawn(self._drain_for(fault))

    async def _drain_for(self, fault: Fault) -> None:
        deadline = {"deadline_s": max(1, int(fault.seconds / 2))} if fault.seconds > 4 else {}
        await self._ask("drain", node_id=fault.target, reason="the owner wants it", **deadline)
        await asyncio.sleep(fault.seconds)
        await self._undrain(fault.target)

    async def _undrain(self, node_id: str) -> None:
        await self._ask("undrain", node_id=node_id)

    async def _ask(self, verb: str, **arguments: object) -> None:
        while True:
            try:
                await self._link.plain(verb, arguments, CALL_S)
                return
            except OpenClawError as error:
                if error.code == "not_found":  # it has never registered
                    return
                await asyncio.sleep(AGAIN_S)

    # -- network and client -----------------------------------------------------------------------------------------

    def _cut_to(self, number: int, fault: Fault) -> None:
        self._cut((fault.target, "state"), fault)

    def _cut_from(self, number: int, fault: Fault) -> None:
        self._cut(("state", fault.target), fault)

    def _cut(self, way: tuple[str, str], fault: Fault) -> None:
        self._world.network.cuts.add(way)
        self._later(fault, lambda: self._world.network.cuts.discard(way))

    def _noise(self, number: int, fault: Fault) -> None:
        noises = self._world.network.noises
        noises[number] = Noise(**fault.more)
        self._later(fault, lambda: noises.pop(number, None))

    def _crash_client(self, number: int, fault: Fault) -> None:
        self._world.client.process.kill()
        self._later(fault, self._world.start_client)

    def _pause_client(self, number: int, fault: Fault) -> None:
        self._pause(self._world.client.process, fault)

    # -- disk and time ----------------------------------------------------------------------------------------------

    def _disk_full(self, number: int, fault: Fault) -> None:
        self._refuse("full", fault)

    def _disk_busy(self, number: int, fault: Fault) -> None:
        self._refuse("busy", fault)

    def _refuse(self, word: str, fault: Fault) -> None:
        disk = self._world.disk
        disk.refusing = word

        def mend() -> None:
            disk.refusing = None

        self._later(fault, mend)

    def _disk_slow(self, number: int, fault: Fault) -> None:
        disk = self._world.disk
        disk.slow_s = fault.more["by"]

        def mend() -> None:
            disk.slow_s = 0.0

        self._later(fault, mend)

    def _disk_unknown(self, number: int, fault: Fault) -> None:
        self._world.disk.unknown.append(bool(fault.more["kept"]))

    def _wall_jump(self, number: int, fault: Fault) -> None:
        world = self._world
        clock = world.state_clock if fault.target == "state" else world.machines[fault.target].clock
        clock.offset_s += fault.more["by"]


_STRIKES: dict[str, Callable[[Nemesis, int, Fault], None]] = {
    name.removeprefix("_"): function
    for name, function in vars(Nemesis).items()
    if name.startswith("_") and not name.startswith("__") and "fault" in function.__code__.co_varnames[2:3]
}
