"""Why a task stands where it stands, in each situation."""

from __future__ import annotations

from typing import Any

from openclaw_ray.core.types import Outcome
from tests.support.fakes import HandAgent, Hub


async def why(hub: Hub, task_id: str = "t1") -> dict[str, Any]:
    found: dict[str, Any] = await hub.call("why", task_id=task_id)
    return found


async def told(hub: Hub, task_id: str = "t1") -> tuple[str, list[str], str]:
    await hub.call("watch", timeout_s=0, strategy="best_fit")  # a scheduler lives
    found = await why(hub, task_id)
    return found["verdict"], found["reasons"], found["summary"]


async def test_no_node_has_the_skill(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", skill="paint")
    verdict, reasons, text = await told(hub)
    assert (verdict, reasons) == ("never", ["no_node_has_skill"])
    assert "no online node has skill paint" in text
    assert (await why(hub))["changes"] == ["offer paint on n1"]


async def test_room_priority_and_ahead(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2", "t3", "t4")
    await hub.assign(seated=2)
    verdict, reasons, text = await told(hub, "t4")
    assert (verdict, reasons[0]) == ("waits", "no_free_slot")
    assert "1 before it" in text
    assert "leased to n1" in (await told(hub, "t1"))[2]
    await hub.submit("big", resources={"cpu": 64})
    assert (await told(hub, "big"))[0] == "never"
    assert (await why(hub, "big"))["changes"] == ["ask for 4 cpu instead of 64"]


async def test_the_scheduler_is_away_or_behind(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    assert (await why(hub))["reasons"] == ["scheduler_behind"]  # none has ever been heard
    assert (await told(hub))[1] == ["scheduler_behind"]  # it lives, and will place it
    assert (await why(hub))["strategy"] == "best_fit"
    await hub.advance(5)
    assert (await why(hub))["reasons"] == ["scheduler_behind"]


async def test_running_stopping_and_ended(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    [lease] = await agent.fetch()
    await agent.report(starts=(lease.token,))
    assert "t1 runs on n1" in (await told(hub))[2]
    await hub.call("drain", node_id="n1", deadline_s=1)
    await hub.advance(2)
    assert (await told(hub))[1] == ["stopping"]
    await agent.report(agent.outcome(lease.token, Outcome.FAILED, permanent=True))
    verdict, _, text = await told(hub)
    assert verdict == "ended"
    assert text == "t1 has ended: failed: so it was"
    await hub.submit("t2")
    await hub.call("undrain", node_id="n1")
    await agent.run()
    assert (await told(hub, "t2"))[2] == "t2 has ended: completed"


async def test_backoff_dependency_delay_and_hand(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await agent.run(outcome=Outcome.FAILED)
    verdict, reasons, text = await told(hub)
    assert (verdict, reasons[0]) == ("waits", "backoff")
    assert "next attempt in 1 s" in text
    await hub.submit("t2", after=["t1"])
    assert "waits for t1" in (await told(hub, "t2"))[2]
    await hub.submit("t3", not_before=hub.instant(60))
    assert (await told(hub, "t3"))[1][0] == "not_yet"
    assert (await why(hub, "t3"))["starts_in_s"] == 60
    hand = await hub.call("add_task", task={"name": "x"})
    assert "a program of its own has to start it" in (await told(hub, hand))[2]


async def test_nodes_that_are_away(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", required_tags=["gpu"])
    assert (await told(hub))[1] == ["excluded"]
    await hub.submit("t2")
    await hub.call("drain", node_id="n1")
    assert (await told(hub, "t2"))[1] == ["node_draining"]
    await hub.advance(20)
    assert (await told(hub, "t2"))[1] == ["node_offline"]
