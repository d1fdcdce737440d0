"""What a run is to do: which rows, how often, how large, and where its files go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.series import Row


@dataclass(frozen=True, slots=True)
class Plan:
    """Frozen for the whole run."""

    #: Where databases of this run live; on the disk that is to be measured.
    folder: Path
    repetitions: int = 5
    #: Tasks at a time, for us and for bare Ray.
    slots: int = 2
    #: Names or patterns of rows; empty: all.
    only: tuple[str, ...] = ()

    def wants(self, *rows: str) -> bool:
        """Whether any of these rows is to be measured."""
        return not self.only or any(fnmatch(row, pattern) for row in rows for pattern in self.only)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A function that yields rows. What lies next to each other in time is compared, so it repeats by itself."""

    rows: tuple[str, ...]
    measure: Callable[[Plan], Iterator[Row]]
    what: str = field(default="")


def matching(benchmarks: tuple[Benchmark, ...], plan: Plan) -> list[Benchmark]:
    """Those that a plan needs.

    Raises:
        ValueError: a pattern matches no row; it names them all.
    """
    known = [row for one in benchmarks for row in one.rows]
    for pattern in plan.only:
        if not any(fnmatch(row, pattern) for row in known):
            raise ValueError(f"no row {pattern!r}; there are: {', '.join(known)}")
    return [one for one in benchmarks if plan.wants(*one.rows)]
