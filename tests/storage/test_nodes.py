from __future__ import annotations

import pytest

from openclaw_ray.core.types import NodeStatus
from openclaw_ray.errors import Conflict, InvalidRequest, NotFound
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.nodes import NodeRepository
from tests.storage.builders import START_S, a_node, at


@pytest.fixture
def repo(db: Database) -> NodeRepository:
    return NodeRepository(db)


def ids(nodes: object) -> list[str]:
    return [node.node_id for node in nodes]  # type: ignore[attr-defined]


async def test_a_created_node_comes_back_equal(repo: NodeRepository) -> None:
    node = a_node(tags=["gpu"], agent=True, resources={"cpu": 1.5}, offers={"echo": "a" * 64})
    await repo.create(node)
    assert await repo.get("n1") == node
    assert await repo.find("n1") == node


async def test_an_unknown_id_is_not_found(repo: NodeRepository) -> None:
    with pytest.raises(NotFound):
        await repo.get("nope")
    assert await repo.find("nope") is None
    assert await repo.update("nope", hostname="x") is False
    assert await repo.update("nope") is False
    assert await repo.delete("nope") is False
    assert await repo.update_heartbeat("nope", at(0)) is False
    assert await repo.update_status("nope", "offline") is False


async def test_a_taken_id_is_a_conflict(repo: NodeRepository) -> None:
    await repo.create(a_node())
    with pytest.raises(Conflict):
        await repo.create(a_node(hostname="other"))
    assert (await repo.get("n1")).hostname == "host-n1"


async def test_update_changes_what_is_named_and_nothing_else(repo: NodeRepository) -> None:
    await repo.create(a_node())
    assert await repo.update("n1", tags=["a"], agent=True, gpus=[{"name": "g"}], max_concurrent_tasks=2)
    assert await repo.get("n1") == a_node(tags=["a"], agent=True, gpus=[{"name": "g"}], max_concurrent_tasks=2)
    assert await repo.update("n1")


@pytest.mark.parametrize("column", ["hostnam", "tags = 1 --"])
async def test_an_unknown_column_is_refused(repo: NodeRepository, column: str) -> None:
    await repo.create(a_node())
    with pytest.raises(InvalidRequest):
        await repo.update("n1", **{column: "x"})


async def test_delete_removes_the_node(repo: NodeRepository) -> None:
    await repo.create(a_node())
    assert await repo.delete("n1")
    assert await repo.get_all_nodes() == []


async def test_online_includes_the_busy_and_available_does_not(repo: NodeRepository) -> None:
    await repo.create(a_node("free", running_tasks=4))
    await repo.create(a_node("full", running_tasks=5))
    await repo.create(a_node("off", status=NodeStatus.OFFLINE))
    await repo.create(a_node("zero", max_concurrent_tasks=0))
    assert ids(await repo.get_all_nodes()) == ["free", "full", "off", "zero"]
    online = await repo.get_online_nodes()
    assert [(n.node_id, n.status) for n in online] == [("free", "online"), ("full", "busy"), ("zero", "busy")]
    assert ids(await repo.get_available_nodes()) == ["free"]


async def test_lists_are_paged_by_id(repo: NodeRepository) -> None:
    for n in range(5):
        await repo.create(a_node(f"n{n}"))
    for question in (repo.get_all_nodes, repo.get_online_nodes, repo.get_available_nodes):
        assert ids(await question(2)) == ["n0", "n1"]
        assert ids(await question(2, "n1")) == ["n2", "n3"]
        assert ids(await question(2, "n4")) == []
        with pytest.raises(InvalidRequest):
            await question(1001)
    assert ids(await repo.find_by_skill("echo", limit=1, after="n3")) == ["n4"]


async def test_a_heartbeat_brings_usage_and_never_goes_back(repo: NodeRepository) -> None:
    await repo.create(a_node())
    assert await repo.update_heartbeat("n1", at(10), cpu_usage=50.0, running_tasks=2)
    assert await repo.update_heartbeat("n1", at(5), cpu_usage=99.0)
    found = await repo.get("n1")
    assert (found.last_heartbeat, found.cpu_usage, found.running_tasks) == (at(10), 50.0, 2)
    with pytest.raises(InvalidRequest):
        await repo.update_heartbeat("n1", at(11), status=1)
    with pytest.raises(InvalidRequest):
        await repo.update_heartbeat("n1", "noon")


async def test_a_status_is_one_of_the_known_and_busy_stays_online(repo: NodeRepository) -> None:
    await repo.create(a_node())
    for status, shown in (("maintenance", "maintenance"), ("busy", "online"), ("error", "error")):
        assert await repo.update_status("n1", status)
        assert (await repo.get("n1")).status == shown
    for call in (repo.update_status("n1", "asleep"), repo.update("n1", status="asleep")):
        with pytest.raises(InvalidRequest, match="maintenance"):
            await call


async def test_silent_nodes_are_found_until_they_are_offline(repo: NodeRepository) -> None:
    await repo.create(a_node("heard", last_heartbeat=at(95)))
    await repo.create(a_node("silent", last_heartbeat=at(10)))
    await repo.create(a_node("held", last_heartbeat=at(10), status=NodeStatus.MAINTENANCE))
    await repo.create(a_node("gone", last_heartbeat=at(10), status=NodeStatus.OFFLINE))
    await repo.create(a_node("fresh", last_heartbeat=None, registered_at=at(95)))
    await repo.create(a_node("never", last_heartbeat=None, registered_at=None))
    assert ids(await repo.find_unresponsive_nodes(15, START_S + 100)) == ["held", "never", "silent"]
    assert ids(await repo.find_unresponsive_nodes(15, START_S + 100, limit=1)) == ["held"]
    assert ids(await repo.find_unresponsive_nodes(1000, START_S + 100)) == ["never"]
    for timeout_s in (0, -1, float("nan")):
        with pytest.raises(InvalidRequest):
            await repo.find_unresponsive_nodes(timeout_s, START_S)


async def test_a_skill_is_found_whole_and_literally(repo: NodeRepository) -> None:
    await repo.create(a_node("a", available_skills=["echo", 'quo"te']))
    await repo.create(a_node("b", available_skills=["echo2"]))
    await repo.create(a_node("c", available_skills=["echo"], status=NodeStatus.OFFLINE))
    await repo.create(a_node("d", available_skills=["echo"], running_tasks=5))
    assert ids(await repo.find_by_skill("echo")) == ["a", "d"]
    assert ids(await repo.find_by_skill("echo", status="offline")) == ["c"]
    assert ids(await repo.find_by_skill('quo"te')) == ["a"]
    assert ids(await repo.find_by_skill("ech%")) == []


async def test_calls_join_the_callers_transaction(repo: NodeRepository, db: Database) -> None:
    async def twice() -> None:
        async with db.transaction():
            await repo.create(a_node("a"))
            await repo.update_status("a", "offline")
            assert ids(await repo.get_all_nodes()) == ["a"]
            await repo.create(a_node("a"))

    with pytest.raises(Conflict):
        await twice()
    assert await repo.get_all_nodes() == []
