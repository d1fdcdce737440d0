"""Silence, restarts and replacements: what happens to the leases of a node."""

from __future__ import annotations

import pytest

from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import Conflict
from tests.support.fakes import HandAgent, Hub


async def leased(hub: Hub, agent: HandAgent, *ids: str, start: bool = False) -> list[int]:
    await hub.submit(*ids)
    await hub.assign(agent.node_id, seated=len(ids))
    tokens = [lease.token for lease in await agent.fetch()]
    if start:
        await agent.report(starts=tuple(tokens))
    return tokens


async def test_the_task_of_a_silent_node_is_given_to_another_within_the_lease_time(hub: Hub, agent: HandAgent) -> None:
    other = HandAgent(hub, "n2")
    await other.register()
    [token] = await leased(hub, agent, "t1", start=True)
    for _ in range(8):
        await hub.advance(2)
        await other.poll()
    assert (await hub.call("get_node", node_id="n1"))["status"] == "offline"
    await hub.advance(2)
    await hub.assign("n2")
    [lease] = await other.fetch()
    assert (lease.task_id, lease.attempt, lease.alone) == ("t1", 2, True)
    assert (await agent.poll()).register_again  # it wakes: all it has is late
    assert (await agent.report(agent.outcome(token))).stale == [token]
    await other.report(other.outcome(lease.token, result='"other"'))
    task = await hub.call("get_task", task_id="t1")
    assert (task["result"], task["lost_count"], task["retry_count"]) == ("other", 1, 0)
    await hub.check()


async def test_a_late_copy_of_a_registration_ends_nothing(hub: Hub, agent: HandAgent) -> None:
    first = await agent.register(n=7)
    [token] = await leased(hub, agent, "t1")
    assert await agent.register(n=7) == first  # it held nothing when it was sent
    with pytest.raises(Conflict, match="older"):
        await agent.register(n=6)
    assert (await agent.report(agent.outcome(token))).accepted == [token]
    assert (await agent.register(n=8)).incarnation == first.incarnation
    await hub.check()


async def test_polls_and_reports_keep_a_node_alive(hub: Hub, agent: HandAgent) -> None:
    for i in range(10):
        await hub.advance(4)
        await (agent.poll() if i % 2 else agent.report())
    assert (await hub.call("get_node", node_id="n1"))["status"] == "online"


async def test_after_a_restart_of_the_coordinator_live_runs_keep_their_leases(hub: Hub, agent: HandAgent) -> None:
    running, arrived, never = await leased(hub, agent, "t1", "t2", "t3") if agent.slots > 2 else (0, 0, 0)
    assert (running, arrived, never) == (0, 0, 0)
    agent.slots = 3
    await agent.register()
    running, arrived, never = await leased(hub, agent, "t1", "t2", "t3")
    await agent.report(starts=(running,))
    await hub.restart()
    assert (await agent.poll()).register_again
    before = agent.incarnation
    reply = await agent.register(holds=(running, arrived, 777))
    assert (agent.incarnation, reply.stops) == (before, [777])
    states = {t: await hub.call("get_task", task_id=t) for t in ("t1", "t2", "t3")}
    assert [s["status"] for s in states.values()] == ["running", "scheduled", "pending"]
    assert (states["t3"]["attempt"], states["t3"]["lost_count"]) == (1, 0)  # uncharged
    assert (await agent.report(agent.outcome(running))).accepted == [running]
    assert never
    await hub.check()


async def test_a_restart_alone_reruns_nothing_and_gives_a_full_lease_time(hub: Hub, agent: HandAgent) -> None:
    [token] = await leased(hub, agent, "t1", start=True)
    await hub.advance(14)
    await hub.restart()
    await hub.advance(14)
    await agent.register(holds=(token,))
    assert (await hub.call("get_task", task_id="t1"))["attempt"] == 1
    assert await hub.state_of("t1") == "running"


async def test_a_cancel_is_remembered_over_a_restart(hub: Hub, agent: HandAgent) -> None:
    [token] = await leased(hub, agent, "t1", start=True)
    await hub.call("cancel", ids=["t1"])
    await hub.restart()
    await agent.register(holds=(token,))
    assert [s.token for s in (await agent.poll(have=(token,))).stops] == [token]
    await agent.report(agent.outcome(token, Outcome.CANCELLED))
    await hub.check()
    assert hub.office.state.nodes["n1"].seats == 0


