from __future__ import annotations

import asyncio
import math
import time

import pytest

from openclaw_ray.clock import Clock, SystemClock
from tests.support.clock import VirtualClock
from tests.support.wait import wait_until, wait_until_async


def test_system_clock_reads_both_clocks() -> None:
    now = SystemClock().now()
    assert abs(now.wall - time.time()) < 5
    assert abs(now.mono - time.monotonic()) < 5


async def test_system_clock_wakes_no_earlier_than_asked() -> None:
    clock: Clock = SystemClock()
    until = clock.now().mono + 0.02
    await clock.sleep_until(until)
    assert clock.now().mono >= until


async def test_a_moment_that_has_passed_gives_others_a_turn() -> None:
    for clock in (SystemClock(), VirtualClock()):
        ran: list[int] = []
        asyncio.get_running_loop().call_soon(ran.append, 1)
        await clock.sleep_until(clock.now().mono - 5)
        assert ran


async def test_an_endless_sleep_can_be_cancelled() -> None:
    for clock in (SystemClock(), VirtualClock()):
        task = asyncio.create_task(clock.sleep_until(math.inf))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_virtual_sleepers_wake_in_order_of_deadline_at_their_own_time() -> None:
    clock = VirtualClock(wall=0.0, mono=0.0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, until: float) -> None:
        await clock.sleep_until(until)
        woken.append((name, clock.now().mono))

    tasks = [asyncio.create_task(sleeper(n, t)) for n, t in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("late", 9.0))]
    await clock.advance(5.0)
    assert woken == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    assert clock.now() == (5.0, 5.0)
    assert clock.sleepers == 1
    await clock.advance(4.0)
    assert woken[-1] == ("late", 9.0)
    await asyncio.gather(*tasks)


async def test_a_loop_on_virtual_time_ticks_once_per_period() -> None:
    clock = VirtualClock(mono=0.0)
    ticks: list[float] = []

    async def loop() -> None:
        while True:
            await clock.sleep_until(clock.now().mono + 2.0)
            ticks.append(clock.now().mono)

    task = asyncio.create_task(loop())
    await clock.advance(7.0)
    assert ticks == [2.0, 4.0, 6.0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleepers == 0
    await clock.advance(10.0)
    assert len(ticks) == 3


async def test_virtual_time_never_goes_back_but_the_wall_may() -> None:
    clock = VirtualClock(wall=100.0, mono=0.0)
    clock.jump_wall(-50.0)
    assert clock.now() == (50.0, 0.0)
    with pytest.raises(ValueError, match="back"):
        await clock.advance(-1)


def test_wait_until_returns_the_answer_and_dumps_on_timeout() -> None:
    answers = iter([None, None, "done"])
    assert wait_until(lambda: next(answers)) == "done"
    with pytest.raises(AssertionError, match="how it stood"):
        wait_until(lambda: False, timeout_s=0.01, on_timeout=lambda: "how it stood")


async def test_wait_until_async_takes_both_kinds_of_predicate() -> None:
    async def yes() -> bool:
        return True

    async def dump() -> str:
        return "how it stood"

    assert await wait_until_async(yes)
    assert await wait_until_async(lambda: True)
    with pytest.raises(AssertionError, match="how it stood"):
        await wait_until_async(lambda: False, timeout_s=0.01, on_timeout=dump)
