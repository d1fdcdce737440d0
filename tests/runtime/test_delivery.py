"""Register, poll, report: a lease is repeated until it is known, and every report may be repeated."""

from __future__ import annotations

import asyncio

import pytest

from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import Conflict, StateRolledBack, VersionMismatch
from openclaw_ray.protocol import PollReply
from tests.support.fakes import REVISION, HandAgent, Hub


async def test_the_whole_life_of_a_task(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", params={"n": 3}, timeout=9, retries=1)
    parked = hub.spawn(agent.poll(timeout_s=2))
    await hub.clock.settle()
    assert (await hub.assign()).placed == 1
    [lease] = (await parked).leases  # the parked poll returns at once
    assert (lease.task_id, lease.attempt, lease.params, lease.timeout_s) == ("t1", 1, '{"n":3}', 9)
    assert (lease.revision, lease.alone) == (REVISION, False)
    await hub.advance(1)
    await agent.report(starts=(lease.token,), progress=[{"token": lease.token, "done": 1, "total": 2, "text": "half"}])
    assert await hub.state_of("t1") == "running"
    assert (await hub.call("get_task", task_id="t1"))["progress"] == {"done": 1.0, "total": 2.0, "text": "half"}
    await hub.advance(1)
    failed = agent.outcome(lease.token, Outcome.FAILED, log_tail="oops", exit_status=3)
    assert (await agent.report(failed)).accepted == [lease.token]
    assert (await hub.call("get_task", task_id="t1"))["retry_at"] is not None
    await hub.advance(1)
    await agent.poll()
    await hub.assign()
    [again] = await agent.fetch()
    assert (again.attempt, again.token > lease.token) == (2, True)
    await agent.report(agent.outcome(again.token, result='{"ok":true}', peak_memory=5), starts=(again.token,))

    shown = await hub.call("history", task_id="t1")
    task, attempts, events = shown["task"], shown["attempts"], shown["events"]
    assert (task["status"], task["result"], task["retry_count"], task["progress"]) == (
        "completed", {"ok": True}, 1, None,
    )  # fmt: skip
    assert [(a["attempt"], a["outcome"], a["node_id"]) for a in attempts] == [
        (1, "failed", "n1"),
        (2, "completed", "n1"),
    ]
    assert (attempts[0]["log_tail"], attempts[0]["exit_status"]) == ("oops", 3)
    assert (attempts[1]["peak_memory"], attempts[1]["revision"]) == (5, REVISION)
    assert [e["what"] for e in events] == [
        "submitted", "scheduled", "running", "pending", "scheduled", "running", "completed",
    ]  # fmt: skip
    assert attempts[0]["started_at"] > attempts[0]["leased_at"]
    stale = (await hub.call("metrics"))["counters"].get("stale_reports_total", [])
    assert stale == []  # a start that came with its outcome is no late report
    await hub.check()


async def test_a_lease_is_repeated_until_have_names_it(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    first = await agent.fetch()
    assert await agent.fetch() == first  # the first reply may have been lost
    [lease] = first
    assert (await agent.poll(have=(lease.token,))).leases == []
    assert (await agent.poll(have=(lease.token,))).leases == []


async def test_a_lease_is_delivered_when_a_report_names_it(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    [lease] = await agent.fetch()
    await agent.report(starts=(lease.token,))
    assert await agent.fetch() == []


async def test_an_old_poll_number_carries_nothing(hub: Hub, agent: HandAgent) -> None:
    await agent.poll(n=5)
    await hub.submit("t1")
    await hub.assign()
    for n in (5, 3):
        assert (await agent.poll(n=n)).leases == []
    assert len((await agent.poll(n=6)).leases) == 1


async def test_a_parked_poll_that_was_superseded_hands_out_nothing(hub: Hub, agent: HandAgent) -> None:
    old = hub.spawn(agent.poll(timeout_s=2))
    await hub.clock.settle()
    new = hub.spawn(agent.poll(timeout_s=2))
    await hub.clock.settle()
    assert (await old).leases == []
    await hub.submit("t1")
    await hub.assign()
    assert len((await new).leases) == 1


async def test_a_poll_superseded_while_it_reads_hands_out_nothing(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.restart()  # its parameters are on disk only: the reply has to read them
    await agent.register()
    await hub.assign()
    bodies = [agent.poll_body(), agent.poll_body()]
    older, newer = await asyncio.gather(*(hub.call("poll", **body) for body in bodies))
    assert ([x.task_id for x in older.leases], [x.task_id for x in newer.leases]) == ([], ["t1"])


async def test_an_idle_poll_is_answered_after_the_interval(hub: Hub, agent: HandAgent) -> None:
    parked = hub.spawn(agent.poll(timeout_s=60))
    await hub.advance(1.5)
    assert not parked.done()
    await hub.advance(1)
    reply: PollReply = await parked
    assert (reply.leases, reply.register_again, reply.interval_s) == ([], False, 2.0)


async def test_unknown_incarnations_must_register(hub: Hub, agent: HandAgent) -> None:
    agent.incarnation += 1
    assert (await agent.poll()).register_again
    assert (await agent.report()).register_again
    assert await hub.call("offers", node_id="n1", incarnation=99, offers=[]) == {"register_again": True}
    stranger = HandAgent(hub, "nobody")
    assert (await stranger.poll()).register_again


async def test_a_report_twice_is_harmless(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    [lease] = await agent.fetch()
    outcome = agent.outcome(lease.token, result='"first"')
    first, second = await asyncio.gather(agent.report(outcome), agent.report(outcome))
    assert (first.accepted, second.stale) == ([lease.token], [lease.token])
    await agent.report(agent.outcome(lease.token, result='"second"'))
    assert (await hub.call("get_task", task_id="t1"))["result"] == "first"
    assert (await hub.call("get_node", node_id="n1"))["successful_tasks"] == 1


async def test_late_and_foreign_reports_change_nothing_and_are_counted(hub: Hub, agent: HandAgent) -> None:
    other = HandAgent(hub, "n2")
    await other.register()
    await hub.submit("t1")
    await hub.assign()
    [lease] = await agent.fetch()
    before = (await hub.call("hello"))["version"]
    assert (await other.report(other.outcome(lease.token))).stale == [lease.token]
    assert (await agent.report(agent.outcome(999), starts=(998,))).stale == [999]
    assert (await hub.call("hello"))["version"] == before
    stale = (await hub.call("metrics"))["counters"]["stale_reports_total"]
    assert {tuple(k): v for k, v in stale} == {("other_node",): [1.0], ("no_lease",): [2.0]}


async def test_progress_of_others_is_not_shown(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2")
    await hub.assign(seated=2)
    one, two = await agent.fetch()
    other = HandAgent(hub, "n2")
    await other.register()
    say = [{"token": one.token, "done": 1, "total": None, "text": ""}]
    await other.report(progress=say)
    await hub.call("cancel", ids=["t1"])
    await agent.report(progress=say)
    assert (await hub.call("get_task", task_id="t1"))["progress"] is None
    assert hub.office.progress == {}
    assert two.task_id == "t2"


async def test_prefilled_leases_are_handed_out_and_move_up(hub: Hub, agent: HandAgent) -> None:
    await hub.submit(*(f"t{i}" for i in range(6)))
    await agent.run(seated=2, run_s=0.001)
    assert (await hub.assign(seated=2, prefill=2)).placed == 4
    leases = await agent.fetch()
    assert [x.task_id for x in leases] == ["t2", "t3", "t4", "t5"]
    assert leases[0].mean_run_s == pytest.approx(0.001)
    tokens = [x.token for x in leases]
    node = hub.office.state.nodes["n1"]
    assert (node.seats, len(node.leases)) == (2, 4)
    await agent.report(agent.outcome(tokens[0]), starts=(tokens[2],))
    assert (node.seats, len(node.leases)) == (2, 3)
    await hub.check()


async def test_a_plan_may_recall_what_has_not_started(hub: Hub, agent: HandAgent) -> None:
    await hub.submit(*(f"t{i}" for i in range(4)))
    await agent.run(run_s=0.001)
    shape = next(iter(hub.office.state.shapes))
    await hub.assign(seated=2, prefill=1)
    tokens = [x.token for x in await agent.fetch()]
    recall = {"shape": shape, "node": "n1", "seated": 0, "prefill": 5}
    await hub.call("assign", epoch=1, cursor=0, rows=[], recalls=[recall])
    [stop] = (await agent.poll(have=tuple(tokens))).stops
    assert (stop.token, stop.why) == (tokens[-1], "recall")
    await agent.report(agent.outcome(stop.token, Outcome.RELEASED))
    task = await hub.call("get_task", task_id="t3")
    assert (task["status"], task["retry_count"]) == ("pending", 0)


async def test_registrations_on_other_terms_are_refused(hub: Hub, agent: HandAgent) -> None:
    with pytest.raises(VersionMismatch):
        await agent.register(protocol=99)
    with pytest.raises(Conflict, match="belongs to cluster") as refused:
        await agent.register(cluster_id="another")
    assert refused.value.field == "cluster_id"
    with pytest.raises(StateRolledBack, match="has seen version"):
        await agent.register(newest_version=10_000)
    assert not (await agent.poll()).register_again  # still registered


async def test_the_version_an_agent_hears_is_on_disk(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    [lease] = await agent.fetch()
    calls = [agent.report(agent.outcome(lease.token)), *(hub.submit(f"s{i}") for i in range(3))]
    report, *_ = await asyncio.gather(*calls)
    seen = [report.version]
    submits = asyncio.gather(*(hub.submit(f"r{i}") for i in range(3)))
    await asyncio.sleep(0)
    seen.append((await agent.poll()).version)
    await submits
    assert seen == sorted(seen)
    [(on_disk,)] = await hub.on_disk("SELECT value FROM meta WHERE name = 'version'")
    assert seen[-1] <= int(on_disk)


async def test_a_stop_that_was_told_wakes_no_poll_again_but_is_repeated(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    [lease] = await agent.fetch()
    token = lease.token
    await hub.call("cancel", ids=["t1"])
    assert [s.token for s in (await agent.poll(have=(token,))).stops] == [token]
    parked = hub.park("poll", **agent.poll_body(have=(token,), timeout_s=1.0))
    await hub.idle()
    assert not parked.done()
    await hub.advance(1.0)
    assert [s.token for s in (await parked).stops] == [token]
