"""Time: what is due happens, on time, and not because this process was asleep."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import StorageFull
from openclaw_ray.runtime.ticker import Ticker
from openclaw_ray.runtime.waiting import until
from tests.support.clock import VirtualClock
from tests.support.fakes import HandAgent, Hub


async def test_a_retry_is_due_after_its_backoff(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    for delay in (1, 2, 4):
        await agent.run(outcome=Outcome.FAILED)
        await hub.advance(delay - 0.5)
        assert not any(s.waiting for s in hub.office.state.shapes.values())
        await hub.advance(0.5)
        await agent.poll()
    await agent.run(outcome=Outcome.FAILED)
    task = await hub.call("get_task", task_id="t1")
    assert (task["status"], task["retry_count"], task["error"]["exhausted"]) == ("failed", 3, "retries")


@pytest.mark.parametrize("restart", [False, True])
async def test_a_backoff_given_while_the_clock_was_ahead_is_bounded(hub: Hub, agent: HandAgent, restart: bool) -> None:
    await hub.submit("t1", "t2", not_before=hub.instant(-1))
    await hub.submit("t3", not_before=hub.instant(2_000_000))
    hub.clock.jump_wall(1_000_000)
    await hub.advance(2)  # a tick has seen it
    await agent.run(outcome=Outcome.FAILED)
    hub.clock.jump_wall(-1_000_000)
    if restart:
        await hub.restart()
    await hub.advance(301)
    assert sum(s.waiting for s in hub.office.state.shapes.values()) == 2  # and not the one that waits on purpose
    await hub.check()


async def test_a_deadline_ends_what_waits_and_stops_what_runs(hub: Hub, agent: HandAgent) -> None:
    end = hub.instant(2.25)
    await hub.submit("t1", "t2", deadline=end)
    await hub.assign()
    [lease] = await agent.fetch()
    await agent.report(starts=(lease.token,))
    await hub.advance(2)
    assert await hub.state_of("t2") == "pending"
    await hub.advance(0.5)
    assert [await hub.state_of(t) for t in ("t1", "t2")] == ["timeout", "timeout"]
    assert (await hub.call("get_task", task_id="t2"))["completed_at"].startswith("2023-11-14T22:13:22.25")
    [stop] = (await agent.poll(have=(lease.token,))).stops
    assert stop.why == "deadline"


async def test_a_deadline_that_comes_nearer_is_noticed(hub: Hub) -> None:
    await hub.advance(0.25)
    await hub.submit("t1", deadline=hub.instant(0.125))
    await hub.advance(0.25)
    assert await hub.state_of("t1") == "timeout"


async def test_not_before_is_kept_over_a_restart(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", not_before=hub.instant(10))
    await hub.restart()
    await agent.register()
    await hub.advance(9)
    assert not any(s.waiting for s in hub.office.state.shapes.values())
    await hub.advance(1.5)
    assert (await hub.assign()).placed == 1


async def test_observations_reach_the_disk_without_a_commit_for_each(hub: Hub, agent: HandAgent) -> None:
    before = hub.office.commit.commits
    usage = {"cpu_usage": 55.0}
    for _ in range(12):
        await hub.advance(4)
        agent.n += 1
        body = {"node_id": "n1", "incarnation": 1, "n": agent.n, "usage": usage, "timeout_s": 0}
        await hub.call("poll", **body)
    assert await hub.on_disk("SELECT cpu_usage FROM nodes") == [(55.0,)]
    assert hub.office.commit.commits - before <= 3


async def test_observations_of_a_refused_batch_are_written_later(hub: Hub, agent: HandAgent, tmp_path: Path) -> None:
    real = hub.office.store.commit

    async def full(batch: object) -> None:
        raise StorageFull("no room", retry_after=1.0)

    hub.office.store.commit = full  # type: ignore[method-assign]
    with pytest.raises(StorageFull):
        await hub.call("add_node", node={"node_id": "x"})
    hub.office.ledger.note_observation("n1")
    agent.n += 1
    await hub.call("poll", node_id="n1", incarnation=1, n=agent.n, usage={"cpu_usage": 7.0}, timeout_s=0)
    await hub.advance(0.5)
    hub.office.store.commit = real  # type: ignore[method-assign]
    for _ in range(9):
        await hub.advance(4)
        await agent.report()
    assert await hub.on_disk("SELECT cpu_usage FROM nodes WHERE node_id = 'n1'") == [(7.0,)]


async def test_a_refused_tick_is_tried_again(hub: Hub, agent: HandAgent) -> None:
    real = hub.office.store.commit
    refused = 0

    async def full(batch: object) -> None:
        nonlocal refused
        refused += 1
        raise StorageFull("no room", retry_after=1.0)

    await hub.submit("t1", deadline=hub.instant(1))
    hub.office.store.commit = full  # type: ignore[method-assign]
    await hub.advance(5)
    assert 2 <= refused <= 6  # once a sweep, no storm
    assert await hub.state_of("t1") == "pending"
    hub.office.store.commit = real  # type: ignore[method-assign]
    await hub.advance(2)
    assert await hub.state_of("t1") == "timeout"
    await hub.check()


async def test_a_stall_of_this_process_ends_no_lease(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    await agent.fetch()
    await hub.advance(10)
    hub.clock.stall(60)
    await hub.advance(1)
    assert await hub.state_of("t1") == "scheduled"
    await hub.advance(13)
    assert await hub.state_of("t1") == "scheduled"
    await hub.advance(2)
    assert await hub.state_of("t1") == "pending"


async def test_wall_clock_jumps_end_no_lease(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await hub.assign()
    for jump in (86_400 * 365, -86_400 * 3_650):
        hub.clock.jump_wall(jump)
        await hub.advance(3)
        await agent.report()
    assert await hub.state_of("t1") == "scheduled"


async def test_an_idle_cluster_wakes_once_a_sweep(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    real = Ticker._next

    def counted(self: Ticker) -> float:
        nonlocal looks
        looks += 1
        return real(self)

    monkeypatch.setattr(Ticker, "_next", counted)
    await hub.clock.advance(60)
    assert looks <= 62


async def test_until_waits_for_the_first_of_both() -> None:
    clock = VirtualClock()
    event = asyncio.Event()
    waiting = asyncio.ensure_future(until(clock, clock.now().mono + 1, event.wait()))
    await clock.advance(2)
    assert await waiting is False
    event.set()
    assert await until(clock, clock.now().mono + 1, event.wait()) is True

    async def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await until(clock, clock.now().mono + 1, broken())
