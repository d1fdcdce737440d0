"""The content of one group commit, and the one function that writes it.

The caller decides everything and lists the final values; here is only SQL. Rows of one kind go together, see `bulk`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from openclaw_ray.errors import InvalidRequest, StorageError
from openclaw_ray.storage import sql
from openclaw_ray.storage.bulk import Rows, insert_many, update_many
from openclaw_ray.storage.rows import AttemptRow, EventRow, NodeRow, SkillRow, TaskRow, encode


class TaskUpdate(NamedTuple):
    """The live columns of a task that goes on; all are written, None as NULL. The order is the statement's."""

    status: str
    priority: int
    assigned_node: str | None
    scheduled_at: str | None
    started_at: str | None
    completed_at: str | None
    retry_count: int
    lost_count: int
    attempt: int
    retry_at: str | None
    version: int
    token: int
    seated: int
    by_hand: int
    task_id: str


class TaskEnd(NamedTuple):
    """A `TaskUpdate` with what the task ended with, as JSON text."""

    status: str
    priority: int
    assigned_node: str | None
    scheduled_at: str | None
    started_at: str | None
    completed_at: str | None
    retry_count: int
    lost_count: int
    attempt: int
    retry_at: str | None
    version: int
    token: int
    seated: int
    by_hand: int
    result: str | None
    error: str | None
    task_id: str


class AttemptStart(NamedTuple):
    """A leased attempt began to run."""

    started_at: str
    token: int


class AttemptEnd(NamedTuple):
    """An attempt ended; all columns are written."""

    outcome: str
    started_at: str | None
    ended_at: str
    error: str | None
    exit_status: int | None
    signal: str | None
    peak_memory: int | None
    log_tail: str | None
    token: int


#: exit_status, signal, peak_memory, log_tail of an attempt that left none of them.
NO_EVIDENCE = (None, None, None, None)


class NodeObservation(NamedTuple):
    """What a heartbeat says: no version, no event."""

    cpu_usage: float
    memory_usage: float
    disk_usage: float
    running_tasks: int
    last_heartbeat: str
    node_id: str


#: What a user may change on a task, and the version that says so.
CHANGEABLE = frozenset({
    "name", "description", "timeout", "required_tags", "affinity_tags", "metadata", "priority", "version",
})  # fmt: skip


