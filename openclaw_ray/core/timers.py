"""Moments by name, the nearest first. Deadlines are data: nothing here waits."""

from __future__ import annotations

import heapq

#: Stale entries that the heap may hold beside twice its live ones before it is cleaned.
STALE_MAX = 64


class Timers:
    """At most one moment per name. A moment that is moved or cleared leaves a stale heap entry, skipped when met."""

    __slots__ = ("_heap", "at")

    def __init__(self) -> None:
        #: Name to its moment, in seconds of whichever clock the owner uses.
        self.at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, name: str, at: float) -> None:
        """Give `name` the moment `at`, in place of any other."""
        if self.at.get(name) == at:
            return
        self.at[name] = at
        if len(self._heap) > STALE_MAX + 2 * len(self.at):
            self._heap = sorted((moment, key) for key, moment in self.at.items())
        else:
            heapq.heappush(self._heap, (at, name))

    def clear(self, name: str) -> None:
        """`name` has no moment any more."""
        self.at.pop(name, None)

    def first(self) -> float | None:
        """The nearest moment, None when there is none."""
        heap = self._heap
        while heap and self.at.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, until: float) -> str | None:
        """Take the nearest name whose moment is `until` or before; None when there is none."""
        at = self.first()
        if at is None or at > until:
            return None
        _, name = heapq.heappop(self._heap)
        del self.at[name]
        return name

    def __len__(self) -> int:
        """Entries in memory, stale ones too."""
        return len(self._heap)
