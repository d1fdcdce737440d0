"""Where attempts run: what starts, in which order, and how many in one executor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from openclaw_ray.core.resources import Resources
from openclaw_ray.core.types import Outcome
from openclaw_ray.protocol import OutcomeMessage
from openclaw_ray.runtime.attempts import Attempt
from openclaw_ray.runtime.workbench import Workbench
from tests.support.clock import VirtualClock
from tests.support.fakes import FakeExecutor, FakeFactory, FakeSkillset, lease, python_skill
from tests.support.wait import wait_until_async


class Rig:
    """A workbench whose executors do what the test says."""

    def __init__(self, folder: Path, slots: int = 2, capacity: Resources | None = None, **skill: Any) -> None:
        self.clock = VirtualClock()
        self.factory = FakeFactory()
        self.skills = FakeSkillset(python_skill(**skill), python_skill("other"))
        self.news = 0
        self.bench = Workbench(
            slots=slots, capacity=capacity or Resources.of(cpu=4000), skillset=self.skills, factory=self.factory,  # type: ignore[arg-type]
            folder=folder, clock=self.clock, kill_grace_s=5.0, default_timeout_s=None, on_news=self._on_news,
        )  # fmt: skip

    def _on_news(self) -> None:
        self.news += 1

    def accept(self, *tokens: int, **more: Any) -> None:
        self.bench.accept([Attempt(lease(token, **more)) for token in tokens])

    async def until(self, holds: Callable[[], Any]) -> Any:
        return await wait_until_async(holds, 5, lambda: (self.bench.shelf.__dict__, self.bench._seats))

    async def runs(self, *tokens: int) -> None:
        """Wait until exactly these were fed to executors."""
        fed = lambda: sorted(i["token"] for e in self.factory.alive for i in e.fed)  # noqa: E731
        await self.until(lambda: fed() == sorted(tokens))

    def executor(self, token: int) -> FakeExecutor:
        return self.factory.holder(token)

    async def ended(self, token: int) -> OutcomeMessage:
        return await self.until(lambda: self.bench.shelf.ended.get(token))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    await made.bench.close()


async def test_no_more_starts_than_there_are_slots(rig: Rig) -> None:
    rig.accept(1, 2, 3)
    await rig.runs(1, 2)
    assert (rig.bench.seats, list(rig.bench.shelf.waiting)) == (2, [3])
    rig.executor(1).finish()
    await rig.runs(2, 3)
    assert (await rig.ended(1)).result == "1"
    assert len(rig.factory.executors) == 2  # warm ones are used again
    assert rig.bench.shelf.have() == [2, 3, 1]


async def test_no_more_starts_than_resources_allow(rig: Rig) -> None:
    rig.accept(1, 2, resources={"cpu": 3000})
    await rig.runs(1)
    assert rig.bench.room.used == {"cpu": 3000}
    rig.executor(1).finish()
    await rig.runs(2)
    rig.executor(2).finish()
    await rig.ended(2)
    assert rig.bench.room.used == {}
    assert rig.factory.executors[0].resources == {"cpu": 3000}


async def test_urgent_work_goes_first_then_rank_then_token(rig: Rig) -> None:
    rig.accept(1, 2)
    await rig.runs(1, 2)
    rig.bench.accept([
        Attempt(lease(10, rank=5.0)), Attempt(lease(11, rank=1.0)), Attempt(lease(13, rank=9.0, urgent=True)),
        Attempt(lease(12, rank=1.0)),
    ])  # fmt: skip
    order = []
    first = rig.executor(1)
    for expected in (13, 11, 12, 10):
        first.finish()
        await rig.until(lambda e=expected: first.running == e)
        order.append(first.running)
    assert order == [13, 11, 12, 10]


async def test_short_runs_come_in_batches_and_are_topped_up(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.accept(*range(1, 101), mean_run_s=0.001)
    await rig.until(lambda: rig.factory.executors and rig.factory.executors[0].fed)
    [executor] = rig.factory.executors
    first = len(executor.fed)
    assert 20 <= first <= 40  # about 30 ms of work
    assert rig.bench.seats == 1  # one attempt runs at a time
    for _ in range(first - 5):
        executor.finish()
    await rig.until(lambda: len(executor.seen) > first)
    assert executor.seen == sorted(executor.seen)


async def test_behind_a_brief_run_one_more_is_fed_once_all_seats_are_taken(rig: Rig) -> None:
    rig.accept(1, 2, mean_run_s=0.05)
    await rig.runs(1, 2)
    first, second = rig.executor(1), rig.executor(2)
    assert first is not second  # nobody waits behind another while a seat is free
    rig.accept(3, 4, 5, mean_run_s=0.05)
    await rig.runs(1, 2, 3, 4)
    assert (len(first.fed), len(second.fed), list(rig.bench.shelf.waiting)) == (2, 2, [5])
    first.finish()
    await rig.runs(2, 3, 4, 5)
    assert rig.bench.seats == 2


async def test_work_fed_ahead_makes_way_for_what_is_interactive(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.accept(1, 2, mean_run_s=0.05)
    await rig.runs(1, 2)
    rig.accept(3, mean_run_s=0.05, urgent=True)
    await rig.until(lambda: rig.executor(1).fed[1:] and rig.executor(1).fed[1]["token"] == 3)
    assert list(rig.bench.shelf.waiting) == [2]


async def test_a_run_that_is_long_for_its_kind_loses_who_waits_behind_it(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.accept(1, 2, mean_run_s=0.05)
    await rig.runs(1, 2)
    await rig.clock.advance(0.06)  # not yet: twice what was expected is
    assert len(rig.executor(1).fed) == 2
    await rig.clock.advance(0.05)
    await rig.runs(1)
    assert list(rig.bench.shelf.waiting) == [2]


async def test_long_and_foreign_work_is_not_put_into_a_batch(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.accept(1, mean_run_s=0.001)
    rig.accept(2, mean_run_s=None)
    await rig.runs(1)
    rig.executor(1).finish()
    await rig.runs(2)
    rig.accept(3, mean_run_s=0.001, resources={"cpu": 1000})
    rig.accept(4, mean_run_s=0.001)
    rig.executor(2).finish()
    await rig.runs(3)
    assert rig.factory.holder(3).resources == {"cpu": 1000}


async def test_followers_of_a_stalled_run_are_taken_back(rig: Rig) -> None:
    rig.accept(1, 2, 3, mean_run_s=0.001)
    await rig.runs(1, 2, 3)
    stalled = rig.executor(1)
    await rig.clock.advance(0.06)
    await rig.until(lambda: [i["token"] for i in stalled.fed] == [1])
    await rig.runs(1, 2, 3)  # the others run elsewhere
    assert rig.bench.seats == 2
    stalled.finish()
    for token in (2, 3):
        rig.executor(token).finish()
        await rig.ended(token)


async def test_followers_are_not_lost_when_news_comes_while_they_are_taken_back(rig: Rig) -> None:
    rig.accept(1, 2, 3, mean_run_s=0.001)
    await rig.runs(1, 2, 3)
    stalled = rig.executor(1)
    taken, answered = asyncio.Event(), asyncio.Event()
    withdraw = stalled.withdraw

    async def slow(tokens: list[int]) -> list[int]:
        found = await withdraw(tokens)
        taken.set()
        await answered.wait()
        return found

    stalled.withdraw = slow  # type: ignore[method-assign]
    await rig.clock.advance(0.06)
    await taken.wait()
    stalled.finish()
    await rig.ended(1)
    answered.set()
    await rig.runs(2, 3)
    for token in (2, 3):
        rig.executor(token).finish()
        await rig.ended(token)


async def test_a_doubled_lease_starts_one_process(rig: Rig) -> None:
    rig.accept(1)
    rig.accept(1)
    await rig.runs(1)
    rig.executor(1).finish()
    await rig.ended(1)
    rig.accept(1)
    rig.bench.shelf.forget(1)
    rig.accept(1)
    assert rig.factory.executors[0].seen == [1]
    assert rig.bench.shelf.have() == []


async def test_starts_and_progress_are_told(rig: Rig) -> None:
    rig.accept(1)
    await rig.runs(1)
    rig.executor(1).say(1, "started", at=123.0)
    rig.executor(1).say(1, "progress", progress={"done": 1, "total": 4, "text": "x" * 900})
    await rig.until(lambda: rig.bench.progress)
    assert [(s.token, s.at) for s in rig.bench.starts] == [(1, 123.0)]
    assert (rig.bench.progress[1].done, len(rig.bench.progress[1].text)) == (1, 500)
    rig.executor(1).finish("failed", error={"kind": "skill_error", "message": "no"}, permanent=True, log_tail="tail")
    found = await rig.ended(1)
    assert (found.outcome, found.permanent, found.log_tail) == (Outcome.FAILED, True, "tail")
    assert found.error == {"kind": "skill_error", "message": "no", "attempt": 1}
    assert rig.bench.progress == {}
    assert rig.news >= 3


async def test_a_skill_that_is_not_offered_any_more_is_the_nodes_fault(rig: Rig) -> None:
    rig.accept(1, skill="gone")
    rig.accept(2, revision="b" * 64)
    for token in (1, 2):
        found = await rig.ended(token)
        assert (found.outcome, found.node_caused, (found.error or {})["kind"]) == (Outcome.LOST, True, "not_offered")
    rig.accept(3)
    await rig.runs(3)
    rig.executor(3).say(3, "missing_code", code="c" * 64)
    rig.executor(3).fed.clear()
    found = await rig.ended(3)
    assert ((found.error or {})["kind"], found.node_caused) == ("no_code", True)
    rig.accept(4)
    await rig.runs(4)  # the seat is free


async def test_a_lost_attempt_runs_alone_in_a_fresh_process(rig: Rig) -> None:
    rig.accept(1)
    await rig.runs(1)
    rig.executor(1).finish()
    await rig.ended(1)
    rig.accept(2, alone=True)
    await rig.runs(2)
    assert len(rig.factory.executors) == 2
    lonely = rig.executor(2)
    rig.accept(3, 4, mean_run_s=0.0001)
    await rig.runs(2, 3, 4)
    assert lonely.seen == [2]
    lonely.finish()
    await rig.until(lambda: lonely.killed)
    await rig.until(lambda: rig.bench.seats == 1)


async def test_executors_of_other_kinds_make_room(rig: Rig) -> None:
    rig.accept(1, resources={"cpu": 1000})
    await rig.runs(1)
    idle = rig.executor(1)
    idle.finish()
    await rig.ended(1)
    rig.accept(2, resources={"cpu": 2000})
    await rig.runs(2)
    assert idle.killed
    rig.executor(2).finish()
    await rig.ended(2)
    await rig.clock.advance(61)
    rig.bench.end_idle()
    await rig.until(lambda: not rig.factory.alive)


async def test_an_executor_that_is_refused_gives_its_lease_back_uncharged(rig: Rig) -> None:
    rig.factory.refusing = 1
    rig.factory.gate = asyncio.Event()
    rig.accept(1, resources={"cpu": 1000})
    await rig.until(lambda: rig.factory.asked)
    rig.accept(2, urgent=True)  # it comes before, and asks for something else
    rig.factory.gate.set()
    found = await rig.ended(1)
    assert (found.outcome, found.node_caused, (found.error or {})["kind"]) == (Outcome.RELEASED, False, "no_executor")
    await rig.runs(2)
    assert rig.bench.seats == 1


async def test_a_refused_start_of_a_lonely_attempt_leaks_no_seat(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.factory.refusing = 1
    rig.accept(1, alone=True)
    rig.accept(2)
    assert (await rig.ended(1)).outcome is Outcome.RELEASED
    await rig.runs(2)
    assert rig.bench.seats == 1
    rig.executor(2).finish()
    await rig.until(lambda: rig.bench.seats == 0)


async def test_a_refused_start_for_which_nobody_waits_any_more_is_nobodys_fault(rig: Rig) -> None:
    rig.factory.refusing = 1
    rig.factory.gate = asyncio.Event()
    rig.accept(1)
    rig.bench.stop(1, "cancelled")
    rig.factory.gate.set()
    await rig.until(lambda: rig.factory.asked)
    rig.accept(2)
    await rig.runs(2)


async def test_a_scratch_folder_that_cannot_be_made_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "scratch").write_text("in the way")
    rig = Rig(tmp_path)
    rig.accept(1)
    assert "scratch" in (await rig.ended(1)).error["message"]  # type: ignore[index]
    (tmp_path / "scratch").unlink()
    rig.accept(2)
    await rig.runs(2)
    await rig.bench.close()
