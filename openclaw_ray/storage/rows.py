"""The one mapping between documents and rows. A column is named here and in the migrations, and nowhere counted.

`task_json` and its like build the plain JSON form straight from a row, without pydantic: lists of a thousand tasks are
an everyday answer. It equals ``model_dump(mode="json")`` of the document; a test holds them together.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from openclaw_ray.core.types import NodeStatus
from openclaw_ray.errors import Corrupt, InvalidRequest
from openclaw_ray.models.door import dumps
from openclaw_ray.models.node import NodeInfo
from openclaw_ray.models.task import Attempt, Task, TaskFailure
from openclaw_ray.storage.sql import quoted

D = TypeVar("D")


class TaskRow(NamedTuple):
    """A row of ``tasks``: text for times, JSON text for lists and mappings."""

    task_id: str
    task_type: str
    name: str
    description: str | None
    required_skills: str | None
    optional_skills: str | None
    status: str
    priority: int
    assigned_node: str | None
    submitted_at: str
    scheduled_at: str | None
    started_at: str | None
    completed_at: str | None
    parameters: str | None
    timeout: int | None
    retry_count: int
    max_retries: int
    user_id: str | None
    affinity_tags: str | None
    result: str | None
    error: str | None
    metadata: str | None
    created_at: str
    skill: str | None
    key: str | None
    group_name: str | None
    not_before: str | None
    deadline: str | None
    spec_sha256: str
    attempt: int
    lost_count: int
    max_lost: int
    retry_of: str | None
    required_tags: str | None
    strategy: str | None
    version: int
    resources: str | None
    after: str | None
    revision: str | None
    retry_at: str | None
    seq: int
    token: int
    seated: int
    by_hand: int


class NodeRow(NamedTuple):
    """A row of ``nodes``."""

    node_id: str
    hostname: str
    platform: str
    arch: str
    status: str
    cpu_usage: float
    memory_usage: float
    disk_usage: float
    available_skills: str | None
    max_concurrent_tasks: int
    running_tasks: int
    ip_address: str | None
    tailscale_ip: str | None
    port: int | None
    total_tasks_processed: int
    successful_tasks: int
    failed_tasks: int
    average_execution_time: float
    registered_at: str | None
    last_heartbeat: str | None
    tags: str | None
    agent: int
    incarnation: int
    resources: str | None
    offers: str | None
    withheld: str | None
    gpus: str | None
    agent_process: str | None
    declared: str | None
    held_reason: str | None
    held_by: str | None
    held_until: str | None
    version: int
    faults: int
    fault_at: str | None
    fault_token: int
    fault_successes: int
    quarantines: int
    quarantined_until: str | None
    quarantine_reason: str | None


class AttemptRow(NamedTuple):
    """A row of ``attempts``."""

    token: int
    task_id: str
    attempt: int
    node_id: str | None
    outcome: str | None
    leased_at: str
    started_at: str | None
    ended_at: str | None
    revision: str | None
    error: str | None
    exit_status: int | None
    signal: str | None
    peak_memory: int | None
    log_tail: str | None
    by: str | None


class EventRow(NamedTuple):
    """A row of ``events``: one transition, written in the transaction that made it."""

    seq: int
    at: str
    what: str
    task_id: str | None
    attempt: int | None
    node_id: str | None
    by: str | None
    reason: str | None
    version: int


class SkillRow(NamedTuple):
    """A row of ``skills``; `manifest` is the JSON of a `SkillManifest`."""

    name: str
    revision: str
    manifest: str
    registered_at: str
    by: str | None
    seq: int


class LateRow(NamedTuple):
    """A row of ``late_reports``: an outcome that was refused."""

    task_id: str
    token: int
    outcome: str
    sha256: str
    at: str
    node_id: str
    incarnation: int
    why: str
    bytes: int


#: Table to its columns, in order.
ROWS: dict[str, tuple[str, ...]] = {
    "tasks": TaskRow._fields,
    "nodes": NodeRow._fields,
    "attempts": AttemptRow._fields,
    "events": EventRow._fields,
    "skills": SkillRow._fields,
    "late_reports": LateRow._fields,
}

TASK_COLUMNS, NODE_COLUMNS = quoted(TaskRow._fields), quoted(NodeRow._fields)
ATTEMPT_COLUMNS, EVENT_COLUMNS = quoted(AttemptRow._fields), quoted(EventRow._fields)
SKILL_COLUMNS, LATE_COLUMNS = quoted(SkillRow._fields), quoted(LateRow._fields)

_LISTS = frozenset({
    "required_skills", "optional_skills", "affinity_tags", "required_tags", "after", "available_skills", "tags", "gpus",
})  # fmt: skip
_MAPPINGS = frozenset({"metadata", "resources", "offers", "withheld"})
#: Field of a document to its column, where the names differ.
_COLUMN_OF = {"group": "group_name"}
_FAILURE_DEFAULTS = TaskFailure(kind="").model_dump(mode="json")


def column_of(field: str) -> str:
    """The column that holds a document's field; a column's own name is one too."""
    return _COLUMN_OF.get(field, field)


def encode(column: str, value: Any) -> Any:
    """The stored form of one value of a document.

    Raises:
        InvalidRequest: It has no JSON form.
    """
    if column in _LISTS or column in _MAPPINGS or column in {"parameters", "result", "error"}:
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json")
        if value is None and column != "parameters":
            return None
        try:
            return dumps(value)
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"has no JSON form: {error}", field=column) from None
    if isinstance(value, bool):
        return int(value)
    if column == "status" and value == NodeStatus.BUSY:
        return NodeStatus.ONLINE.value  # derived from the slots; see node_json
    return getattr(value, "value", value)  # an enum's


def row_of(task: Task, *, seq: int = 0, token: int = 0, seated: bool = False, by_hand: bool = False) -> TaskRow:
    """The row of a task; what the document does not show is given beside it."""
    return TaskRow(
        task_id=task.task_id,
        task_type=task.task_type.value,
        name=task.name,
        description=task.description,
        required_skills=_list(task.required_skills),
        optional_skills=_list(task.optional_skills),
        status=task.status.value,
        priority=task.priority,
        assigned_node=task.assigned_node,
        submitted_at=task.submitted_at,
        scheduled_at=task.scheduled_at,
        started_at=task.started_at,
        completed_at=task.completed_at,
        parameters=_mapping(task.parameters),
        timeout=task.timeout,
        retry_count=task.retry_count,
        max_retries=task.max_retries,
        user_id=task.user_id,
        affinity_tags=_list(task.affinity_tags),
        result=None if task.result is None else dumps(task.result),
        error=_failure(task.error),
        metadata=_mapping(task.metadata),
        created_at=task.created_at,
        skill=task.skill,
        key=task.key,
        group_name=task.group,
        not_before=task.not_before,
        deadline=task.deadline,
        spec_sha256=task.spec_sha256,
        attempt=task.attempt,
        lost_count=task.lost_count,
        max_lost=task.max_lost,
        retry_of=task.retry_of,
        required_tags=_list(task.required_tags),
        strategy=task.strategy,
        version=task.version,
        resources=_mapping(task.resources),
        after=_list(task.after),
        revision=task.revision,
        retry_at=task.retry_at,
        seq=seq,
        token=token,
        seated=int(seated),
        by_hand=int(by_hand),
    )


def task_json(row: TaskRow) -> dict[str, Any]:
    """The plain JSON form of a task, equal to ``Task.model_dump(mode="json")``.

    Raises:
        Corrupt: A column does not hold the JSON it should.
    """
    try:
        return {
            "task_id": row.task_id,
            "task_type": row.task_type,
            "name": row.name,
            "description": row.description,
            "required_skills": _items(row.required_skills),
            "optional_skills": _items(row.optional_skills),
            "status": row.status,
            "priority": row.priority,
            "assigned_node": row.assigned_node,
            "submitted_at": row.submitted_at,
            "scheduled_at": row.scheduled_at,
            "started_at": row.started_at,
            "completed_at": row.completed_at,
            "parameters": _fields(row.parameters),
            "timeout": row.timeout,
            "retry_count": row.retry_count,
            "max_retries": row.max_retries,
            "user_id": row.user_id,
            "affinity_tags": _items(row.affinity_tags),
            "result": None if row.result is None else json.loads(row.result),
            "error": _failure_json(row.error),
            "metadata": _fields(row.metadata),
            "created_at": row.created_at,
            "skill": row.skill,
            "key": row.key,
            "group": row.group_name,
            "not_before": row.not_before,
            "deadline": row.deadline,
            "spec_sha256": row.spec_sha256,
            "attempt": row.attempt,
            "lost_count": row.lost_count,
            "max_lost": row.max_lost,
            "retry_of": row.retry_of,
            "required_tags": _items(row.required_tags),
            "strategy": row.strategy,
            "version": row.version,
            "resources": _fields(row.resources),
            "after": _items(row.after),
            "revision": row.revision,
            "retry_at": row.retry_at,
            "progress": None,  # an observation, in memory only
        }
    except ValueError as error:
        _damaged("task", row.task_id, error)


def task_of(row: TaskRow) -> Task:
    """The task of a row.

    Raises:
        Corrupt: The row is no task.
    """
    return _document(Task.model_validate, task_json(row), row.task_id)


def node_row_of(node: NodeInfo) -> NodeRow:
    """The row of a node; ``busy`` is stored as ``online``, since it follows from the slots."""
    values = {name: getattr(node, name) for name in NodeRow._fields}
    return NodeRow(**{name: encode(name, value) for name, value in values.items()})


def node_json(row: NodeRow) -> dict[str, Any]:
    """The plain JSON form of a node, equal to ``NodeInfo.model_dump(mode="json")``; ``busy`` when no slot is free.

    Raises:
        Corrupt: A column does not hold the JSON it should.
    """
    found = row._asdict()
    try:
        for column in ("available_skills", "tags", "gpus"):
            found[column] = _items(found[column])
        for column in ("resources", "offers", "withheld"):
            found[column] = _fields(found[column])
    except ValueError as error:
        _damaged("node", row.node_id, error)
    found["agent"] = bool(row.agent)
    if row.status == NodeStatus.ONLINE and row.running_tasks >= row.max_concurrent_tasks:
        found["status"] = NodeStatus.BUSY.value
    return found


def node_of(row: NodeRow) -> NodeInfo:
    """The node of a row.

    Raises:
        Corrupt: The row is no node.
    """
    return _document(NodeInfo.model_validate, node_json(row), row.node_id)


def attempt_row_of(attempt: Attempt) -> AttemptRow:
    """The row of an attempt."""
    values = {name: getattr(attempt, name) for name in AttemptRow._fields}
    return AttemptRow(**{name: encode(name, value) for name, value in values.items()})


def attempt_json(row: AttemptRow) -> dict[str, Any]:
    """The plain JSON form of an attempt, equal to ``Attempt.model_dump(mode="json")``.

    Raises:
        Corrupt: The error column does not hold the JSON it should.
    """
    try:
        return {**row._asdict(), "error": _failure_json(row.error), "late": []}
    except ValueError as error:
        _damaged("attempt", str(row.token), error)


def late_json(row: LateRow, accepted: str) -> dict[str, Any]:
    """The plain JSON form of a late report, equal to ``LateReport.model_dump(mode="json")``.

    Args:
        row: The report.
        accepted: SHA-256 of the result that the task completed with; empty when it did not.
    """
    comparable = bool(row.sha256 and accepted)
    found = row._asdict()
    del found["task_id"], found["token"]
    return {**found, "sha256": row.sha256 or None, "same_result": row.sha256 == accepted if comparable else None}


def attempt_of(row: AttemptRow) -> Attempt:
    """The attempt of a row.

    Raises:
        Corrupt: The row is no attempt.
    """
    return _document(Attempt.model_validate, attempt_json(row), str(row.token))


def _document(build: Callable[[Any], D], body: dict[str, Any], name: str) -> D:
    try:
        return build(body)
    except ValidationError as error:
        _damaged("row", name, error)


def _damaged(kind: str, name: str, error: Exception) -> NoReturn:
    raise Corrupt(f"the stored {kind} {name} cannot be read: {error}", hint="run the integrity check") from None


# Most lists and mappings of most tasks are empty; these four keep the common case free of JSON.
def _list(value: list[str]) -> str:
    return dumps(value) if value else "[]"


def _mapping(value: Any) -> str:
    return "{}" if value == {} else dumps(value)


def _items(text: str | None) -> list[Any]:
    return [] if text is None or text == "[]" else json.loads(text)


def _fields(text: str | None) -> Any:
    return {} if text is None or text == "{}" else json.loads(text)


def _failure(error: TaskFailure | None) -> str | None:
    return None if error is None else dumps(error.model_dump(mode="json"))


def _failure_json(text: str | None) -> dict[str, Any] | None:
    return None if text is None else {**_FAILURE_DEFAULTS, **json.loads(text)}
