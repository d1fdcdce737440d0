"""How attempts are stopped: timeouts, cancels, recalls, dead executors, the end of the agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openclaw_ray.core.types import Outcome
from openclaw_ray.skills.marker import CRASH_FILE_NAME
from tests.runtime.test_workbench import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    await made.bench.close()


def kind(outcome: object) -> str:
    return str((outcome.error or {})["kind"])  # type: ignore[attr-defined]


async def test_a_run_that_overruns_its_timeout_is_killed(rig: Rig) -> None:
    rig.accept(1, timeout_s=30)
    await rig.runs(1)
    executor = rig.executor(1)
    executor.say(1, "started", at=rig.clock.now().wall)
    await rig.until(lambda: rig.bench.starts)
    await rig.clock.advance(29)
    assert executor.cancelled == []
    await rig.clock.advance(1)
    assert executor.cancelled == [1]  # first the flag that a skill may look at
    assert not executor.killed
    await rig.clock.advance(5)
    found = await rig.ended(1)
    assert (executor.killed, found.outcome, kind(found)) == (True, Outcome.TIMEOUT, "timeout")
    assert "30 s" in (found.error or {})["message"]
    assert rig.bench.seats == 0


async def test_the_skills_own_timeout_holds_where_the_task_has_none(tmp_path: Path) -> None:
    rig = Rig(tmp_path, timeout=7)
    rig.accept(1)
    await rig.runs(1)
    rig.skills.manifests.clear()  # withdrawn meanwhile: what runs keeps its limit
    rig.executor(1).say(1, "progress", progress={"done": 1})
    await rig.until(lambda: rig.bench.progress)
    await rig.clock.advance(13)
    assert (await rig.ended(1)).outcome is Outcome.TIMEOUT
    await rig.bench.close()


async def test_wall_clock_jumps_neither_end_nor_prolong_a_run(rig: Rig) -> None:
    rig.accept(1, timeout_s=60)
    await rig.runs(1)
    executor = rig.executor(1)
    executor.say(1, "started", at=rig.clock.now().wall)
    rig.clock.jump_wall(86_400)
    executor.say(1, "progress", progress={"done": 1})  # looked at anew
    await rig.until(lambda: rig.bench.progress)
    await rig.clock.advance(59)
    assert executor.cancelled == []
    await rig.clock.advance(1)
    assert executor.cancelled == [1]


async def test_one_that_ends_within_the_grace_is_no_crash(rig: Rig) -> None:
    rig.accept(1, timeout_s=1)
    await rig.runs(1)
    executor = rig.executor(1)
    await rig.clock.advance(2)
    executor.finish("failed", error={"kind": "skill_error", "message": "gave up"})
    assert (await rig.ended(1)).outcome is Outcome.TIMEOUT
    rig.accept(2)
    await rig.runs(2)
    await rig.clock.advance(5)
    assert not executor.killed  # what runs there now has done nothing wrong
    assert rig.executor(2) is executor


async def test_the_timeout_in_a_topped_up_batch_is_that_of_the_one_that_runs(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.accept(1, timeout_s=10, mean_run_s=0.001)
    await rig.runs(1)
    executor = rig.executor(1)
    await rig.clock.advance(0.02)
    rig.accept(2, 3, timeout_s=10, mean_run_s=0.001)
    await rig.runs(1, 2, 3)
    await rig.clock.advance(9.9)
    assert executor.cancelled == []
    await rig.clock.advance(0.1)
    assert executor.cancelled == [1]
    await rig.clock.advance(5)
    assert (await rig.ended(1)).outcome is Outcome.TIMEOUT
    await rig.runs(2, 3)
    assert list(rig.bench.shelf.ended) == [1]


async def test_a_lonely_attempt_is_timed_from_its_start_not_from_its_executors(rig: Rig) -> None:
    rig.factory.gate = asyncio.Event()
    rig.accept(1, alone=True, timeout_s=3)
    await rig.until(lambda: rig.factory.asked)
    await rig.clock.advance(8)  # longer than it may run
    rig.factory.gate.set()
    await rig.runs(1)
    executor = rig.executor(1)
    await rig.clock.advance(2)
    assert executor.cancelled == []
    await rig.clock.advance(6)
    assert (await rig.ended(1)).outcome is Outcome.TIMEOUT


async def test_cancel_climbs_from_the_flag_to_the_kill(rig: Rig) -> None:
    rig.accept(1)
    await rig.runs(1)
    executor = rig.executor(1)
    for _ in range(3):  # as polls repeat it
        rig.bench.stop(1, "cancelled")
    await rig.until(lambda: executor.cancelled)
    await rig.clock.advance(4)
    assert not executor.killed
    await rig.clock.advance(1)
    found = await rig.ended(1)
    assert (found.outcome, kind(found), executor.cancelled) == (Outcome.CANCELLED, "cancelled", [1])


async def test_cancel_of_what_waits_or_lies_in_a_batch_is_immediate(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.accept(1, 2, mean_run_s=0.001)
    await rig.runs(1, 2)
    rig.accept(3)
    rig.bench.stop(3, "cancelled")
    rig.bench.stop(2, "cancelled")
    rig.bench.stop(99, "cancelled")
    for token in (2, 3):
        assert (await rig.ended(token)).outcome is Outcome.CANCELLED
    assert rig.executor(1).cancelled == []


async def test_cancel_while_a_lonely_executor_starts(rig: Rig) -> None:
    rig.factory.gate = asyncio.Event()
    rig.accept(1, alone=True)
    await rig.until(lambda: rig.factory.asked)
    rig.bench.stop(1, "cancelled")
    assert (await rig.ended(1)).outcome is Outcome.CANCELLED
    rig.factory.gate.set()
    await rig.until(lambda: rig.bench.seats == 0)
    assert rig.factory.executors[0].seen == []
    assert rig.factory.executors[0].killed


async def test_recall_takes_back_only_what_has_not_started(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.accept(1, 2, mean_run_s=0.001)
    await rig.runs(1, 2)
    rig.accept(3)
    for token in (1, 2, 3):
        rig.bench.stop(token, "recall")
    for token in (2, 3):
        assert (await rig.ended(token)).outcome is Outcome.RELEASED
    rig.executor(1).finish()
    assert (await rig.ended(1)).outcome is Outcome.COMPLETED


async def test_a_drained_run_that_completed_in_time_has_completed(rig: Rig) -> None:
    rig.accept(1, 2)
    await rig.runs(1, 2)
    for token in (1, 2):
        rig.bench.stop(token, "drained")
    await rig.until(lambda: rig.executor(1).cancelled and rig.executor(2).cancelled)
    rig.executor(1).finish()
    rig.executor(2).finish("failed", error={"kind": "skill_error", "message": "stopped"})
    assert (await rig.ended(1)).outcome is Outcome.COMPLETED
    assert (await rig.ended(2)).outcome is Outcome.RELEASED


async def test_work_stopped_for_want_of_contact_is_handed_back_not_cancelled(rig: Rig) -> None:
    rig.accept(1, 2, 3)
    await rig.runs(1, 2)
    rig.bench.stop_all("out of contact")
    assert (await rig.ended(3)).outcome is Outcome.RELEASED
    await rig.until(lambda: rig.executor(2).cancelled and rig.executor(1).cancelled)
    await rig.clock.advance(6)
    for token in (1, 2):
        assert (await rig.ended(token)).outcome is Outcome.RELEASED


async def test_a_dead_executor_blames_the_one_that_ran(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.accept(1, 2, 3, 4, mean_run_s=0.001)
    await rig.runs(1, 2, 3, 4)
    executor = rig.executor(1)
    (executor.scratch / CRASH_FILE_NAME).write_text("Fatal Python error: Segmentation fault")
    executor.fed.pop(0)  # 1 had finished, its answer went down with the process
    executor.die(finished=1)
    lost = await rig.ended(1)
    # The crash took its result along: lost, and not the fault of the node.
    assert (lost.outcome, lost.node_caused, kind(lost)) == (Outcome.LOST, False, "lost")
    crashed = await rig.ended(2)
    assert (crashed.outcome, kind(crashed), crashed.node_caused) == (Outcome.FAILED, "crashed", False)
    assert "Segmentation fault" in (crashed.log_tail or "")
    await rig.runs(3, 4)  # untouched ones run again, elsewhere
    assert not executor.scratch.exists()


async def test_a_death_that_feeding_or_withdrawing_finds(rig: Rig) -> None:
    rig.accept(1)
    await rig.runs(1)
    rig.executor(1).finish()
    await rig.ended(1)
    [executor] = rig.factory.executors
    executor.dead = True
    rig.accept(2)
    await rig.runs(2)  # it was never started there
    gone = rig.executor(2)
    gone._out, gone.dead = [], True
    rig.bench.stop(2, "cancelled")
    assert (await rig.ended(2)).outcome is Outcome.CANCELLED
    rig.accept(3, timeout_s=1)
    await rig.runs(3)
    rig.executor(3).dead = True
    await rig.clock.advance(2)  # the flag finds it dead
    assert (await rig.ended(3)).outcome is Outcome.TIMEOUT


async def test_a_stopped_follower_of_a_dead_executor_does_not_run_again(rig: Rig) -> None:
    rig.bench.slots = 1
    rig.accept(1, 2, mean_run_s=0.001)
    await rig.runs(1, 2)
    rig.executor(1).die()
    rig.bench.stop(2, "cancelled")
    assert (await rig.ended(2)).outcome is Outcome.CANCELLED
    assert kind(await rig.ended(1)) == "crashed"


async def test_an_executor_killed_by_us_blames_nobody(rig: Rig) -> None:
    rig.accept(1)
    await rig.runs(1)
    worker = next(iter(rig.bench._pool.workers.values()))
    rig.bench._pool.kill(worker)
    found = await rig.ended(1)
    assert (found.outcome, found.node_caused) == (Outcome.LOST, True)


async def test_the_end_of_the_agent_hands_back_and_kills(rig: Rig) -> None:
    rig.accept(1, 2, 3)
    await rig.runs(1, 2)
    rig.bench.stop_all("recall")
    rig.bench.stop_all("stopped")
    await rig.bench.close()
    assert {o.outcome for o in rig.bench.shelf.ended.values()} == {Outcome.RELEASED}
    assert sorted(rig.bench.shelf.ended) == [1, 2, 3]
    assert (rig.factory.alive, rig.bench.seats) == ([], 0)
    rig.accept(4)
    assert rig.factory.asked == 2  # nothing starts any more


async def test_an_end_while_an_executor_starts_leaves_none(rig: Rig) -> None:
    rig.factory.gate = asyncio.Event()
    rig.accept(1)
    await rig.until(lambda: rig.factory.asked)
    closing = asyncio.ensure_future(rig.bench.close())
    await rig.clock.settle()
    rig.factory.gate.set()
    await closing
    assert rig.factory.alive == []


async def test_an_executor_that_talks_nonsense_is_ended_and_its_work_told_as_lost(rig: Rig) -> None:
    rig.accept(1)
    await rig.runs(1)
    rig.executor(1).say(1, "ended", outcome="splendid")
    found = await rig.ended(1)
    assert (found.outcome, found.node_caused) == (Outcome.LOST, True)
    rig.accept(2)
    await rig.runs(2)
