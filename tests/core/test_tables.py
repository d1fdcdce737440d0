"""The two tables: every edge, and every edge that is not there."""

from __future__ import annotations

import itertools

import pytest

from openclaw_ray.core.transitions import (
    NODE_TABLE,
    TASK_TABLE,
    NodeCause,
    TaskCause,
    diagrams,
    illegal_task,
    node_after,
    task_after,
)
from openclaw_ray.core.types import TERMINAL_STATES, NodeStatus, TaskState
from openclaw_ray.errors import InvalidTransition

T, C = TaskState, TaskCause
#: Written a second time on purpose: a change of the table must be meant.
TASK_EDGES = {
    (T.PENDING, C.LEASED): T.SCHEDULED,
    (T.PENDING, C.STARTED): T.RUNNING,
    (T.PENDING, C.CANCELLED): T.CANCELLED,
    (T.PENDING, C.TIMED_OUT): T.TIMEOUT,
    (T.PENDING, C.UPSTREAM_FAILED): T.FAILED,
    (T.SCHEDULED, C.STARTED): T.RUNNING,
    (T.SCHEDULED, C.RELEASED): T.PENDING,
    (T.SCHEDULED, C.LOST): T.PENDING,
    (T.SCHEDULED, C.FAILED): T.FAILED,
    (T.SCHEDULED, C.CANCELLED): T.CANCELLED,
    (T.SCHEDULED, C.TIMED_OUT): T.TIMEOUT,
    (T.RUNNING, C.COMPLETED): T.COMPLETED,
    (T.RUNNING, C.RETRY): T.PENDING,
    (T.RUNNING, C.FAILED): T.FAILED,
    (T.RUNNING, C.TIMED_OUT): T.TIMEOUT,
    (T.RUNNING, C.CANCELLED): T.CANCELLED,
    (T.RUNNING, C.RELEASED): T.PENDING,
    (T.RUNNING, C.LOST): T.PENDING,
}
N, D = NodeStatus, NodeCause
NODE_EDGES = {
    (N.ONLINE, D.HEARD): N.ONLINE,
    (N.ONLINE, D.SILENT): N.OFFLINE,
    (N.ONLINE, D.DRAINED): N.MAINTENANCE,
    (N.ONLINE, D.QUARANTINED): N.ERROR,
    (N.MAINTENANCE, D.HEARD): N.MAINTENANCE,
    (N.MAINTENANCE, D.SILENT): N.OFFLINE,
    (N.MAINTENANCE, D.DRAINED): N.MAINTENANCE,
    (N.MAINTENANCE, D.UNDRAINED): N.ONLINE,
    (N.OFFLINE, D.HEARD): N.ONLINE,
    (N.OFFLINE, D.SILENT): N.OFFLINE,
    (N.OFFLINE, D.DRAINED): N.OFFLINE,
    (N.OFFLINE, D.UNDRAINED): N.OFFLINE,
    (N.OFFLINE, D.QUARANTINED): N.OFFLINE,
    (N.OFFLINE, D.RECOVERED): N.OFFLINE,
    (N.ERROR, D.UNDRAINED): N.ONLINE,
    (N.ERROR, D.HEARD): N.ERROR,
    (N.ERROR, D.SILENT): N.OFFLINE,
    (N.ERROR, D.DRAINED): N.MAINTENANCE,
    (N.ERROR, D.RECOVERED): N.ONLINE,
}


@pytest.mark.parametrize(("state", "cause"), list(itertools.product(TaskState, TaskCause)))
def test_a_task_moves_along_the_edges_and_nowhere_else(state: TaskState, cause: TaskCause) -> None:
    if (state, cause) in TASK_EDGES:
        assert task_after(state, cause) is TASK_EDGES[state, cause]
        return
    with pytest.raises(InvalidTransition) as refused:
        task_after(state, cause)
    assert refused.value.field == "status"
    assert refused.value.facts["legal"] == sorted({a.value for (s, _), a in TASK_EDGES.items() if s is state})


@pytest.mark.parametrize(("status", "cause"), list(itertools.product(NodeStatus, NodeCause)))
def test_a_node_moves_along_the_edges_and_nowhere_else(status: NodeStatus, cause: NodeCause) -> None:
    if (status, cause) in NODE_EDGES:
        assert node_after(status, cause, held=False) is NODE_EDGES[status, cause]
        return
    with pytest.raises(InvalidTransition) as refused:
        node_after(status, cause, held=False)
    assert refused.value.facts["state"] == status.value


def test_every_state_has_a_row_and_ended_ones_an_empty_one() -> None:
    assert set(TASK_TABLE) == set(TaskState)
    assert set(NODE_TABLE) == set(NodeStatus)
    assert all(TASK_TABLE[state] == {} for state in TERMINAL_STATES)
    assert NODE_TABLE[NodeStatus.BUSY] == {}


def test_a_held_node_that_is_heard_again_is_still_held() -> None:
    assert node_after(NodeStatus.OFFLINE, NodeCause.HEARD, held=True) is NodeStatus.MAINTENANCE


def test_the_refusal_names_only_what_the_asker_may_do() -> None:
    error = illegal_task(TaskState.PENDING, "completed", [TaskState.RUNNING, TaskState.COMPLETED])
    assert error.facts["legal"] == ["running"]
    assert "it has ended" in str(illegal_task(TaskState.FAILED, "pending"))


def test_the_diagrams_show_every_move() -> None:
    text = diagrams()
    for (state, cause), after in TASK_EDGES.items():
        line = next(x for x in text.splitlines() if x.strip().startswith(f"{state.value} --> {after.value}:"))
        assert cause.value in line
