"""Memory of a waiting task in the coordinator: growth of a process of its own while tasks are submitted."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

from benchmarks import home
from benchmarks.plan import Plan
from benchmarks.series import Row, at_most

WAITING = 50_000
#: Before the first look: caches of SQLite and pydantic are full by then.
WARM_UP = 5_000
MEMORY_ROWS = ("memory",)
#: A repetition says the same to a percent; more than this many only take time.
REPETITIONS_MAX = 2


def measure_memory(plan: Plan) -> Iterator[Row]:
    """A fresh process for each repetition: memory that was freed before would hide what is taken."""
    grown = []
    for i in range(min(plan.repetitions, REPETITIONS_MAX)):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            grown.append(pool.submit(growth_bytes, plan.folder / f"memory-{i}", WAITING).result())
    yield memory_row(grown, WAITING)


def growth_bytes(folder: Path, waiting: int) -> int:
    """Bytes that the resident set grows by, for `waiting` tasks."""
    return asyncio.run(_growth(folder, waiting))


async def _growth(folder: Path, waiting: int) -> int:
    async with home.coordinator(folder) as found:
        await home.wait_for_ever(found, home.ids("warm", WARM_UP), 500)
        before = _resident()
        await home.wait_for_ever(found, home.ids("wait", waiting), 500)
        return _resident() - before


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def memory_row(grown: Sequence[int], waiting: int) -> Row:
    """KB per task."""
    return Row(
        name="memory",
        what=f"memory per waiting task, of {waiting:,}",
        unit="KB",
        runs=[one / waiting / 1024 for one in grown],
        goal=at_most(1),
        raw={"grown MB": [one / 2**20 for one in grown]},
    )
