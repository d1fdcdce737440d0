"""The judge of a run: each promise of the project, asked of the evidence alone.

It shares no code with what it judges: states, limits and formulas stand here a second time, as the promises word them.
"""

from __future__ import annotations

from openclaw_ray.sim.checker import attempts, endings, figures, order, results, room
from openclaw_ray.sim.checker.record import Record, Violation
from openclaw_ray.sim.evidence import Evidence

__all__ = ["Violation", "violations"]

_CHECKS = (*endings.CHECKS, *results.CHECKS, *attempts.CHECKS, *order.CHECKS, *room.CHECKS, *figures.CHECKS)


def violations(evidence: Evidence) -> list[Violation]:
    """Every broken promise that the evidence shows; none means that the run was right."""
    record = Record(evidence)
    return [found for check in _CHECKS for found in check(record)]
