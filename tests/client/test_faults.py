"""Lost, doubled and broken calls, and a coordinator that restarts: one task each, and no end is missed."""

from __future__ import annotations

import asyncio
import threading

import pytest

import openclaw_ray as oc
from openclaw_ray.client import AsyncCluster, Cluster
from tests.client.conftest import Home
from tests.support.inprocess import Wire
from tests.support.wait import wait_until_async


def total(cluster: Cluster) -> int:
    return int(cluster.call("get_task_stats")["total"])


@pytest.mark.parametrize("fault", ["lose_replies", "lose_requests", "double", "abandon"])
def test_a_submit_that_is_repeated_makes_one_task(cluster: Cluster, wire: Wire, fault: str) -> None:
    getattr(wire, fault)("submit", 2)
    task = cluster.submit("echo", {"a": 1})
    assert task.result(10) == {"a": 1}
    assert total(cluster) == 1


@pytest.mark.parametrize("fault", ["lose_replies", "lose_requests", "double", "abandon"])
def test_a_lost_or_doubled_wait_misses_no_end(cluster: Cluster, wire: Wire, fault: str) -> None:
    getattr(wire, fault)("results", 3)
    tasks = cluster.map("echo", [{"i": i} for i in range(50)])
    assert oc.gather(tasks, timeout=10) == [{"i": i} for i in range(50)]


@pytest.mark.parametrize("fault", ["lose_replies", "lose_requests", "double", "abandon"])
def test_a_parked_wait_that_breaks_misses_no_end(home: Home, cluster: Cluster, wire: Wire, fault: str) -> None:
    getattr(wire, fault)("results", 2)
    tasks = cluster.map("held", [{"i": i} for i in range(4)])
    seen = oc.as_completed(tasks, timeout=10)
    for _ in range(4):
        home.gate.wait_entered()
    threading.Timer(0.1, home.gate.open).start()  # when the wait is parked
    assert sorted(task.params["i"] for task in seen) == [0, 1, 2, 3]


def test_an_unknown_outcome_names_the_tasks_and_may_be_repeated(home: Home) -> None:
    wire = home.wire()
    with Cluster.over(wire, timeout_s=0.3) as cluster:
        wire.lose_replies("submit", 1_000)
        with pytest.raises(oc.OutcomeUnknown) as unknown:
            cluster.submit("echo", {}, key="k")
        [task_id] = unknown.value.facts["task_ids"]
        assert cluster.task(task_id).result(10) == {}
        wire._losing_replies.clear()
        assert cluster.submit("echo", {}, key="k").id == task_id


def test_a_cut_wire_is_not_connected_and_heals(home: Home) -> None:
    wire = home.wire()
    with Cluster.over(wire, timeout_s=0.2) as cluster:
        wire.cut = True
        with pytest.raises(oc.NotConnected):
            cluster.submit("echo", {})
        wire.cut = False
        assert cluster.submit("echo", {}).result(10) == {}


def test_results_survive_a_restart_of_the_coordinator(home: Home, cluster: Cluster) -> None:
    before = cluster.submit("echo", {"before": 1})
    before.wait(10)
    tasks = cluster.map("held", [{"i": i} for i in range(8)])
    seen = oc.as_completed([*tasks, before], timeout=20)
    assert next(seen).id == before.id
    for _ in range(4):
        home.gate.wait_entered()
    home.cluster.restart()
    home.gate.open()
    for _ in range(4):
        home.gate.wait_entered()
    home.gate.open()
    assert sorted(task.result()["i"] for task in seen) == list(range(8))
    assert cluster.task(before.id).result(1) == {"before": 1}
    attempts = [one for agent in home.cluster.agents for one in agent.started]
    assert len(attempts) == len(set(attempts)) == 9


def test_a_client_that_was_started_later_finds_old_results(home: Home, cluster: Cluster) -> None:
    task = cluster.submit("echo", {"a": 1})
    task.wait(10)
    with Cluster.over(home.wire()) as other:
        assert other.task(task.id).result(5) == {"a": 1}


async def test_those_who_begin_to_wait_later_do_not_wait_for_the_parked_call(
    home: Home, wire: Wire, client: AsyncCluster
) -> None:
    held = await client.submit("held", {})
    waiting = asyncio.create_task(held.wait())
    await wait_until_async(lambda: wire.calls["results"] > 0)
    for i in range(20):
        async with asyncio.timeout(5):
            assert await (await client.submit("echo", {"i": i})) == {"i": i}
    await asyncio.to_thread(home.gate.wait_entered)
    home.gate.open()
    await waiting


async def test_many_waits_at_once_share_calls(client: AsyncCluster, wire: Wire) -> None:
    tasks = await client.map("echo", [{"i": i} for i in range(300)])
    assert await asyncio.gather(*tasks) == [{"i": i} for i in range(300)]
    assert wire.calls["results"] < 100


async def test_waits_that_fail_over_and_over_miss_no_end(client: AsyncCluster, wire: Wire) -> None:
    async def one(i: int) -> None:
        fault = ("lose_replies", "abandon", "lose_requests", "double")[i % 4]
        getattr(wire, fault)("results")
        task = await client.submit("echo", {"i": i})
        assert await task.result(10) == {"i": i}

    await asyncio.gather(*(one(i) for i in range(8)))


async def test_a_task_that_was_removed_is_not_waited_for(client: AsyncCluster) -> None:
    task = await client.submit("echo", {})
    other = await client.task((await task.wait(10)).id)
    await client.call("remove_task", task_id=task.id)
    assert await other.result() == {}
    task._snapshot.settled = False
    with pytest.raises(oc.NotFound):
        await task.result(5)


async def test_another_protocol_is_a_version_mismatch(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openclaw_ray.client.core.PROTOCOL_VERSION", 99)
    with pytest.raises(oc.VersionMismatch, match="protocol 99"):
        await AsyncCluster(home.wire()).open()
