"""Every verb for drivers with handles, and what shows that it works: the tests and docs/verbs.md read this.

A case uses handles only, as a driver would; each begins with ids of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openclaw_ray.errors as err
from openclaw_ray.models.node import NodeSpec
from openclaw_ray.models.task import TaskSpec
from tests.support.wait import wait_until

_numbers = itertools.count(1)


class Driver:
    """A plain driver: three handles and `ray.get`."""

    def __init__(self, manager: Any, scheduler: Any = None, agent: Any = None) -> None:
        self.manager, self.scheduler, self.agent = manager, scheduler, agent

    def get(self, reference: Any, timeout_s: float = 30.0) -> Any:
        import ray

        return ray.get(reference, timeout=timeout_s)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """A verb of the StateManager, called and waited for."""
        return lambda *args, **kwargs: self.get(getattr(self.manager, verb).remote(*args, **kwargs))

    def node(self, **fields: Any) -> str:
        """A new node kept by hand."""
        return self.add_node({"node_id": f"hand-{next(_numbers)}", **fields})

    def task(self, **fields: Any) -> str:
        """A new task that a program of its own will run."""
        return self.add_task({"task_id": f"job-{next(_numbers)}", **fields})

    def ended_task(self) -> str:
        """A task that was run by hand to its end."""
        task_id = self.task()
        self.update_task({task_id: {"status": "running"}})
        self.update_task(task_id, {"status": "completed", "result": {"ok": True}})
        return task_id


Check = Callable[[Driver], None]


@dataclass
class Case:
    """One verb: whose it is, what it must do singly and in batch, what it must refuse."""

    actor: str
    one: Check
    many: Check | None = None
    #: Arguments by name, the error's class, and the field it names; no arguments: an unknown one must be refused.
    bad: list[tuple[dict[str, Any], type[err.OpenClawError], str]] = field(default_factory=list)


CASES: dict[str, Case] = {}

Bad = tuple[dict[str, Any], type[err.OpenClawError], str]


def one(verb: str, *bad: Bad, actor: str = "StateManager") -> Callable[[Check], Check]:
    """The verb with one thing, and what it refuses."""

    def keep(check: Check) -> Check:
        CASES[verb] = Case(actor, check, bad=list(bad))
        return check

    return keep


def many(verb: str) -> Callable[[Check], Check]:
    """The verb with several things at once."""

    def keep(check: Check) -> Check:
        CASES[verb].many = check
        return check

    return keep


# -- nodes -------------------------------------------------------------------------------------------------------------


@one(
    "add_node",
    ({"node": {"node_id": "no blanks"}}, err.InvalidRequest, "node.node_id"),
    ({"node": {"node_id": "n", "tagz": []}}, err.InvalidRequest, "node.tagz"),
    ({"node": [{"node_id": "n"}, {"node_id": "m", "cpu_usage": 101.0}]}, err.InvalidRequest, "node[1].cpu_usage"),
    ({"node": {"node_id": "n"}, "by": 5}, err.InvalidRequest, "by"),
)
def add_node(d: Driver) -> None:
    given = NodeSpec(node_id=f"hand-{next(_numbers)}", hostname="mini", skills=["weather"], tags=["desk"])
    assert d.add_node(given) == given.node_id
    found = d.get_node(given.node_id)
    assert (found["hostname"], found["available_skills"], found["tags"]) == ("mini", ["weather"], ["desk"])
    assert (found["status"], found["max_concurrent_tasks"], found["agent"]) == ("online", 5, False)


@many("add_node")
def add_nodes(d: Driver) -> None:
    ids = [f"hand-{next(_numbers)}" for _ in range(3)]
    assert d.add_node([{"node_id": i, "max_concurrent_tasks": 1} for i in ids]) == ids
    before = len(d.get_online_nodes())
    with_a_known_one = [{"node_id": "never"}, {"node_id": ids[0]}]
    _refused(err.Conflict, "node_id", lambda: d.add_node(with_a_known_one))
    assert len(d.get_online_nodes()) == before  # all or none


@one(
    "update_node",
    ({"node_id": "nobody", "changes": {"tags": []}}, err.NotFound, "node_id"),
    (
        {"node_id": "nobody", "changes": {"max_concurrent_tasks": -1}},
        err.InvalidRequest,
        "changes.max_concurrent_tasks",
    ),
    ({"node_id": "nobody", "changes": {"cpu_usage": 1.0}}, err.InvalidRequest, "changes.cpu_usage"),
)
def update_node(d: Driver) -> None:
    node_id = d.node()
    before = d.get_state()["version"]
    assert d.update_node(node_id, {"max_concurrent_tasks": 7, "tags": ["big"], "available_skills": ["sum"]}) > before
    found = d.get_node(node_id)
    assert (found["max_concurrent_tasks"], found["tags"], found["available_skills"]) == (7, ["big"], ["sum"])


@many("update_node")
def update_nodes(d: Driver) -> None:
    a, b = d.node(), d.node()
    versions = d.update_node({a: {"tags": ["a"]}, b: {"tags": ["b"]}})
    assert set(versions) == {a, b}
    assert [n["tags"] for n in d.get_node([a, b])] == [["a"], ["b"]]


@one(
    "remove_node",
    ({"node_id": "nobody"}, err.NotFound, "node_id"),
    ({"node_id": 7}, err.InvalidRequest, "node_id"),
    ({"node_id": "nobody", "force": "yes"}, err.InvalidRequest, "force"),
)
def remove_node(d: Driver) -> None:
    node_id = d.node()
    assert d.remove_node(node_id) is True
    _refused(err.NotFound, "node_id", lambda: d.get_node(node_id))
    busy = d.node()
    task_id = d.task()
    d.update_task(task_id, {"status": "running", "assigned_node": busy})
    _refused(err.Conflict, "node_id", lambda: d.remove_node(busy))
    assert d.remove_node(busy, force=True) is True
    assert d.get_task(task_id)["lost_count"] == 1


@many("remove_node")
def remove_nodes(d: Driver) -> None:
    ids = [d.node(), d.node()]
    assert d.remove_node(ids) == [True, True]


@one("get_node", ({"node_id": "nobody"}, err.NotFound, "node_id"), ({"node_id": "a/b"}, err.InvalidRequest, "node_id"))
def get_node(d: Driver) -> None:
    node_id = d.node(platform="darwin", arch="arm64", ip_address="192.0.2.7", port=7000)
    found = d.get_node(node_id)
    assert (found["node_id"], found["platform"], found["arch"], found["port"]) == (node_id, "darwin", "arm64", 7000)
    assert found["registered_at"]
    assert found["last_heartbeat"]


@many("get_node")
def get_nodes(d: Driver) -> None:
    a, b = d.node(), d.node()
    assert [n["node_id"] for n in d.get_node([b, a])] == [b, a]


@one("get_online_nodes", ({}, err.InvalidRequest, "surplus"))
def get_online_nodes(d: Driver) -> None:
    on, off = d.node(), d.node(status="offline")
    full = d.node(max_concurrent_tasks=1)
    d.update_task(d.task(), {"status": "running", "assigned_node": full})
    found = {n["node_id"]: n["status"] for n in d.get_online_nodes()}
    assert off not in found
    assert (found[on], found[full]) == ("online", "busy")


@one("get_available_nodes", ({}, err.InvalidRequest, "surplus"))
def get_available_nodes(d: Driver) -> None:
    free, full = d.node(), d.node(max_concurrent_tasks=1)
    d.update_task(d.task(), {"status": "running", "assigned_node": full})
    found = {n["node_id"] for n in d.get_available_nodes()}
    assert free in found
    assert full not in found


@one(
    "find_nodes_by_skill",
    ({"skill": "a/b"}, err.InvalidRequest, "skill"),
    ({"skill": None}, err.InvalidRequest, "skill"),
    ({"skill": ["ok", 5]}, err.InvalidRequest, "skill[1]"),
)
def find_nodes_by_skill(d: Driver) -> None:
    node_id = d.node(available_skills=["天气"])
    assert node_id in {n["node_id"] for n in d.find_nodes_by_skill("天气")}
    assert d.find_nodes_by_skill("unheard-of") == []


@many("find_nodes_by_skill")
def find_nodes_by_skills(d: Driver) -> None:
    node_id = d.node(available_skills=["left"])
    found = d.find_nodes_by_skill(["left", "right-hand"])
    assert [n["node_id"] for n in found["left"]] == [node_id]
    assert found["right-hand"] == []


@one(
    "update_node_status",
    ({"node_id": "nobody", "status": "online"}, err.NotFound, "node_id"),
    ({"node_id": "nobody", "status": "busy"}, err.InvalidRequest, "status"),
    ({"node_id": "nobody", "status": None}, err.InvalidRequest, "status"),
)
def update_node_status(d: Driver) -> None:
    node_id = d.node()
    assert d.update_node_status(node_id, "maintenance") == "maintenance"
    assert node_id not in {n["node_id"] for n in d.get_online_nodes()}
    assert d.update_node_status(node_id, "online") == "online"


@many("update_node_status")
def update_node_statuses(d: Driver) -> None:
    a, b = d.node(), d.node()
    assert d.update_node_status({a: "offline", b: "maintenance"}) == {a: "offline", b: "maintenance"}


@one(
    "update_heartbeat",
    ({"node_id": "nobody"}, err.NotFound, "node_id"),
    ({"node_id": "nobody", "usage": {"cpu_usage": -1.0}}, err.InvalidRequest, "usage.cpu_usage"),
)
def update_heartbeat(d: Driver) -> None:
    node_id = d.node()
    before = d.get_node(node_id)["last_heartbeat"]
    assert d.update_heartbeat(node_id, {"cpu_usage": 12.5, "memory_usage": 50.0, "disk_usage": 75.0}) == "online"
    found = d.get_node(node_id)
    assert (found["cpu_usage"], found["memory_usage"], found["disk_usage"]) == (12.5, 50.0, 75.0)
    assert found["last_heartbeat"] > before


@many("update_heartbeat")
def update_heartbeats(d: Driver) -> None:
    a, b = d.node(), d.node(status="offline")
    assert d.update_heartbeat({a: None, b: {"cpu_usage": 1.0}}) == {a: "online", b: "online"}


@one(
    "check_stale_nodes",
    ({"timeout": 0}, err.InvalidRequest, "timeout"),
    ({"timeout": "soon"}, err.InvalidRequest, "timeout"),
)
def check_stale_nodes(d: Driver) -> None:
    node_id = d.node()
    assert node_id not in d.check_stale_nodes(3600)
    wait_until(lambda: node_id in d.check_stale_nodes(0.05) or d.get_node(node_id)["status"] == "offline", 5)
    assert d.get_node(node_id)["status"] == "offline"
    assert d.update_heartbeat(node_id) == "online"


@one("get_node_stats", ({}, err.InvalidRequest, "surplus"))
def get_node_stats(d: Driver) -> None:
    before = d.get_node_stats()
    node_id = d.node(status="maintenance", max_concurrent_tasks=3)
    after = d.get_node_stats()
    assert after["total"] == before["total"] + 1
    assert after["maintenance"] == before["maintenance"] + 1
    d.update_node_status(node_id, "online")
    assert d.get_node_stats()["slots"] >= 3


# -- tasks -------------------------------------------------------------------------------------------------------------


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
    task_id = f"job-{next(_numbers)}"
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
    _refused(err.Conflict, "task.id", lambda: d.add_task({**given, "priority": "low"}))


@many("add_task")
def add_tasks(d: Driver) -> None:
    ids = d.add_task([{"name": f"n{i}"} for i in range(100)])
    assert len(set(ids)) == 100
    before = d.get_task_stats()["total"]
    _refused(err.InvalidRequest, "task[1].nam", lambda: d.add_task([{"name": "ok"}, {"nam": "typo"}]))
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
    _refused(err.Conflict, "assigned_node", lambda: d.update_task(task_id, other))
    d.update_task(task_id, {"status": "completed", "result": {"degrees": 21}})
    found = d.get_task(task_id)
    assert (found["status"], found["result"], found["attempt"]) == ("completed", {"degrees": 21}, 1)
    refusal = _refused(err.InvalidTransition, "status", lambda: d.update_task(task_id, {"status": "running"}))
    assert refusal.facts["legal"] == []
    refusal = _refused(err.InvalidTransition, "status", lambda: d.update_task(d.task(), {"status": "completed"}))
    assert refusal.facts["legal"] == ["cancelled", "running"]


@many("update_task")
def update_tasks(d: Driver) -> None:
    a, b = d.task(), d.task()
    assert set(d.update_task({a: {"priority": 0}, b: {"priority": 3}})) == {a, b}
    _refused(err.NotFound, "task_id", lambda: d.update_task({a: {"priority": 1}, "nobody": {"priority": 1}}))
    assert [t["priority"] for t in d.get_task([a, b])] == [0, 3]  # all or none


@one("remove_task", ({"task_id": "no blanks"}, err.InvalidRequest, "task_id"))
def remove_task(d: Driver) -> None:
    assert d.remove_task("nobody") is False
    live = d.task()
    _refused(err.Conflict, "task_id", lambda: d.remove_task(live))
    ended = d.ended_task()
    assert d.remove_task(ended) is True
    _refused(err.NotFound, "task_id", lambda: d.get_task(ended))


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


# -- the whole ---------------------------------------------------------------------------------------------------------


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


# -- scheduler and agent -----------------------------------------------------------------------------------------------


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


def _refused(kind: type[err.OpenClawError], where: str, call: Callable[[], Any]) -> err.OpenClawError:
    """The call is refused with this class, caught as a driver catches it, and the error names the field."""
    try:
        answer = call()
    except kind as error:
        if error.field == where:
            return error
        raise
    raise AssertionError(f"accepted, with {answer!r}")
