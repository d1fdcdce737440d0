"""The two state machines, each one table. Nothing else in the project says which state may follow which.

A cause that is not in a state's row is illegal there and raises; the diagrams in ARCHITECTURE.md are printed from here
(``python -m openclaw_ray.core.transitions``).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from openclaw_ray.core.types import NodeStatus, TaskState
from openclaw_ray.errors import InvalidTransition


class TaskCause(StrEnum):
    """What can happen to a task."""

    LEASED = "leased"  # a node was given the right to run an attempt
    STARTED = "started"  # the agent (or the program that owns the task) says that it runs
    COMPLETED = "completed"  # a result was accepted
    RETRY = "retry"  # the attempt failed or timed out, and a budget is left
    FAILED = "failed"  # a failure for good: budget spent, or permanent
    TIMED_OUT = "timed_out"  # budget spent on timeouts, or the task's deadline passed
    CANCELLED = "cancelled"  # somebody cancelled it
    RELEASED = "released"  # handed back unstarted or by a drain; not charged
    LOST = "lost"  # the node or agent went away, and the lost budget is not spent
    UPSTREAM_FAILED = "upstream_failed"  # a task it waits for did not complete


class NodeCause(StrEnum):
    """What can happen to a node."""

    HEARD = "heard"  # its agent registered, or somebody reported its heartbeat
    SILENT = "silent"  # nothing was heard for the lease time, or Ray says it is dead
    DRAINED = "drained"  # its owner takes it out of service
    UNDRAINED = "undrained"  # its owner gives it back
    QUARANTINED = "quarantined"  # it keeps failing tasks for reasons of its own
    RECOVERED = "recovered"  # the quarantine's time is over


_T, _C = TaskState, TaskCause

TASK_TABLE: dict[TaskState, dict[TaskCause, TaskState]] = {
    _T.PENDING: {
        _C.LEASED: _T.SCHEDULED,  # the plan's row still held at commit
        _C.STARTED: _T.RUNNING,  # only by hand: a program that runs its own tasks
        _C.CANCELLED: _T.CANCELLED,
        _C.TIMED_OUT: _T.TIMEOUT,  # deadline passed while it waited
        _C.UPSTREAM_FAILED: _T.FAILED,
    },
    _T.SCHEDULED: {
        _C.STARTED: _T.RUNNING,
        _C.RELEASED: _T.PENDING,  # recalled, drained, or the node could not start it
        _C.LOST: _T.PENDING,  # lost without a known start counts as started
        _C.FAILED: _T.FAILED,  # lost once too often
        _C.CANCELLED: _T.CANCELLED,  # its lease is stopped; no result is accepted any more
        _C.TIMED_OUT: _T.TIMEOUT,  # deadline
    },
    _T.RUNNING: {
        _C.COMPLETED: _T.COMPLETED,
        _C.RETRY: _T.PENDING,  # after its backoff
        _C.FAILED: _T.FAILED,
        _C.TIMED_OUT: _T.TIMEOUT,
        _C.CANCELLED: _T.CANCELLED,
        _C.RELEASED: _T.PENDING,
        _C.LOST: _T.PENDING,
    },
    _T.COMPLETED: {},
    _T.FAILED: {},
    _T.CANCELLED: {},
    _T.TIMEOUT: {},
}

_N, _D = NodeStatus, NodeCause

NODE_TABLE: dict[NodeStatus, dict[NodeCause, NodeStatus]] = {
    _N.ONLINE: {
        _D.HEARD: _N.ONLINE,
        _D.SILENT: _N.OFFLINE,
        _D.DRAINED: _N.MAINTENANCE,
        _D.QUARANTINED: _N.ERROR,
    },
    _N.MAINTENANCE: {
        _D.HEARD: _N.MAINTENANCE,  # a held node stays held, whoever restarts its agent
        _D.SILENT: _N.OFFLINE,
        _D.DRAINED: _N.MAINTENANCE,  # a new reason or deadline
        _D.UNDRAINED: _N.ONLINE,
    },
    _N.OFFLINE: {
        _D.HEARD: _N.ONLINE,  # or MAINTENANCE where it is held, ERROR where it is quarantined: see `node_after`
        _D.SILENT: _N.OFFLINE,
        _D.DRAINED: _N.OFFLINE,  # remembered; holds when it is back
        _D.UNDRAINED: _N.OFFLINE,
        _D.QUARANTINED: _N.OFFLINE,  # its agent died once too often; holds when it is back
        _D.RECOVERED: _N.OFFLINE,
    },
    _N.ERROR: {
        _D.HEARD: _N.ERROR,
        _D.SILENT: _N.OFFLINE,
        _D.DRAINED: _N.MAINTENANCE,
        _D.UNDRAINED: _N.ONLINE,  # its owner knows better
        _D.RECOVERED: _N.ONLINE,
    },
    _N.BUSY: {},  # derived, never stored
}


def task_after(state: TaskState, cause: TaskCause) -> TaskState:
    """The state that `cause` takes a task in `state` to.

    Raises:
        InvalidTransition: the table has no such edge; ``facts["legal"]`` lists the states that can be reached.
    """
    try:
        return TASK_TABLE[state][cause]
    except KeyError:
        raise illegal_task(state, cause.value) from None


def illegal_task(state: TaskState, asked: str, among: Iterable[TaskState] = TaskState) -> InvalidTransition:
    """The error for a task that cannot go where it was asked to go; `among` = what the asker may do at all."""
    legal = sorted({after.value for after in TASK_TABLE[state].values()} & {s.value for s in among})
    listed = ", ".join(legal) or "none: it has ended"
    return InvalidTransition(
        f"a {state.value} task cannot become {asked}",
        field="status",
        limit=f"from {state.value}: {listed}",
        facts={"state": state.value, "asked": asked, "legal": legal},
    )


def node_after(status: NodeStatus, cause: NodeCause, *, held: bool, quarantined: bool = False) -> NodeStatus:
    """The status that `cause` takes a node in `status` to.

    Args:
        status: Where it stands.
        cause: What happened.
        held: Its owner drained it and has not given it back.
        quarantined: Its quarantine goes on.

    Raises:
        InvalidTransition: the table has no such edge.
    """
    try:
        after = NODE_TABLE[status][cause]
    except KeyError:
        legal = sorted({n.value for n in NODE_TABLE[status].values()})
        raise InvalidTransition(
            f"a node that is {status.value} cannot be {cause.value}",
            field="status",
            limit=f"from {status.value}: {', '.join(legal)}",
            facts={"state": status.value, "asked": cause.value, "legal": legal},
        ) from None
    if after is not NodeStatus.ONLINE:
        return after
    return NodeStatus.MAINTENANCE if held else NodeStatus.ERROR if quarantined else after


_Table = dict[TaskState, dict[TaskCause, TaskState]] | dict[NodeStatus, dict[NodeCause, NodeStatus]]


def _mermaid(title: str, table: _Table) -> str:
    edges: dict[tuple[str, str], list[str]] = {}
    for state, row in table.items():
        for cause, after in row.items():
            if after != state:
                edges.setdefault((state.value, after.value), []).append(cause.value)
    lines = [f"    {a} --> {b}: {', '.join(causes)}" for (a, b), causes in edges.items()]
    return "\n".join([f"%% {title}", "stateDiagram-v2", *lines])


def diagrams() -> str:
    """Both machines as mermaid blocks, as they stand in ARCHITECTURE.md."""
    blocks = (_mermaid("task", TASK_TABLE), _mermaid("node", NODE_TABLE))
    return "\n\n".join(f"```mermaid\n{block}\n```" for block in blocks)


if __name__ == "__main__":
    print(diagrams())  # noqa: T201
