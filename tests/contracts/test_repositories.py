"""The same random operations on SQLite and on the oracle: every answer and every snapshot agrees."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from openclaw_ray.core.types import NodeStatus, TaskState, TaskType
from openclaw_ray.errors import OpenClawError
from openclaw_ray.models.task import TaskFailure
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.nodes import NodeRepository
from openclaw_ray.storage.tasks import TaskFilter, TaskRepository
from tests.storage.builders import a_node, a_task, at
from tests.support.oracle import OracleNodes, OracleTasks

STEPS_MIN, STEPS_MAX = 400, 4_000
IDS = [f"t{n}" for n in range(14)]
NODE_IDS = [f"n{n}" for n in range(5)]
NAMES = ["100%", "a_b", "axb", "É", "'; DROP TABLE tasks; --"]
Store = Any  # repository or oracle: they share the names of their methods, and nothing else
Operation = Callable[[Store], Awaitable[object]]


class Sqlite(TaskRepository):
    """The repository with the oracle's form of a filter."""

    async def find_by(self, limit: int, name: str | None, **fields: Any) -> list[Any]:
        names = {"user_id": "user", "assigned_node": "node"}
        wanted = {names.get(field, field): value for field, value in fields.items() if field != "status"}
        states = [fields["status"]] if fields.get("status") else []
        return await self.list(TaskFilter(states=states, name=name, limit=limit, **wanted))


def task_operation(rng: random.Random) -> tuple[str, Operation]:
    """One operation with its arguments fixed, so that both stores get the same."""
    task_id, node_id = rng.choice(IDS), rng.choice(NODE_IDS)
    limit, status = rng.randint(1, 6), rng.choice(list(TaskState))
    tasks = [new_task(rng) for _ in range(rng.randint(1, 3))]
    name = rng.choice([
        "create", "create_many", "get", "find", "update", "end", "delete", "list_by_status", "list_by_node",
        "list_by_user", "find_by", "get_pending_tasks", "count_by_status", "cleanup_old_tasks",
    ])  # fmt: skip
    fields = {
        "user_id": rng.choice([None, "u1", "u2"]), "status": rng.choice([None, status]),
        "skill": rng.choice([None, "echo"]), "group": rng.choice([None, "g"]),
        "assigned_node": rng.choice([None, *NODE_IDS]),
    }  # fmt: skip
    part = rng.choice([None, "%", "_", "A", "é", "drop"])
    change = dict(rng.sample(sorted(some_change(rng).items()), rng.randint(0, 4)))
    attempt = rng.choice([None, 0, 1])
    end = {"status": rng.choice([TaskState.COMPLETED, TaskState.FAILED]), "completed_at": at(rng.randint(0, 50))}
    older = at(rng.randint(0, 50))
    operations: dict[str, Operation] = {
        "create": lambda s: s.create(tasks[0]),
        "create_many": lambda s: s.create_many(tasks),
        "get": lambda s: s.get(task_id),
        "find": lambda s: s.find(task_id),
        "update": lambda s: s.update(task_id, if_attempt=attempt, **change),
        "end": lambda s: s.update(task_id, **end),
        "delete": lambda s: s.delete(task_id),
        "list_by_status": lambda s: s.list_by_status(status, limit),
        "list_by_node": lambda s: s.list_by_node(node_id, limit),
        "list_by_user": lambda s: s.list_by_user("u1", limit),
        "find_by": lambda s: s.find_by(limit, part, **fields),
        "get_pending_tasks": lambda s: s.get_pending_tasks(limit),
        "count_by_status": lambda s: s.count_by_status(),
        "cleanup_old_tasks": lambda s: s.cleanup_old_tasks(older, limit),
    }
    return name, operations[name]


def new_task(rng: random.Random) -> Any:
    return a_task(
        rng.choice(IDS),
        name=rng.choice(NAMES),
        user_id=rng.choice([None, "u1", "u2"]),
        group=rng.choice([None, "g"]),
        key=rng.choice([None, None, None, "k1", "k2"]),
        priority=rng.randint(0, 3),
        assigned_node=rng.choice([None, *NODE_IDS]),
        task_type=rng.choice(list(TaskType)),
    )


