"""One machine: its clock, its disk, its agent and the executors of that; all of it can go and come back."""

from __future__ import annotations

import random

from openclaw_ray.config import Settings
from openclaw_ray.errors import OpenClawError
from openclaw_ray.models.node import Machine as MachineFacts
from openclaw_ray.models.node import Usage
from openclaw_ray.runtime.agent import NodeAgent
from openclaw_ray.runtime.link import Link
from openclaw_ray.sim.clock import SimClock
from openclaw_ray.sim.loop import Process, VirtualLoop
from openclaw_ray.sim.network import Network
from openclaw_ray.sim.skills import ExecutorHost, SkillLedger
from openclaw_ray.sim.trace import Trace

#: Cores and bytes of every simulated machine.
CAPACITY = {"cpu": 4, "memory": 8 << 30}


class Machine:
    """A machine with the real NodeAgent on it."""

    def __init__(
        self,
        node_id: str,
        *,
        slots: int,
        settings: Settings,
        loop: VirtualLoop,
        network: Network,
        chance: random.Random,
        ledger: SkillLedger,
        trace: Trace,
    ) -> None:
        self.node_id = node_id
        self.slots = slots
        self.clock = SimClock(loop)
        self.up = True
        #: Whether Ray has noticed that it is down.
        self.noticed = False
        self.process: Process | None = None
        self.agent: NodeAgent | None = None
        #: Why agents ended by themselves.
        self.refusals: list[OpenClawError] = []
        self._settings = settings
        self._loop = loop
        self._network = network
        self._chance = chance
        self._ledger = ledger
        self._trace = trace
        self.folder = settings.home / "nodes" / node_id
        self._hosts: list[ExecutorHost] = []

    @property
    def agent_lives(self) -> bool:
        """Whether an agent runs here; a paused one does."""
        return self.process is not None and self.process.alive

    @property
    def host(self) -> ExecutorHost | None:
        """Where the newest agent starts its executors."""
        return self._hosts[-1] if self._hosts else None

    def start_agent(self) -> None:
        """A new agent process; nothing where the machine is down or has one."""
        if not self.up or self.agent_lives:
            return
        self._trace.note("agent", f"starts on {self.node_id}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = Process(self._loop, f"agent-{self.node_id}")
        self.process.spawn(self._serve(self.process))

    async def _serve(self, process: Process) -> None:
        host = ExecutorHost(self._loop, self.node_id, self.clock, self._chance, self._ledger)
        self._hosts.append(host)
        # Its executors are owned by it: they go when Ray has noticed, or when the next agent clears up before it.
        process.on_death.append(lambda: self._loop.after(self._chance.uniform(0.0, 2.0), host.kill_all))
        self.agent = NodeAgent(
            node_id=self.node_id,
            settings=self._settings,
            folder=self.folder,
            machine=MachineFacts(hostname=self.node_id, platform="sim", arch="sim", capacity=CAPACITY),
            slots=self.slots,
            tags=frozenset({self.node_id}),
            skill_roots=(),
            link=Link(self._network.port(self.node_id)),
            factory=host,
            clock=self.clock,
            measure=_measured,
        )
        try:
            await self.agent.run()
        except OpenClawError as error:
            self._trace.note("agent", f"ends on {self.node_id}: {error.code}")
            self.refusals.append(error)
        self._loop.after(0.0, process.kill)

    def clear_leftovers(self) -> None:
        """The agent that starts here ends what the one before left running."""
        for host in self._hosts:
            host.kill_all()

    def kill_agent(self) -> None:
        """Kill -9 of the agent."""
        if self.process is not None:
            self.process.kill()

    def kill_executor(self) -> str:
        """Kill -9 of one executor, drawn; answers which."""
        living = self.host.living if self.host is not None else []
        if not living:
            return "none"
        chosen = self._chance.choice(living)
        chosen.process.kill()
        return chosen.process.name

    def lose(self, *, noticed: bool, keeps_spool: bool) -> None:
        """Power off: everything here ends in one instant; its disk stays, but for what was not synced."""
        self.up, self.noticed = False, noticed
        self.kill_agent()
        self.clear_leftovers()
        if not keeps_spool:
            (self.folder / "spool.jsonl").unlink(missing_ok=True)

    def return_(self) -> None:
        """Power on; an agent is started by whoever sees to that."""
        self.up = True


def _measured(running: int) -> Usage:
    return Usage(cpu_usage=min(100.0, 10.0 * running), memory_usage=20.0, disk_usage=30.0, running=running)
