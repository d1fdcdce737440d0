"""What the repositories should do, in plain dictionaries and loops: no SQL, no index, nothing shared with them.

It is slow and obvious on purpose. A differential test runs the same operations here and on SQLite.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openclaw_ray.core.types import NodeStatus, TaskState
from openclaw_ray.errors import Conflict, NotFound
from openclaw_ray.models.node import NodeInfo
from openclaw_ray.models.task import Task

LIVE = {TaskState.PENDING, TaskState.SCHEDULED, TaskState.RUNNING}
FINAL_FIELDS = {"status", "result", "error", "attempt", "completed_at", "assigned_node", "started_at"}


class OracleTasks:
    """The tasks, in order of submission."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    async def create(self, task: Task) -> None:
        await self.create_many([task])

    async def create_many(self, tasks: Iterable[Task]) -> None:
        """All or none."""
        after = [*self.tasks]
        for task in tasks:
            if any(one.task_id == task.task_id or (task.key and one.key == task.key) for one in after):
                raise Conflict("taken")
            after.append(task)
        self.tasks = after

    async def find(self, task_id: str) -> Task | None:
        return next((task for task in self.tasks if task.task_id == task_id), None)

    async def get(self, task_id: str) -> Task:
        found = await self.find(task_id)
        if found is None:
            raise NotFound("no such task")
        return found

    async def update(self, task_id: str, *, if_attempt: int | None = None, **fields: Any) -> bool:
        found = await self.find(task_id)
        if found is None:
            return False
        if not fields:
            return True
        if fields.keys() & FINAL_FIELDS and found.status not in LIVE:
            raise Conflict("final")
        if if_attempt is not None and found.attempt != if_attempt:
            raise Conflict("another attempt")
        self.tasks[self.tasks.index(found)] = found.model_copy(update=fields)
        return True

    async def delete(self, task_id: str) -> bool:
        before = len(self.tasks)
        self.tasks = [task for task in self.tasks if task.task_id != task_id]
        return len(self.tasks) < before

    async def list_by_status(self, status: str, limit: int) -> list[Task]:
        return self._newest(limit, status=status)

    async def list_by_node(self, node_id: str, limit: int) -> list[Task]:
        return self._newest(limit, assigned_node=node_id)

    async def list_by_user(self, user_id: str, limit: int) -> list[Task]:
        return self._newest(limit, user_id=user_id)

    async def find_by(self, limit: int, name: str | None, **fields: Any) -> list[Task]:
        """The oracle's form of a `TaskFilter`; `name` is a part of the name."""
        return self._newest(limit, name, **fields)

    async def get_pending_tasks(self, limit: int) -> list[Task]:
        waiting = [task for task in self.tasks if task.status == TaskState.PENDING]
        return sorted(waiting, key=lambda task: task.priority)[:limit]

    async def count_by_status(self) -> dict[str, int]:
        return {state: sum(task.status == state for task in self.tasks) for state in TaskState}

    async def cleanup_old_tasks(self, older_than: str, limit: int) -> int:
        """Oldest end first."""
        ended = [t for t in self.tasks if t.status not in LIVE and t.completed_at and t.completed_at < older_than]
        gone = sorted(ended, key=lambda task: str(task.completed_at))[:limit]
        self.tasks = [task for task in self.tasks if task not in gone]
        return len(gone)

    def _newest(self, limit: int, name: str | None = None, **fields: Any) -> list[Task]:
        wanted = {field: value for field, value in fields.items() if value is not None}
        return [
            task
            for task in reversed(self.tasks)
            if all(getattr(task, field) == value for field, value in wanted.items())
            and (name is None or name.lower() in task.name.lower())
        ][:limit]


class OracleNodes:
    """The nodes by id."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}

    async def create(self, node: NodeInfo) -> None:
        if node.node_id in self.nodes:
            raise Conflict("taken")
        self._put(node)

    async def find(self, node_id: str) -> NodeInfo | None:
        return self.nodes.get(node_id)

    async def get(self, node_id: str) -> NodeInfo:
        if node_id not in self.nodes:
            raise NotFound("no such node")
        return self.nodes[node_id]

    async def update(self, node_id: str, **fields: Any) -> bool:
        if node_id not in self.nodes:
            return False
        self._put(self.nodes[node_id].model_copy(update=fields))
        return True

    async def update_status(self, node_id: str, status: NodeStatus) -> bool:
        return await self.update(node_id, status=status)

    async def update_heartbeat(self, node_id: str, at: str, **usage: float) -> bool:
        if node_id not in self.nodes:
            return False
        if (self.nodes[node_id].last_heartbeat or "") <= at:
            await self.update(node_id, last_heartbeat=at, **usage)
        return True

    async def delete(self, node_id: str) -> bool:
        return self.nodes.pop(node_id, None) is not None

    async def get_all_nodes(self) -> list[NodeInfo]:
        return [self.nodes[node_id] for node_id in sorted(self.nodes)]

    async def get_online_nodes(self) -> list[NodeInfo]:
        return [n for n in await self.get_all_nodes() if n.status in {NodeStatus.ONLINE, NodeStatus.BUSY}]

    async def get_available_nodes(self) -> list[NodeInfo]:
        return [n for n in await self.get_all_nodes() if n.status is NodeStatus.ONLINE]

    async def find_by_skill(self, skill: str) -> list[NodeInfo]:
        return [n for n in await self.get_online_nodes() if skill in n.available_skills]

    def _put(self, node: NodeInfo) -> None:
        """Keep a node, with ``busy`` derived from its slots."""
        status = node.status
        if status in {NodeStatus.ONLINE, NodeStatus.BUSY}:
            full = node.running_tasks >= node.max_concurrent_tasks
            status = NodeStatus.BUSY if full else NodeStatus.ONLINE
        self.nodes[node.node_id] = node.model_copy(update={"status": status})
