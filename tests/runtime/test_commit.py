"""Group commit: nothing is lost between many callers, and a disk that refuses leaves memory as it was."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from openclaw_ray.errors import Conflict, OpenClawError, OutcomeUnknown, StorageFull, Unavailable
from openclaw_ray.runtime import commit as commit_module
from openclaw_ray.runtime import coordinator as coordinator_module
from openclaw_ray.storage.store import SqliteStore
from tests.support.fakes import HandAgent, Hub


class FaultyStore(SqliteStore):
    """The real store, with the errors that a test has put up for its next commits and look-ups."""

    commits: list[Exception] = []  # noqa: RUF012
    look_ups: list[Exception] = []  # noqa: RUF012

    async def commit(self, batch: Any) -> None:
        if FaultyStore.commits:
            raise FaultyStore.commits.pop(0)
        await super().commit(batch)

    async def look_up(self, asking: list[Any]) -> list[Any]:
        if FaultyStore.look_ups:
            raise FaultyStore.look_ups.pop(0)
        return await super().look_up(asking)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> type[FaultyStore]:
    FaultyStore.commits, FaultyStore.look_ups = [], []
    monkeypatch.setattr(coordinator_module, "SqliteStore", FaultyStore)
    return FaultyStore


async def test_many_callers_lose_no_update(hub: Hub) -> None:
    agents = [HandAgent(hub, f"n{i}") for i in range(4)]
    for one in agents:
        await one.register()

    async def caller(number: int) -> int:
        rng = random.Random(number)
        mine: list[str] = []
        for i in range(40):
            verb = rng.choice(["submit", "update", "cancel", "heartbeat", "get", "refused"])
            if verb == "submit" or not mine:
                mine.append(f"t{number}-{i}")
                await hub.submit(mine[-1], metadata={"n": 0})
            elif verb == "update":
                await hub.call("update_node", node_id=f"n{number % 4}", changes={"tags": [f"x{i}"]})
                if mine[-1] in hub.office.state.tasks:
                    await hub.call("update_task", task_id=mine[-1], changes={"metadata": {"n": i}})
                    assert (await hub.call("get_task", task_id=mine[-1]))["metadata"] == {"n": i}
            elif verb == "cancel":
                await hub.call("cancel", ids=[mine[-1]])
            elif verb == "heartbeat":
                await agents[number % 4].report()
            elif verb == "get":
                assert (await hub.call("get_task", task_id=mine[0]))["task_id"] == mine[0]
            else:
                with pytest.raises(OpenClawError):
                    await hub.call("update_task", task_id={mine[0]: {"name": "no"}, "nobody": {}})
        return len(mine)

    made = await asyncio.gather(*(caller(i) for i in range(50)))
    stats = await hub.call("get_task_stats")
    assert stats["total"] == sum(made)
    assert hub.office.commit.commits < 50 * 40  # in company
    assert await hub.on_disk("SELECT COUNT(*) FROM tasks WHERE name = 'no'") == [(0,)]
    await hub.check()
    await hub.restart()
    assert await hub.call("get_task_stats") == stats


async def test_a_full_disk_is_undone_and_serving_goes_on(tmp_path: Path, faults: type[FaultyStore]) -> None:
    async with Hub(tmp_path / "home") as hub:
        agent = HandAgent(hub)
        await agent.register()
        await hub.submit("t1")
        before = (await hub.call("hello"), await hub.call("metrics"))
        faults.commits.append(StorageFull("no room", retry_after=5.0))
        calls = (hub.submit("t2"), hub.call("cancel", ids=["t1"]), hub.call("update_heartbeat", node_id="n1"))
        refused = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(one, StorageFull) for one in refused)
        assert await hub.state_of("t1") == "pending"
        assert (await hub.call("hello"))["version"] == before[0]["version"]
        assert (await hub.call("metrics"))["counters"]["tasks_submitted_total"] == [[["echo"], [1.0]]]
        assert await hub.submit("t2") == [["t2", "pending", True]]
        assert len(await agent.run(seated=2)) == 2
        await hub.check()


async def test_a_refused_registration_or_report_is_simply_repeated(tmp_path: Path, faults: type[FaultyStore]) -> None:
    async with Hub(tmp_path / "home") as hub:
        agent = HandAgent(hub)
        for _ in range(2):
            faults.commits.append(StorageFull("no room", retry_after=5.0))
            with pytest.raises(StorageFull):
                await agent.register()
        await agent.register()
        assert agent.incarnation == 1
        await hub.submit("t1")
        await hub.assign()
        [lease] = await agent.fetch()
        faults.commits.append(StorageFull("no room", retry_after=5.0))
        with pytest.raises(StorageFull):
            await agent.report(agent.outcome(lease.token))
        assert (await agent.report(agent.outcome(lease.token))).accepted == [lease.token]
        await hub.check()


async def test_a_failed_look_up_takes_nothing_back(tmp_path: Path, faults: type[FaultyStore]) -> None:
    async with Hub(tmp_path / "home") as hub:
        agent = HandAgent(hub)
        await agent.register()
        await hub.submit("t1", "t2")
        await agent.run()
        faults.look_ups.append(Unavailable("busy", retry_after=1.0))
        with pytest.raises(Unavailable):
            await hub.submit("t3", key="k")
        assert (await hub.call("get_task_stats"))["completed"] == 1
        assert (await hub.call("get_node", node_id="n1"))["hostname"] == "n1"
        await hub.submit("t3")  # its events follow those before
        await hub.check()


async def test_a_new_id_is_not_looked_up_and_a_known_one_is_found_all_the_same(
    tmp_path: Path, faults: type[FaultyStore]
) -> None:
    async with Hub(tmp_path / "home") as hub:
        agent = HandAgent(hub)
        await agent.register()
        await hub.submit("ended")
        await agent.run()
        faults.look_ups.append(Unavailable("not asked for", retry_after=1.0))
        await hub.submit("live")
        faults.look_ups.clear()
        # One call repeats, one wants another task under a known id, one is new: they share a batch.
        again, other, new = await asyncio.gather(
            hub.submit("ended", "live"), hub.submit("ended", name="other"), hub.submit("new"), return_exceptions=True
        )
        assert again == [["ended", "completed", False], ["live", "pending", False]]
        assert isinstance(other, Conflict)
        assert new == [["new", "pending", True]]
        await hub.check()


async def test_an_unknown_outcome_ends_the_process(tmp_path: Path, faults: type[FaultyStore]) -> None:
    async with Hub(tmp_path / "home") as hub:
        await hub.submit("t1")
        faults.commits.append(OutcomeUnknown("the sync failed"))
        reading: list[Any] = [hub.call("get_all_nodes")]
        lost = await asyncio.gather(hub.submit("t2"), hub.submit("t3"), *reading, return_exceptions=True)
        assert [type(one) for one in lost[:2]] == [OutcomeUnknown] * 2
        assert hub.deaths == 1
        with pytest.raises(OutcomeUnknown):
            await hub.call("hello")
        with pytest.raises(OutcomeUnknown):
            await hub.office.commit.run(lambda turn: None)
        with pytest.raises(OutcomeUnknown):
            await hub.office.commit.quiet()
        await hub.restart()
        assert await hub.submit("t2") == [["t2", "pending", True]]
        await hub.check()


async def test_a_bug_in_an_operation_refuses_its_batch_and_nothing_more(hub: Hub) -> None:
    def bug(turn: Any) -> None:
        raise ZeroDivisionError("a bug")

    calls = (hub.submit("t1"), hub.office.commit.run(bug))
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, OpenClawError) and "internal error" in str(one) for one in found)
    assert await hub.submit("t1") == [["t1", "pending", True]]
    await hub.check()


async def test_a_bug_after_the_commit_undoes_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(hub.office.feed, "collect", bug)
    assert await hub.submit("t1") == [["t1", "pending", True]]
    assert await hub.state_of("t1") == "pending"


async def test_a_caller_that_went_away_before_its_turn_did_nothing(hub: Hub) -> None:
    gone = asyncio.ensure_future(hub.submit("t1"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, hub.submit("t2"), return_exceptions=True)
    assert (await hub.call("get_task_stats"))["total"] == 1


async def test_too_many_waiting_calls_are_told_to_come_back(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_module, "MAILBOX_MAX", 2)
    calls = [hub.submit(f"t{i}") for i in range(4)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(one, Unavailable) for one in found] == [False, False, True, True]


async def test_calls_after_the_stop_are_refused_and_those_before_it_kept(hub: Hub) -> None:
    office = hub.office
    waiting = asyncio.ensure_future(hub.submit("t1"))
    await asyncio.sleep(0)
    await hub.coordinator.stop()
    assert await waiting == [["t1", "pending", True]]
    with pytest.raises(Unavailable, match="stopping"):
        await office.commit.run(lambda turn: None)
    with pytest.raises(Unavailable, match="stopped"):
        await hub.call("hello")
    await hub.restart()
    assert await hub.state_of("t1") == "pending"
