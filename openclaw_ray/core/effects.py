"""What `ClusterState.apply` asks the shells to do, as commands and facts. They are carried out only after the commit.

Which records changed is not told by effects: `Books` notes every touched record, so nothing can be forgotten.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from openclaw_ray.core.events import AttemptEnded
from openclaw_ray.core.records import LeaseRecord, TaskRecord
from openclaw_ray.core.types import Fault, Outcome


class Log(NamedTuple):
    """Write one row of history that no other effect tells: a wait, a change, something of a node."""

    what: str
    task_id: str | None = None
    attempt: int | None = None
    node_id: str | None = None
    by: str | None = None
    reason: str | None = None


class InsertTask(NamedTuple):
    """Store a new task with its document, and that it was submitted."""

    task: TaskRecord
    doc: Any
    by: str | None


class EndTask(NamedTuple):
    """Store the end of a task, and what happened; wake those who wait for it."""

    task: TaskRecord
    result: Any
    error: Any
    #: Where it ended, by whom, and why, for its history.
    node_id: str | None
    by: str | None
    reason: str | None


class ChangeTask(NamedTuple):
    """Store changed columns of a task's document."""

    task_id: str
    columns: dict[str, Any]


class DeleteTask(NamedTuple):
    """Delete the record of a task."""

    task_id: str


class GrantLease(NamedTuple):
    """Open an attempt, store that its task is scheduled, and tell its node."""

    lease: LeaseRecord
    task: TaskRecord


class NoteStart(NamedTuple):
    """Store when an attempt started; `wait_s` is how long the task was runnable."""

    lease: LeaseRecord
    at: float
    skill: str
    wait_s: float
    by: str | None = None
    #: Whether its task runs now: not so when it was cancelled before its start was heard.
    runs: bool = True


class CloseAttempt(NamedTuple):
    """Store how an attempt ended; its node owes nothing more for this token, and is owed nothing."""

    lease: LeaseRecord
    outcome: Outcome
    skill: str
    ended_at: float
    run_s: float
    error: Any
    evidence: Any


class StopLease(NamedTuple):
    """Ask the agent to stop (or, for `recall`, to hand back) an attempt."""

    node_id: str
    token: int
    why: str


class RefuseReport(NamedTuple):
    """A report is stale: nothing of it counts, but that the attempt is over where its lease still lives."""

    token: int
    why: str
    #: What it said, where that is evidence: an outcome that is news about an attempt.
    said: AttemptEnded | None = None


class CountRetry(NamedTuple):
    """A further attempt was granted."""

    skill: str
    reason: str


class RefuseRow(NamedTuple):
    """`missed` tasks of a plan's row could not be leased any more."""

    shape_id: int
    node_id: str
    placed: int
    missed: int


class SaveNode(NamedTuple):
    """Store what an agent or owner says of the machine beside what decisions need."""

    node_id: str
    doc: Any


class DeleteNode(NamedTuple):
    """Delete the record of a node."""

    node_id: str


class LoseNode(NamedTuple):
    """A node went offline."""

    node_id: str


class CountQuarantine(NamedTuple):
    """A node was taken out of service for reasons of its own."""

    node_id: str
    fault: Fault


#: What the database keeps; the rest is answers and messages, which a restart may forget.
STORED = (
    Log, InsertTask, EndTask, ChangeTask, DeleteTask, GrantLease, NoteStart, CloseAttempt, SaveNode, DeleteNode,
)  # fmt: skip

Effect = (
    Log | InsertTask | EndTask | ChangeTask | DeleteTask | GrantLease | NoteStart | CloseAttempt | StopLease
    | RefuseReport | CountRetry | RefuseRow | SaveNode | DeleteNode | LoseNode
    | CountQuarantine
)  # fmt: skip


def refusal(effects: list[Effect]) -> RefuseReport | None:
    """Why a report was stale, None when it was accepted: the first effect of a report says so."""
    first = effects[0] if effects else None
    return first if isinstance(first, RefuseReport) else None
