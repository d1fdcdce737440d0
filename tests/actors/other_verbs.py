"""The verbs of the state as a whole, of the Scheduler and of the NodeAgent."""

from __future__ import annotations

import openclaw_ray.errors as err
from tests.actors.cases import Driver, many, one


@one("sync_to_database", ({}, err.InvalidRequest, "surplus"))
def sync_to_database(d: Driver) -> None:
    d.task()
    assert d.sync_to_database() == d.get_state()["version"]


@one("refresh_from_database", ({}, err.InvalidRequest, "surplus"))
def refresh_from_database(d: Driver) -> None:
    d.update_task(d.task(), {"status": "running", "assigned_node": d.node()})
    assert d.refresh_from_database() == {"version": d.get_state()["version"], "differences": []}


@one(
    "get_state",
    ({"tasks": "yes"}, err.InvalidRequest, "tasks"),
    ({"tasks": True, "before": "start"}, err.InvalidRequest, "before"),
)
def get_state(d: Driver) -> None:
    task_id = d.task()
    found = d.get_state()
    assert found["version"] > 0
    assert found["tasks"]["total"] >= 1
    assert "live_tasks" not in found
    assert {n["node_id"] for n in d.get_online_nodes()} <= {n["node_id"] for n in found["nodes"]}
    assert task_id == d.get_state(tasks=True)["live_tasks"][0]["task_id"]


@many("get_state")
def get_state_in_pages(d: Driver) -> None:
    d.add_task([{} for _ in range(1_001)])
    first = d.get_state(tasks=True)
    assert len(first["live_tasks"]) == 1_000
    second = d.get_state(tasks=True, before=first["next"])
    assert second["live_tasks"]
    ids = {t["task_id"] for t in first["live_tasks"]}
    assert not ids & {t["task_id"] for t in second["live_tasks"]}


@one("status", ({}, err.InvalidRequest, ""), actor="Scheduler")
def status(d: Driver) -> None:
    found = d.get(d.scheduler.status.remote())
    assert found["strategy"] == "least_tasks"
    assert found["nodes"] >= 3
    assert found["metrics"].startswith("127.0.0.1:")


@one(
    "why",
    ({"task_id": "nobody"}, err.NotFound, "task_id"),
    ({"task_id": 5}, err.InvalidRequest, "task_id"),
    actor="Scheduler",
)
def why(d: Driver) -> None:
    task_id = d.add_task({"skill": "nobody-has-it"})
    found = d.get(d.scheduler.why.remote(task_id))
    assert (found["task_id"], found["state"]) == (task_id, "pending")
    assert "nobody-has-it" in found["summary"]
    d.update_task(task_id, {"status": "cancelled"})


@one(
    "set_strategy",
    ({"name": "best"}, err.InvalidRequest, "strategy"),
    ({"name": 5}, err.InvalidRequest, "strategy"),
    ({"name": "os:nothing_of_the_kind"}, err.InvalidRequest, "strategy"),
    actor="Scheduler",
)
def set_strategy(d: Driver) -> None:
    assert d.get(d.scheduler.set_strategy.remote("round_robin")) == "least_tasks"
    assert d.get(d.scheduler.set_strategy.remote("least_tasks")) == "round_robin"


@one("metrics_text", ({}, err.InvalidRequest, ""), actor="Scheduler")
def metrics_text(d: Driver) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    found = {family.name for family in text_string_to_metric_families(d.get(d.scheduler.metrics_text.remote()))}
    assert {"openclaw_tasks", "openclaw_nodes"} <= found


@one("info", ({}, err.InvalidRequest, ""), actor="NodeAgent")
def info(d: Driver) -> None:
    found = d.get(d.agent.info.remote())
    assert (found["node_id"], found["slots"], found["running"]) == ("node-1", 2, [])
    assert found["pid"] > 0
    assert found["machine"]["hostname"]


@one("usage", ({}, err.InvalidRequest, ""), actor="NodeAgent")
def usage(d: Driver) -> None:
    found = d.get(d.agent.usage.remote())
    assert all(0 <= found[name] <= 100 for name in ("cpu_usage", "memory_usage", "disk_usage"))
    assert found["disk_usage"] > 0


@one("running", ({}, err.InvalidRequest, ""), actor="NodeAgent")
def running(d: Driver) -> None:
    assert d.get(d.agent.running.remote()) == []
