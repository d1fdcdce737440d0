"""openclaw-ray: durable tasks for the machines you own.

Say what is to be done; openclaw-ray decides where, keeps it, runs it on Ray and retries it::

    import openclaw_ray as oc

    cluster = oc.connect()
    task = cluster.submit("word_count", {"path": "a.txt"})
    print(task.result())

Names are imported when they are first used, so that ``import openclaw_ray`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openclaw_ray.client.connecting import connect, connect_async
    from openclaw_ray.client.core import AsyncCluster
    from openclaw_ray.client.handles import AsyncTask
    from openclaw_ray.client.progress import progress
    from openclaw_ray.client.sync import Cluster, Node, Task, as_completed, gather
    from openclaw_ray.cluster import local
    from openclaw_ray.errors import (
        AuthRequired,
        Conflict,
        Corrupt,
        InvalidParams,
        InvalidRequest,
        InvalidTransition,
        NotConnected,
        NotFound,
        OpenClawError,
        OutcomeUnknown,
        QueueFull,
        SchemaTooNew,
        SkillCrashed,
        SkillError,
        SkillTimeout,
        StaleAttempt,
        StateRolledBack,
        StorageBusy,
        StorageError,
        StorageFull,
        TaskCancelled,
        TaskError,
        TaskFailed,
        TaskLost,
        TaskTimeout,
        Unavailable,
        UnknownSkill,
        UseAsyncClient,
        VersionMismatch,
        WaitTimeout,
    )
    from openclaw_ray.skills.context import Context
    from openclaw_ray.skills.function import Skill, skill

__version__ = "0.1.0"

#: Public name to the module that holds it.
_HOMES = {
    **dict.fromkeys(("connect", "connect_async"), "openclaw_ray.client.connecting"),
    **dict.fromkeys(("Cluster", "Node", "Task", "as_completed", "gather"), "openclaw_ray.client.sync"),
    "AsyncCluster": "openclaw_ray.client.core",
    "AsyncTask": "openclaw_ray.client.handles",
    "progress": "openclaw_ray.client.progress",
    "local": "openclaw_ray.cluster",
    "Context": "openclaw_ray.skills.context",
    **dict.fromkeys(("Skill", "skill"), "openclaw_ray.skills.function"),
}

__all__ = [
    "AsyncCluster",
    "AsyncTask",
    "AuthRequired",
    "Cluster",
    "Conflict",
    "Context",
    "Corrupt",
    "InvalidParams",
    "InvalidRequest",
    "InvalidTransition",
    "Node",
    "NotConnected",
    "NotFound",
    "OpenClawError",
    "OutcomeUnknown",
    "QueueFull",
    "SchemaTooNew",
    "Skill",
    "SkillCrashed",
    "SkillError",
    "SkillTimeout",
    "StaleAttempt",
    "StateRolledBack",
    "StorageBusy",
    "StorageError",
    "StorageFull",
    "Task",
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
    "__version__",
    "as_completed",
    "connect",
    "connect_async",
    "gather",
    "local",
    "progress",
    "skill",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "openclaw_ray.errors")), name)
    globals()[name] = value  # next time it is found at once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
