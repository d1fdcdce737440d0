"""The agent of a node with a real coordinator: pulls, runs, reports, survives what happens to calls and processes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openclaw_ray.errors import Conflict, OpenClawError, StateRolledBack
from openclaw_ray.models.node import Machine, Usage
from openclaw_ray.runtime.agent import NodeAgent
from openclaw_ray.runtime.link import Link
from tests.support.fakes import DirectPort, FakeExecutor, FakeFactory, Hub
from tests.support.wait import wait_until_async

CODE = b"opaque"
MANIFEST = {"name": "echo", "kind": "python", "revision": "1" * 64, "code": hashlib.sha256(CODE).hexdigest()}


class Site:
    """A hub and one agent on a node of it."""

    def __init__(self, hub: Hub, folder: Path, **more: Any) -> None:
        self.hub, self.folder = hub, folder
        folder.mkdir(exist_ok=True)
        self.port = DirectPort(hub)
        self.factory = FakeFactory()
        self.measured: list[int] = []
        self.agent = NodeAgent(**{
            "node_id": "n1", "settings": hub.settings, "folder": folder,
            "machine": Machine(hostname="n1", capacity={"cpu": 4}), "slots": 2, "tags": frozenset(),
            "skill_roots": (), "link": Link(self.port), "factory": self.factory, "clock": hub.clock,
            "measure": self._measure, **more,
        })  # fmt: skip
        self.task = asyncio.ensure_future(self.agent.run())

    def _measure(self, running: int) -> Usage:
        self.measured.append(running)
        return Usage(cpu_usage=1.0, running=running)

    async def until(self, holds: Any) -> Any:
        """Let time pass in small steps until something holds."""

        async def look() -> Any:
            if self.task.done() and self.task.exception():
                raise self.task.exception()  # type: ignore[misc]
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if not found:
                await self.hub.advance(0.25)
            return found

        return await wait_until_async(look, 10, self.agent.status)

    async def online(self) -> None:
        await self.until(self._offers)

    async def _offers(self) -> bool:
        nodes = await self.hub.call("get_all_nodes")
        return any(n["status"] == "online" and n["agent"] and n["offers"] for n in nodes)

    async def place(self, *ids: str, **spec: Any) -> None:
        """Submit, and lease to the node."""
        await self.hub.submit(*ids, **spec)
        await self.hub.assign("n1", seated=len(ids))

    async def running(self, task_id: str) -> FakeExecutor:
        """The executor in which a task runs; placed again if a repeated registration gave its lease back."""

        async def find() -> FakeExecutor | None:
            if any(shape.waiting for shape in self.hub.office.state.shapes.values()):
                await self.hub.assign("n1", seated=2)
            for executor in self.factory.alive:
                if executor.fed and executor.fed[0]["task_id"] == task_id:
                    return executor
            return None

        found: FakeExecutor = await self.until(find)
        return found

    async def state(self, task_id: str, wanted: str) -> None:
        async def holds() -> bool:
            return await self.hub.state_of(task_id) == wanted

        await self.until(holds)

    async def crash(self) -> None:
        """The process is gone, with its executors, at once."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def site(hub: Hub, tmp_path: Path) -> AsyncIterator[Site]:
    await hub.call("register_skill", manifest=MANIFEST, blob=base64.b64encode(CODE).decode())
    made = Site(hub, tmp_path / "n1")
    await made.online()
    yield made
    await made.crash()


