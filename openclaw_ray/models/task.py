"""What a user asks for (`TaskSpec`) and what the cluster knows of it (`Task`)."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, JsonValue, model_validator

from openclaw_ray.core import limits
from openclaw_ray.core.resources import CPU
from openclaw_ray.core.types import TaskState, TaskType
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.door import Document, dumps, parse
from openclaw_ray.models.fields import (
    Amounts,
    Id,
    Instant,
    Json,
    Metadata,
    PriorityNumber,
    Seconds,
    SkillId,
    SkillIds,
    Tags,
    TaskIds,
    Text,
    Title,
    json_value,
)

#: The strategies that come with the project; others are named by their import path ``module:function``.
STRATEGIES = ("least_tasks", "round_robin", "best_fit", "random", "affinity")


class TaskSpec(Document):
    """Everything a submit says, except the id. Two specs are the same when their canonical JSON is."""

    #: The skill that runs. Without it the first required skill runs; with neither, a program of its own runs the task.
    skill: SkillId | None = None
    params: Json = Field(default_factory=dict, validation_alias=AliasChoices("params", "parameters"))
    name: Title | None = None
    description: Text | None = None
    task_type: TaskType = TaskType.BATCH
    required_skills: SkillIds = Field(default_factory=list)
    optional_skills: SkillIds = Field(default_factory=list)
    priority: PriorityNumber = 2
    #: Seconds one attempt may run; None: the skill's own, else the cluster's default.
    timeout: Seconds | None = None
    #: Further attempts after failures and timeouts of the task's own; None: the skill's own, else 3.
    retries: int | None = Field(
        default=None, ge=0, le=limits.RETRIES_MAX, strict=True, validation_alias=AliasChoices("retries", "max_retries")
    )
    #: Further attempts after lost agents and nodes.
    max_lost: int | None = Field(default=None, ge=0, le=limits.RETRIES_MAX, strict=True)
    resources: Amounts = Field(default_factory=dict)
    #: Tags that the node must have.
    required_tags: Tags = Field(default_factory=list)
    #: Tags that raise a node's score.
    affinity_tags: Tags = Field(default_factory=list)
    strategy: Title | None = None
    user_id: Title | None = None
    metadata: Metadata = Field(default_factory=dict)
    #: One task per key for as long as its record exists.
    key: Title | None = None
    group: Title | None = Field(default=None, validation_alias=AliasChoices("group", "group_name"))
    #: No start before this moment.
    not_before: Instant | None = None
    #: The task ends ``timeout`` when it has not completed by then.
    deadline: Instant | None = None
    #: Ids of tasks that must complete first.
    after: TaskIds = Field(default_factory=list)
    #: Exactly this revision of the skill; None: the newest when the lease is given.
    revision: str | None = Field(default=None, max_length=64, pattern="^[0-9a-f]{8,64}$")
    retry_of: Id | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TaskSpec:
        if self.not_before and self.deadline and self.deadline <= self.not_before:
            raise InvalidRequest("is not after not_before", field="deadline", limit="a moment later than not_before")
        if self.task_type is TaskType.DAEMON and self.timeout is not None:
            raise InvalidRequest("a daemon has none", field="timeout", limit="leave it out, or another task_type")
        if self.strategy is not None and self.strategy not in STRATEGIES and ":" not in self.strategy:
            raise InvalidRequest(
                f"{self.strategy!r} is unknown", field="strategy", limit=f"{', '.join(STRATEGIES)}, or module:function"
            )
        return self

    @property
    def runs(self) -> str | None:
        """The skill that runs, or None for a task that a program runs by itself."""
        return self.skill or (self.required_skills[0] if self.required_skills else None)

    @property
    def all_skills(self) -> tuple[str, ...]:
        """Every skill a node must offer, sorted."""
        return tuple(sorted({*self.required_skills, *([self.skill] if self.skill else [])}))

    @property
    def asks(self) -> dict[str, Any]:
        """Resources asked for, with what the task type implies."""
        if self.task_type is TaskType.COMPUTE_INTENSIVE and CPU not in self.resources:
            return {CPU: 1, **self.resources}
        return self.resources

    def canonical(self) -> str:
        """The one JSON text of this spec; what is left at its default is left out."""
        return dumps(self.model_dump(mode="json", exclude_defaults=True))


def digest(canonical_spec: str) -> str:
    """SHA-256 of a canonical spec, as hex."""
    return hashlib.sha256(canonical_spec.encode()).hexdigest()


class TaskFailure(Document):
    """Why an attempt, or at last the task, did not complete; plain data, so nobody needs the skill's classes."""

    kind: str  # skill_error, timeout, crashed, lost, cancelled, upstream, result, not_runnable ...
    type: str = ""  # class name of the exception, where there was one
    message: str = ""
    traceback: str = ""  # node-side, as text
    attempt: int = 0
    node_id: str | None = None
    #: Which budget ran out, for the task's last word: retries, lost, or none for a permanent error.
    exhausted: Literal["retries", "lost"] | None = None


