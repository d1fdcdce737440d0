"""What a scheduler is told: everything once, then what changed, in pages; and what becomes of its plans."""

from __future__ import annotations

from typing import Any

import pytest

from openclaw_ray.protocol import WatchReply
from openclaw_ray.runtime import feed as module
from openclaw_ray.runtime.feed import Feed
from tests.support.fakes import HandAgent, Hub


async def watch(hub: Hub, cursor: int = 0, epoch: int = 1, timeout_s: float = 0.0, **more: Any) -> WatchReply:
    reply: WatchReply = await hub.call("watch", epoch=epoch, cursor=cursor, timeout_s=timeout_s, **more)
    return reply


async def test_a_new_watcher_gets_everything_and_then_what_changed(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", "t2", priority=1)
    first = await watch(hub, epoch=0, strategy="best_fit")
    assert (first.epoch, first.more, [n.id for n in first.nodes]) == (1, False, ["n1"])
    [shape] = first.shapes
    assert (shape.runs, shape.waiting, shape.urgent) == ("echo", 2, False)
    assert first.nodes[0].total == {"cpu": 4000}
    assert first.totals is not None
    assert hub.office.strategy == "best_fit"
    waiting = hub.spawn(watch(hub, first.cursor, timeout_s=10))
    await hub.idle()
    assert not waiting.done()
    assert hub.office.scheduler_alive()
    await hub.submit("t3", priority=1)
    changed = await waiting
    assert ([s.waiting for s in changed.shapes], changed.nodes) == ([3], [])
    assert changed.totals is None  # not with every reply


async def test_a_watch_without_news_ends_with_its_time(hub: Hub) -> None:
    at = (await watch(hub)).cursor
    waiting = hub.spawn(watch(hub, at, timeout_s=5))
    await hub.advance(4.5)
    assert not waiting.done()
    await hub.advance(1)
    reply = await waiting
    assert (reply.cursor, reply.nodes, reply.shapes) == (at, [], [])
    assert reply.totals is not None


async def test_what_is_gone_is_told_and_then_forgotten(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    at = (await watch(hub)).cursor
    await hub.call("cancel", ids=["t1"])
    await hub.call("remove_node", node_id="n1")
    reply = await watch(hub, at)
    assert (reply.gone_nodes, reply.gone_shapes) == (["n1"], [1])
    assert (await watch(hub, at)).gone_nodes == ["n1"]  # the reply may have been lost
    assert (await watch(hub, reply.cursor)).gone_nodes == []
    assert (await watch(hub, at)).gone_nodes == []


async def test_a_new_watcher_of_an_empty_cluster_waits(hub: Hub, agent: HandAgent) -> None:
    """Its cursor must not stay behind changes that are not listed any more: it would ask without end."""
    await hub.submit("t1")
    await hub.call("cancel", ids=["t1"])
    await hub.call("remove_node", node_id="n1")
    first = await watch(hub)
    await watch(hub, first.cursor)
    again = await watch(hub)
    assert again.cursor == first.cursor > 0
    waiting = hub.spawn(watch(hub, again.cursor, timeout_s=5))
    await hub.idle()
    assert not waiting.done()


async def test_memory_follows_what_is_there_not_what_was(hub: Hub) -> None:
    cursor = 0
    for i in range(20):
        await hub.submit(f"t{i}", resources={"cpu": i + 1})
        await hub.call("cancel", ids=[f"t{i}"])
        cursor = (await watch(hub, cursor)).cursor
    await watch(hub, cursor)
    assert len(hub.office.feed._changes) == 0


async def test_pages(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    await hub.call("add_node", node=[{"node_id": f"n{i}"} for i in range(5)])
    seen, cursor, more = [], 0, True
    while more:
        reply = await watch(hub, cursor)
        seen += [n.id for n in reply.nodes]
        cursor, more = reply.cursor, reply.more
    assert seen == [f"n{i}" for i in range(5)]


async def test_a_cursor_of_another_start_reads_everything(hub: Hub, agent: HandAgent) -> None:
    at = (await watch(hub)).cursor
    await hub.restart()
    reply = await watch(hub, at + 100)
    assert (reply.epoch, [n.id for n in reply.nodes]) == (2, ["n1"])
    assert not reply.nodes[0].accepts  # its agent has to register first


async def test_a_plan_of_another_start_is_refused_whole(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    rows = [{"shape": 1, "node": "n1", "seated": 1, "prefill": 2}]
    reply = await hub.call("assign", epoch=7, cursor=0, rows=rows)
    assert (reply.placed, reply.missed) == (0, 3)
    assert await hub.state_of("t1") == "pending"


async def test_what_does_not_hold_is_missed_and_shown_again(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    at = (await watch(hub)).cursor
    rows = [{"shape": s, "node": n, "seated": 2} for s, n in ((1, "n1"), (1, "nobody"), (99, "n1"))]
    reply = await hub.call("assign", epoch=1, cursor=at, rows=rows)
    assert (reply.placed, reply.missed) == (1, 5)
    after = await watch(hub, at)
    assert [n.id for n in after.nodes] == ["n1"]
    assert 99 in after.gone_shapes
    assert "nobody" in after.gone_nodes
    counted = {tuple(k): v[0] for k, v in (await hub.call("metrics"))["counters"]["placements_total"]}
    assert counted == {("placed",): 1.0, ("raced",): 5.0}


async def test_prefilled_work_is_shown_as_backlog(hub: Hub, agent: HandAgent) -> None:
    await hub.submit(*(f"t{i}" for i in range(6)))
    await agent.run(run_s=0.01)
    await hub.assign(seated=2, prefill=2)
    [node] = (await watch(hub)).nodes
    assert (node.prefilled, node.seats, node.backlog_s) == (2, 2, pytest.approx(0.02))


async def test_news_gathers_while_no_task_waits_and_is_told_at_once_when_one_does(hub: Hub, agent: HandAgent) -> None:
    cursor = (await watch(hub)).cursor
    parked = hub.spawn(watch(hub, cursor, timeout_s=10, gather_s=1.0))
    await hub.clock.advance(4.0)  # longer than a scheduler may be unheard of
    await hub.call("update_node", node_id="n1", changes={"tags": ["x"]})
    await hub.clock.advance(0.5)
    assert not parked.done()
    assert hub.office.scheduler_alive()
    await hub.submit("t1")
    told = await parked
    assert [n.id for n in told.nodes] == ["n1"]
    assert [s.waiting for s in told.shapes] == [1]


async def test_several_watchers_are_woken(hub: Hub) -> None:
    feed = Feed(hub.office.state)
    waits = [hub.spawn(feed.wait(0)) for _ in range(3)]
    await hub.clock.settle()
    assert feed.watched
    hub.office.state.books.changed_nodes.add("x")
    feed.collect()
    for one in waits:
        await one
    assert not feed.watched
    assert feed.cursor == 1
