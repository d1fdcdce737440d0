from __future__ import annotations

import json

import pytest

from openclaw_ray.core.types import NodeStatus
from openclaw_ray.errors import Corrupt, InvalidRequest
from openclaw_ray.models.node import NodeInfo
from openclaw_ray.models.task import Attempt, LateReport, Task, TaskFailure
from openclaw_ray.storage import rows
from openclaw_ray.storage.rows import encode, row_of
from tests.storage.builders import a_full_task, a_node, a_task, an_attempt

FULL_NODE = a_node(
    cpu_usage=12.5, port=1, tags=["x"], agent=True, incarnation=3, resources={"cpu": 2}, offers={"echo": "a" * 64},
    withheld={"b": "no"}, gpus=[{"name": "g"}], held_reason="r", held_by="me", held_until="2026-01-01", version=4,
    faults=3, fault_at="2026-01-01", fault_token=9, fault_successes=5, quarantines=2, quarantined_until="2026-01-02",
    quarantine_reason="3 failures of its own",
)  # fmt: skip
FULL_ATTEMPT = an_attempt(
    outcome="failed", started_at="2026", error=TaskFailure(kind="timeout"), exit_status=1, signal="SIGKILL",
    peak_memory=2**40, log_tail="\x1b[31m", by="me",
)  # fmt: skip


@pytest.mark.parametrize("task", [a_task(), a_full_task(), a_task(parameters=None, result=[]), a_task(parameters="x")])
def test_a_task_comes_back_equal_in_both_forms(task: Task) -> None:
    row = row_of(task, seq=5, token=6, seated=True)
    assert rows.task_of(row) == task
    assert rows.task_json(row) == task.model_dump(mode="json")
    assert list(rows.task_json(row)) == list(Task.model_fields)
    assert (row.seq, row.token, row.seated, row.by_hand) == (5, 6, 1, 0)


def test_the_full_task_leaves_nothing_at_its_default() -> None:
    required = {"task_id", "task_type", "progress"}  # BATCH is the usual type; progress is not kept
    full = a_full_task()
    same = {
        n
        for n, f in Task.model_fields.items()
        if not f.is_required() and getattr(full, n) == f.get_default(call_default_factory=True)
    }
    assert same <= required


@pytest.mark.parametrize("node", [a_node(), FULL_NODE])
def test_a_node_comes_back_equal_in_both_forms(node: NodeInfo) -> None:
    row = rows.node_row_of(node)
    assert rows.node_of(row) == node
    assert rows.node_json(row) == node.model_dump(mode="json")


def test_busy_is_derived_and_never_stored() -> None:
    row = rows.node_row_of(a_node(status=NodeStatus.BUSY, running_tasks=5, max_concurrent_tasks=5))
    assert row.status == "online"
    assert rows.node_of(row).status is NodeStatus.BUSY
    assert rows.node_of(row._replace(running_tasks=4)).status is NodeStatus.ONLINE
    assert rows.node_of(row._replace(status="maintenance")).status is NodeStatus.MAINTENANCE


@pytest.mark.parametrize("attempt", [an_attempt(), FULL_ATTEMPT])
def test_an_attempt_comes_back_equal_in_both_forms(attempt: Attempt) -> None:
    row = rows.attempt_row_of(attempt)
    assert rows.attempt_of(row) == attempt
    assert rows.attempt_json(row) == attempt.model_dump(mode="json")


def test_a_late_report_is_compared_with_what_was_accepted() -> None:
    row = rows.LateRow("t1", 7, "completed", "a" * 64, "2026", "n1", 2, "no such lease", 5)
    for accepted, same in (("a" * 64, True), ("b" * 64, False), ("", None)):
        shown = rows.late_json(row, accepted)
        assert shown["same_result"] is same
        assert LateReport.model_validate(shown).model_dump(mode="json") == shown
    assert rows.late_json(row._replace(sha256=""), "a" * 64)["same_result"] is None


def test_a_failure_stored_in_short_is_filled_up() -> None:
    row = row_of(a_task())._replace(error=json.dumps({"kind": "lost"}))
    assert rows.task_json(row) == rows.task_of(row).model_dump(mode="json")


def test_columns_that_may_be_null_read_as_empty() -> None:
    empty = dict.fromkeys(("required_skills", "metadata", "parameters", "after", "resources"))
    assert rows.task_of(row_of(a_task())._replace(**empty)).required_skills == []  # type: ignore[arg-type]


def test_damaged_json_is_corrupt_and_names_the_task() -> None:
    row = row_of(a_task("bad"))
    for damaged in (row._replace(metadata="{"), row._replace(status="nowhere"), row._replace(after="{}")):
        with pytest.raises(Corrupt, match="bad"):
            rows.task_of(damaged)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        encode("metadata", {"a": value})
