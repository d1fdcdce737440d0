"""Questions about nodes and their changes, as functions of a connection: several can share one `Database.read`.

``busy`` is never stored: it is what an online node without a free slot is called.
"""

from __future__ import annotations

import difflib
import sqlite3
from typing import Any

from openclaw_ray.core.limits import PAGE_MAX
from openclaw_ray.core.types import NodeStatus
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.fields import iso
from openclaw_ray.storage.batch import DELETE_NODE
from openclaw_ray.storage.rows import NODE_COLUMNS, NodeRow, encode
from openclaw_ray.storage.sql import insert, sets
from openclaw_ray.storage.task_pages import page_limit

GET_NODE = f"SELECT {NODE_COLUMNS} FROM nodes WHERE node_id = ?"
ALL_NODES = f"SELECT {NODE_COLUMNS} FROM nodes WHERE node_id > ? ORDER BY node_id LIMIT ?"
NODES_BY_STATUS = f"SELECT {NODE_COLUMNS} FROM nodes WHERE status = ? AND node_id > ? ORDER BY node_id LIMIT ?"
AVAILABLE_NODES = (
    f"SELECT {NODE_COLUMNS} FROM nodes WHERE status = 'online' AND node_id > ? "
    "AND running_tasks < max_concurrent_tasks ORDER BY node_id LIMIT ?"
)
SILENT_NODES = (
    f"SELECT {NODE_COLUMNS} FROM nodes WHERE status = ? AND COALESCE(last_heartbeat, registered_at, '') < ? "
    "ORDER BY node_id LIMIT ?"
)
_HAS_SKILL = "EXISTS (SELECT 1 FROM json_each(nodes.available_skills) AS one WHERE one.value = ?)"
NODES_BY_SKILL = (
    f"SELECT {NODE_COLUMNS} FROM nodes WHERE status = ? AND node_id > ? AND {_HAS_SKILL} ORDER BY node_id LIMIT ?"
)

#: An observation never brings a node back from offline, and an older one never replaces a newer one.
HEARTBEAT = "UPDATE nodes SET last_heartbeat = ? WHERE node_id = ? AND COALESCE(last_heartbeat, '') <= ?"
_EXISTS = "SELECT 1 FROM nodes WHERE node_id = ?"

#: What a heartbeat may say beside the time.
_USAGE = frozenset({"cpu_usage", "memory_usage", "disk_usage", "running_tasks"})
#: States in which silence has not been noticed yet.
_WATCHED = (NodeStatus.ERROR, NodeStatus.MAINTENANCE, NodeStatus.ONLINE)


def create(conn: sqlite3.Connection, row: NodeRow) -> None:
    """Insert a node; its id must be free."""
    conn.execute(insert("nodes", NodeRow._fields), row)


def find(conn: sqlite3.Connection, node_id: str) -> NodeRow | None:
    """One node, or None."""
    row = conn.execute(GET_NODE, (node_id,)).fetchone()
    return None if row is None else NodeRow._make(row)


def update(conn: sqlite3.Connection, node_id: str, values: dict[str, Any]) -> bool:
    """Change columns of one node; False when there is no such node.

    Raises:
        InvalidRequest: An unknown column.
    """
    for name in values.keys() - set(NodeRow._fields) | values.keys() & {"node_id"}:
        raise _unknown_column(name)
    if not values:
        return conn.execute(_EXISTS, (node_id,)).fetchone() is not None
    bound = [encode(name, value) for name, value in values.items()]
    return conn.execute(f"UPDATE nodes SET {sets(list(values))} WHERE node_id = ?", [*bound, node_id]).rowcount > 0


def delete(conn: sqlite3.Connection, node_id: str) -> bool:
    """Delete one node; its events and attempts stay. False when there is no such node."""
    return conn.execute(DELETE_NODE, (node_id,)).rowcount > 0


def heartbeat(conn: sqlite3.Connection, node_id: str, at: str, usage: dict[str, Any]) -> bool:
    """Note that a node was heard of at the ISO time `at`, and how busy its machine was; False when it is unknown.

    Raises:
        InvalidRequest: `usage` holds something else.
    """
    for name in usage.keys() - _USAGE:
        raise InvalidRequest("is not said by a heartbeat", field=name, limit=", ".join(sorted(_USAGE)))
    if conn.execute(HEARTBEAT, (at, node_id, at)).rowcount == 0:
        return conn.execute(_EXISTS, (node_id,)).fetchone() is not None  # a late one changes nothing
    return update(conn, node_id, usage)


def everything(conn: sqlite3.Connection, limit: int, after: str = "") -> list[NodeRow]:
    """Nodes by id, from behind the id `after`."""
    return _rows(conn, ALL_NODES, after, page_limit(limit))


def every_node(conn: sqlite3.Connection) -> list[NodeRow]:
    """All nodes by id, however many."""
    found: list[NodeRow] = []
    while page := everything(conn, PAGE_MAX, found[-1].node_id if found else ""):
        found += page
    return found


def by_status(conn: sqlite3.Connection, status: str, limit: int, after: str = "") -> list[NodeRow]:
    """Nodes stored with one status, by id; ``busy`` ones are stored as ``online``.

    Raises:
        InvalidRequest: An unknown status.
    """
    return _rows(conn, NODES_BY_STATUS, encode("status", checked_status(status)), after, page_limit(limit))


def available(conn: sqlite3.Connection, limit: int, after: str = "") -> list[NodeRow]:
    """Online nodes with a free slot, by id."""
    return _rows(conn, AVAILABLE_NODES, after, page_limit(limit))


def unresponsive(conn: sqlite3.Connection, timeout_s: float, now: float, limit: int) -> list[NodeRow]:
    """Nodes not offline yet that were last heard of, or registered, more than `timeout_s` before `now`; by id."""
    before = iso(now - timeout_s)
    found = [row for status in _WATCHED for row in _rows(conn, SILENT_NODES, status.value, before, page_limit(limit))]
    return sorted(found)[:limit]


def by_skill(conn: sqlite3.Connection, skill: str, status: str, limit: int, after: str = "") -> list[NodeRow]:
    """Nodes of one stored status that have a skill, by id. Looks at each node of that status: there are thousands."""
    return _rows(conn, NODES_BY_SKILL, encode("status", checked_status(status)), after, skill, page_limit(limit))


def checked_status(status: str) -> NodeStatus:
    """A known status.

    Raises:
        InvalidRequest: Naming the valid ones.
    """
    try:
        return NodeStatus(status)
    except ValueError:
        raise InvalidRequest(f"{status!r} is not a status", field="status", limit=", ".join(NodeStatus)) from None


def _rows(conn: sqlite3.Connection, sql: str, *bound: object) -> list[NodeRow]:
    return [NodeRow._make(row) for row in conn.execute(sql, bound)]


def _unknown_column(name: str) -> InvalidRequest:
    known = sorted(set(NodeRow._fields) - {"node_id"})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return InvalidRequest(f"{name!r} may not be changed", field=name, hint=hint)
