"""Waiting for results: one session per client, every call may be repeated, nothing is told twice or never."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import Unavailable
from openclaw_ray.protocol import ResultsReply
from openclaw_ray.runtime import sessions as module
from openclaw_ray.runtime.sessions import Sessions
from tests.support.fakes import HandAgent, Hub


def ended(reply: ResultsReply) -> list[str]:
    assert reply.known
    return [task.task_id for task in reply.ended]


async def ask(hub: Hub, n: int, *add: str, timeout_s: float = 0.0, **more: Any) -> ResultsReply:
    reply: ResultsReply = await hub.call("results", session="s", n=n, add=list(add), timeout_s=timeout_s, **more)
    return reply


async def test_a_waiting_call_returns_when_a_task_ends(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2")
    waiting = hub.spawn(ask(hub, 1, "t1", "t2", timeout_s=30))
    await hub.idle()
    assert not waiting.done()
    await agent.run(result='{"x":1}')
    [task] = (await waiting).ended
    assert (task.task_id, task.status, json.loads(task.result or ""), task.attempt) == ("t1", "completed", {"x": 1}, 1)
    await agent.run(outcome=Outcome.FAILED, permanent=True)
    [task] = (await ask(hub, 2)).ended
    assert (task.status, json.loads(task.error or "")["kind"]) == ("failed", "failed")


async def test_what_ended_before_is_read_from_disk(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2")
    await agent.run()
    reply = await ask(hub, 1, "t1", "t2", "nobody")
    assert (ended(reply), reply.missing) == (["t1"], ["nobody"])
    assert reply.ended[0].node_id == "n1"


async def test_a_reply_is_repeated_until_the_next_call_acknowledges_it(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await agent.run()
    assert ended(await ask(hub, 1, "t1")) == ["t1"]
    assert ended(await ask(hub, 1, "t1")) == ["t1"]
    assert ended(await ask(hub, 2)) == []
    assert ended(await ask(hub, 1)) == []  # an old one, late


async def test_a_doubled_call_gives_both_the_same_answer(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    both = [hub.spawn(ask(hub, 1, "t1", timeout_s=30)) for _ in range(2)]
    await hub.idle()
    await agent.run()
    assert [ended(reply) for reply in await asyncio.gather(*both)] == [["t1"], ["t1"]]
    assert ended(await ask(hub, 1)) == ["t1"]


async def test_a_newer_call_takes_over_a_parked_one(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    old = hub.spawn(ask(hub, 1, "t1", timeout_s=30))
    await hub.idle()
    new = hub.spawn(ask(hub, 2, timeout_s=30))
    assert ended(await old) == []
    await agent.run()
    assert ended(await new) == ["t1"]


async def test_an_empty_wait_ends_with_its_time(hub: Hub) -> None:
    await hub.submit("t1")
    waiting = hub.spawn(ask(hub, 1, "t1", timeout_s=3))
    await hub.advance(2.5)
    assert not waiting.done()
    await hub.advance(1)
    assert ended(await waiting) == []


async def test_a_session_that_nobody_knows_says_so(hub: Hub) -> None:
    assert not (await ask(hub, 2)).known
    await hub.submit("t1")
    await ask(hub, 1, "t1")
    await hub.restart()
    assert not (await ask(hub, 2)).known


async def test_dropped_tasks_are_not_told(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2", "t3")
    await ask(hub, 1, "t1", "t2")
    await agent.run()
    await ask(hub, 2, "t3", drop=["t1", "t2"])
    await agent.run(seated=2)
    assert ended(await ask(hub, 3)) == ["t3"]
    assert hub.office.sessions.find("s").held_bytes == 0  # type: ignore[union-attr]


async def test_big_results_come_in_pages_and_from_disk(hub: Hub, agent: HandAgent) -> None:
    ids = [f"t{i}" for i in range(6)]
    await hub.submit(*ids)
    await ask(hub, 1, *ids)
    big = json.dumps("x" * (3_500_000))
    for _ in range(3):
        await agent.run(seated=2, result=big)
    found = []
    for n in range(2, 9):
        reply = await ask(hub, n)
        assert sum(len(t.result or "") for t in reply.ended) <= 3 * len(big)
        found += ended(reply)
    assert sorted(found) == ids
    assert hub.office.sessions.find("s").held_bytes == 0  # type: ignore[union-attr]


async def test_a_failed_read_loses_no_result(hub: Hub, agent: HandAgent, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "HELD_BYTES_MAX", 0)
    await hub.submit("t1")
    await ask(hub, 1, "t1")
    await agent.run()
    real = hub.office.store

    class Slow:
        async def read(self, fn: Any) -> Any:
            raise Unavailable("took too long", retry_after=1.0)

    hub.office.store = Slow()  # type: ignore[assignment]
    for _ in range(2):
        try:
            await ask(hub, 2)
        except Unavailable:
            hub.office.store = real
    assert ended(await ask(hub, 2)) == ["t1"]


async def test_a_task_submitted_while_its_wait_is_read_is_awaited(hub: Hub, agent: HandAgent) -> None:
    _, reply = await asyncio.gather(hub.submit("t1"), ask(hub, 1, "t1"))
    assert (ended(reply), reply.missing) in (([], []), ([], ["t1"]))
    if not reply.missing:
        await agent.run()
        assert ended(await ask(hub, 2)) == ["t1"]


def test_idle_sessions_make_room(monkeypatch: Any) -> None:
    sessions = Sessions()
    sessions.create("old", 0.0)
    sessions.await_tasks("old", ["t1", "t2"])
    sessions.create("young", 100.0)
    sessions.await_tasks("young", ["t1"])
    sessions.create("new", module.IDLE_S + 1)
    assert sessions.find("old") is None
    assert sessions.find("young") is not None
    assert (sessions.awaited("t1"), sessions.awaited("t2")) == (True, False)
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    sessions.create("more", module.IDLE_S + 1)
    assert sessions.find("young") is None
    assert not sessions.awaited("t1")
