"""The agent and a scripted coordinator: replies that are late, foreign or refused; command skills of its folders."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openclaw_ray.config import Settings
from openclaw_ray.errors import NotConnected, Unavailable
from openclaw_ray.models.node import Machine, Usage
from openclaw_ray.runtime.agent import NodeAgent
from openclaw_ray.runtime.attempts import Attempt
from openclaw_ray.runtime.link import Link, repeatable
from tests.support.clock import VirtualClock
from tests.support.fakes import FakeFactory, ScriptedPort, lease
from tests.support.wait import wait_until_async


class Stage:
    """One agent, and a coordinator that says what the test put into `replies`."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.skills = folder / "skills"
        self.skills.mkdir()
        #: Poll replies to come; then polls park.
        self.replies: list[dict[str, Any]] = []
        self.epoch = 1
        self.port = ScriptedPort(
            register=self.register, poll=self.poll, report=self.report, offers=lambda body: {"register_again": False}
        )
        self.factory = FakeFactory()
        self.agent = NodeAgent(
            node_id="n1", settings=Settings(home=folder, kill_grace_s=0.5), folder=folder,
            machine=Machine(hostname="n1"), slots=2, tags=frozenset(), skill_roots=(self.skills,),
            link=Link(self.port), factory=self.factory, clock=self.clock, measure=lambda running: Usage(),
        )  # fmt: skip
        self.task: asyncio.Task[None] | None = None

    def register(self, body: dict[str, Any]) -> dict[str, Any]:
        settled = [o["token"] for o in body["outcomes"]]
        return {
            "incarnation": 1, "epoch": self.epoch, "cluster_id": "c", "version": 1, "interval_s": 2.0, "ttl_s": 15.0,
            "registry": 0, "settled": settled,
        }  # fmt: skip

    def poll(self, body: dict[str, Any]) -> Any:
        if not self.replies:
            return asyncio.get_running_loop().create_future()
        return {"n": body["n"], "epoch": self.epoch, **self.replies.pop(0)}

    def report(self, body: dict[str, Any]) -> Any:
        return {"accepted": [o["token"] for o in body["outcomes"]], "version": 2}

    def skill(self, name: str, script: str, more: str = "") -> None:
        folder = self.skills / name
        folder.mkdir()
        (folder / "run.sh").write_text("#!/bin/sh\n" + script)
        (folder / "run.sh").chmod(0o755)
        (folder / "skill.yaml").write_text(f'name: {name}\ncommand: ["{{skill}}/run.sh"]\n{more}')

    async def start(self) -> None:
        self.task = asyncio.ensure_future(self.agent.run())

    async def outcomes(self, count: int) -> list[dict[str, Any]]:
        def found() -> list[dict[str, Any]]:
            said = [o for body in self.port.bodies("report") for o in body["outcomes"]]
            return said if len(said) >= count else []

        return await wait_until_async(found, 10, lambda: (self.port.calls, self.agent.status()))

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    yield made
    await made.close()


def leases(*found: Any) -> dict[str, Any]:
    return {"leases": [{name: getattr(one, name) for name in one.__slots__} for one in found]}


async def test_a_command_runs_and_its_result_is_reported(stage: Stage) -> None:
    stage.skill("sum", 'echo "42"')
    stage.skill("fails", 'echo "no good" >&2; exit 3')
    stage.replies.append(leases(lease(1, "sum"), lease(2, "fails"), lease(3, "absent")))
    await stage.start()
    by_token = {o["token"]: o for o in await stage.outcomes(3)}
    assert (by_token[1]["outcome"], by_token[1]["result"]) == ("completed", "42")
    assert (by_token[2]["outcome"], by_token[2]["exit_status"]) == ("failed", 3)
    assert "no good" in by_token[2]["log_tail"]
    assert (by_token[3]["outcome"], by_token[3]["error"]["kind"]) == ("lost", "not_offered")
    starts = [s["token"] for body in stage.port.bodies("report") for s in body["starts"]]
    assert sorted(starts) == [1, 2]
    offered = stage.port.bodies("register")[0]["offers"]
    assert sorted(o["name"] for o in offered) == ["fails", "sum"]
    await wait_until_async(lambda: stage.agent.status()["unreported"] == 0)


async def test_a_running_command_is_stopped(stage: Stage) -> None:
    stage.skill("slow", "sleep 60")
    stage.replies.append(leases(lease(1, "slow"), lease(2, "slow"), lease(3, "slow")))
    await stage.start()
    await wait_until_async(lambda: len(stage.agent.status()["running"]) == 2)
    assert stage.agent.status()["waiting"] == 1
    for token, why in ((1, "cancelled"), (2, "recall"), (3, "recall")):
        stage.agent._bench.stop(token, why)
    by_token = {o["token"]: o for o in await stage.outcomes(2)}
    assert {t: o["outcome"] for t, o in by_token.items()} == {1: "cancelled", 3: "released"}
    assert stage.agent.status()["running"] == ["t2"]  # a recall comes too late for what runs
    await stage.agent._bench.close()


