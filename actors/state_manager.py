"""The StateManager actor: the truth of one cluster. Everything it does is in openclaw_ray.runtime.coordinator.

A call that returned is durable; a call that failed may have happened, and repeating it is safe. Every verb takes plain
JSON values (or our models) and returns plain JSON values; where a verb takes one of something it takes a list (or a
mapping by id) as well, all or none. Refusals raise `openclaw_ray.errors.OpenClawError`; `call_json` answers
``{"ok", "value" | "error"}`` for those who exchange only JSON.
"""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any

import ray

from openclaw_ray import logs
from openclaw_ray.config import Settings
from openclaw_ray.runtime.coordinator import Coordinator

Json = Any


@ray.remote
class StateManager:
    """One per cluster, on the machine that holds the database file."""

    def __init__(self, settings: dict[str, Any]) -> None:
        found = Settings.from_json(settings)
        logs.configure("state-manager", found.home, found.log_level, found.log_bytes_max, found.log_files_max)
        # Records live long and hold no cycles: looking through a million of them for garbage again and again is waste.
        gc.freeze()
        gc.set_threshold(100_000, 50, 50)
        self._coordinator = Coordinator(found)
        self._starting = asyncio.create_task(self._coordinator.start(), name="start")

    async def initialise(self) -> Json:
        """Make the database if this cluster has none; answers who we are. `up` sends it once."""
        await self._starting
        await self._coordinator.initialise()
        return await self._coordinator.call("hello")

    async def call_json(self, verb: str, body: str = "") -> str:
        """Any verb in JSON; what our own client, agents and scheduler use."""
        await self._starting
        return await self._coordinator.call_json(verb, body)

    async def call(self, verb: str, body: Json = None) -> Json:
        """Any verb with plain values."""
        await self._starting
        answer = await self._coordinator.call(verb, body)
        return answer.model_dump(mode="json") if hasattr(answer, "model_dump") else answer

    async def pid(self) -> int:
        """Process id on its machine, for tests and doctors."""
        return os.getpid()

    async def stop(self) -> None:
        """Commit what waits, close the database, end for good."""
        await self._coordinator.stop()
        ray.actor.exit_actor()  # type: ignore[no-untyped-call]

    # -- nodes -----------------------------------------------------------------------------------------------------

    async def add_node(self, node: Json, by: str | None = None) -> Json:
        """Record a node (mapping) or several (list); answers the id(s)."""
        return await self.call("add_node", {"node": node, "by": by})

    async def update_node(self, node_id: Json, changes: Json = None, by: str | None = None) -> Json:
        """Change slots, tags, status; several as ``{id: changes}``. Answers the version(s)."""
        return await self.call("update_node", {"node_id": node_id, "changes": changes, "by": by})

    async def remove_node(self, node_id: Json, force: bool = False, by: str | None = None) -> Json:
        """Forget a node or a list of them; refused while leases live unless `force`."""
        return await self.call("remove_node", {"node_id": node_id, "force": force, "by": by})

    async def get_node(self, node_id: Json) -> Json:
        """One node, or a list for a list of ids."""
        return await self.call("get_node", {"node_id": node_id})

    async def get_online_nodes(self) -> Json:
        """Nodes that are online, busy ones included."""
        return await self.call("get_online_nodes")

    async def get_available_nodes(self) -> Json:
        """Online nodes with a free slot."""
        return await self.call("get_available_nodes")

    async def find_nodes_by_skill(self, skill: Json) -> Json:
        """Nodes that have a skill; a mapping for a list of skills."""
        return await self.call("find_nodes_by_skill", {"skill": skill})

    async def update_node_status(self, node_id: Json, status: Json = None, by: str | None = None) -> Json:
        """Set a status by hand; several as ``{id: status}``."""
        return await self.call("update_node_status", {"node_id": node_id, "status": status, "by": by})

    async def update_heartbeat(self, node_id: Json, usage: Json = None) -> Json:
        """Say that a node kept by hand lives; several as ``{id: usage}``."""
        return await self.call("update_heartbeat", {"node_id": node_id, "usage": usage})

    async def check_stale_nodes(self, timeout: Json = None) -> Json:  # noqa: ASYNC109 - the verb's own word
        """Take nodes silent for `timeout` seconds offline; answers their ids."""
        return await self.call("check_stale_nodes", {"timeout": timeout})

    async def get_node_stats(self) -> Json:
        """Counts of nodes, slots and ended attempts."""
        return await self.call("get_node_stats")

    # -- tasks -----------------------------------------------------------------------------------------------------

    async def add_task(self, task: Json, by: str | None = None) -> Json:
        """Accept a task (mapping) or several (list); answers the id(s)."""
        return await self.call("add_task", {"task": task, "by": by})

    async def update_task(self, task_id: Json, changes: Json = None, by: str | None = None) -> Json:
        """Change a task; several as ``{id: changes}``. A status is carried out as a legal transition."""
        return await self.call("update_task", {"task_id": task_id, "changes": changes, "by": by})

    async def remove_task(self, task_id: Json, by: str | None = None) -> Json:
        """Delete the record of an ended task, or of a list; answers whether it existed."""
        return await self.call("remove_task", {"task_id": task_id, "by": by})

    async def get_task(self, task_id: Json) -> Json:
        """One task, or a list for a list of ids."""
        return await self.call("get_task", {"task_id": task_id})

    async def get_tasks_by_status(self, status: Json, limit: Json = 100) -> Json:
        """Tasks of a state, newest first; a mapping for a list of states."""
        return await self.call("get_tasks_by_status", {"status": status, "limit": limit})

    async def get_pending_tasks(self, limit: Json = 100) -> Json:
        """Pending tasks by priority, then submission."""
        return await self.call("get_pending_tasks", {"limit": limit})

    async def get_task_stats(self) -> Json:
        """Counts of tasks by state, and their total."""
        return await self.call("get_task_stats")

    # -- the whole -------------------------------------------------------------------------------------------------

    async def sync_to_database(self) -> Json:
        """Wait until all is committed, empty the WAL into the file; answers the version."""
        return await self.call("sync_to_database")

    async def refresh_from_database(self) -> Json:
        """Compare memory with the disk, take over the disk's; answers the differences (none expected)."""
        return await self.call("refresh_from_database")

    async def get_state(self, tasks: bool = False, before: int | None = None) -> Json:
        """Version, statistics, nodes, counts of live tasks; with `tasks` a page of 1,000 live tasks."""
        return await self.call("get_state", {"tasks": tasks, "before": before})
