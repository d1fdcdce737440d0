"""The verbs of tasks."""

from __future__ import annotations

import openclaw_ray.errors as err
from openclaw_ray.models.task import TaskSpec
from tests.actors.cases import Driver, many, numbers, one, refused


@one(
    "add_task",
    ({"task": {"name": "x", "priority": "urgent"}}, err.InvalidRequest, "task.priority"),
    ({"task": {"prams": {}}}, err.InvalidRequest, "task.prams"),
    ({"task": {"params": {"a": float("nan")}}}, err.InvalidParams, "task.params.a"),
    ({"task": "{"}, err.InvalidRequest, "task"),
    ({"task": [{}, {"timeout": "soon"}]}, err.InvalidRequest, "task[1].timeout"),
    ({"task": {}, "by": 5}, err.InvalidRequest, "by"),
)
def add_task(d: Driver) -> None:
    task_id = f"job-{next(numbers)}"
    given = {
        "task_id": task_id, "name": "测试天气查询", "task_type": "interactive", "required_skills": ["weather"],
        "priority": "high", "parameters": {"city": "北京"}, "timeout": 30, "max_retries": 2, "user_id": "me",
        "affinity_tags": ["desk"], "metadata": {"from": "test"},
    }  # fmt: skip
    assert d.add_task(given) == task_id
    assert d.add_task(given) == task_id  # the same again is the same task
    found = d.get_task(task_id)
    assert {name: found[name] for name in given} == {**given, "priority": 1}
    assert found["status"] == "pending"
    assert d.add_task(TaskSpec(name="as a model")) != d.add_task('{"name": "as JSON text"}')
    refused(err.Conflict, "task.id", lambda: d.add_task({**given, "priority": "low"}))


@many("add_task")
def add_tasks(d: Driver) -> None:
    ids = d.add_task([{"name": f"n{i}"} for i in range(100)])
    assert len(set(ids)) == 100
    before = d.get_task_stats()["total"]
    refused(err.InvalidRequest, "task[1].nam", lambda: d.add_task([{"name": "ok"}, {"nam": "typo"}]))
    assert d.get_task_stats()["total"] == before


@one(
    "update_task",
    ({"task_id": "nobody", "changes": {"priority": 1}}, err.NotFound, "task_id"),
    ({"task_id": "nobody", "changes": {"priority": 9}}, err.InvalidRequest, "changes.priority"),
    ({"task_id": "nobody", "changes": {"retry_count": 0}}, err.InvalidRequest, "changes.retry_count"),
    ({"task_id": "nobody", "changes": {"status": "done"}}, err.InvalidRequest, "changes.status"),
)
def update_task(d: Driver) -> None:
    task_id, node_id = d.task(), d.node()
    assert d.update_task(task_id, {"priority": "critical", "metadata": {"n": 1}, "description": "d"}) > 0
    found = d.get_task(task_id)
    assert (found["priority"], found["metadata"], found["description"]) == (0, {"n": 1}, "d")
    d.update_task(task_id, {"status": "running", "assigned_node": node_id})
    assert d.get_task(task_id)["assigned_node"] == node_id
    d.update_task(task_id, {"status": "running", "assigned_node": node_id})  # the same again is harmless
    other = {"status": "running", "assigned_node": d.node()}
    refused(err.Conflict, "assigned_node", lambda: d.update_task(task_id, other))
    d.update_task(task_id, {"status": "completed", "result": {"degrees": 21}})
    found = d.get_task(task_id)
    assert (found["status"], found["result"], found["attempt"]) == ("completed", {"degrees": 21}, 1)
    refusal = refused(err.InvalidTransition, "status", lambda: d.update_task(task_id, {"status": "running"}))
    assert refusal.facts["legal"] == []
    refusal = refused(err.InvalidTransition, "status", lambda: d.update_task(d.task(), {"status": "completed"}))
    assert refusal.facts["legal"] == ["cancelled", "running"]


@many("update_task")
def update_tasks(d: Driver) -> None:
    a, b = d.task(), d.task()
    assert set(d.update_task({a: {"priority": 0}, b: {"priority": 3}})) == {a, b}
    refused(err.NotFound, "task_id", lambda: d.update_task({a: {"priority": 1}, "nobody": {"priority": 1}}))
    assert [t["priority"] for t in d.get_task([a, b])] == [0, 3]  # all or none


@one("remove_task", ({"task_id": "no blanks"}, err.InvalidRequest, "task_id"))
def remove_task(d: Driver) -> None:
    assert d.remove_task("nobody") is False
    live = d.task()
    refused(err.Conflict, "task_id", lambda: d.remove_task(live))
    ended = d.ended_task()
    assert d.remove_task(ended) is True
    refused(err.NotFound, "task_id", lambda: d.get_task(ended))


@many("remove_task")
def remove_tasks(d: Driver) -> None:
    assert d.remove_task([d.ended_task(), "nobody"]) == [True, False]


@one("get_task", ({"task_id": "nobody"}, err.NotFound, "task_id"), ({"task_id": None}, err.InvalidRequest, "task_id"))
def get_task(d: Driver) -> None:
    found = d.get_task(d.ended_task())
    assert (found["status"], found["result"]) == ("completed", {"ok": True})
    assert found["submitted_at"] <= found["scheduled_at"] <= found["started_at"] <= found["completed_at"]


@many("get_task")
def get_tasks(d: Driver) -> None:
    a, b = d.task(), d.task()
    assert [t["task_id"] for t in d.get_task([b, a])] == [b, a]


@one(
    "get_tasks_by_status",
    ({"status": "done"}, err.InvalidRequest, "status"),
    ({"status": "pending", "limit": 0}, err.InvalidRequest, "limit"),
    ({"status": "pending", "limit": 100_000}, err.InvalidRequest, "limit"),
)
def get_tasks_by_status(d: Driver) -> None:
    first, second = d.ended_task(), d.ended_task()
    assert [t["task_id"] for t in d.get_tasks_by_status("completed", 2)] == [second, first]  # newest first


@many("get_tasks_by_status")
def get_tasks_by_statuses(d: Driver) -> None:
    ended, waiting = d.ended_task(), d.task()
    found = d.get_tasks_by_status(["completed", "pending"], limit=1)
    assert {state: [t["task_id"] for t in tasks] for state, tasks in found.items()} == {
        "completed": [ended],
        "pending": [waiting],
    }


@one("get_pending_tasks", ({"limit": "all"}, err.InvalidRequest, "limit"), ({"limit": -1}, err.InvalidRequest, "limit"))
def get_pending_tasks(d: Driver) -> None:
    low, top = d.task(priority="low"), d.task(priority="critical")
    found = [t["task_id"] for t in d.get_pending_tasks(1000)]
    assert found.index(top) < found.index(low)
    assert len(d.get_pending_tasks(1)) == 1


@one("get_task_stats", ({}, err.InvalidRequest, "surplus"))
def get_task_stats(d: Driver) -> None:
    before = d.get_task_stats()
    d.task()
    d.ended_task()
    d.update_task(d.task(), {"status": "running"})
    after = d.get_task_stats()
    grown = {name: after[name] - before[name] for name in ("total", "pending", "running", "completed")}
    assert grown == {"total": 3, "pending": 1, "running": 1, "completed": 1}
