"""The four speeds of the store: one caller, a file with many tasks, synchronous=FULL.

Inside the actor (a coordinator in this process) and over the handle of a real one on the same file.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import home
from benchmarks.plan import Plan
from benchmarks.series import Row, at_most, percentile
from openclaw_ray.cluster import local
from openclaw_ray.runtime.coordinator import Coordinator

TASKS = 100_000
#: Calls of each kind in one repetition.
CALLS = 100

#: What it does, and the goal for its p95 (milliseconds).
OPERATIONS: Mapping[str, tuple[str, float]] = {
    "create-task": ("create task", 10),
    "get-task": ("get task", 5),
    "update-node": ("update node", 5),
    "page": ("page of 100 by status", 50),
}
INSIDE, HANDLE = "inside", "handle"
STORE_ROWS = tuple(f"{name}-{place}" for name in OPERATIONS for place in (INSIDE, HANDLE))

#: Operation to the times of each repetition (seconds).
Samples = dict[str, list[list[float]]]


@dataclass
class Script:
    """The calls of one caller: verb and arguments, never the same twice."""

    names: Sequence[str]
    #: Two places must not make the same task.
    place: str
    _n: Iterator[int] = field(default_factory=itertools.count)
    _chance: random.Random = field(default_factory=lambda: random.Random(7))

    def call(self, operation: str) -> tuple[str, dict[str, Any]]:
        """The next call of a kind."""
        n = next(self._n)
        match operation:
            case "create-task":
                task = {"task_id": f"new-{self.place}-{n}", "skill": home.ABSENT, "params": {"n": n}}
                return "add_task", {"task": task}
            case "get-task":
                return "get_task", {"task_id": self._chance.choice(self.names)}
            case "update-node":
                return "update_node", {"node_id": home.NODE, "changes": {"tags": [f"tag-{n % 97}"]}}
            case _:
                return "get_tasks_by_status", {"status": ("completed", "pending")[n % 2], "limit": 100}


def measure_store(plan: Plan) -> Iterator[Row]:
    """Inside first, then over the handle of an actor on the same file; one cluster cannot serve both at once."""
    folder = plan.folder / "store"
    inside, names = asyncio.run(_inside(folder, plan))
    over = _over_handle(folder, plan, names) if _wants(plan, HANDLE) else {}
    for place, samples in ((INSIDE, inside), (HANDLE, over)):
        for operation, runs in samples.items():
            yield store_row(operation, place, runs)


def _wants(plan: Plan, place: str) -> bool:
    return plan.wants(*(f"{name}-{place}" for name in OPERATIONS))


async def _inside(folder: Path, plan: Plan) -> tuple[Samples, list[str]]:
    samples: Samples = {name: [] for name in OPERATIONS} if _wants(plan, INSIDE) else {}
    async with home.coordinator(folder) as found:
        names = await home.fill(found, TASKS)
        script = Script(names, INSIDE)
        for _ in range(plan.repetitions):
            for operation, runs in samples.items():
                runs.append([await _timed(found, *script.call(operation)) for _ in range(CALLS)])
    return samples, names


async def _timed(found: Coordinator, verb: str, arguments: dict[str, Any]) -> float:
    began = time.perf_counter()
    await found.call(verb, arguments)
    return time.perf_counter() - began


def _over_handle(folder: Path, plan: Plan, names: list[str]) -> Samples:
    import ray

    from actors.names import STATE_MANAGER

    samples: Samples = {name: [] for name in OPERATIONS}
    script = Script(names, HANDLE)
    with local(nodes=[{"num_cpus": plan.slots}], slots=plan.slots, home=folder) as cluster:
        manager: Any = ray.get_actor(STATE_MANAGER, namespace=cluster.namespace)
        handles: dict[str, Callable[..., Any]] = {
            verb: getattr(manager, verb).remote
            for verb in ("add_task", "get_task", "update_node", "get_tasks_by_status")
        }
        for _ in range(plan.repetitions):
            for operation, runs in samples.items():
                times = []
                for _ in range(CALLS):
                    verb, arguments = script.call(operation)
                    began = time.perf_counter()
                    ray.get(handles[verb](**arguments))
                    times.append(time.perf_counter() - began)
                runs.append(times)
    return samples


def store_row(operation: str, place: str, runs: Sequence[Sequence[float]]) -> Row:
    """The p95 of each repetition, in milliseconds."""
    what, goal_ms = OPERATIONS[operation]
    where = "inside the actor" if place == INSIDE else "over the handle"
    return Row(
        name=f"{operation}-{place}",
        what=f"{what}, {where}, p95",
        unit="ms",
        runs=[percentile(one, 0.95) * 1000 for one in runs],
        goal=at_most(goal_ms),
        raw={"p50 ms": [percentile(one, 0.5) * 1000 for one in runs]},
    )
