"""Every error that leaves this project, sorted by what the caller should do about it.

Facts are kept as attributes and handed whole to ``Exception.__init__``, so an error survives pickling between
processes; the text is built in ``__str__``. The same facts travel as JSON (`to_json`, `from_json`): our own client and
actors exchange only that.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AuthRequired",
    "Conflict",
    "Corrupt",
    "InvalidParams",
    "InvalidRequest",
    "InvalidTransition",
    "NotConnected",
    "NotFound",
    "OpenClawError",
    "OutcomeUnknown",
    "QueueFull",
    "SchemaTooNew",
    "SkillCrashed",
    "SkillError",
    "SkillTimeout",
    "StaleAttempt",
    "StateRolledBack",
    "StorageBusy",
    "StorageError",
    "StorageFull",
    "TaskCancelled",
    "TaskError",
    "TaskFailed",
    "TaskLost",
    "TaskTimeout",
    "Unavailable",
    "UnknownSkill",
    "UseAsyncClient",
    "VersionMismatch",
    "WaitTimeout",
]


class OpenClawError(Exception):
    """Base of all our errors.

    Args:
        message: What failed and why, naming the value.
        field: Path of the offending field, for example ``tasks[3].priority``.
        limit: The limit or an example of what is accepted.
        hint: What to do about it.
        retry_after: Seconds after which trying again makes sense, if it does.
        facts: Further JSON values a program may want (a task id, the legal states ...).
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        field: str | None = None,
        limit: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, field, limit, hint, retry_after, facts)
        self.message = message
        self.field = field
        self.limit = limit
        self.hint = hint
        self.retry_after = retry_after
        self.facts: dict[str, Any] = facts or {}

    def __str__(self) -> str:
        text = f"{self.field}: {self.message}" if self.field else self.message
        if self.limit:
            text += f" (accepted: {self.limit})"
        if self.hint:
            text += f". {self.hint}"
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def to_json(self) -> dict[str, Any]:
        """The error as plain JSON; `from_json` is its inverse."""
        return {
            "code": self.code,
            "message": self.message,
            "field": self.field,
            "limit": self.limit,
            "hint": self.hint,
            "retry_after": self.retry_after,
            "facts": self.facts,
        }


class InvalidRequest(OpenClawError, ValueError):
    """What was asked cannot be right; fix it. Nothing was stored."""

    code = "invalid_request"
    exit_code = 2


class UnknownSkill(InvalidRequest):
    """No node offers the skill and the caller asked for strict checking."""

    code = "unknown_skill"


class InvalidParams(InvalidRequest):
    """Parameters cannot be stored as JSON, or do not fit the skill."""

    code = "invalid_params"


class UseAsyncClient(InvalidRequest):
    """The sync client was called on a running event loop that it would block."""

    code = "use_async_client"


class NotFound(OpenClawError):
    """No such task, node or skill."""

    code = "not_found"
    exit_code = 4


class Conflict(OpenClawError):
    """The current state does not allow it; read again, then decide."""

    code = "conflict"
    exit_code = 5


class InvalidTransition(Conflict):
    """No way leads from the present state to the one asked for; ``facts["legal"]`` names those that exist."""

    code = "invalid_transition"


class StaleAttempt(Conflict):
    """The report is about an attempt that is no longer current."""

    code = "stale_attempt"


class Unavailable(OpenClawError):
    """Not now; nothing was changed. Try again after ``retry_after`` seconds."""

    code = "unavailable"
    exit_code = 5


class QueueFull(Unavailable):
    """As many tasks wait as the coordinator may hold."""

    code = "queue_full"


class StorageFull(Unavailable):
    """The disk that holds the database is full; reads go on."""

    code = "storage_full"


class StorageBusy(Unavailable):
    """Another program holds the database."""

    code = "storage_busy"


class NotConnected(OpenClawError):
    """No cluster, or no coordinator in it, could be reached."""

    code = "not_connected"
    exit_code = 3


class AuthRequired(NotConnected):
    """The cluster asks for a token that this process does not have."""

    code = "auth_required"


class VersionMismatch(NotConnected):
    """Client and cluster speak different protocol versions."""

    code = "version_mismatch"


class OutcomeUnknown(OpenClawError):
    """The call may or may not have happened; repeating it with the same ids is safe."""

    code = "outcome_unknown"


class StorageError(OpenClawError):
    """The database needs an operator."""

    code = "storage_error"


class StateRolledBack(StorageError):
    """The database is older than what this cluster has already seen."""

    code = "state_rolled_back"


class Corrupt(StorageError):
    """The file is damaged or is not one of ours; it was left untouched."""

    code = "corrupt"


class SchemaTooNew(StorageError):
    """The database was written by a newer version; it was left untouched."""

    code = "schema_too_new"


class SkillError(OpenClawError):
    """What went wrong inside an attempt; recorded on it."""

    code = "skill_error"


class SkillTimeout(SkillError):
    """The attempt overran its timeout and was killed."""

    code = "skill_timeout"


class SkillCrashed(SkillError):
    """The process that ran the attempt died."""

    code = "skill_crashed"


class TaskError(OpenClawError):
    """A task ended without a result; ``facts``: ``task_id``, ``attempt``, and the node-side ``traceback`` if any."""

    code = "task_error"


class TaskFailed(TaskError):
    """The task's own code failed, as often as it was allowed to."""

    code = "task_failed"


class TaskTimeout(TaskError):
    """The task ran out of its time."""

    code = "task_timeout"


class TaskCancelled(TaskError):
    """Somebody cancelled the task."""

    code = "task_cancelled"


class TaskLost(TaskError):
    """The task's nodes were lost more often than it may be lost."""

    code = "task_lost"


class WaitTimeout(OpenClawError):
    """Only the waiting ended; the task goes on."""

    code = "wait_timeout"
    exit_code = 124


def _all_errors() -> dict[str, type[OpenClawError]]:
    found: dict[str, type[OpenClawError]] = {}
    todo: list[type[OpenClawError]] = [OpenClawError]
    while todo:
        cls = todo.pop()
        found[cls.code] = cls
        todo.extend(cls.__subclasses__())
    return found


_BY_CODE = _all_errors()


def from_json(body: dict[str, Any]) -> OpenClawError:
    """Rebuild an error from `OpenClawError.to_json`; an unknown code (a newer peer) becomes the base class."""
    cls = _BY_CODE.get(str(body.get("code")), OpenClawError)
    return cls(
        str(body.get("message", "")),
        body.get("field"),
        body.get("limit"),
        body.get("hint"),
        body.get("retry_after"),
        body.get("facts") or None,
    )