class LateReport(Document):
    """An outcome that came when the attempt had ended already, and was refused."""

    outcome: str
    sha256: str | None = None  # of its result's JSON text
    at: str
    node_id: str  # who said it
    incarnation: int
    why: str  # it was refused
    bytes: int = 0  # of its result
    #: Whether its result is the accepted one, byte by byte; None: one of the two has none.
    same_result: bool | None = None


def _failure(value: object) -> object:
    parse(TaskFailure, value)
    return value


#: A TaskFailure as the mapping that is stored; checked, and bounded as a whole.
Failure = Annotated[dict[str, Any], json_value(limits.ERROR_BYTES_MAX), BeforeValidator(_failure)]


class Attempt(Document):
    """One try at running a task."""

    token: int
    task_id: Id
    attempt: int
    node_id: str | None
    outcome: str | None  # None while it is live
    leased_at: str
    started_at: str | None = None
    ended_at: str | None = None
    revision: str | None = None
    error: TaskFailure | None = None
    exit_status: int | None = None
    signal: str | None = None
    peak_memory: int | None = None  # bytes
    log_tail: str | None = None
    by: str | None = None  # who ran it, where that was not an agent
    #: What was said of it too late; told by a task's history only.
    late: list[LateReport] = Field(default_factory=list)


class Task(Document):
    """A task as it is kept: the columns of the ``tasks`` table, lists and mappings as such, times as ISO text."""

    task_id: Id
    task_type: TaskType
    name: str
    description: str | None = None
    required_skills: list[str] = Field(default_factory=list)
    optional_skills: list[str] = Field(default_factory=list)
    status: TaskState
    priority: int = 2
    assigned_node: str | None = None
    submitted_at: str
    scheduled_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    parameters: JsonValue = Field(default_factory=dict)
    timeout: int | None = None
    retry_count: int = 0
    max_retries: int = 3
    user_id: str | None = None
    affinity_tags: list[str] = Field(default_factory=list)
    result: JsonValue = None
    error: TaskFailure | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    created_at: str
    skill: str | None = None
    key: str | None = None
    group: str | None = None
    not_before: str | None = None
    deadline: str | None = None
    spec_sha256: str = ""
    attempt: int = 0
    lost_count: int = 0
    max_lost: int = 3
    retry_of: str | None = None
    required_tags: list[str] = Field(default_factory=list)
    strategy: str | None = None
    version: int = 0
    resources: dict[str, Any] = Field(default_factory=dict)
    after: list[str] = Field(default_factory=list)
    revision: str | None = None
    #: ISO time before which the next attempt does not start (backoff).
    retry_at: str | None = None
    #: Last progress a skill reported: done, total, text; an observation, not history.
    progress: dict[str, Any] | None = None
