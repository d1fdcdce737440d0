"""Nodes by handle: recorded, found, held, forgotten."""

from __future__ import annotations

import asyncio

import pytest

from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import Conflict, InvalidRequest, InvalidTransition, NotFound
from tests.support.fakes import HandAgent, Hub


async def test_a_node_by_hand_is_found_and_leased_nothing(hub: Hub) -> None:
    node = {"node_id": "nas", "available_skills": ["echo"], "max_concurrent_tasks": 2, "tags": ["disk"], "cpu_usage": 5}
    assert await hub.call("add_node", node=node, by="me") == "nas"
    with pytest.raises(Conflict, match="exists"):
        await hub.call("add_node", node=[{"node_id": "other"}, node])
    assert [n["node_id"] for n in await hub.call("get_all_nodes")] == ["nas"]
    found = await hub.call("find_nodes_by_skill", skill=["echo", "paint"])
    assert ([n["node_id"] for n in found["echo"]], found["paint"]) == (["nas"], [])
    await hub.submit("t1")
    assert (await hub.assign("nas")).missed == 1
    before = await hub.call("get_node", node_id="nas")
    assert (before["hostname"], before["cpu_usage"], before["tags"]) == ("nas", 5, ["disk"])
    await hub.restart()
    assert await hub.call("get_node", node_id=["nas"]) == [before]


async def test_several_nodes_are_added_all_or_none(hub: Hub) -> None:
    assert await hub.call("add_node", node=[{"node_id": "a"}, {"node_id": "b", "status": "maintenance"}]) == ["a", "b"]
    stats = await hub.call("get_node_stats")
    assert (stats["total"], stats["online"], stats["maintenance"], stats["slots"]) == (2, 1, 1, 5)
    assert [n["node_id"] for n in await hub.call("get_online_nodes")] == ["a"]