async def test_a_new_agent_process_loses_the_runs_of_the_old_one(hub: Hub, agent: HandAgent) -> None:
    [token] = await leased(hub, agent, "t1", start=True)
    await hub.advance(6)
    agent.name = "another-process"
    await agent.register()
    assert agent.incarnation == 2
    task = await hub.call("get_task", task_id="t1")
    assert (task["status"], task["lost_count"]) == ("pending", 1)
    assert (await agent.report(agent.outcome(token))).stale == [token]


async def test_a_new_agent_brings_the_outcomes_of_the_old_ones_spool(hub: Hub, agent: HandAgent) -> None:
    done, lost = await leased(hub, agent, "t1", "t2", start=True)
    await hub.advance(6)
    agent.name = "another-process"
    reply = await agent.register(outcomes=[agent.outcome(done), agent.outcome(888)])
    assert reply.settled == [done, 888]
    assert await hub.state_of("t1") == "completed"
    assert (await hub.call("get_task", task_id="t2"))["lost_count"] == 1
    assert lost
    await hub.check()


async def test_a_second_agent_is_refused_while_the_first_is_heard(hub: Hub, agent: HandAgent) -> None:
    second = HandAgent(hub)
    second.name = "second"
    for _ in range(5):
        await hub.advance(2)
        await agent.poll()
        hub.clock.jump_wall(3600)  # a wall clock says nothing about life
        with pytest.raises(Conflict, match="agent-of-n1"):
            await second.register()
    await hub.advance(5.5)  # silent for longer than two intervals
    await second.register()
    assert (await agent.poll()).register_again
    assert (await agent.report()).register_again
    with pytest.raises(Conflict, match="second"):
        await agent.register()


async def test_a_node_that_ray_calls_dead_ends_its_leases_at_once(hub: Hub, agent: HandAgent) -> None:
    [token] = await leased(hub, agent, "t1")
    assert await hub.call("node_gone", node_id="n1", incarnation=99) == {"gone": False}
    assert await hub.state_of("t1") == "scheduled"
    assert await hub.call("node_gone", node_id="n1") == {"gone": True}
    assert (await hub.call("get_task", task_id="t1"))["lost_count"] == 1
    assert (await agent.report(agent.outcome(token))).stale == [token]
    successor = HandAgent(hub)
    successor.name = "successor"
    await successor.register()  # at once: nobody waits for the dead
    with pytest.raises(Exception, match="nobody"):
        await hub.call("node_gone", node_id="nobody")


async def test_lost_once_too_often_is_a_failure_that_says_so(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", max_lost=1)
    for _ in range(2):
        await hub.advance(2)
        await agent.poll()
        await agent.run(outcome=Outcome.LOST)
    task = await hub.call("get_task", task_id="t1")
    assert (task["status"], task["error"]["exhausted"]) == ("failed", "lost")


async def test_lease_and_interval_grow_with_the_cluster(hub: Hub, agent: HandAgent) -> None:
    await hub.call("add_node", node=[{"node_id": f"m{i}"} for i in range(399)])
    reply = await agent.register()
    assert (reply.interval_s, reply.ttl_s) == (8.0, 45.0)
    await hub.advance(30)  # more than the lease time of a small cluster
    assert (await hub.call("get_node", node_id="n1"))["status"] == "online"
    await hub.advance(16)
    assert (await hub.call("get_node", node_id="n1"))["status"] == "offline"


async def test_what_an_owner_changed_holds_while_the_agent_declares_the_same(hub: Hub, agent: HandAgent) -> None:
    declared = (await hub.call("get_node", node_id="n1"))["max_concurrent_tasks"]
    await hub.call("update_node", node_id="n1", changes={"max_concurrent_tasks": declared + 3, "tags": ["mine"]})
    assert (await agent.poll()).slots == declared + 3
    await hub.restart()
    await agent.register()
    node = await hub.call("get_node", node_id="n1")
    assert (node["max_concurrent_tasks"], node["tags"]) == (declared + 3, ["mine"])
    await agent.register(slots=declared + 1)
    assert (await hub.call("get_node", node_id="n1"))["max_concurrent_tasks"] == declared + 1
