"""One NodeAgent on every living Ray node: who is alive, what is it called, is its agent there.

Ray's word that a node is dead ends its leases at once; a parked call to each agent tells of its death within a second.
"""

from __future__ import annotations

import asyncio
import contextvars
import re
from typing import Any

import ray
from ray.exceptions import RayError

from actors.names import NODE_LABEL, agent_name, agent_options
from actors.node_agent import NodeAgent
from openclaw_ray.config import Settings
from openclaw_ray.errors import OpenClawError
from openclaw_ray.logs import get_logger
from openclaw_ray.protocol import NodeGoneRequest
from openclaw_ray.runtime.link import Link

log = get_logger(__name__)

#: How often Ray is asked who is alive (seconds).
LOOK_S = 1.0
#: A parked call to an agent is renewed after this (seconds).
PARK_S = 60.0
CALL_S = 10.0


class Fleet:
    """Keeps the agents; forgets everything at a restart and finds them again by name."""

    def __init__(self, settings: Settings, options: dict[str, dict[str, Any]], link: Link) -> None:
        self._settings = settings
        self._options = options
        self._link = link
        #: Ray node id to our node id, for nodes that are alive.
        self._names: dict[str, str] = {}
        self._guards: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="fleet")

    async def stop(self) -> None:
        """Ask every agent to stop, and wait for it."""
        self._stopping = True
        tasks = [t for t in (self._task, *self._guards.values()) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._stop_agent(n) for n in self._names.values()), return_exceptions=True)

    async def _stop_agent(self, node_id: str) -> None:
        handle = await self._find(node_id)
        if handle is not None:
            async with asyncio.timeout(self._settings.kill_grace_s + 15):
                await handle.stop.remote("the cluster goes down")

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:  # whatever Ray says while a part of it is away: look again
                log.exception("look failed")
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        nodes = await asyncio.to_thread(ray.nodes)
        alive = {n["NodeID"]: n for n in nodes if n["Alive"]}
        for ray_node in [r for r in self._names if r not in alive]:
            node_id = self._names.pop(ray_node)
            guard = self._guards.pop(ray_node, None)
            if guard is not None:
                guard.cancel()
            await self._gone(node_id, "ray says it is dead")
        for ray_node, node in alive.items():
            if ray_node not in self._guards or self._guards[ray_node].done():
                self._guards[ray_node] = asyncio.create_task(self._guard(node), name=f"guard-{ray_node[:8]}")

    async def _guard(self, node: dict[str, Any]) -> None:
        """See to it that one machine has its agent, for as long as both live."""
        ray_node = node["NodeID"]
        node_id, handle = await self._name_and_agent(node)
        self._names[ray_node] = node_id
        if handle is None:
            handle = self._create(node_id, node)
        while True:
            try:
                async with asyncio.timeout(PARK_S + CALL_S):
                    if await handle.closed.remote(PARK_S):
                        break
            except TimeoutError:
                continue  # frozen or cut off: its lease time decides, not we
            except RayError as error:
                log.warning("agent is gone", node_id=node_id, error=type(error).__name__)
                break
        await asyncio.to_thread(_kill, handle)
        await self._gone(node_id, "its agent is gone")
        await asyncio.sleep(LOOK_S)

    def _create(self, node_id: str, node: dict[str, Any]) -> Any:
        log.info("starting agent", node_id=node_id)
        about = {"id": node["NodeID"], "resources": node["Resources"], "port": node.get("NodeManagerPort")}
        options = agent_options(node_id, self._settings.namespace, node["NodeID"])
        create = NodeAgent.options(**options).remote  # type: ignore[attr-defined]
        return contextvars.Context().run(
            create, node_id, self._settings.to_json(), about, self._options.get(node_id, {})
        )

    async def _name_and_agent(self, node: dict[str, Any]) -> tuple[str, Any]:
        """The id of a machine, and its agent if it is there: its label, or its host name with the first free number."""
        label = (node.get("Labels") or {}).get(NODE_LABEL)
        if label:
            return label, await self._find(label)
        host = re.sub(r"[^a-z0-9._-]", "-", str(node.get("NodeManagerHostname") or "node").lower())[:100]
        taken = set(self._names.values())
        number = 1
        while True:
            node_id = host if number == 1 else f"{host}-{number}"
            number += 1
            handle = await self._find(node_id)
            if handle is not None and await self._lives_on(handle) == node["NodeID"]:
                return node_id, handle
            if handle is None and node_id not in taken:
                return node_id, None

    async def _lives_on(self, handle: Any) -> str | None:
        try:
            async with asyncio.timeout(CALL_S):
                info = await handle.info.remote()
        except (RayError, TimeoutError):
            return None
        return str(info["ray_node"])

    async def _find(self, node_id: str) -> Any:
        try:
            return await asyncio.to_thread(ray.get_actor, agent_name(node_id), self._settings.namespace)
        except ValueError:
            return None

    async def _gone(self, node_id: str, reason: str) -> None:
        if self._stopping:
            return
        try:
            request = NodeGoneRequest(node_id=node_id, reason=reason)
            await self._link.plain("node_gone", request.model_dump(), CALL_S)
        except OpenClawError as error:
            log.info("not told that a node is gone", node_id=node_id, error=str(error))


def _kill(handle: Any) -> None:
    try:
        ray.kill(handle)
    except (RayError, ValueError):
        return
