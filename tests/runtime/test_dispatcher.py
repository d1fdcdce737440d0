"""The dispatcher with a scripted coordinator: what it hears, what it proposes, and what it does when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openclaw_ray.config import Settings
from openclaw_ray.errors import InvalidRequest, NotConnected, OutcomeUnknown
from openclaw_ray.runtime.dispatcher import Dispatcher, load_strategy
from openclaw_ray.runtime.link import Link
from openclaw_ray.runtime.scrape import MetricsServer
from tests.support.clock import VirtualClock
from tests.support.fakes import DirectPort, HandAgent, Hub, ScriptedPort


def node(name: str = "n1", **more: Any) -> dict[str, Any]:
    return {
        "id": name, "status": "online", "accepts": True, "slots": 2, "seats": 0, "total": {"cpu": 4000}, "used": {},
        "offers": {"echo": "1"}, "tags": [], "prefilled": 0, "backlog_s": 0.0, "cpu_usage": 0.0, "memory_usage": 0.0,
        "disk_usage": 0.0, "last_heartbeat": 0.0, **more,
    }  # fmt: skip


def shape(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "runs": "echo", "skills": ["echo"], "optional": [], "resources": {}, "tags": [], "affinity": [],
        "strategy": None, "revision": None, "urgent": False, "waiting": 1, "head_rank": 1.0, "tail_rank": 1.0,
        "oldest": 0.0, "mean_run_s": None, **more,
    }  # fmt: skip


class Play:
    """A dispatcher and the watch replies that it will get; an exception is raised in its place."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.replies: list[Any] = []
        self.assigns: list[Any] = []
        self.port = ScriptedPort(watch=self.watch, assign=self.assign)
        self.dispatcher = Dispatcher(Settings(home=tmp_path, **settings), Link(self.port), self.clock)

    def watch(self, body: dict[str, Any]) -> Any:
        if not self.replies:
            return asyncio.get_running_loop().create_future()
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return {"epoch": 1, "cursor": 1, **reply}

    def assign(self, body: dict[str, Any]) -> Any:
        if self.assigns:
            raise self.assigns.pop(0)
        return {"placed": 1, "missed": 0}

    def rows(self) -> list[list[tuple[int, str, int, int]]]:
        """What was proposed for now, without standing orders."""
        return [
            [(r["shape"], r["node"], r["seated"], r["prefill"]) for r in body["rows"] if not r["credit"]]
            for body in self.port.bodies("assign")
        ]


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    made = Play(tmp_path)
    yield made
    await made.dispatcher.stop()


async def test_what_waits_is_placed_where_there_is_room(play: Play) -> None:
    play.replies = [{"cursor": 5, "nodes": [node()], "shapes": [shape(waiting=3)]}]
    await play.dispatcher.round()
    assert play.rows() == [[(1, "n1", 2, 0)]]
    asked = {"epoch": 0, "cursor": 0, "timeout_s": 5.0, "gather_s": 0.25, "strategy": "least_tasks"}
    assert play.port.bodies("watch")[0] == asked
    play.replies = [{"cursor": 6}]
    await play.dispatcher.round()
    assert len(play.rows()) == 1  # nothing free: no call
    assert play.port.bodies("watch")[1]["cursor"] == 5
    status = play.dispatcher.status()
    assert (status["passes"], status["nodes"], status["waiting"]) == (2, 1, 3)


async def test_pages_are_read_to_their_end_before_anything_is_placed(play: Play) -> None:
    play.replies = [{"cursor": 1, "more": True, "shapes": [shape()]}, {"cursor": 2, "nodes": [node()]}]
    await play.dispatcher.round()
    assert play.rows() == []
    await play.dispatcher.round()
    assert len(play.rows()) == 1


async def test_another_epoch_forgets_everything(play: Play) -> None:
    play.replies = [{"nodes": [node(), node("n2")], "shapes": [shape(9, waiting=0)]}, {"epoch": 2, "nodes": [node()]}]
    await play.dispatcher.round()
    await play.dispatcher.round()
    assert (list(play.dispatcher.planner.nodes), list(play.dispatcher.planner.shapes)) == (["n1"], [])
    assert play.dispatcher.status()["epoch"] == 2


async def test_what_is_gone_is_dropped(play: Play) -> None:
    play.replies = [
        {"nodes": [node()], "shapes": [shape(waiting=0)]},
        {"cursor": 2, "gone_nodes": ["n1", "unknown"], "gone_shapes": [1, 77]},
    ]
    await play.dispatcher.round()
    await play.dispatcher.round()
    assert (play.dispatcher.planner.nodes, play.dispatcher.planner.shapes) == ({}, {})


