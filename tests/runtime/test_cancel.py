"""Cancelling: what is answered is what is kept, whatever else is in the same commit."""

from __future__ import annotations

import asyncio

import pytest

from openclaw_ray.core.types import Outcome
from tests.support.fakes import HandAgent, Hub


async def running(hub: Hub) -> tuple[HandAgent, int]:
    agent = HandAgent(hub)
    await agent.register()
    await hub.submit("t1", retries=0)
    await hub.assign()
    [lease] = await agent.fetch()
    await agent.report(starts=(lease.token,))
    return agent, lease.token


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.FAILED])
async def test_a_cancel_that_shares_its_commit_with_an_end_answers_that_end(hub: Hub, outcome: Outcome) -> None:
    agent, token = await running(hub)
    report = agent.report(agent.outcome(token, outcome))
    _, answer = await asyncio.gather(report, hub.call("cancel", ids=["t1"]))
    assert answer == {"tasks": {"t1": outcome.value}}
    assert await hub.state_of("t1") == outcome.value


async def test_two_cancels_in_one_commit_agree(hub: Hub) -> None:
    await hub.submit("t1")
    answers = await asyncio.gather(hub.call("cancel", ids=["t1"]), hub.call("cancel", ids=["t1", "t1"]))
    assert answers == [{"tasks": {"t1": "cancelled"}}] * 2
