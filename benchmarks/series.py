"""Repeated measurements, and what is said of them. Knows no clock and no Ray."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Figures as they are kept: more digits than any of these measurements has.
_DIGITS = 6


def percentile(samples: Iterable[float], share: float) -> float:
    """The smallest sample that at least `share` (0 to 1) of all samples do not exceed."""
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure is met when it is at least, or at most, this."""

    bound: float
    at_least: bool

    def met(self, figure: float) -> bool:
        """Whether a figure reaches it."""
        return figure >= self.bound if self.at_least else figure <= self.bound


def at_least(bound: float) -> Goal:
    """More is better."""
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    """Less is better."""
    return Goal(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: its repetitions, its goal, and the raw measurements that it was made of."""

    #: What it is selected by.
    name: str
    what: str
    #: Shown behind figures: ``x``, ``%``, ``ms``, ``/s`` ...
    unit: str
    #: One per repetition.
    runs: Sequence[float]
    #: None: told, not judged.
    goal: Goal | None = None
    #: What the figure was made of, by name, one per repetition: rates, times, bare Ray's beside ours.
    raw: Mapping[str, Sequence[float]] = field(default_factory=dict)
    #: A sentence below the table.
    note: str = ""

    @property
    def figure(self) -> float:
        """The median."""
        return statistics.median(self.runs)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None without one."""
        return None if self.goal is None else self.goal.met(self.figure)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        goal = self.goal
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "median": _rounded(self.figure),
            "min": _rounded(min(self.runs)),
            "max": _rounded(max(self.runs)),
            "runs": [_rounded(one) for one in self.runs],
            "goal": None if goal is None else {"at_least" if goal.at_least else "at_most": goal.bound},
            "met": self.met,
            "raw": {name: [_rounded(one) for one in values] for name, values in self.raw.items()},
            "note": self.note,
        }


def _rounded(figure: float) -> float:
    return round(figure, _DIGITS)


def each(fn: Callable[[float, float], float], ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Repetition by repetition: what lay next to each other in time is compared, not averages of different minutes."""
    return [fn(a, b) for a, b in zip(ours, theirs, strict=True)]


def ratio(ours: float, theirs: float) -> float:
    """How many times theirs."""
    return ours / theirs
