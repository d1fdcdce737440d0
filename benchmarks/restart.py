"""From the start of a StateManager's process on a full file to its first answered submit (I24).

The process that filled the file ends without a goodbye, so what it had not yet moved into the file is read from the
WAL. Ray's own time to notice a death and to start a process (about two seconds) is not among it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import home
from benchmarks.plan import Plan
from benchmarks.series import Row, at_most

#: Row to live tasks, and the goal in seconds.
SIZES = {"restart-10k": (10_000, 5.0), "restart-100k": (100_000, 10.0), "restart-1m": (1_000_000, 30.0)}
RESTART_ROWS = tuple(SIZES)
#: Starts on one file; each is a fresh process.
REPETITIONS_MAX = 3
_SPAWN = multiprocessing.get_context("spawn")


def measure_restart(plan: Plan) -> Iterator[Row]:
    """One file per size, several starts on it."""
    for row, (tasks, _) in SIZES.items():
        if not plan.wants(row):
            continue
        folder = plan.folder / row
        filling = _SPAWN.Process(target=fill, args=(folder, tasks))
        filling.start()
        filling.join()
        times = [_fresh(first_ack_s, folder, i) for i in range(min(plan.repetitions, REPETITIONS_MAX))]
        yield restart_row(row, times)


def _fresh(work: Callable[..., float], *arguments: Any) -> float:
    with ProcessPoolExecutor(1, mp_context=_SPAWN) as pool:
        return pool.submit(work, *arguments).result()


def fill(folder: Path, tasks: int) -> None:
    """Write so many waiting tasks, then end as kill -9 does."""

    async def submit() -> None:
        async with home.coordinator(folder) as found:
            await home.wait_for_ever(found, home.ids("live", tasks - REPETITIONS_MAX))  # room for the first acks
            os._exit(0)

    asyncio.run(submit())


def first_ack_s(folder: Path, n: int) -> float:
    """Seconds from the start to the answer to a submit."""

    async def submit() -> float:
        began = time.perf_counter()
        async with home.coordinator(folder) as found:
            await home.ask(found, "submit", home.bulk([f"first-{n}-{os.getpid()}"]))
            return time.perf_counter() - began

    return asyncio.run(submit())


def restart_row(name: str, times: Sequence[float]) -> Row:
    """Seconds."""
    tasks, goal_s = SIZES[name]
    return Row(
        name=name,
        what=f"start with {tasks:,} live tasks, to the first ack",
        unit="s",
        runs=list(times),
        goal=at_most(goal_s),
    )
