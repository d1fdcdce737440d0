"""`python -m benchmarks`: measure, print one table, write one JSON file."""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import home, hotspots, live, memory, placing, report, restart, store
from benchmarks.conditions import conditions, load_average
from benchmarks.plan import Benchmark, Plan, matching
from benchmarks.series import Row
from openclaw_ray.errors import OpenClawError

BENCHMARKS = (
    Benchmark(live.NOOP_ROWS, live.measure_noop, "no-op throughput, calls and commits"),
    Benchmark(live.ROUND_TRIP_ROWS, live.measure_round_trip, "single round trips"),
    Benchmark(live.FIFTY_MS_ROWS, live.measure_fifty_ms, "50 ms tasks on all slots"),
    Benchmark(store.STORE_ROWS, store.measure_store, "speeds of the store with 100k tasks in the file"),
    Benchmark(placing.PLACING_ROWS, placing.measure_placing, "placement in the pure core"),
    Benchmark(memory.MEMORY_ROWS, memory.measure_memory, "memory per waiting task"),
    Benchmark(restart.RESTART_ROWS, restart.measure_restart, "restarts with many live tasks"),
)
PROFILED_TASKS = 10_000


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows by name or pattern (noop-*); default: all")
    parser.add_argument("--list", action="store_true", help="the names of all rows, and nothing else")
    parser.add_argument("--quick", action="store_true", help="2 repetitions")
    parser.add_argument("--repetitions", type=int, metavar="N", help="default: 5")
    parser.add_argument("--slots", type=int, default=2, help="tasks at a time, ours and bare Ray's (default: 2)")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where databases go while measuring (default: a temporary one)")
    parser.add_argument("--profile", action="store_true", help="which functions of the coordinator take the time")
    found = parser.parse_args(given)
    if found.repetitions is None:
        found.repetitions = 2 if found.quick else 5
    if found.repetitions < 1 or found.slots < 1:
        parser.error("--repetitions and --slots are 1 or more")
    return found


def main(given: Sequence[str] | None = None) -> int:
    asked = arguments(given)
    if asked.list:
        print("\n".join(row for one in BENCHMARKS for row in one.rows))
        return 0
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with tempfile.TemporaryDirectory(prefix="openclaw-bench-", dir=asked.folder) as folder:
        plan = Plan(Path(folder), asked.repetitions, asked.slots, tuple(asked.rows))
        if asked.profile:
            profile(plan)
            return 0
        try:
            chosen = matching(BENCHMARKS, plan)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        found = conditions(plan, asyncio.run(_sqlite(plan.folder / "version")))
        rows, failed = measure(chosen, plan)
        found["load_average_after"] = load_average()
    print(report.render(found, rows, failed))
    report.write(asked.output, report.document(found, rows, failed))
    print(f"\nwritten to {asked.output}")
    return 1 if failed else 0


def measure(chosen: Sequence[Benchmark], plan: Plan) -> tuple[list[Row], dict[str, str]]:
    """Rows, and what could not be measured with its reason: one that fails does not take the others along."""
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for i, one in enumerate(chosen, 1):
        began = time.perf_counter()
        print(f"[{i}/{len(chosen)}] {one.what} ...", end="", file=sys.stderr, flush=True)
        try:
            rows += [row for row in one.measure(plan) if plan.wants(row.name)]
        except (OpenClawError, RuntimeError) as error:
            failed[one.what] = f"{type(error).__name__}: {error}"
        print(f" {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return rows, failed


def profile(plan: Plan) -> None:
    plain = asyncio.run(hotspots.run(plan.folder / "plain", PROFILED_TASKS))
    profiled = cProfile.Profile()
    asyncio.run(hotspots.run(plan.folder / "profiled", PROFILED_TASKS, profiled))
    print(hotspots.render(plain, hotspots.hotspots(profiled)))


async def _sqlite(folder: Path) -> str:
    async with home.coordinator(folder) as found:
        return await home.sqlite_version(found)


if __name__ == "__main__":
    sys.exit(main())
