"""The drill's work: tasks of unlike lengths, handed in all the time, each of which writes into a ledger of its own."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openclaw_ray.errors import OpenClawError, OutcomeUnknown
from openclaw_ray.skills.context import Context
from openclaw_ray.skills.function import skill

if TYPE_CHECKING:
    from openclaw_ray.client import Cluster, Task

GROUP = "drill"
#: Tasks of one submit, and how many may be under way before the next.
BATCH, UNDER_WAY_MAX = 40, 200
#: One task in so many is long: there is always something in the middle of its work when a part dies (seconds).
LONG_EVERY, LONG_S, SHORT_S = 15, (2.0, 6.0), (0.0, 0.3)
PAUSE_S = 0.2


@skill(timeout="60s")
def stint(ctx: Context, ledger: str, number: int, work_s: float) -> int:
    """Note the start, work, note the end."""
    _note(ledger, f"start {number} {ctx.token} {os.getpid()}")
    end = time.monotonic() + work_s
    while (left := end - time.monotonic()) > 0 and not ctx.cancelled:
        time.sleep(min(left, 0.05))
    _note(ledger, f"end {number} {ctx.token} {os.getpid()}")
    return number


def _note(ledger: str, line: str) -> None:
    with Path(ledger).open("a") as file:  # one write below PIPE_BUF: lines of many processes do not mix
        file.write(line + "\n")


class Load:
    """Submits until it is told to stop, in a thread of its own. Whatever was acknowledged is in `tasks`."""

    def __init__(self, cluster: Cluster, ledger: Path, seed: int) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._chance = random.Random(seed)
        #: Task by the number that it writes and returns.
        self.tasks: dict[int, Task] = {}
        #: Submits that were answered neither yes nor no, and refusals, in words.
        self.unknown = 0
        self.refused: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drill-load", daemon=True)

    def start(self) -> None:
        """Begin to submit."""
        self._ledger.touch()
        self._thread.start()

    def stop(self) -> None:
        """Submit nothing more."""
        self._stop.set()
        self._thread.join()

    @property
    def under_way(self) -> int:
        """Tasks that have not ended, as far as was heard."""
        return sum(not task.ended for task in list(self.tasks.values()))

    def _run(self) -> None:
        first = 0
        listening = threading.Thread(target=self._listen, name="drill-results", daemon=True)
        listening.start()
        while not self._stop.is_set():
            if self.under_way >= UNDER_WAY_MAX:
                self._stop.wait(PAUSE_S)
                continue
            numbers = range(first, first + BATCH)
            first += BATCH
            try:
                tasks = self._cluster.map(
                    "stint", [self._stint(n) for n in numbers], group=GROUP, retries=50, max_lost=50
                )
            except OutcomeUnknown:
                self.unknown += 1
            except OpenClawError as error:
                self.refused.append(str(error))
            else:
                self.tasks.update(zip(numbers, tasks, strict=True))

    def _stint(self, number: int) -> dict[str, Any]:
        span = LONG_S if number % LONG_EVERY == 0 else SHORT_S
        return {"ledger": str(self._ledger), "number": number, "work_s": round(self._chance.uniform(*span), 3)}

    def _listen(self) -> None:
        """Hear of ends, so that `under_way` is true."""
        while not self._stop.is_set():
            waiting = [task for task in list(self.tasks.values()) if not task.ended]
            try:
                for _ in self._cluster.as_completed(waiting, timeout=1.0):
                    pass
            except OpenClawError:
                self._stop.wait(PAUSE_S)
