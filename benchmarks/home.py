"""Coordinators in this process, without Ray, and databases with many tasks for them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from openclaw_ray import logs
from openclaw_ray.config import Settings
from openclaw_ray.runtime.coordinator import Coordinator

#: A skill that no node offers: its tasks wait for ever.
ABSENT = "absent"
#: A node kept by hand, without an agent.
NODE = "by-hand"
#: Tasks of one call.
BATCH = 5_000


@contextlib.asynccontextmanager
async def coordinator(home: Path) -> AsyncIterator[Coordinator]:
    """What the StateManager actor holds, on the database in `home`, which is made if there is none."""
    logs.configure("benchmarks", home, "WARNING")
    found = Coordinator(Settings(home=home))
    await found.initialise()
    try:
        yield found
    finally:
        await found.stop()
        logs.shutdown()


async def ask(found: Coordinator, verb: str, body: Any) -> Any:
    """One call in JSON, as it comes over a handle; its answer, which must be good."""
    answer = json.loads(await found.call_json(verb, json.dumps(body)))
    if not answer["ok"]:
        raise RuntimeError(f"{verb}: {answer['error']}")
    return answer["value"]


def ids(prefix: str, n: int) -> list[str]:
    """Task ids as long as those that clients make."""
    return [f"{prefix}-{i:024d}" for i in range(n)]


def bulk(names: list[str], skill: str = ABSENT) -> dict[str, Any]:
    """The body of a submit of tasks that differ in their parameters only."""
    rows = [[name, f'{{"path":"/data/{i:06d}.txt"}}', None] for i, name in enumerate(names)]
    return {"bulk": {"spec": {"skill": skill}, "rows": rows}}


def chunks(names: list[str], size: int = BATCH) -> Iterator[list[str]]:
    """Consecutive pieces."""
    return (names[i : i + size] for i in range(0, len(names), size))


async def wait_for_ever(found: Coordinator, names: list[str], size: int = BATCH) -> None:
    """Submit tasks that nobody can run."""
    for piece in chunks(names, size):
        await ask(found, "submit", bulk(piece))


async def fill(found: Coordinator, n: int) -> list[str]:
    """A file with `n` tasks, half of them completed, half of them waiting; answers all ids."""
    await ask(found, "add_node", {"node": {"node_id": NODE, "hostname": "bench", "skills": [ABSENT]}})
    names = ids("fill", n)
    await wait_for_ever(found, names)
    for piece in chunks(names[: n // 2]):
        await ask(found, "update_task", {"task_id": {i: {"status": "running"} for i in piece}})
        await ask(found, "update_task", {"task_id": {i: {"status": "completed", "result": 1} for i in piece}})
    return names


async def sqlite_version(found: Coordinator) -> str:
    """Asked of the store, since nothing outside storage uses SQLite."""
    version: str = await found.office.store.read(lambda conn: conn.execute("SELECT sqlite_version()").fetchone()[0])
    return version
