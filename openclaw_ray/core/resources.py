"""What a task asks and a node has, in whole units: milli-CPU, bytes, milli-GPU, milli of what the owner named.

Whole numbers, because sums of floats drift: after a thousand leases of 0.1 CPU a node must be as free as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CPU = "cpu"
MEMORY = "memory"
GPU = "gpu"

#: One CPU, GPU or custom unit in whole units. Memory is counted in bytes.
MILLI = 1000


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount per resource name, sorted by name, without zeros; so equal amounts are equal values and can be keys."""

    amounts: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, **units: int) -> Resources:
        """Build from whole units: ``Resources.of(cpu=1500, memory=2**30)``."""
        return cls.from_units(units)

    @classmethod
    def from_units(cls, units: dict[str, int]) -> Resources:
        """Build from a mapping of whole units; zeros are dropped."""
        return cls(tuple(sorted((name, n) for name, n in units.items() if n)))

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self.amounts)

    def __bool__(self) -> bool:
        return bool(self.amounts)

    def get(self, name: str) -> int:
        """Units of one resource, 0 where it is not named."""
        for key, units in self.amounts:
            if key == name:
                return units
        return 0

    def within(self, other: Resources) -> bool:
        """Whether `other` is at least as much of everything."""
        return all(units <= other.get(name) for name, units in self.amounts)

    def to_units(self) -> dict[str, int]:
        """A plain mapping, name to whole units."""
        return dict(self.amounts)


#: Asks for nothing, has nothing.
NOTHING = Resources()


class Room:
    """How much of a capacity is taken; the one place that adds and compares."""

    __slots__ = ("total", "used")

    def __init__(self, total: Resources) -> None:
        self.total = total.to_units()
        self.used: dict[str, int] = {}

    def free(self, name: str) -> int:
        """Units left; negative after the capacity was cut below what runs."""
        return self.total.get(name, 0) - self.used.get(name, 0)

    def lacks(self, asked: Resources) -> list[str]:
        """Names of the resources that do not fit now, in name order."""
        return [name for name, units in asked if units > self.free(name)]

    def fits(self, asked: Resources) -> bool:
        """Whether `asked` could be taken now."""
        for name, units in asked.amounts:
            if units > self.total.get(name, 0) - self.used.get(name, 0):
                return False
        return True

    def take(self, asked: Resources) -> None:
        """Count `asked` as used."""
        for name, units in asked.amounts:
            self.used[name] = self.used.get(name, 0) + units

    def give(self, asked: Resources) -> None:
        """Count `asked` as free again; a name that drops to zero disappears, so equal rooms compare equal."""
        for name, units in asked.amounts:
            left = self.used.get(name, 0) - units
            if left:
                self.used[name] = left
            else:
                self.used.pop(name, None)

    def fits_total(self) -> bool:
        """Whether what is used is within the capacity (not so for a while after a capacity cut)."""
        return all(units <= self.total.get(name, 0) for name, units in self.used.items())

    def could_fit(self, asked: Resources) -> bool:
        """Whether `asked` could be taken if nothing else were."""
        return all(units <= self.total.get(name, 0) for name, units in asked.amounts)
