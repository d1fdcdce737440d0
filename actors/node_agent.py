"""The NodeAgent actor: one on each Ray node. What it does is in openclaw_ray.runtime.agent."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import ray

from actors.executor import RayExecutorFactory
from actors.names import PIN
from actors.port import StateManagerPort
from openclaw_ray import logs
from openclaw_ray.clock import SystemClock
from openclaw_ray.config import Settings
from openclaw_ray.runtime import machine
from openclaw_ray.runtime.agent import NodeAgent as Agent
from openclaw_ray.runtime.link import Link
from openclaw_ray.storage.lock import FileLock

#: Resources of Ray that are no amounts to be leased.
_NOT_LEASED = re.compile(r"(node:.*|object_store_memory|accelerator_type:.*|bundle.*|" + PIN + r")\Z")


@ray.remote
class NodeAgent:
    """Knows its machine, pulls leases, owns the executors: work dies with it, never with the other actors."""

    def __init__(
        self, node_id: str, settings: dict[str, Any], ray_node: dict[str, Any], options: dict[str, Any]
    ) -> None:
        found = Settings.from_json(settings)
        folder = found.home / "nodes" / node_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        logs.configure(f"agent-{node_id}", found.home, found.log_level, found.log_bytes_max, found.log_files_max)
        self._ray_node = str(ray_node["id"])
        self._lock = FileLock(folder / "agent", purpose=f"agent of {node_id}")
        roots = tuple(Path(p) for p in options.get("skill_roots", [str(p) for p in found.skill_roots]))
        if options.get("path"):
            os.environ["PATH"] = str(options["path"])
        self._agent = Agent(
            node_id=node_id,
            settings=found,
            folder=folder,
            machine=machine.describe(capacity_of(ray_node["resources"]), ray_node.get("port")),
            slots=int(options.get("slots", found.slots)),
            tags=frozenset(options.get("tags", [])),
            skill_roots=roots,
            link=Link(StateManagerPort(found.namespace)),
            factory=RayExecutorFactory(self._ray_node),
            clock=SystemClock(),
            measure=lambda running: machine.usage(folder, running),
        )
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="agent")

    async def _run(self) -> None:
        try:
            await self._lock.acquire()
            await self._agent.run()
        except Exception:  # noqa: BLE001 - whatever it was, the agent is over, and says so
            logs.get_logger(__name__).exception("agent ended")
        finally:
            self._ended.set()

    async def info(self) -> dict[str, Any]:
        """What the machine is and what the agent offers."""
        return {"ray_node": self._ray_node, "pid": os.getpid(), **self._agent.status(),
                "machine": self._agent.machine.model_dump(mode="json")}  # fmt: skip

    async def usage(self) -> dict[str, Any]:
        """The last measurement: cpu, memory, disk in percent."""
        return self._agent.usage().model_dump(mode="json")

    async def running(self) -> list[str]:
        """Ids of the tasks that run here now."""
        running: list[str] = self._agent.status()["running"]
        return running

    async def closed(self, timeout_s: float) -> bool:
        """Wait for the agent's end, at most `timeout_s`; a caller whose call fails knows that the process is gone."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, reason: str = "its agent stopped") -> None:
        """Hand back and kill what it has, say goodbye, end for good."""
        await self._agent.stop(reason)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._lock.release()
        ray.actor.exit_actor()  # type: ignore[no-untyped-call]


def capacity_of(resources: dict[str, float]) -> dict[str, Any]:
    """What may be leased of a Ray node, as people write it."""
    names = {"CPU": "cpu", "GPU": "gpu"}
    return {
        names.get(name, name): int(amount) if name == "memory" else round(amount, 3)
        for name, amount in resources.items()
        if not _NOT_LEASED.match(name) and amount > 0
    }
