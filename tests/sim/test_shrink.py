"""A failing plan becomes small and keeps failing."""

from __future__ import annotations

from dataclasses import replace

from openclaw_ray.sim.plan import Fault, Plan, draw
from openclaw_ray.sim.shrink import shrink


def plan_of(*kinds: str) -> Plan:
    return replace(draw(0), faults=tuple(Fault(float(i), kind) for i, kind in enumerate(kinds)), tasks=20)


def kinds(plan: Plan) -> list[str]:
    return [fault.kind for fault in plan.faults]


def test_only_what_is_needed_is_left() -> None:
    plan = plan_of("a", "b", "c", "d", "e", "f", "g")
    small = shrink(plan, lambda p: {"b", "f"} <= set(kinds(p)) and p.tasks >= 3)
    assert (kinds(small), small.tasks) == (["b", "f"], 3)


def test_it_asks_no_more_often_than_it_may() -> None:
    asked: list[Plan] = []

    def fails(plan: Plan) -> bool:
        asked.append(plan)
        return False

    shrink(plan_of(*"abcdefghijklmnop"), fails, runs_max=5)
    assert len(asked) == 5


def test_a_plan_that_only_fails_whole_stays_whole() -> None:
    plan = plan_of("a", "b", "c")
    assert shrink(plan, lambda p: p == plan) == plan
