"""What happened in a run, a line each, and their digest: two runs of one plan must agree in every byte."""

from __future__ import annotations

import hashlib
from collections import Counter, deque

from openclaw_ray.sim.loop import VirtualLoop


class Trace:
    """Lines in order.

    Args:
        loop: Whose time stands before each line.
        kept: How many of the last lines are kept; None: all.
    """

    def __init__(self, loop: VirtualLoop, kept: int | None = 0) -> None:
        self._loop = loop
        self._digest = hashlib.sha256()
        self.lines: deque[str] = deque(maxlen=kept)
        #: Lines by their first word.
        self.counts: Counter[str] = Counter()

    def note(self, what: str, text: str) -> None:
        """Something happened."""
        line = f"{self._loop.time():.6f} {what} {text}"
        self.counts[what] += 1
        self._digest.update(line.encode())
        self._digest.update(b"\n")
        self.lines.append(line)

    @property
    def sha256(self) -> str:
        """Over all lines so far."""
        return self._digest.hexdigest()
