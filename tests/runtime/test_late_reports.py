"""Refused late outcomes: kept as evidence, told with their attempt, and no more than that (I9, I12)."""

from __future__ import annotations

from typing import Any

import pytest

from openclaw_ray.client.story import story_of
from openclaw_ray.core.types import Outcome
from openclaw_ray.storage.late_reports import PER_TASK_MAX
from tests.support.fakes import HandAgent, Hub


async def lost_and_redone(hub: Hub, agent: HandAgent, result: str = '"theirs"') -> int:
    """A task whose first node fell silent and whose second one completed it; answers the first token."""
    other = HandAgent(hub, "n2")
    await other.register()
    await hub.submit("t1")
    await hub.assign("n1")
    [lease] = await agent.fetch()
    await agent.report(starts=(lease.token,))
    for _ in range(9):
        await hub.advance(2)
        await other.poll()
    await hub.assign("n2")
    [second] = await other.fetch()
    await other.report(other.outcome(second.token, result=result))
    return lease.token


async def late(hub: Hub, task_id: str = "t1") -> list[list[dict[str, Any]]]:
    """What was said too late, attempt by attempt."""
    return [attempt["late"] for attempt in (await hub.call("history", task_id=task_id))["attempts"]]


@pytest.mark.parametrize(("result", "same"), [('"mine"', False), ('"theirs"', True)])
async def test_a_late_result_is_refused_and_remembered(hub: Hub, agent: HandAgent, result: str, same: bool) -> None:
    token = await lost_and_redone(hub, agent)
    assert (await agent.report(agent.outcome(token, result=result))).stale == [token]
    [[found], []] = await late(hub)
    assert found["same_result"] is same
    assert (found["node_id"], found["incarnation"], found["outcome"]) == ("n1", 1, "completed")
    assert (found["why"], found["bytes"], len(found["sha256"])) == ("no such lease", len(result), 64)
    assert (await hub.call("get_task", task_id="t1"))["result"] == "theirs"
    history = await hub.call("history", task_id="t1")
    [line] = [x for x in story_of(history["events"], history["attempts"]) if "refused" in x]
    assert "(attempt 1) on n1 because: completed came too late, no such lease" in line
    assert ("another result" in line) is not same
    await hub.restart()
    assert await late(hub) == [[found], []]
    await hub.check()


async def test_what_is_said_again_is_no_evidence(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2", max_retries=0)
    await hub.assign("n1", seated=2)
    token, failing = [lease.token for lease in await agent.fetch()]
    good, bad = agent.outcome(token), agent.outcome(failing, Outcome.FAILED)
    assert (await agent.report(good, bad)).accepted == [token, failing]
    assert (await agent.report(good, bad)).stale == [token, failing]
    assert [await late(hub, t) for t in ("t1", "t2")] == [[[]], [[]]]
    assert (await agent.report(agent.outcome(token, result="2"))).stale == [token]  # the same attempt, another word
    [[found]] = await late(hub)
    assert found["same_result"] is False


async def test_a_result_after_a_cancel_is_evidence_and_the_stop_itself_is_not(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2")
    await hub.assign("n1", seated=2)
    first, second = [lease.token for lease in await agent.fetch()]
    await agent.report(starts=(first, second))
    await hub.call("cancel", ids=["t1", "t2"])
    await agent.report(agent.outcome(first), agent.outcome(second, Outcome.CANCELLED))
    [[found]] = await late(hub, "t1")
    assert (found["why"], found["same_result"]) == ("task ended", None)
    assert await late(hub, "t2") == [[]]


async def test_foreign_tokens_leave_nothing_and_evidence_is_bounded(hub: Hub, agent: HandAgent) -> None:
    token = await lost_and_redone(hub, agent)
    await agent.report(*(agent.outcome(t) for t in (777, 778)))
    for i in range(PER_TASK_MAX + 5):
        await agent.report(agent.outcome(token, result=str(i)))
        await agent.report(agent.outcome(token, result=str(i)))
    assert [len(x) for x in await late(hub)] == [PER_TASK_MAX, 0]
    assert await hub.on_disk("SELECT COUNT(*) FROM late_reports") == [(PER_TASK_MAX,)]
    stale = (await hub.call("metrics"))["counters"]["stale_reports_total"]
    assert sum(value[0] for _, value in stale) == 2 + 2 * (PER_TASK_MAX + 5)
    await hub.call("remove_task", task_id="t1")
    assert await hub.on_disk("SELECT COUNT(*) FROM late_reports") == [(0,)]
    await hub.check()


async def test_outcomes_of_a_spool_that_come_too_late_are_kept(hub: Hub, agent: HandAgent) -> None:
    token = await lost_and_redone(hub, agent)
    agent.name = "another-process"
    await agent.register(outcomes=[agent.outcome(token, result='"mine"')])
    [[found], []] = await late(hub)
    assert (found["outcome"], found["same_result"]) == ("completed", False)
