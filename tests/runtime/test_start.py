"""How a coordinator starts, refuses, and keeps its version, epoch and totals over restarts."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest

from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import Conflict, InvalidRequest, OpenClawError, StorageError, StorageFull, Unavailable
from openclaw_ray.runtime import coordinator as module
from openclaw_ray.runtime.coordinator import DATABASE, Coordinator
from openclaw_ray.storage.store import SqliteStore
from tests.support.clock import VirtualClock
from tests.support.fakes import HandAgent, Hub
from tests.support.wait import wait_until_async


async def test_without_a_database_every_call_is_refused_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    hub = Hub(tmp_path / "home")
    await hub.coordinator.start()
    with pytest.raises(StorageError, match="no database"):
        await hub.call("hello")
    assert '"ok":false' in await hub.coordinator.call_json("hello", "{}")
    assert not (tmp_path / "home" / DATABASE).exists()


async def test_before_its_start_it_says_that_it_starts(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "home")
    with pytest.raises(Unavailable, match="starting"):
        await hub.call("hello")
    assert "unavailable" in await hub.coordinator.call_json("hello", "")


async def test_initialise_makes_a_database_once(tmp_path: Path) -> None:
    async with Hub(tmp_path / "home") as hub:
        first = await hub.call("hello")
        await hub.coordinator.initialise()
        await hub.coordinator.start()
        assert (await hub.call("hello")) == first
        await hub.restart()
        again = await hub.call("hello")
        assert again["cluster_id"] == first["cluster_id"]
        assert (first["epoch"], again["epoch"]) == (1, 2)


async def test_initialise_says_why_it_cannot_serve(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / DATABASE).write_bytes(b"something of somebody else")
    hub = Hub(home)
    with pytest.raises(OpenClawError):
        await hub.coordinator.initialise()
    assert (home / DATABASE).read_bytes() == b"something of somebody else"


async def test_a_second_coordinator_on_the_file_is_refused_and_can_start_later(tmp_path: Path) -> None:
    async with Hub(tmp_path / "home") as hub:
        other = Hub(tmp_path / "home")
        await other.coordinator.start()
        with pytest.raises(Conflict):
            await other.call("hello")
        await hub.submit("t1")  # the first is undisturbed
        await hub.coordinator.stop()
        await other.coordinator.start()
        assert await other.state_of("t1") == "pending"
        await other.coordinator.stop()


async def test_a_start_that_fails_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Hub(tmp_path / "home") as hub:
        await hub.submit("t1")
    full = [True]

    class Store(SqliteStore):
        async def commit(self, batch: object) -> None:
            if full[0]:
                raise StorageFull("no room", retry_after=1.0)
            await super().commit(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "SqliteStore", Store)
    before = asyncio.all_tasks()
    late = Coordinator(hub.settings, hub.clock)
    await late.start()
    with pytest.raises(StorageFull):
        await late.call("hello")
    assert [task.get_name() for task in asyncio.all_tasks() - before] == ["start-again"]
    full[0] = False
    await late.start()
    assert (await late.call("get_task", {"task_id": "t1"}))["status"] == "pending"
    await late.stop()
    assert asyncio.all_tasks() == before


async def test_a_start_on_a_full_disk_succeeds_by_itself_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Hub(tmp_path / "home") as hub:
        await hub.submit("t1")
    refusals = [2]

    class Store(SqliteStore):
        async def commit(self, batch: object) -> None:
            refusals[0] -= 1
            if refusals[0] >= 0:
                raise StorageFull("no room", retry_after=5.0)
            await super().commit(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "SqliteStore", Store)
    late = Coordinator(hub.settings, hub.clock)
    await late.start()
    with pytest.raises(StorageFull):
        await late.call("hello")
    await wait_until_async(lambda: serves_after(hub.clock, late))
    assert (await late.call("get_task", {"task_id": "t1"}))["status"] == "pending"
    await late.stop()


async def serves_after(clock: VirtualClock, coordinator: Coordinator) -> bool:
    await clock.advance(5.0)
    try:
        await coordinator.call("hello")
    except OpenClawError:
        return False
    return True


async def test_what_cannot_be_understood_is_refused_not_raised(tmp_path: Path) -> None:
    async with Hub(tmp_path / "home"):
        pass
    conn = sqlite3.connect(tmp_path / "home" / DATABASE)
    conn.execute("UPDATE meta SET value = 'many' WHERE name = 'epoch'")
    conn.commit()
    conn.close()
    hub = Hub(tmp_path / "home")
    await hub.coordinator.start()
    with pytest.raises(OpenClawError, match="cannot start"):
        await hub.call("hello")
    await hub.coordinator.stop()


async def test_version_rises_strictly_and_is_the_same_after_a_restart(hub: Hub, agent: HandAgent) -> None:
    seen = [(await hub.call("hello"))["version"]]
    for i in range(4):
        await hub.submit(f"t{i}")
        seen.append((await hub.call("hello"))["version"])
    await agent.run(seated=2)
    seen.append(await hub.call("sync_to_database"))
    assert seen == sorted(set(seen))
    await hub.restart()
    assert (await hub.call("hello"))["version"] == seen[-1]


async def test_statistics_and_totals_equal_the_database_also_after_a_restart(hub: Hub, agent: HandAgent) -> None:
    await hub.submit(*(f"t{i}" for i in range(8)))
    await agent.run(seated=2)
    await agent.run(seated=1, outcome=Outcome.FAILED, permanent=True)
    await hub.call("cancel", ids=["t4", "t5"])
    await hub.assign(seated=1)
    [held] = await agent.fetch()
    await agent.report(starts=(held.token,))
    await hub.call("remove_task", task_id=["t4"])

    async def compare() -> None:
        on_disk = dict(await hub.on_disk("SELECT status, COUNT(*) FROM tasks GROUP BY status"))
        stats = await hub.call("get_task_stats")
        assert {k: v for k, v in stats.items() if v and k != "total"} == on_disk
        assert stats["total"] == sum(on_disk.values()) == 7
        totals = await hub.call("metrics")
        counted = {tuple(labels): value[0] for labels, value in totals["counters"]["task_attempts_total"]}
        attempts = await hub.on_disk(
            "SELECT outcome, COUNT(*) FROM attempts WHERE outcome IS NOT NULL GROUP BY outcome"
        )
        assert counted == {("echo", outcome): float(n) for outcome, n in attempts}
        assert totals["counters"]["tasks_submitted_total"] == [[["echo"], [8.0]]]
        assert totals["gauges"]["tasks"] == {"pending": 2, "scheduled": 0, "running": 1}

    await compare()
    await hub.restart()
    await compare()
    assert (await hub.call("get_state", tasks=True))["next"] is None


async def test_memory_equals_disk_after_a_random_run(hub: Hub) -> None:
    rng = random.Random(7)
    agents = [HandAgent(hub, f"n{i}") for i in range(3)]
    for one in agents:
        await one.register()
    for i in range(40):
        await hub.submit(f"t{i}", priority=rng.randrange(4), retries=1)
    for _ in range(60):
        one = rng.choice(agents)
        if any(s.waiting for s in hub.office.state.shapes.values()):
            await hub.assign(one.node_id, seated=rng.randrange(3))
        leases = await one.fetch()
        outcomes = [Outcome.COMPLETED, Outcome.FAILED, Outcome.LOST, Outcome.RELEASED]
        await one.report(*(one.outcome(x.token, rng.choice(outcomes)) for x in leases))
        if rng.random() < 0.2:
            await hub.call("cancel", ids=[f"t{rng.randrange(40)}"])
        await hub.advance(0.5)
    await hub.check()
    before = await hub.call("get_task_stats")
    await hub.restart()
    assert await hub.call("get_task_stats") == before
    await hub.check()


async def test_a_difference_from_disk_is_reported_and_mended(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    hub.office.state.tasks["t1"].attempt = 7  # what must never happen
    parked = hub.spawn(agent.poll(timeout_s=2))
    await hub.clock.settle()
    reply = await hub.call("refresh_from_database")
    assert any(line.startswith("task t1") for line in reply["differences"])
    assert (await parked).leases == []
    assert hub.office.state.tasks["t1"].attempt == 0
    assert (await agent.poll()).register_again
    await agent.register()
    assert len(await agent.run()) == 1
    await hub.check()


async def test_a_backup_is_verified_and_opens_elsewhere(hub: Hub, tmp_path: Path) -> None:
    await hub.submit("t1", "t2")
    info = await hub.call("backup", to=str(tmp_path) + "/")
    assert (info["tasks"], info["integrity"]) == (2, "ok")
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    Path(info["path"]).rename(copy / DATABASE)  # noqa: ASYNC240
    async with Hub(copy) as other:
        assert await other.state_of("t2") == "pending"
    with pytest.raises(InvalidRequest):
        await hub.call("backup", to=7)
    stats = await hub.call("stats")
    assert stats["commits"] >= 2
    assert stats["live"]["pending"] == 2