async def test_a_busy_node_is_online_and_not_available(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2")
    await hub.assign(seated=2)
    assert (await hub.call("get_node", node_id="n1"))["status"] == "busy"
    assert len(await hub.call("get_online_nodes")) == 1
    assert await hub.call("get_available_nodes") == []


async def test_a_silent_record_goes_offline_and_a_heartbeat_brings_it_back(hub: Hub) -> None:
    await hub.call("add_node", node=[{"node_id": "a"}, {"node_id": "b"}])
    for _ in range(3):
        await hub.advance(6)
        assert await hub.call("update_heartbeat", node_id="a", usage={"cpu_usage": 12.5}) == "online"
    assert (await hub.call("get_node", node_id="a"))["cpu_usage"] == 12.5
    assert (await hub.call("get_node", node_id="b"))["status"] == "offline"
    assert await hub.call("update_heartbeat", node_id={"b": None}) == {"b": "online"}
    with pytest.raises(NotFound):
        await hub.call("update_heartbeat", node_id="nobody")
    with pytest.raises(InvalidRequest):
        await hub.call("update_heartbeat", node_id="a", usage={"cpu_usage": 250})


async def test_stale_nodes_are_taken_offline_on_demand_whatever_the_wall_clock_does(hub: Hub) -> None:
    await hub.call("add_node", node=[{"node_id": "a"}, {"node_id": "b"}])
    await hub.advance(5)
    await hub.call("update_heartbeat", node_id="b")
    hub.clock.jump_wall(86_400)
    assert await hub.call("check_stale_nodes") == []
    assert await hub.call("check_stale_nodes", timeout=4) == ["a"]
    hub.clock.jump_wall(-86_400)
    await hub.advance(5)
    assert await hub.call("check_stale_nodes", timeout=4.5) == ["b"]
    for bad in (0, -1, "10", True, float("nan")):
        with pytest.raises(InvalidRequest):
            await hub.call("check_stale_nodes", timeout=bad)


async def test_nobody_else_speaks_for_a_node_with_an_agent(hub: Hub, agent: HandAgent) -> None:
    await hub.advance(14)
    assert await hub.call("update_heartbeat", node_id="n1") == "online"
    await hub.advance(2)
    assert (await hub.call("get_node", node_id="n1"))["status"] == "offline"
    with pytest.raises(Conflict, match="register again"):
        await hub.call("update_heartbeat", node_id="n1")
    with pytest.raises(Conflict, match="what it offers"):
        await hub.call("update_node", node_id="n1", changes={"available_skills": ["x"]})


async def test_update_node_changes_slots_tags_skills_and_status(hub: Hub) -> None:
    await hub.call("add_node", node=[{"node_id": "a"}, {"node_id": "b"}])
    changes = {"max_concurrent_tasks": 9, "tags": ["x"], "available_skills": ["s"], "status": "maintenance"}
    version = await hub.call("update_node", node_id="a", changes=changes)
    assert version == (await hub.call("hello"))["version"]
    shown = await hub.call("get_node", node_id="a")
    assert {k: shown[k] for k in changes} == changes
    assert set(await hub.call("update_node", node_id={"a": {"tags": []}, "b": {"tags": ["y"]}})) == {"a", "b"}
    with pytest.raises(NotFound):
        await hub.call("update_node", node_id={"a": {"tags": ["z"]}, "nobody": {}})
    assert (await hub.call("get_node", node_id="a"))["tags"] == []
    await hub.check()


async def test_statuses_by_hand(hub: Hub, agent: HandAgent) -> None:
    await hub.call("add_node", node={"node_id": "a"})
    assert await hub.call("update_node_status", node_id="a", status="error") == "error"
    assert await hub.call("update_node_status", node_id={"a": "online", "n1": "maintenance"}) == {
        "a": "online",
        "n1": "maintenance",
    }
    with pytest.raises(Conflict):
        await hub.call("update_node_status", node_id="n1", status="offline")
    for bad in ("busy", "gone", 7):
        with pytest.raises(InvalidRequest):
            await hub.call("update_node_status", node_id="a", status=bad)
    for verb in ("get_node", "undrain"):
        with pytest.raises(NotFound):
            await hub.call(verb, node_id="nobody")
    with pytest.raises(InvalidRequest):
        await hub.call("update_node_status", node_id=["a"], status="online")
    with pytest.raises(InvalidRequest):
        await hub.call("find_nodes_by_skill", skill=7)
    await hub.advance(20)
    await hub.call("undrain", node_id="n1")
    with pytest.raises(InvalidTransition, match="its agent is not heard"):
        await hub.call("update_node_status", node_id="n1", status="online")


async def test_drain_takes_nothing_new_and_lets_what_runs_finish(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2")
    await hub.assign()
    [lease] = await agent.fetch()
    await agent.report(starts=(lease.token,))
    assert await hub.call("drain", node_id="n1", reason="new disk", by="me") == {"node_id": "n1", "running": 1}
    assert (await hub.assign()).placed == 0
    assert (await agent.poll(have=(lease.token,))).draining
    assert (await agent.report(agent.outcome(lease.token))).accepted == [lease.token]
    await hub.restart()
    await agent.register()
    assert (await hub.call("get_node", node_id="n1"))["held_reason"] == "new disk"
    assert await hub.call("undrain", node_id="n1") == {"node_id": "n1", "status": "online"}
    assert (await hub.assign()).placed == 1


async def test_a_drain_with_a_deadline_hands_back_what_still_runs(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    [lease] = await agent.fetch()
    await agent.report(starts=(lease.token,))
    await hub.call("drain", node_id="n1", deadline_s=4)
    await hub.advance(3)
    assert (await agent.poll(have=(lease.token,))).stops == []
    await hub.advance(2)
    [stop] = (await agent.poll(have=(lease.token,))).stops
    assert stop.why == "drained"
    await agent.report(agent.outcome(lease.token, Outcome.CANCELLED))
    task = await hub.call("get_task", task_id="t1")
    assert (task["status"], task["retry_count"], task["lost_count"]) == ("pending", 0, 0)


async def test_remove_is_refused_while_leases_live_unless_forced(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    [lease] = await agent.fetch()
    with pytest.raises(Conflict, match="still holds 1"):
        await hub.call("remove_node", node_id="n1")
    parked = hub.spawn(agent.poll(have=(lease.token,), timeout_s=2))
    await hub.clock.settle()
    assert await hub.call("remove_node", node_id=["n1"], force=True) == [True]
    assert (await parked).leases == []
    assert (await hub.call("get_task", task_id="t1"))["lost_count"] == 1
    assert (await agent.poll()).register_again
    assert (await agent.report(agent.outcome(lease.token))).register_again
    assert await hub.on_disk("SELECT COUNT(*) FROM nodes") == [(0,)]
    await hub.check()


async def test_removed_and_back_in_one_batch_is_there_after_a_restart(hub: Hub, agent: HandAgent) -> None:
    await asyncio.gather(hub.call("remove_node", node_id="n1"), agent.register())
    await hub.check()
    await hub.restart()
    assert [n["node_id"] for n in await hub.call("get_all_nodes")] == ["n1"]