async def test_a_task_goes_through_the_node(site: Site) -> None:
    await site.place("t1", params={"n": 1}, timeout=30)
    executor = await site.running("t1")
    [item] = executor.fed
    assert (item["params"], item["timeout_s"], item["code"]) == ('{"n":1}', 30, MANIFEST["code"])
    assert Path(item["code_path"]).read_bytes() == CODE  # noqa: ASYNC240
    executor.say(item["token"], "started", at=site.hub.clock.now().wall)
    executor.say(item["token"], "progress", progress={"done": 1, "total": 2, "text": "half"})
    await site.state("t1", "running")
    await site.until(lambda: site.hub.office.progress)
    assert site.agent.status()["running"] == ["t1"]
    executor.finish(result='{"x":2}')
    await site.state("t1", "completed")
    assert (await site.hub.call("get_task", task_id="t1"))["result"] == {"x": 2}
    await site.until(lambda: site.agent.status()["unreported"] == 0)
    assert (site.folder / "spool.jsonl").stat().st_size == 0
    assert site.agent.usage().cpu_usage == 1.0
    assert site.agent.machine.hostname == "n1"
    await site.hub.check()


async def test_a_cancel_reaches_what_runs(site: Site) -> None:
    await site.place("t1")
    executor = await site.running("t1")
    await site.hub.call("cancel", ids=["t1"])
    await site.until(lambda: executor.killed)
    await site.until(lambda: site.hub.office.state.nodes["n1"].seats == 0)
    assert await site.hub.state_of("t1") == "cancelled"


@pytest.mark.parametrize("fault", ["lose_requests", "lose_replies", "double"])
async def test_every_call_may_be_lost_or_doubled(site: Site, fault: str) -> None:
    verbs = dict.fromkeys(("poll", "report", "offers", "registry", "code", "register"), 2)
    getattr(site.port, fault).update(verbs)
    await site.place("t1", "t2")
    for task_id in ("t1", "t2"):
        (await site.running(task_id)).finish()
        await site.state(task_id, "completed")
    await site.hub.restart()
    getattr(site.port, fault).update(verbs)
    await site.online()
    await site.place("t3")
    (await site.running("t3")).finish()
    await site.state("t3", "completed")
    tokens = [token for executor in site.factory.executors for token in executor.seen]
    assert len(tokens) == len(set(tokens)) == 3  # one token, one run
    await site.hub.check()


async def test_a_restart_of_the_coordinator_reruns_nothing(site: Site) -> None:
    await site.place("t1", "t2")
    one, two = await site.running("t1"), await site.running("t2")
    await site.hub.coordinator.stop()
    one.finish()  # while nobody answers
    await site.hub.clock.advance(3)
    await site.hub.restart()
    await site.state("t1", "completed")
    two.finish()
    await site.state("t2", "completed")
    assert [t["attempt"] for t in await site.hub.call("get_task", task_id=["t1", "t2"])] == [1, 1]
    assert site.agent.status()["epoch"] == 2


async def test_outcomes_survive_a_crash_of_the_agent(site: Site) -> None:
    await site.place("t1", "t2")
    one = await site.running("t1")
    await site.running("t2")
    site.port.lose_requests["report"] = 1_000
    one.finish(result='"kept"')
    await site.until(lambda: site.port.calls["report"] > 2)
    await site.crash()
    successor = Site(site.hub, site.folder)
    await successor.state("t1", "completed")
    assert (await site.hub.call("get_task", task_id="t1"))["result"] == "kept"
    task = await site.hub.call("get_task", task_id="t2")
    assert (task["status"], task["lost_count"]) == ("pending", 1)
    assert (site.folder / "spool.jsonl").stat().st_size == 0
    await successor.crash()


async def test_out_of_contact_for_long_all_work_is_stopped_and_handed_back(site: Site) -> None:
    await site.place("t1", retries=0, max_lost=5)
    executor = await site.running("t1")
    await site.hub.coordinator.stop()
    await site.hub.clock.advance(100)
    assert not executor.killed
    await site.hub.clock.advance(60)
    await wait_until_async(lambda: executor.killed)
    await site.hub.restart()
    await site.online()
    await site.state("t1", "pending")  # nobody cancelled it
    await site.hub.assign("n1")
    (await site.running("t1")).finish()
    await site.state("t1", "completed")


