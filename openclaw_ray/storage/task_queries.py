"""Questions about tasks and their changes, as functions of a connection: several can share one `Database.read`.

Lists with a filter are in `task_pages`.
"""

from __future__ import annotations

import difflib
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from openclaw_ray.core.limits import PAGE_MAX
from openclaw_ray.core.types import LIVE_STATES, TaskState
from openclaw_ray.errors import Conflict, InvalidRequest
from openclaw_ray.models.fields import from_iso
from openclaw_ray.storage.batch import DELETE_ATTEMPTS, DELETE_TASK
from openclaw_ray.storage.bulk import insert_many
from openclaw_ray.storage.rows import (
    ATTEMPT_COLUMNS,
    EVENT_COLUMNS,
    TASK_COLUMNS,
    AttemptRow,
    EventRow,
    TaskRow,
    column_of,
    encode,
)
from openclaw_ray.storage.sql import sets
from openclaw_ray.storage.task_pages import checked_time, page_limit

#: Ended tasks from which the averages are taken: the newest ones say how things are now.
SAMPLE_MAX = 1_000
#: Skills named in the statistics.
SKILLS_MAX = 1_000

GET_TASK = f"SELECT {TASK_COLUMNS} FROM tasks WHERE task_id = ?"
STATUS_OF = "SELECT status FROM tasks WHERE task_id = ?"
LAST_SEQ = "SELECT COALESCE(MAX(seq), 0) FROM tasks"
# Named, since statistics could make the planner think that sorting all waiting tasks is cheaper.
PENDING_TASKS = (
    f"SELECT {TASK_COLUMNS} FROM tasks INDEXED BY tasks_pending WHERE status = 'pending' AND priority >= 0 "
    "ORDER BY priority, seq LIMIT ?"
)
COUNT_STATUS = "SELECT COUNT(*) FROM tasks WHERE status = ?"
OLD_TASKS = (
    "SELECT task_id FROM tasks WHERE completed_at IS NOT NULL AND completed_at < ? "
    "AND +status IN ('completed', 'failed', 'cancelled', 'timeout') ORDER BY completed_at LIMIT ?"
)
SAMPLE = (
    "SELECT skill, status, submitted_at, started_at, completed_at FROM tasks "
    "WHERE completed_at > '' ORDER BY completed_at DESC LIMIT ?"
)
# Jumps from one skill to the next in the index, so that its cost follows the skills; only the counts walk.
COUNT_SKILLS = """
WITH RECURSIVE names (skill) AS (
    SELECT MIN(skill) FROM tasks WHERE skill > ''
    UNION ALL
    SELECT (SELECT MIN(skill) FROM tasks WHERE skill > names.skill) FROM names WHERE names.skill IS NOT NULL LIMIT ?
)
SELECT names.skill, (SELECT COUNT(*) FROM tasks WHERE skill = names.skill) FROM names WHERE names.skill IS NOT NULL
"""
ATTEMPTS_OF = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE task_id = ? ORDER BY attempt LIMIT ?"
EVENTS_OF_TASK = f"SELECT {EVENT_COLUMNS} FROM events WHERE task_id = ? AND seq > ? ORDER BY seq LIMIT ?"
EVENTS_OF_NODE = (
    f"SELECT {EVENT_COLUMNS} FROM events WHERE node_id = ? AND task_id IS NULL AND seq > ? ORDER BY seq LIMIT ?"
)
EVENTS = f"SELECT {EVENT_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"

#: Columns that say how an attempt or the task ended; a late writer must not get at them.
_OUTCOME = frozenset({"status", "result", "error", "attempt", "completed_at", "assigned_node", "started_at"})


@dataclass(frozen=True, slots=True)
class TaskStatistics:
    """Counts of all tasks, and averages over the newest ended ones."""

    total: int
    by_status: dict[str, int]
    by_skill: dict[str, int]
    #: Seconds from submit to the last attempt's start, and from there to the end; None: nothing to average.
    average_wait_s: float | None
    average_run_s: float | None
    #: Share of the sample that completed, 0 to 1.
    success_rate: float | None
    #: How many ended tasks the averages are taken from.
    sample: int
    sample_by_skill: dict[str, int] = field(default_factory=dict)


def create_many(conn: sqlite3.Connection, rows: Iterable[TaskRow]) -> None:
    """Insert tasks; those without a `seq` get the next ones in order."""
    last: int = conn.execute(LAST_SEQ).fetchone()[0]
    numbered = []
    for row in rows:
        last = max(last + 1, row.seq) if row.seq == 0 else max(last, row.seq)
        numbered.append(row if row.seq else row._replace(seq=last))
    insert_many(conn, "tasks", TaskRow._fields, numbered)


def find(conn: sqlite3.Connection, task_id: str) -> TaskRow | None:
    """One task, or None."""
    row = conn.execute(GET_TASK, (task_id,)).fetchone()
    return None if row is None else TaskRow._make(row)