def some_change(rng: random.Random) -> dict[str, Any]:
    return {
        "priority": rng.randint(0, 3),
        "attempt": rng.randint(0, 2),
        "metadata": {"n": [rng.random(), None]},
        "required_tags": rng.sample(["a", "b", "c"], 2),
        "status": rng.choice([TaskState.PENDING, TaskState.SCHEDULED, TaskState.RUNNING]),
        "error": rng.choice([None, TaskFailure(kind="lost", message="ñ")]),
        "result": rng.choice([None, 0, [], {"x": 1.5}]),
        "timeout": rng.choice([None, 5]),
        "name": rng.choice(NAMES),
    }


def node_operation(rng: random.Random) -> tuple[str, Operation]:
    node_id, status = rng.choice(NODE_IDS), rng.choice(list(NodeStatus))
    node = a_node(node_id, status=status, running_tasks=rng.randint(0, 6), available_skills=rng.sample(["a", "ab"], 1))
    when, busy, slots = at(rng.randint(0, 99)), rng.randint(0, 6), rng.randint(0, 6)
    name = rng.choice([
        "create", "get", "find", "update", "update_status", "update_heartbeat", "delete", "get_all_nodes",
        "get_online_nodes", "get_available_nodes", "find_by_skill",
    ])  # fmt: skip
    operations: dict[str, Operation] = {
        "create": lambda s: s.create(node),
        "get": lambda s: s.get(node_id),
        "find": lambda s: s.find(node_id),
        "update": lambda s: s.update(node_id, max_concurrent_tasks=slots, tags=[node_id], agent=True, status=status),
        "update_status": lambda s: s.update_status(node_id, status),
        "update_heartbeat": lambda s: s.update_heartbeat(node_id, when, running_tasks=busy, cpu_usage=1.5),
        "delete": lambda s: s.delete(node_id),
        "get_all_nodes": lambda s: s.get_all_nodes(),
        "get_online_nodes": lambda s: s.get_online_nodes(),
        "get_available_nodes": lambda s: s.get_available_nodes(),
        "find_by_skill": lambda s: s.find_by_skill("a"),
    }
    return name, operations[name]


async def answer(operation: Operation, store: Store) -> object:
    """What came back, or the kind of the refusal."""
    try:
        found = await operation(store)
    except OpenClawError as error:
        return error.code
    return list(found) if isinstance(found, list) else found


def succeeded(found: object) -> bool:
    """An operation that did or found something; an empty answer proves little."""
    return not isinstance(found, str) and found not in (False, 0, [])


async def walk(
    rng: random.Random, pick: Any, stores: tuple[Store, Store], snapshot: Operation
) -> tuple[Counter[str], Counter[str]]:
    """Walk until each operation has succeeded and `STEPS_MIN` steps are done; returns successes and refusals."""
    good: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    names = {pick(random.Random(n))[0] for n in range(300)}
    for step in range(STEPS_MAX):
        if step >= STEPS_MIN and names <= good.keys():
            break
        name, operation = pick(rng)
        ours, theirs = [await answer(operation, store) for store in stores]
        assert ours == theirs, (step, name)
        (good if succeeded(ours) else bad)[name] += 1
        ours, theirs = [await answer(snapshot, store) for store in stores]
        assert ours == theirs, (step, name)
    assert names <= good.keys(), names - good.keys()
    return good, bad


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_tasks_behave_as_the_oracle_does(db: Database, seed: int) -> None:
    stores = Sqlite(db), OracleTasks()
    _, bad = await walk(random.Random(seed), task_operation, stores, lambda s: s.find_by(100, None))
    assert {"create", "get", "update", "end", "delete"} <= bad.keys()
    assert await db.integrity_check() == []


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nodes_behave_as_the_oracle_does(db: Database, seed: int) -> None:
    stores = NodeRepository(db), OracleNodes()
    _, bad = await walk(random.Random(seed), node_operation, stores, lambda s: s.get_all_nodes())
    assert {"create", "get", "update", "delete"} <= bad.keys()