async def test_a_node_that_was_cut_off_hears_that_its_work_is_stale(site: Site) -> None:
    await site.place("t1")
    executor = await site.running("t1")
    site.port.cut = True
    await site.hub.advance(17)
    assert await site.hub.state_of("t1") == "pending"
    site.port.cut = False
    await site.until(lambda: executor.killed)
    await site.online()
    task = await site.hub.call("get_task", task_id="t1")
    assert (task["status"], task["lost_count"]) == ("pending", 1)


async def test_a_stop_returns_work_uncharged_and_says_goodbye(site: Site) -> None:
    await site.place("t1", "t2")
    await site.running("t1")
    await site.agent.stop("maintenance")
    await site.until(site.task.done)
    tasks = await site.hub.call("get_task", task_id=["t1", "t2"])
    assert [(t["status"], t["lost_count"], t["retry_count"]) for t in tasks] == [("pending", 0, 0)] * 2
    assert (await site.hub.call("get_node", node_id="n1"))["status"] == "offline"
    await site.hub.advance(5)
    assert (await site.hub.call("get_node", node_id="n1"))["status"] == "offline"  # it does not come back
    assert site.factory.alive == []


async def test_a_stop_without_contact_ends_all_the_same(site: Site) -> None:
    await site.place("t1")
    executor = await site.running("t1")
    site.port.cut = True
    await site.agent.stop("maintenance")
    assert executor.killed
    await site.until(site.task.done)


async def test_a_new_revision_is_fetched_and_offered(site: Site) -> None:
    blob = b"newer"
    manifest = {**MANIFEST, "revision": "2" * 64, "code": hashlib.sha256(blob).hexdigest()}
    await site.hub.call("register_skill", manifest=manifest, blob=base64.b64encode(blob).decode())
    await site.until(lambda: site.agent.status()["offers"] == {"echo": "2" * 64})
    await site.online()
    await site.place("t1")
    [item] = (await site.running("t1")).fed
    assert item["revision"] == "2" * 64


async def test_a_skill_that_a_node_cannot_run_is_withheld_with_its_reason(site: Site) -> None:
    manifest = {**MANIFEST, "name": "huge", "resources": {"cpu": 64}}
    await site.hub.call("register_skill", manifest=manifest, blob=base64.b64encode(CODE).decode())
    await site.until(lambda: site.agent.status()["withheld"])
    assert "64" in site.agent.status()["withheld"]["huge"]


async def test_another_cluster_or_an_older_database_ends_the_agent(site: Site, tmp_path: Path) -> None:
    await site.hub.advance(2)
    async with Hub(tmp_path / "another") as other:
        await site.hub.coordinator.stop()
        kept, site.hub.coordinator = site.hub.coordinator, other.coordinator
        with pytest.raises(Conflict, match="belongs to cluster"):
            await site.until(lambda: False)
        site.hub.coordinator = kept
    await site.hub.restart()


async def test_a_state_that_was_rolled_back_ends_the_agent_loudly(site: Site) -> None:
    site.agent._newest_version = 10_000
    await site.hub.restart()
    with pytest.raises(StateRolledBack):
        await site.until(lambda: False)


async def test_a_second_agent_of_the_id_waits_until_the_first_is_gone(site: Site, tmp_path: Path) -> None:
    second = Site(site.hub, tmp_path / "second")
    await site.until(lambda: second.port.calls["register"] > 3)
    assert second.agent.status()["incarnation"] == 0
    await site.crash()
    await second.until(lambda: second.agent.status()["incarnation"] == 2)
    await second.crash()


async def test_a_refusal_that_repeating_cannot_mend_ends_the_agent(hub: Hub, tmp_path: Path) -> None:
    broken = Site(hub, tmp_path / "n1")
    broken.port.call = _refused  # type: ignore[method-assign]
    with pytest.raises(OpenClawError, match="no such verb"):
        await broken.task


async def _refused(verb: str, body: str, timeout_s: float) -> str:
    return '{"ok":false,"error":{"code":"invalid_request","message":"no such verb"}}'