@dataclass(slots=True)
class Batch:
    """Everything one commit writes. An id that was deleted must not come again in the same batch: commit first."""

    insert_tasks: list[TaskRow] = field(default_factory=list)
    #: Only user-changed document columns: (task id, column to value as the document has it).
    change_tasks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    update_tasks: list[TaskUpdate] = field(default_factory=list)
    #: Written after the updates, once per task: an ended task takes no other.
    end_tasks: list[TaskEnd] = field(default_factory=list)
    #: With their attempts; events stay.
    delete_tasks: list[str] = field(default_factory=list)
    insert_attempts: list[AttemptRow] = field(default_factory=list)
    start_attempts: list[AttemptStart] = field(default_factory=list)
    end_attempts: list[AttemptEnd] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    upsert_nodes: list[NodeRow] = field(default_factory=list)
    #: Written after the upserts.
    observe_nodes: list[NodeObservation] = field(default_factory=list)
    delete_nodes: list[str] = field(default_factory=list)
    #: A revision that is there already only moves to the new `seq`.
    insert_skills: list[SkillRow] = field(default_factory=list)
    #: (SHA-256, blob); one that is there already stays.
    insert_code: list[tuple[str, bytes]] = field(default_factory=list)
    #: (family, labels, value as text): totals, not steps.
    counters: list[tuple[str, str, str]] = field(default_factory=list)
    meta: dict[str, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not any(getattr(self, one.name) for one in fields(self))


# Terminal is final: a late update of an ended task matches no row, and `write` refuses the batch. The plus keeps SQLite
# from looking for all live tasks to find one of them.
_LIVE = "+status IN ('pending', 'scheduled', 'running')"
_OPEN = "outcome IS NULL"
DELETE_TASK = "DELETE FROM tasks WHERE task_id = ?"
DELETE_ATTEMPTS = "DELETE FROM attempts WHERE task_id = ?"
UPSERT_NODE = (
    sql.insert("nodes", NodeRow._fields)
    + " ON CONFLICT (node_id) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in NodeRow._fields[1:])
)
OBSERVE_NODE = f"UPDATE nodes SET {sql.sets(NodeObservation._fields[:-1])} WHERE node_id = ?"
DELETE_NODE = "DELETE FROM nodes WHERE node_id = ?"
INSERT_SKILL = sql.insert("skills", SkillRow._fields) + " ON CONFLICT (name, revision) DO UPDATE SET seq = excluded.seq"
INSERT_CODE = "INSERT INTO code (digest, blob) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING"
UPSERT_COUNTER = (
    "INSERT INTO counters (family, labels, value) VALUES (?, ?, ?) "
    "ON CONFLICT (family, labels) DO UPDATE SET value = excluded.value"
)
UPSERT_META = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


def write(conn: sqlite3.Connection, batch: Batch) -> None:
    """Write a batch in the caller's transaction (`Database.run`).

    Raises:
        StorageError: An update, end or delete met no row it may change: memory and disk differ, or a task is updated
            after its end. Nothing is kept.
        InvalidRequest: A column that a user may not change.
    """
    _many(conn, INSERT_SKILL, batch.insert_skills)
    _many(conn, INSERT_CODE, batch.insert_code)
    _many(conn, UPSERT_NODE, batch.upsert_nodes)
    _many(conn, OBSERVE_NODE, batch.observe_nodes)
    _many(conn, DELETE_NODE, [(one,) for one in batch.delete_nodes])
    insert_many(conn, "tasks", TaskRow._fields, batch.insert_tasks)
    insert_many(conn, "attempts", AttemptRow._fields, batch.insert_attempts)
    _change(conn, "attempts", AttemptStart._fields, _OPEN, batch.start_attempts, "a started attempt")
    _change(conn, "attempts", AttemptEnd._fields, _OPEN, batch.end_attempts, "an ended attempt")
    for task_id, values in batch.change_tasks:
        change_task(conn, task_id, values)
    _change(conn, "tasks", TaskUpdate._fields, _LIVE, batch.update_tasks, "an updated task")
    _change(conn, "tasks", TaskEnd._fields, _LIVE, batch.end_tasks, "an ended task")
    if batch.delete_tasks:
        ids = [(one,) for one in batch.delete_tasks]
        _many(conn, DELETE_ATTEMPTS, ids)
        _exactly(conn.executemany(DELETE_TASK, ids).rowcount, ids, "a deleted task")
    for events in _by_what(batch.events):
        insert_many(conn, "events", EventRow._fields, events)
    _many(conn, UPSERT_COUNTER, batch.counters)
    _many(conn, UPSERT_META, list(batch.meta.items()))


def change_task(conn: sqlite3.Connection, task_id: str, values: dict[str, Any]) -> None:
    """Change what a user may change on one task.

    Raises:
        InvalidRequest: Naming a column outside `CHANGEABLE`.
        StorageError: There is no such task.
    """
    if unknown := values.keys() - CHANGEABLE:
        raise InvalidRequest("may not be changed", field=min(unknown), limit=", ".join(sorted(CHANGEABLE)))
    if not values:
        return
    columns = sorted(values)
    row = (*(encode(column, values[column]) for column in columns), task_id)
    found = conn.execute(f"UPDATE tasks SET {sql.sets(columns)} WHERE task_id = ?", row).rowcount
    _exactly(found, [row], "a changed task")


def _by_what(events: list[EventRow]) -> list[list[EventRow]]:
    """Events of one kind together: they share most columns. Their numbers, not their places, say in which order."""
    kinds: dict[str, list[EventRow]] = {}
    for event in events:
        kinds.setdefault(event.what, []).append(event)
    return list(kinds.values())


def _many(conn: sqlite3.Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        conn.executemany(statement, map(tuple, rows))


def _change(conn: sqlite3.Connection, table: str, columns: tuple[str, ...], guard: str, rows: Rows, what: str) -> None:
    """Update rows, each of which changes one."""
    if rows:
        _exactly(update_many(conn, table, columns, guard, rows), rows, what)


def _exactly(found: int, rows: Sequence[Any], what: str) -> None:
    if found != len(rows):
        raise StorageError(
            f"{len(rows) - found} of {len(rows)} rows were not there for {what}", hint="load the state again"
        )
