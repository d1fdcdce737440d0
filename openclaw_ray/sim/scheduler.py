"""The Scheduler of a run: the real Dispatcher, and a fleet that does what the one over Ray does.

Machines that are up and have no agent get one, after their leases were ended; machines that Ray has noticed to be dead
lose their leases at once.
"""

from __future__ import annotations

import asyncio

from openclaw_ray.config import Settings
from openclaw_ray.errors import OpenClawError
from openclaw_ray.protocol import NodeGoneRequest
from openclaw_ray.runtime.dispatcher import Dispatcher
from openclaw_ray.runtime.link import Link
from openclaw_ray.sim.clock import SimClock
from openclaw_ray.sim.loop import Process, VirtualLoop
from openclaw_ray.sim.machine import Machine
from openclaw_ray.sim.network import Network

#: How often the fleet looks at its machines, and the patience of its calls (seconds).
LOOK_S, CALL_S = 1.0, 10.0


class SimScheduler:
    """One life of the Scheduler process."""

    def __init__(
        self, loop: VirtualLoop, network: Network, settings: Settings, clock: SimClock, machines: dict[str, Machine]
    ) -> None:
        self.process = Process(loop, "scheduler")
        self._link = Link(network.port("scheduler"))
        self._machines = machines
        self._dispatcher = Dispatcher(settings, self._link, clock)
        #: Machines that were told to be dead.
        self._told: set[str] = set()

    def start(self) -> None:
        """Begin."""
        self.process.spawn(self._begin())

    async def _begin(self) -> None:
        self._dispatcher.start()
        while True:
            for machine in self._machines.values():
                await self._look(machine)
            await asyncio.sleep(LOOK_S)

    async def _look(self, machine: Machine) -> None:
        if not machine.up:
            if machine.noticed and machine.node_id not in self._told:
                self._told.add(machine.node_id)
                await self.gone(machine.node_id, "ray says it is dead")
            return
        self._told.discard(machine.node_id)
        if not machine.agent_lives:
            if machine.process is not None:
                await self.gone(machine.node_id, "its agent is gone")
            machine.start_agent()

    async def gone(self, node_id: str, reason: str) -> None:
        """Tell that a node is gone; once, as Ray's fleet does."""
        request = NodeGoneRequest(node_id=node_id, reason=reason)
        try:
            await self._link.plain("node_gone", request.model_dump(), CALL_S)
        except OpenClawError:
            return
