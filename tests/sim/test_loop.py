"""Virtual time, and processes that stop between two steps."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from openclaw_ray.sim.clock import WALL_START, SimClock
from openclaw_ray.sim.loop import NothingLeft, Process, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(0.0)
    yield loop
    loop.bury_all()
    loop.close()


async def ticking(clock: SimClock, heard: list[float]) -> None:
    try:
        while True:
            await clock.sleep_until(clock.now().mono + 1.0)
            heard.append(clock.now().mono)
    finally:
        heard.append(-1.0)


def waited(loop: VirtualLoop, work: Coroutine[Any, Any, Any]) -> Any:
    return loop.run_until_complete(work)


async def until(clock: SimClock, mono: float) -> None:
    await clock.sleep_until(mono)


def test_an_hour_costs_nothing(loop: VirtualLoop) -> None:
    clock = SimClock(loop)
    waited(loop, until(clock, 3_600.0))
    assert clock.now() == (WALL_START + 3_600.0, 3_600.0)
    clock.offset_s = -7_200.0
    assert clock.now().wall == WALL_START - 3_600.0
    assert clock.now().mono == 3_600.0


def test_a_paused_process_goes_on_where_it_was(loop: VirtualLoop) -> None:
    clock, heard, process = SimClock(loop), list[float](), Process(loop, "one")
    process.spawn(ticking(clock, heard))
    waited(loop, until(clock, 2.5))
    process.pause()
    waited(loop, until(clock, 9.0))
    assert heard == [1.0, 2.0]
    process.resume()
    waited(loop, until(clock, 10.5))
    assert heard == [1.0, 2.0, 9.0, 10.0]


def test_a_killed_process_takes_no_step_and_says_no_goodbye(loop: VirtualLoop) -> None:
    clock, heard, process = SimClock(loop), list[float](), Process(loop, "one")
    told: list[str] = []
    process.on_death.append(lambda: told.append("dead"))
    process.spawn(ticking(clock, heard))
    waited(loop, until(clock, 1.5))
    process.kill()
    process.kill()
    waited(loop, until(clock, 5.0))
    assert heard == [1.0]
    assert told == ["dead"]


def test_what_a_task_starts_belongs_to_its_process(loop: VirtualLoop) -> None:
    clock, heard, process = SimClock(loop), list[float](), Process(loop, "one")

    async def parent() -> None:
        await asyncio.gather(asyncio.create_task(ticking(clock, heard)))

    process.spawn(parent())
    waited(loop, until(clock, 1.5))
    process.kill()
    waited(loop, until(clock, 5.0))
    assert heard == [1.0]


def test_work_for_a_thread_is_done_at_once(loop: VirtualLoop) -> None:
    async def both() -> tuple[int, str]:
        done = await asyncio.to_thread(lambda: 7)
        with pytest.raises(ValueError, match="no"):
            await asyncio.to_thread(int, "no")
        return done, "raised"

    assert waited(loop, both()) == (7, "raised")


def test_waiting_for_ever_with_everybody_else_is_a_deadlock(loop: VirtualLoop) -> None:
    with pytest.raises(NothingLeft):
        waited(loop, until(SimClock(loop), math.inf))


def test_running_in_circles_while_time_stands_still_ends(loop: VirtualLoop) -> None:
    async def circles() -> None:
        while loop.time() < 1.0:  # noqa: ASYNC110 (that is what is wrong with it)
            await asyncio.sleep(0)

    with pytest.raises(NothingLeft):
        waited(loop, circles())


def test_a_task_that_raises_unheard_is_noted(loop: VirtualLoop) -> None:
    async def wrong() -> None:
        raise ValueError("nobody waits for me")

    async def alone() -> None:
        asyncio.create_task(wrong())  # noqa: RUF006 (nobody keeps it)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    waited(loop, alone())
    assert "nobody waits for me" in loop.unheard[0]