async def test_strategies_change_by_name_or_path(play: Play) -> None:
    assert play.dispatcher.set_strategy("best_fit") == "least_tasks"
    assert play.dispatcher.status()["strategy"] == "best_fit"
    play.dispatcher.set_strategy("openclaw_ray.core.placement:round_robin")
    placement = "openclaw_ray.core.placement"
    for bad in ("nonsense", f"{placement}:nothing", "no.such:thing", f"{placement}:WEIGHTS"):
        with pytest.raises(InvalidRequest, match="unknown strategy"):
            play.dispatcher.set_strategy(bad)
    assert play.dispatcher.strategy.endswith("round_robin")
    assert load_strategy("random") is not None


async def test_a_task_with_an_unknown_strategy_is_placed_by_the_clusters(play: Play) -> None:
    shapes = [shape(1, strategy="no.such:thing"), shape(2, strategy="openclaw_ray.core.placement:affinity")]
    play.replies = [{"nodes": [node()], "shapes": shapes}, {"cursor": 2, "shapes": shapes}]
    await play.dispatcher.round()
    await play.dispatcher.round()
    assert sorted(r[0] for r in play.rows()[0]) == [1, 2]


async def test_errors_back_off_on_the_clock(play: Play) -> None:
    play.replies = [NotConnected("away"), NotConnected("away"), {"nodes": [node()], "shapes": [shape()]}]
    play.dispatcher.start()
    await play.clock.settle()
    assert len(play.port.calls) == 1
    await play.clock.advance(0.4)
    assert len(play.port.calls) == 1
    await play.clock.advance(0.2)
    assert len(play.port.calls) == 2
    await play.clock.advance(0.5)
    assert len(play.rows()) == 1


async def test_after_a_plan_that_got_lost_everything_is_read_anew(play: Play) -> None:
    everything = {"cursor": 4, "nodes": [node()], "shapes": [shape(waiting=2)]}
    play.replies = [everything, everything]
    play.assigns = [OutcomeUnknown("no answer")]
    play.dispatcher.start()
    await play.clock.advance(1)
    assert play.rows() == [[(1, "n1", 2, 0)]] * 2
    assert [b["cursor"] for b in play.port.bodies("watch")] == [0, 0, 4]


async def test_a_bug_in_a_users_strategy_does_not_end_scheduling(play: Play) -> None:
    def broken(needs: Any, candidate: Any, seed: int) -> tuple[Any, ...]:
        raise ZeroDivisionError("a bug")

    everything = {"nodes": [node()], "shapes": [shape()]}
    play.replies = [everything, everything]
    play.dispatcher.planner.strategy = broken
    play.dispatcher.start()
    await play.clock.settle()
    assert play.rows() == []
    play.dispatcher.set_strategy("least_tasks")
    await play.clock.advance(1)
    assert len(play.rows()) == 1


async def test_totals_reach_the_metrics_page(play: Play) -> None:
    server = MetricsServer(play.dispatcher, "2.55")
    totals = {"counters": {"tasks_submitted_total": [[["echo"], [3.0]]]}, "gauges": {"state_epoch": 4}}
    play.replies = [{"totals": totals}]
    await play.dispatcher.round()
    text = server.text()
    assert 'openclaw_tasks_submitted_total{skill="echo"} 3.0' in text
    assert "openclaw_state_epoch 4.0" in text
    server.serve("127.0.0.1", 0)
    assert server.address
    assert server.address.startswith("127.0.0.1:")
    other = MetricsServer(play.dispatcher, "2.55")
    other.serve("127.0.0.1", int(server.address.split(":")[1]))  # taken: said in the log, no more
    assert other.address is None
    other.close()
    server.close()


async def test_with_a_real_coordinator_tasks_flow_and_a_restart_of_either_loses_none(hub: Hub) -> None:
    agent = HandAgent(hub)
    await agent.register()
    port = DirectPort(hub)
    dispatcher = Dispatcher(hub.settings, Link(port), hub.clock)
    dispatcher.start()
    await hub.submit(*(f"t{i}" for i in range(5)))
    done = 0
    for i in range(40):
        await hub.advance(1)
        leases = await agent.fetch()
        await agent.report(*(agent.outcome(lease.token) for lease in leases))
        done += len(leases)
        if i == 1:
            await dispatcher.stop()
            dispatcher = Dispatcher(hub.settings, Link(port), hub.clock)
            dispatcher.start()
        if i == 2:
            await hub.submit(*(f"s{i}" for i in range(5)))
            await hub.restart()
            await agent.register()
        if done == 10:
            break
    stats = await hub.call("get_task_stats")
    assert (stats["completed"], stats["pending"]) == (10, 0)
    tasks = (await hub.call("tasks", limit=20))["tasks"]
    assert {(t["retry_count"], t["lost_count"]) for t in tasks} == {(0, 0)}
    await dispatcher.stop()
    await hub.check()
