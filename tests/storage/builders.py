"""Documents and rows for the storage tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from openclaw_ray.core.types import NodeStatus, TaskState, TaskType
from openclaw_ray.models.fields import iso
from openclaw_ray.models.node import NodeInfo
from openclaw_ray.models.task import Attempt, Task, TaskFailure
from openclaw_ray.storage.batch import TaskEnd, TaskUpdate
from openclaw_ray.storage.rows import TaskRow

START_S = 1_700_000_000.0
AT = iso(START_S)


def at(seconds: float) -> str:
    """ISO time so many seconds after the start of the test's time."""
    return iso(START_S + seconds)


def a_task(task_id: str = "t1", **values: Any) -> Task:
    base: dict[str, Any] = {
        "task_id": task_id,
        "task_type": TaskType.BATCH,
        "name": f"name of {task_id}",
        "status": TaskState.PENDING,
        "submitted_at": AT,
        "created_at": AT,
        "skill": "echo",
        "required_skills": ["echo"],
    }
    return Task(**(base | values))


def a_full_task(task_id: str = "full") -> Task:
    """A task with nothing left at its default."""
    return a_task(
        task_id,
        name="Überweisung '; DROP TABLE tasks; --",
        description="line\nline\t\u202e",
        optional_skills=["ünï"],
        status=TaskState.FAILED,
        priority=0,
        assigned_node="n1",
        scheduled_at=at(1),
        started_at=at(2),
        completed_at=at(3),
        parameters=[1, 2.5, None, {"a": "☃"}],
        timeout=60,
        retry_count=1,
        max_retries=2,
        user_id="u1",
        affinity_tags=["fast"],
        result={"deep": [[[]]]},
        error=TaskFailure(kind="skill_error", type="ValueError", message="no", attempt=2, exhausted="retries"),
        metadata={"a": [1], "b": None},
        key="key-1",
        group="g1",
        not_before=at(0),
        deadline=at(99),
        spec_sha256="a" * 64,
        attempt=2,
        lost_count=1,
        max_lost=5,
        retry_of="t0",
        required_tags=["gpu"],
        strategy="best_fit",
        version=7,
        resources={"cpu": 0.5, "memory": 2**31},
        after=["t0"],
        revision="b" * 64,
        retry_at=at(5),
    )


def a_node(node_id: str = "n1", **values: Any) -> NodeInfo:
    base: dict[str, Any] = {
        "node_id": node_id,
        "hostname": f"host-{node_id}",
        "platform": "linux",
        "arch": "x86_64",
        "status": NodeStatus.ONLINE,
        "available_skills": ["echo"],
        "registered_at": AT,
        "last_heartbeat": AT,
    }
    return NodeInfo(**(base | values))


def an_attempt(token: int = 1, task_id: str = "t1", **values: Any) -> Attempt:
    base: dict[str, Any] = {
        "token": token, "task_id": task_id, "attempt": 1, "node_id": "n1", "outcome": None, "leased_at": AT,
    }  # fmt: skip
    return Attempt(**(base | values))


def an_update(row: TaskRow, **values: Any) -> TaskUpdate:
    """The update that leaves `row` as it is, but for `values`."""
    found = row._asdict() | values
    return TaskUpdate(**{name: found[name] for name in TaskUpdate._fields})


def an_end(row: TaskRow, **values: Any) -> TaskEnd:
    """The end of `row` as completed, but for `values`."""
    found = row._asdict() | {"status": "completed", "completed_at": at(9), "token": 0, "seated": 0} | values
    return TaskEnd(**{name: found[name] for name in TaskEnd._fields})


def listing(folder: Path) -> list[str]:
    """Names in a folder, sorted."""
    return sorted(entry.name for entry in folder.iterdir())


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program of our own in a fresh process, to its end."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
