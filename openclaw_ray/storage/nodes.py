"""Nodes in the database, for programs of people and for tests; the StateManager uses `node_queries` and `batch`."""

from __future__ import annotations

from typing import Any

from openclaw_ray.core.limits import PAGE_MAX
from openclaw_ray.core.types import NodeStatus
from openclaw_ray.errors import InvalidRequest, NotFound
from openclaw_ray.models.node import NodeInfo
from openclaw_ray.storage import node_queries
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.rows import node_of, node_row_of
from openclaw_ray.storage.task_pages import checked_time


class NodeRepository:
    """Nodes by id, status and skill.

    Each call is one transaction, or joins the caller's `Database.transaction()`. Lists are ordered by id and begin
    behind the id `after`. All raise `Unavailable`, `StorageBusy`, `StorageFull`, `Corrupt` or `StorageError` when the
    database does.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, node: NodeInfo) -> None:
        """Store a new node.

        Raises:
            Conflict: Its id is taken.
            InvalidRequest: A value that the database cannot hold.
        """
        row = node_row_of(node)
        await self._db.run(lambda conn: node_queries.create(conn, row))

    async def get(self, node_id: str) -> NodeInfo:
        """The node.

        Raises:
            NotFound: There is no such node.
        """
        found = await self.find(node_id)
        if found is None:
            raise NotFound(f"there is no node {node_id!r}", facts={"node_id": node_id})
        return found

    async def find(self, node_id: str) -> NodeInfo | None:
        """The node, or None."""
        row = await self._db.read(lambda conn: node_queries.find(conn, node_id))
        return None if row is None else node_of(row)

    async def update(self, node_id: str, **columns: Any) -> bool:
        """Change columns of a node; False when there is no such node.

        Raises:
            InvalidRequest: An unknown column or status, or a value that the database cannot hold.
        """
        if "status" in columns:
            columns["status"] = node_queries.checked_status(columns["status"])
        return await self._db.run(lambda conn: node_queries.update(conn, node_id, columns))

    async def delete(self, node_id: str) -> bool:
        """Delete a node; its events and attempts stay. False when there is no such node."""
        return await self._db.run(lambda conn: node_queries.delete(conn, node_id))

    async def update_heartbeat(self, node_id: str, at: str, **usage: float) -> bool:
        """Note that a node was heard of; an older time than the stored one changes nothing. False: no such node.

        Args:
            node_id: Which node.
            at: ISO time.
            **usage: Any of cpu_usage, memory_usage, disk_usage (percent) and running_tasks.

        Raises:
            InvalidRequest: Anything else in `usage`, or no time.
        """
        when = checked_time(at, "at")
        return await self._db.run(lambda conn: node_queries.heartbeat(conn, node_id, when, usage))

    async def update_status(self, node_id: str, status: str) -> bool:
        """Set the status; ``busy`` is stored as ``online``. False when there is no such node.

        Raises:
            InvalidRequest: An unknown status.
        """
        return await self.update(node_id, status=status)

    async def get_all_nodes(self, limit: int = PAGE_MAX, after: str = "") -> list[NodeInfo]:
        """Every node."""
        return [node_of(row) for row in await self._db.read(lambda conn: node_queries.everything(conn, limit, after))]

    async def get_online_nodes(self, limit: int = PAGE_MAX, after: str = "") -> list[NodeInfo]:
        """Nodes that are online, with the busy ones."""
        online = NodeStatus.ONLINE
        rows = await self._db.read(lambda conn: node_queries.by_status(conn, online, limit, after))
        return [node_of(row) for row in rows]

    async def get_available_nodes(self, limit: int = PAGE_MAX, after: str = "") -> list[NodeInfo]:
        """Nodes that are online and have a free slot, whether an agent owns them or not."""
        return [node_of(row) for row in await self._db.read(lambda conn: node_queries.available(conn, limit, after))]

    async def find_unresponsive_nodes(self, timeout_s: float, now: float, limit: int = PAGE_MAX) -> list[NodeInfo]:
        """Nodes, not yet offline, that were not heard of for longer than `timeout_s` seconds.

        Args:
            timeout_s: Seconds, above 0.
            now: Seconds since 1970, UTC.
            limit: At most so many.

        Raises:
            InvalidRequest: A timeout that cannot be.
        """
        if not timeout_s > 0:
            raise InvalidRequest(f"{timeout_s!r} is no timeout", field="timeout_s", limit="seconds above 0")
        rows = await self._db.read(lambda conn: node_queries.unresponsive(conn, timeout_s, now, limit))
        return [node_of(row) for row in rows]

    async def find_by_skill(
        self, skill: str, *, status: str = NodeStatus.ONLINE, limit: int = PAGE_MAX, after: str = ""
    ) -> list[NodeInfo]:
        """Nodes of one status (online: with the busy ones) that have a skill."""
        rows = await self._db.read(lambda conn: node_queries.by_skill(conn, skill, status, limit, after))
        return [node_of(row) for row in rows]