def update(conn: sqlite3.Connection, task_id: str, values: dict[str, Any], attempt: int | None) -> bool:
    """Change columns of one task; False when there is no such task.

    Args:
        conn: In a transaction.
        task_id: Which.
        values: Field of `Task`, or column, to its new value as the document has it.
        attempt: Only if this is still its attempt; None: whichever.

    Raises:
        Conflict: It has ended, and the change is about its outcome; or its attempt is another one.
        InvalidRequest: An unknown field.
    """
    row = {column_of(name): encode(column_of(name), value) for name, value in values.items()}
    for name in row.keys() - set(TaskRow._fields) | row.keys() & {"task_id"}:
        raise _unknown_column(name)
    there = conn.execute(STATUS_OF, (task_id,)).fetchone()
    if there is None or not row:
        return there is not None
    sql = f"UPDATE tasks SET {sets(list(row))} WHERE task_id = ?"
    bound: list[Any] = [*row.values(), task_id]
    if row.keys() & _OUTCOME:  # terminal is final
        sql += f" AND status IN ({', '.join('?' * len(LIVE_STATES))})"
        bound += [state.value for state in LIVE_STATES]
    if attempt is not None:
        sql += " AND attempt = ?"
        bound.append(attempt)
    if conn.execute(sql, bound).rowcount == 0:
        raise Conflict(f"task {task_id} is {there[0]}, or at another attempt", facts={"status": there[0]})
    return True


def delete(conn: sqlite3.Connection, task_id: str) -> bool:
    """Delete one task and its attempts; its events stay. False when there is no such task."""
    conn.execute(DELETE_ATTEMPTS, (task_id,))
    return conn.execute(DELETE_TASK, (task_id,)).rowcount > 0


def pending(conn: sqlite3.Connection, limit: int) -> list[TaskRow]:
    """Waiting tasks, the most urgent first, among equals in order of submission."""
    return [TaskRow._make(row) for row in conn.execute(PENDING_TASKS, (page_limit(limit),))]


def count_by_status(conn: sqlite3.Connection) -> dict[str, int]:
    """Number of tasks in each state, zeros included."""
    return {state.value: conn.execute(COUNT_STATUS, (state.value,)).fetchone()[0] for state in TaskState}


def statistics(conn: sqlite3.Connection) -> TaskStatistics:
    """Counts and averages; walks one index, so its cost grows with the tasks (about 70 ms for a million)."""
    by_status = count_by_status(conn)
    by_skill = dict(conn.execute(COUNT_SKILLS, (SKILLS_MAX,)).fetchall())
    waits, runs, completed, skills = [], [], 0, Counter[str]()
    sample = conn.execute(SAMPLE, (SAMPLE_MAX,)).fetchall()
    for skill, status, submitted_at, started_at, completed_at in sample:
        completed += status == TaskState.COMPLETED
        skills[skill or ""] += 1
        if started_at is not None:
            # The wall clock may have been set back in between: no negative durations.
            waits.append(max(from_iso(started_at) - from_iso(submitted_at), 0.0))
            runs.append(max(from_iso(completed_at) - from_iso(started_at), 0.0))
    return TaskStatistics(
        total=sum(by_status.values()),
        by_status=by_status,
        by_skill=by_skill,
        average_wait_s=sum(waits) / len(waits) if waits else None,
        average_run_s=sum(runs) / len(runs) if runs else None,
        success_rate=completed / len(sample) if sample else None,
        sample=len(sample),
        sample_by_skill=dict(skills),
    )


def cleanup(conn: sqlite3.Connection, older_than: str, limit: int) -> int:
    """Delete up to `limit` tasks that ended before `older_than`, with their attempts; returns how many."""
    ids = conn.execute(OLD_TASKS, (checked_time(older_than, "older_than"), limit)).fetchall()
    conn.executemany(DELETE_ATTEMPTS, ids)
    conn.executemany(DELETE_TASK, ids)
    return len(ids)


def attempts(conn: sqlite3.Connection, task_id: str, limit: int = PAGE_MAX) -> list[AttemptRow]:
    """The attempts of a task, the first first."""
    return [AttemptRow._make(row) for row in conn.execute(ATTEMPTS_OF, (task_id, page_limit(limit)))]


def events(
    conn: sqlite3.Connection,
    *,
    task_id: str | None = None,
    node_id: str | None = None,
    since: int = 0,
    limit: int = PAGE_MAX,
) -> list[EventRow]:
    """What happened to a task, or to a node itself, or to everything, after event number `since`; oldest first.

    Raises:
        InvalidRequest: Both a task and a node, or a page size that cannot be.
    """
    page_limit(limit)
    if task_id is not None and node_id is not None:
        raise InvalidRequest("give a task or a node", field="node_id")
    if task_id is not None:
        found = conn.execute(EVENTS_OF_TASK, (task_id, since, limit))
    elif node_id is not None:
        found = conn.execute(EVENTS_OF_NODE, (node_id, since, limit))
    else:
        found = conn.execute(EVENTS, (since, limit))
    return [EventRow._make(row) for row in found]


def _unknown_column(name: str) -> InvalidRequest:
    known = sorted(set(TaskRow._fields) - {"task_id"})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return InvalidRequest(f"{name!r} may not be changed", field=name, hint=hint)
