"""Tasks by handle: cancel, change, move by hand, remove, ask."""

from __future__ import annotations

import asyncio

import pytest

from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import Conflict, InvalidRequest, InvalidTransition, NotFound
from tests.support.fakes import HandAgent, Hub


async def test_cancel_of_a_waiting_task_is_final(hub: Hub) -> None:
    await hub.submit("t1")
    assert await hub.call("cancel", ids=["t1"], by="me", reason="no need") == {"tasks": {"t1": "cancelled"}}
    assert await hub.call("cancel", ids=["t1"]) == {"tasks": {"t1": "cancelled"}}
    shown = await hub.call("history", task_id="t1")
    assert shown["task"]["error"]["message"] == "no need"
    assert [(e["what"], e["by"]) for e in shown["events"]] == [("submitted", None), ("cancelled", "me")]


async def test_cancel_of_a_running_task_keeps_its_room_until_it_is_gone(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    [lease] = await agent.fetch()
    await agent.report(starts=(lease.token,))
    await hub.call("cancel", ids=["t1"])
    assert await hub.state_of("t1") == "cancelled"
    assert hub.office.state.nodes["n1"].seats == 1
    for _ in range(2):  # repeated until the token leaves `have`
        reply = await agent.poll(have=(lease.token,))
        assert [(s.token, s.why) for s in reply.stops] == [(lease.token, "cancelled")]
    late = await agent.report(agent.outcome(lease.token))  # it completed all the same
    assert late.stale == [lease.token]
    assert await hub.state_of("t1") == "cancelled"
    assert (await hub.call("get_task", task_id="t1"))["result"] is None
    assert hub.office.state.nodes["n1"].seats == 0
    assert (await agent.poll()).stops == []
    [attempt] = (await hub.call("history", task_id="t1"))["attempts"]
    assert attempt["outcome"] == "cancelled"
    await hub.check()


async def test_a_cancelled_lease_that_never_arrived_frees_its_room(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2")
    await hub.assign()
    await hub.call("cancel", ids=["t1"])
    reply = await agent.poll()
    assert (reply.leases, reply.stops) == ([], [])
    assert hub.office.state.nodes["n1"].seats == 0
    parked = hub.spawn(agent.poll(timeout_s=2))  # and nothing wakes the next poll again and again
    await hub.idle()
    assert not parked.done()
    await hub.check()


async def test_a_lease_taken_back_before_it_arrived_waits_again_uncharged(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    await hub.call("drain", node_id="n1")
    assert (await agent.poll()).leases == []
    task = await hub.call("get_task", task_id="t1")
    assert (task["status"], task["attempt"], task["retry_count"], task["lost_count"]) == ("pending", 1, 0, 0)
    await hub.check()


async def test_a_cancel_that_came_too_late_says_so(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2", group="g")
    await agent.run()
    assert await hub.call("cancel", ids=["t1", "t2"]) == {"tasks": {"t1": "completed", "t2": "cancelled"}}


async def test_cancel_by_group_and_refusals(hub: Hub) -> None:
    await hub.submit("t1", "t2", group="g")
    await hub.submit("t3")
    with pytest.raises(NotFound, match="nobody") as refused:
        await hub.call("cancel", ids=["t3", "nobody"])
    assert refused.value.field == "ids[1]"
    assert await hub.state_of("t3") == "pending"
    assert set((await hub.call("cancel", group="g"))["tasks"]) == {"t1", "t2"}
    assert await hub.call("cancel", group="empty") == {"tasks": {}}
    for body in ({}, {"ids": ["t3"], "group": "g"}):
        with pytest.raises(InvalidRequest):
            await hub.call("cancel", **body)


async def test_two_cancels_of_one_batch_agree(hub: Hub) -> None:
    await hub.submit("t1")
    both = await asyncio.gather(hub.call("cancel", ids=["t1"]), hub.call("cancel", ids=["t1"]))
    assert both == [{"tasks": {"t1": "cancelled"}}] * 2


async def test_update_changes_what_a_user_may_change(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2")
    changes = {"priority": 3, "name": "new", "timeout": 7, "affinity_tags": ["b"], "metadata": {"k": 1}}
    version = await hub.call("update_task", task_id="t2", changes=changes, by="me")
    assert version == (await hub.call("hello"))["version"]
    task = await hub.call("get_task", task_id="t2")
    assert {k: task[k] for k in changes} == changes
    await hub.assign(seated=2)  # another shape by now, so only t1 goes
    [lease] = await agent.fetch()
    assert lease.task_id == "t1"
    both = await hub.call("update_task", task_id={"t1": {"description": "d"}, "t2": {"required_tags": ["x"]}})
    assert set(both) == {"t1", "t2"}
    await hub.restart()
    assert (await hub.call("get_task", task_id="t2"))["required_tags"] == ["x"]
    await hub.check()


async def test_an_update_is_all_or_nothing_and_leaves_others_alone(hub: Hub) -> None:
    await hub.submit("t1", "t2")
    mixed = {"t1": {"priority": 0}, "nobody": {"priority": 0}}
    calls = (
        hub.call("update_task", task_id=mixed),
        hub.call("update_task", task_id="t2", changes={"priority": 1}),
        hub.call("update_task", task_id=mixed),
    )
    refused, done, also = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(refused, NotFound)
    assert isinstance(also, NotFound)
    assert isinstance(done, int)
    assert (await hub.call("get_task", task_id="t1"))["priority"] == 2
    assert (await hub.call("get_task", task_id="t2"))["priority"] == 1
    await hub.check()


async def test_thousands_of_refusals_in_one_batch_disturb_nobody(hub: Hub) -> None:
    await hub.submit("t1")
    bad = [hub.call("update_task", task_id={"t1": {"priority": 0}, "nobody": {}}) for _ in range(1_100)]
    *refused, good = await asyncio.gather(*bad, hub.submit("t2"), return_exceptions=True)
    assert all(isinstance(one, NotFound) for one in refused)
    assert good == [["t2", "pending", True]]


async def test_a_program_runs_its_own_task_by_status(hub: Hub) -> None:
    task = await hub.call("add_task", task={"name": "by hand"})
    await hub.call("add_node", node={"node_id": "desk"})
    await hub.call("update_task", task_id=task, changes={"status": "running", "assigned_node": "desk"}, by="prog")
    assert (await hub.call("get_task", task_id=task))["assigned_node"] == "desk"
    await hub.call("update_task", task_id=task, changes={"status": "pending"})
    await hub.call("update_task", task_id=task, changes={"status": "running"})
    await hub.restart()
    await hub.call("update_task", task_id=task, changes={"status": "completed", "result": {"n": 1}})
    shown = await hub.call("history", task_id=task)
    assert shown["task"]["result"] == {"n": 1}
    assert [a["outcome"] for a in shown["attempts"]] == ["released", "completed"]
    await hub.check()


async def test_by_hand_failures_carry_their_error(hub: Hub) -> None:
    for error, message in (("broke", "broke"), ({"a": 1}, '{"a":1}'), (None, "")):
        task = await hub.call("add_task", task={"name": "x"})
        await hub.call("update_task", task_id=task, changes={"status": "running"})
        await hub.call("update_task", task_id=task, changes={"status": "failed", "error": error})
        found = (await hub.call("get_task", task_id=task))["error"]
        assert (found["kind"], found["message"]) == ("by_hand", message)


async def test_illegal_statuses_are_refused_with_the_legal_ones(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2")
    with pytest.raises(InvalidTransition) as refused:
        await hub.call("update_task", task_id="t1", changes={"status": "completed"})
    assert refused.value.facts["legal"] == ["cancelled", "running"]
    await hub.assign()
    with pytest.raises(Conflict, match="holds task t1"):
        await hub.call("update_task", task_id="t1", changes={"status": "completed"})
    await hub.call("update_task", task_id="t1", changes={"status": "cancelled"})
    with pytest.raises(InvalidTransition):
        await hub.call("update_task", task_id="t1", changes={"status": "running"})
    with pytest.raises(Conflict, match="final"):
        await hub.call("update_task", task_id="t1", changes={"priority": 0})
    with pytest.raises(NotFound):
        await hub.call("update_task", task_id="nobody", changes={"priority": 0})
    for task_id, changes in ((["t1"], {}), ("t1", {"prio": 1}), ("t1", 7)):
        with pytest.raises(InvalidRequest):
            await hub.call("update_task", task_id=task_id, changes=changes)


async def test_remove_takes_ended_tasks_only_and_each_once(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2", "t3")
    await agent.run(outcome=Outcome.COMPLETED)
    with pytest.raises(Conflict, match="t2 is pending"):
        await hub.call("remove_task", task_id="t2")
    assert await hub.call("remove_task", task_id="nobody") is False
    twice = [hub.call("remove_task", task_id="t1"), hub.call("remove_task", task_id=["t1", "t1"]), hub.submit("t4")]
    assert await asyncio.gather(*twice) == [True, [False, False], [["t4", "pending", True]]]
    both = (hub.call("cancel", ids=["t3"]), hub.call("remove_task", task_id="t3"))
    assert (await asyncio.gather(*both))[1] is True  # cancelled and removed in one batch
    stats = await hub.call("get_task_stats")
    assert {k: v for k, v in stats.items() if v} == {"total": 2, "pending": 2}
    with pytest.raises(NotFound):
        await hub.call("get_task", task_id="t1")
    await hub.restart()
    assert await hub.call("get_task_stats") == stats


async def test_lists_are_paged_and_checked(hub: Hub) -> None:
    await hub.submit(*(f"t{i}" for i in range(5)), priority="low")
    await hub.submit("urgent", priority="critical", group="g")
    pending = await hub.call("get_pending_tasks", limit=2)
    assert [t["task_id"] for t in pending] == ["urgent", "t0"]
    by_status = await hub.call("get_tasks_by_status", status=["pending", "failed"], limit=10)
    assert (len(by_status["pending"]), by_status["failed"]) == (6, [])
    page = await hub.call("tasks", limit=4)
    rest = await hub.call("tasks", limit=4, before=page["next"])
    assert len(page["tasks"]) + len(rest["tasks"]) == 6
    assert rest["next"] is None
    assert [t["task_id"] for t in (await hub.call("tasks", group="g"))["tasks"]] == ["urgent"]
    assert [t["task_id"] for t in await hub.call("get_task", task_id=["t1", "t0"])] == ["t1", "t0"]
    for verb, body in (
        ("get_tasks_by_status", {"status": "done"}),
        ("get_pending_tasks", {"limit": 0}),
        ("get_task", {"task_id": "../x"}),
        ("tasks", {"limit": True}),
    ):
        with pytest.raises(InvalidRequest):
            await hub.call(verb, **body)
    for verb in ("get_task", "history", "why"):
        with pytest.raises(NotFound):
            await hub.call(verb, task_id="nobody")
