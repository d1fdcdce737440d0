"""The few columns that the coordinator reads on its hot paths; everything else goes through the repositories."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

#: SQLite's limit on bound parameters is 32,766 since 3.32; a smaller chunk keeps statements cached.
CHUNK = 500


class Known(NamedTuple):
    """Enough of a kept task to answer a repeated submit."""

    task_id: str
    status: str
    spec_sha256: str
    key: str | None


class Ended(NamedTuple):
    """How a task ended, with result and error as JSON text."""

    task_id: str
    status: str
    result: str | None
    error: str | None
    attempt: int
    retry_count: int
    lost_count: int
    assigned_node: str | None
    submitted_at: str
    started_at: str | None
    completed_at: str | None


class Payload(NamedTuple):
    """What a lease hands to its node."""

    task_id: str
    parameters: str | None
    timeout: int | None


_KNOWN = "SELECT task_id, status, spec_sha256, key FROM tasks WHERE {} IN ({})"
_ENDED = (
    "SELECT task_id, status, result, error, attempt, retry_count, lost_count, assigned_node, submitted_at, "
    "started_at, completed_at FROM tasks WHERE task_id IN ({})"
)
_PAYLOAD = "SELECT task_id, parameters, timeout FROM tasks WHERE task_id IN ({})"


def known(conn: sqlite3.Connection, ids: Iterable[str], keys: Iterable[str]) -> list[Known]:
    """Kept tasks with one of these ids or keys."""
    found = [Known(*row) for row in _in_chunks(conn, _KNOWN.format("task_id", "{}"), ids)]
    return found + [Known(*row) for row in _in_chunks(conn, _KNOWN.format("key", "{}"), keys)]


def ended(conn: sqlite3.Connection, ids: Iterable[str]) -> list[Ended]:
    """Kept tasks with these ids as they stand; also such as have not ended."""
    return [Ended(*row) for row in _in_chunks(conn, _ENDED, ids)]


def payloads(conn: sqlite3.Connection, ids: Iterable[str]) -> dict[str, Payload]:
    """Parameters and timeouts by task id."""
    return {row[0]: Payload(*row) for row in _in_chunks(conn, _PAYLOAD, ids)}


def live_ids_of_group(conn: sqlite3.Connection, group: str, limit: int) -> list[str]:
    """Live tasks of a group, oldest first."""
    sql = (
        "SELECT task_id FROM tasks WHERE group_name = ? AND status IN ('pending', 'scheduled', 'running') "
        "ORDER BY seq LIMIT ?"
    )
    return [row[0] for row in conn.execute(sql, (group, limit))]


def _in_chunks(conn: sqlite3.Connection, sql: str, values: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    wanted = list(values)
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        yield from conn.execute(sql.format(", ".join("?" * len(part))), part)
