"""Quarantine as the coordinator carries it out: told, kept over a restart, ended by time or by the owner."""

from __future__ import annotations

from openclaw_ray.core.types import Outcome
from tests.support.fakes import HandAgent, Hub

NO_CODE = {"outcome": Outcome.LOST, "node_caused": True, "error": {"kind": "no_code", "message": "not here"}}


async def quarantined(hub: Hub) -> int:
    counters = (await hub.call("metrics"))["counters"]
    return int(sum(value[0] for _, value in counters.get("node_quarantines_total", [])))


async def test_a_sick_node_is_shown_with_reason_and_time_and_comes_back_by_itself(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("bad", max_lost=9)
    for _ in range(3):
        await agent.run(**NO_CODE)
        await hub.advance(1)
        await agent.poll()
        await hub.advance(1)
        await agent.poll()
    node = await hub.call("get_node", node_id="n1")
    assert (node["status"], node["quarantines"]) == ("error", 1)
    assert node["quarantine_reason"] == "3 failures of its own, the last: could not run what it offers (no_code)"
    assert hub.instant(26) < node["quarantined_until"] < hub.instant(31)
    assert (await hub.call("get_task", task_id="bad"))["retry_count"] == 0
    assert (await hub.call("get_node_stats"))["error"] == 1
    metrics = await hub.call("metrics")
    assert metrics["gauges"]["nodes"]["error"] == 1
    assert metrics["counters"]["node_quarantines_total"] == [[["refused"], [1.0]]]
    await hub.check()

    await hub.advance(4)
    why = await hub.call("why", task_id="bad")
    assert why["reasons"][-1] == "node_quarantined"
    assert "quarantined for" in why["nodes"][0]["verdict"]
    assert why["changes"] == ["openclaw-ray undrain n1"]
    for _ in range(14):
        await agent.poll()
        await hub.advance(2)
    assert (await hub.call("get_node", node_id="n1"))["status"] == "online"
    await agent.run()
    assert await hub.state_of("bad") == "completed"
    await hub.check()


async def test_a_quarantine_goes_on_over_a_restart_and_ends_in_its_time(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("bad", max_lost=9)
    for _ in range(3):
        await agent.run(**NO_CODE)
        for _ in range(4):
            await agent.poll()
            await hub.advance(1)
    until = (await hub.call("get_node", node_id="n1"))["quarantined_until"]
    await hub.restart()
    await agent.register()
    node = await hub.call("get_node", node_id="n1")
    assert (node["status"], node["quarantined_until"]) == ("error", until)
    assert await quarantined(hub) == 1
    await hub.check()
    while hub.instant(0) <= until:
        await agent.poll()
        await hub.advance(2)
    assert (await hub.call("get_node", node_id="n1"))["status"] == "online"


async def test_undrain_ends_a_quarantine(hub: Hub, agent: HandAgent) -> None:
    for _ in range(3):
        await hub.call("node_gone", node_id="n1")
        await agent.register()
    assert (await hub.call("get_node", node_id="n1"))["status"] == "error"
    assert (await hub.call("undrain", node_id="n1"))["status"] == "online"
    node = await hub.call("get_node", node_id="n1")
    assert (node["quarantined_until"], node["quarantine_reason"], node["faults"]) == (None, None, 0)
    await hub.check()


async def test_goodbyes_are_no_failures(hub: Hub, agent: HandAgent) -> None:
    for _ in range(4):
        await hub.call("node_gone", node_id="n1", reason="the cluster goes down", incarnation=agent.incarnation)
        await agent.register()
    node = await hub.call("get_node", node_id="n1")
    assert (node["status"], node["faults"]) == ("online", 0)


async def test_a_clock_that_was_set_back_does_not_prolong_a_quarantine(hub: Hub, agent: HandAgent) -> None:
    for _ in range(3):
        await hub.call("node_gone", node_id="n1")
        await agent.register()
    hub.clock.jump_wall(-1_000_000)
    await hub.restart()
    node = hub.office.state.nodes["n1"]
    assert node.quarantined_until - hub.clock.now().wall <= hub.settings.quarantine_max_s