async def test_a_skill_that_was_edited_since_is_not_run_and_not_charged(stage: Stage) -> None:
    stage.skill("sum", 'echo "42"')
    await stage.start()
    await wait_until_async(lambda: stage.agent.status()["offers"])
    (stage.skills / "sum" / "run.sh").write_text("#!/bin/sh\necho 43\n")
    stage.agent._bench.accept([Attempt(lease(1, "sum"))])
    [found] = await stage.outcomes(1)
    assert (found["outcome"], found["node_caused"], found["error"]["kind"]) == ("lost", True, "skill_changed")
    await stage.clock.advance(6)  # folders are read again
    await wait_until_async(lambda: stage.port.bodies("offers"))


async def test_a_skill_that_went_is_not_offered_any_more(stage: Stage) -> None:
    stage.skill("sum", 'echo "42"')
    await stage.start()
    await wait_until_async(lambda: stage.agent.status()["offers"])
    (stage.skills / "sum" / "skill.yaml").unlink()
    await stage.clock.advance(6)
    await wait_until_async(lambda: not stage.agent.status()["offers"])
    stage.agent._bench.accept([Attempt(lease(1, "sum"))])
    assert (await stage.outcomes(1))[0]["error"]["kind"] == "not_offered"


async def test_replies_of_another_number_or_start_are_dropped(stage: Stage) -> None:
    stage.skill("sum", 'echo "42"')
    stage.replies += [
        {**leases(lease(1, "sum")), "epoch": 9},
        {**leases(lease(2, "sum")), "n": 77},
        leases(lease(3, "sum")),
        leases(lease(3, "sum")),
    ]
    await stage.start()
    assert [o["token"] for o in await stage.outcomes(1)] == [3]
    await wait_until_async(lambda: len(stage.port.bodies("poll")) == 5)
    assert [o["token"] for o in await stage.outcomes(1)] == [3]


async def test_registered_again_while_a_reply_was_on_its_way_drops_that_reply(stage: Stage) -> None:
    stage.skill("sum", 'echo "42"')
    parked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    stage.port.answers["poll"] = lambda body: parked if body["n"] == 2 else stage.poll(body)
    await stage.start()
    await wait_until_async(lambda: stage.port.bodies("poll"))
    assert stage.port.bodies("poll")[0]["n"] == 2
    stage.replies.append({})
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    stage.port.answers["register"] = lambda body: answer
    both = [asyncio.ensure_future(stage.agent._register()) for _ in range(2)]  # two loops are told so at once
    await stage.clock.settle()
    answer.set_result(stage.register(stage.port.bodies("register")[-1]))
    await asyncio.gather(*both)
    assert len(stage.port.bodies("register")) == 2
    parked.set_result({"n": 2, "epoch": 1, **leases(lease(1, "sum"))})
    await wait_until_async(lambda: len(stage.port.bodies("poll")) == 3)
    assert stage.agent.status()["waiting"] == 0
    assert stage.port.bodies("report") == []


async def test_a_refused_report_is_repeated_with_its_starts(stage: Stage) -> None:
    stage.skill("sum", 'echo "42"')
    stage.replies.append(leases(lease(1, "sum")))
    refusals: list[Exception] = [Unavailable("full", retry_after=1.0), NotConnected("away")]

    def report(body: dict[str, Any]) -> Any:
        if refusals:
            raise refusals.pop()
        return stage.report(body)

    stage.port.answers["report"] = report
    await stage.start()

    async def settled() -> bool:
        await stage.clock.advance(0.5)
        return not refusals and len(stage.port.bodies("report")) > 2 and stage.agent.status()["unreported"] == 0

    await wait_until_async(settled)
    starts = [[s["token"] for s in body["starts"]] for body in stage.port.bodies("report")]
    assert starts[:3] == [[1], [1], [1]]


async def test_a_message_that_nobody_expected_ends_the_agent(stage: Stage) -> None:
    del stage.port.answers["poll"]
    await stage.start()
    assert stage.task is not None
    with pytest.raises(AssertionError, match="nobody expected poll"):
        await stage.task


async def test_code_that_is_not_what_its_digest_says_is_not_kept(stage: Stage) -> None:
    manifest = {"name": "f", "kind": "python", "revision": "1" * 64, "code": hashlib.sha256(b"good").hexdigest()}
    stage.port.answers["registry"] = lambda body: {"registry": 4, "manifests": [manifest]}
    stage.port.answers["code"] = lambda body: "ZXZpbA=="
    stage.replies += [{"registry": 4}] * 3
    await stage.start()

    async def tried() -> bool:
        await stage.clock.advance(0.5)
        return len(stage.port.bodies("code")) >= 2

    await wait_until_async(tried)
    status = stage.agent.status()
    assert status["offers"] == {}
    assert "digest" in status["withheld"]["f"]


def test_which_errors_may_be_repeated() -> None:
    assert repeatable(NotConnected("x"))
    assert repeatable(Unavailable("x", retry_after=1.0))
    assert not repeatable(Unavailable("x"))
