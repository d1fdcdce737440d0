"""The parts that need no Ray, run small."""

from __future__ import annotations

import asyncio
import cProfile
from pathlib import Path

from benchmarks import home, hotspots, memory, placing, store


async def test_a_filled_file_is_half_completed_and_half_waiting(tmp_path: Path) -> None:
    async with home.coordinator(tmp_path / "home") as found:
        names = await home.fill(found, 40)
        stats = await found.call("get_task_stats")
        assert (stats["total"], stats["completed"], stats["pending"]) == (40, 20, 20)
        script = store.Script(names, "inside")
        for operation in store.OPERATIONS:
            verb, arguments = script.call(operation)
            assert await found.call(verb, arguments) is not None
        assert (await home.sqlite_version(found)).startswith("3.")


def test_the_profile_sends_tasks_all_the_way_and_names_our_functions(tmp_path: Path) -> None:
    profile = cProfile.Profile()
    spent = asyncio.run(hotspots.run(tmp_path / "home", 1_000, profile))
    assert spent.loop_s > 0
    shown = hotspots.render(spent, hotspots.hotspots(profile))
    assert "1,000 no-op tasks" in shown
    assert "core/state.py" in shown


def test_the_planner_places_what_there_is_room_for() -> None:
    few = placing.planner(4, 2).plan()
    assert sum(row.seated for row in few) == 8
    assert placing.placements_per_s(4, 2) > 0


def test_waiting_tasks_take_memory(tmp_path: Path) -> None:
    assert memory.growth_bytes(tmp_path / "home", 3_000) >= 0
