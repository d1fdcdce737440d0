"""The words of the domain: ids, states, outcomes, priorities. Everybody may import them; they import nothing."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple, NewType

TaskId = NewType("TaskId", str)
NodeId = NewType("NodeId", str)
SkillName = NewType("SkillName", str)
#: Grows with every lease ever given, over restarts and restores; fences off late reports.
Token = NewType("Token", int)


class Now(NamedTuple):
    """One instant on both clocks. Leases use `mono`; what people read and what outlives a process uses `wall`."""

    wall: float  # seconds since 1970, UTC
    mono: float  # seconds, monotonic clock of this process


class TaskState(StrEnum):
    """Where a task stands; `TASK_TABLE` says how it moves."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


LIVE_STATES = (TaskState.PENDING, TaskState.SCHEDULED, TaskState.RUNNING)
TERMINAL_STATES = (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.TIMEOUT)


class NodeStatus(StrEnum):
    """Where a node stands. `BUSY` is derived (online, no free slot) and never stored."""

    ONLINE = "online"
    BUSY = "busy"
    MAINTENANCE = "maintenance"
    OFFLINE = "offline"
    ERROR = "error"


class Outcome(StrEnum):
    """How one attempt ended. `LOST` uses the second budget, `RELEASED` none."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    RELEASED = "released"


class Fault(StrEnum):
    """What a node fails by for reasons of its own: a closed set, also a metric label."""

    REFUSED = "refused"  # it could not run what it had offered
    EXECUTOR = "executor"  # an executor went, and no task is to blame
    AGENT = "agent"  # its agent died
    SILENT = "silent"  # nothing was heard of it for the lease time
    CRASHES = "crashes"  # tasks crashed there that completed elsewhere


class Priority(IntEnum):
    """Smaller is more urgent; waiting raises a task by one level per `aging_s`."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class TaskType(StrEnum):
    """What kind of work it is."""

    INTERACTIVE = "interactive"  # start soonest; never waits behind a prefill
    BATCH = "batch"
    COMPUTE_INTENSIVE = "compute_intensive"  # asks one CPU unless told otherwise
    IO_INTENSIVE = "io_intensive"  # may share a slot's CPU
    DAEMON = "daemon"  # no timeout; started again when it ends, until cancelled


class Reason(StrEnum):
    """Why a task waits: a closed list, also a metric label. The first that holds, in this order, is the headline."""

    NOT_YET = "not_yet"
    DEPENDENCY = "dependency"
    BACKOFF = "backoff"
    NO_NODE_HAS_SKILL = "no_node_has_skill"
    SKILL_REVISION = "skill_revision"
    EXCLUDED = "excluded"
    NODE_OFFLINE = "node_offline"
    NODE_DRAINING = "node_draining"
    NODE_QUARANTINED = "node_quarantined"
    NO_FREE_SLOT = "no_free_slot"
    CPU = "cpu"
    MEMORY = "memory"
    GPU = "gpu"
    RESOURCE = "resource"
    BEHIND_PRIORITY = "behind_priority"
    SCHEDULER_BEHIND = "scheduler_behind"
    STOPPING = "stopping"
