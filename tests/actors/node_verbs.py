"""The verbs of nodes."""

from __future__ import annotations

import openclaw_ray.errors as err
from openclaw_ray.models.node import NodeSpec
from tests.actors.cases import Driver, many, numbers, one, refused
from tests.support.wait import wait_until


@one(
    "add_node",
    ({"node": {"node_id": "no blanks"}}, err.InvalidRequest, "node.node_id"),
    ({"node": {"node_id": "n", "tagz": []}}, err.InvalidRequest, "node.tagz"),
    ({"node": [{"node_id": "n"}, {"node_id": "m", "cpu_usage": 101.0}]}, err.InvalidRequest, "node[1].cpu_usage"),
    ({"node": {"node_id": "n"}, "by": 5}, err.InvalidRequest, "by"),
)
def add_node(d: Driver) -> None:
    given = NodeSpec(node_id=f"hand-{next(numbers)}", hostname="mini", skills=["weather"], tags=["desk"])
    assert d.add_node(given) == given.node_id
    found = d.get_node(given.node_id)
    assert (found["hostname"], found["available_skills"], found["tags"]) == ("mini", ["weather"], ["desk"])
    assert (found["status"], found["max_concurrent_tasks"], found["agent"]) == ("online", 5, False)


@many("add_node")
def add_nodes(d: Driver) -> None:
    ids = [f"hand-{next(numbers)}" for _ in range(3)]
    assert d.add_node([{"node_id": i, "max_concurrent_tasks": 1} for i in ids]) == ids
    before = len(d.get_online_nodes())
    with_a_known_one = [{"node_id": "never"}, {"node_id": ids[0]}]
    refused(err.Conflict, "node_id", lambda: d.add_node(with_a_known_one))
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
    refused(err.NotFound, "node_id", lambda: d.get_node(node_id))
    busy = d.node()
    task_id = d.task()
    d.update_task(task_id, {"status": "running", "assigned_node": busy})
    refused(err.Conflict, "node_id", lambda: d.remove_node(busy))
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
