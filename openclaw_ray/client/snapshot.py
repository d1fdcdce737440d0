"""What a client knows of one task: from its own submit, from the waiting for results, or from the task's record.

Small, because a driver may hold a hundred thousand; it only ever moves forward. Must not ask anybody.
"""

from __future__ import annotations

import json
import time
from typing import Any

from openclaw_ray.core.types import TERMINAL_STATES, TaskState
from openclaw_ray.errors import TaskCancelled, TaskError, TaskFailed, TaskLost, TaskTimeout
from openclaw_ray.models.door import dumps
from openclaw_ray.models.fields import from_iso
from openclaw_ray.models.task import TaskFailure
from openclaw_ray.protocol import EndedTask

_TERMINAL = frozenset(state.value for state in TERMINAL_STATES)
#: A traceback shows where in the skill; the first lines of a message say what.
MESSAGE_LEN_MAX = 500


class Snapshot:
    """The newest that was heard of a task."""

    __slots__ = (
        "_error", "attempt", "completed_at", "document", "heard_at", "id", "node", "params", "progress", "result",
        "settled", "skill", "started_at", "state", "submitted_at",
    )  # fmt: skip

    def __init__(
        self, task_id: str, skill: str | None = None, params: str | None = None, state: str = "pending"
    ) -> None:
        self.id = task_id
        self.skill = skill
        #: JSON text, as submitted or as the record says; None until the record was read.
        self.params = params
        self.state = state
        #: Whether its end is known with all that belongs to it; a repeated submit tells only the state.
        self.settled = False
        self.node: str | None = None
        self.attempt = 0
        self.submitted_at: str | None = None
        self.started_at: str | None = None
        self.completed_at: str | None = None
        #: JSON text of the result, once there is one.
        self.result: str | None = None
        self._error: str | None = None
        #: What the skill last said: done, total, text.
        self.progress: dict[str, Any] | None = None
        #: The whole record, once it was read.
        self.document: dict[str, Any] | None = None
        #: When this was heard, on the monotonic clock.
        self.heard_at = time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether the task is in a final state."""
        return self.state in _TERMINAL

    def hear_end(self, task: EndedTask) -> None:
        """The waiting for results brought its end."""
        self.state, self.settled = task.status, True
        self.node, self.attempt = task.node_id, task.attempt
        self.submitted_at, self.started_at, self.completed_at = task.submitted_at, task.started_at, task.completed_at
        self.result, self._error = task.result, task.error
        self.heard_at = time.monotonic()

    def hear_record(self, document: dict[str, Any]) -> None:
        """The task's record was read. One that is older than what is known changes nothing."""
        if self.settled and document["status"] not in _TERMINAL:
            return
        self.state, self.skill = document["status"], document["skill"]
        self.params = dumps(document["parameters"])
        self.node, self.attempt = document["assigned_node"], document["attempt"]
        self.submitted_at, self.started_at = document["submitted_at"], document["started_at"]
        self.completed_at = document["completed_at"]
        done = self.state == TaskState.COMPLETED.value
        self.result = dumps(document["result"]) if done else None
        self._error = dumps(document["error"]) if document["error"] is not None else None
        self.progress = document["progress"]
        self.document = document
        self.settled = self.ended
        self.heard_at = time.monotonic()

    @property
    def error(self) -> TaskFailure | None:
        """Why it did not complete, as it is recorded."""
        return TaskFailure.model_validate_json(self._error) if self._error else None

    @property
    def wait_seconds(self) -> float | None:
        """From submission to the start of the last attempt; None before it."""
        return _between(self.submitted_at, self.started_at)

    @property
    def run_seconds(self) -> float | None:
        """From the start of the last attempt to the end of the task; None before it."""
        return _between(self.started_at, self.completed_at)

    def value(self) -> Any:
        """The result, a new value each time.

        Raises:
            TaskError: The task ended without one.
        """
        if self.state != TaskState.COMPLETED.value:
            raise self.failure()
        return json.loads(self.result) if self.result is not None else None

    def failure(self) -> TaskError:
        """The error that stands for the end of a task without a result."""
        error = self.error or TaskFailure(kind=self.state)
        node = error.node_id or self.node
        attempt = error.attempt or self.attempt
        where = f" on {node}" if node else ""
        tried = f" (attempt {attempt})" if attempt else ""
        what = ": ".join(part for part in (error.type, error.message[:MESSAGE_LEN_MAX] or error.kind) if part)
        cls, word = _error_class(self.state, error)
        return cls(
            f"{self.skill or 'task'} {self.id} {word}{where}{tried}: {what}",
            facts={
                "task_id": self.id,
                "attempt": attempt,
                "node_id": node,
                "kind": error.kind,
                "type": error.type,
                "traceback": error.traceback,
            },
        )


def _error_class(state: str, error: TaskFailure) -> tuple[type[TaskError], str]:
    if state == TaskState.CANCELLED.value:
        return TaskCancelled, "was cancelled"
    if state == TaskState.TIMEOUT.value:
        return TaskTimeout, "ran out of time"
    if error.exhausted == "lost" or error.kind == "lost":
        return TaskLost, "was lost"
    return TaskFailed, "failed"


def _between(start: str | None, end: str | None) -> float | None:
    return max(0.0, from_iso(end) - from_iso(start)) if start and end else None
