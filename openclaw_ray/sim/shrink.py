"""Makes a failing plan smaller: leaves out faults and work for as long as the same promise is still broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from openclaw_ray.sim.plan import Fault, Plan

#: Runs that one shrinking may cost.
RUNS_MAX = 120


def shrink(plan: Plan, fails: Callable[[Plan], bool], runs_max: int = RUNS_MAX) -> Plan:
    """The smallest plan found that still fails.

    Args:
        plan: One that fails.
        fails: Whether a plan fails in the way that matters.
        runs_max: How often `fails` may be asked.
    """
    left = runs_max

    def still(candidate: Plan) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(candidate)

    plan = _fewer_faults(plan, still)
    for tasks in (1, 2, 3, 5, 8, plan.tasks // 2):
        if tasks < plan.tasks and still(replace(plan, tasks=tasks)):
            plan = replace(plan, tasks=tasks)
            break
    return _fewer_faults(plan, still)


def _fewer_faults(plan: Plan, still: Callable[[Plan], bool]) -> Plan:
    """Leave out halves, then quarters, then single faults."""
    size = max(1, len(plan.faults) // 2)
    while plan.faults:
        i = 0
        while i < len(plan.faults):
            rest: tuple[Fault, ...] = plan.faults[:i] + plan.faults[i + size :]
            if still(replace(plan, faults=rest)):
                plan = replace(plan, faults=rest)
            else:
                i += size
        if size == 1:
            break
        size = max(1, size // 2)
    return plan
