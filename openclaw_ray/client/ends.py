"""Several tasks awaited together: who has ended, in the order in which it was heard."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from openclaw_ray.client.snapshot import Snapshot
from openclaw_ray.client.waiter import ResultsWaiter
from openclaw_ray.core.limits import TIMEOUT_S_MAX
from openclaw_ray.core.types import TaskState
from openclaw_ray.errors import InvalidRequest, OpenClawError, WaitTimeout
from openclaw_ray.models.door import quoted
from openclaw_ray.models.fields import seconds

OnError = Literal["raise", "return", "skip"]
#: Ids named in the facts of an error.
IDS_MAX = 100


def wait_s(timeout: Any) -> float | None:
    """How long to wait, in seconds; text such as "2m" is taken too.

    Raises:
        InvalidRequest: negative, NaN, or no time at all.
    """
    if timeout is None:
        return None
    limit = 'seconds from 0, "30s", None'
    if isinstance(timeout, str):
        try:
            return float(seconds(timeout))
        except InvalidRequest as error:
            raise InvalidRequest(error.message, field="timeout", limit=limit) from None
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not (0 <= timeout <= TIMEOUT_S_MAX or timeout == math.inf):
        raise InvalidRequest(f"{quoted(timeout)} is not a time to wait", field="timeout", limit=limit)
    return float(timeout)


class Ends:
    """Waits for tasks; use it as a context, so that nothing is awaited longer than somebody cares."""

    def __init__(self, waiter: ResultsWaiter, snapshots: Sequence[Snapshot], timeout: float | str | None) -> None:
        self._waiter = waiter
        self._snapshots = snapshots
        self._timeout_s = wait_s(timeout)
        self._ready: deque[int] = deque()
        self._wake = asyncio.Event()
        self._watched: list[Snapshot] = []
        self._error: OpenClawError | None = None
        self._end = math.inf
        self.left = len(snapshots)

    def __enter__(self) -> Ends:
        if self._timeout_s is not None:
            self._end = asyncio.get_running_loop().time() + self._timeout_s
        for i, snapshot in enumerate(self._snapshots):
            if snapshot.settled:
                self._ready.append(i)
                continue
            done = self._waiter.watch(snapshot)
            self._watched.append(snapshot)
            done.add_done_callback(lambda told, i=i: self._heard(i, told))  # type: ignore[misc]
        return self

    def __exit__(self, *_: object) -> None:
        self._waiter.unwatch(self._watched)

    def _heard(self, i: int, told: asyncio.Future[OpenClawError | None]) -> None:
        if not told.cancelled() and told.result() is not None:
            self._error = self._error or told.result()
        else:
            self._ready.append(i)
        self._wake.set()

    async def next(self) -> list[int]:
        """Positions of tasks that ended since the last call, at least one; empty when all have been told.

        Raises:
            WaitTimeout: none ended in time; the tasks go on.
            NotFound, NotConnected: nobody will know.
        """
        while not self._ready:
            if self.left == 0:
                return []
            if self._error is not None:
                raise self._error
            self._wake.clear()
            left_s = None if math.isinf(self._end) else self._end - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
            except TimeoutError:
                raise self._late() from None
        found = list(self._ready)
        self._ready.clear()
        self.left -= len(found)
        return found

    def _late(self) -> WaitTimeout:
        live = [s for s in self._snapshots if not s.settled]
        if len(self._snapshots) == 1:
            text = f"task {live[0].id} has not ended after {self._timeout_s:g} s"
        else:
            text = f"{len(live):,} of {len(self._snapshots):,} tasks have not ended after {self._timeout_s:g} s"
        facts: dict[str, Any] = {"task_ids": [s.id for s in live[:IDS_MAX]], "left": len(live)}
        if len(live) == 1:
            facts["task_id"] = live[0].id
        return WaitTimeout(text, hint="only the waiting ended; why() says what holds a task", facts=facts)


async def gather(
    waiter: ResultsWaiter, snapshots: Sequence[Snapshot], on_error: OnError, limit: float | str | None
) -> list[Any]:
    """Results in the order of `snapshots`; see the clients' `gather`."""
    if on_error not in ("raise", "return", "skip"):
        raise InvalidRequest(f"{quoted(on_error)} is unknown", field="on_error", limit="raise, return, skip")
    with Ends(waiter, snapshots, limit) as ends:
        while found := await ends.next():
            if on_error == "raise":
                for i in found:
                    if snapshots[i].state != TaskState.COMPLETED.value:
                        raise snapshots[i].failure()
    good = TaskState.COMPLETED.value
    if on_error == "return":
        return [s.value() if s.state == good else s.failure() for s in snapshots]
    return [s.value() for s in snapshots if s.state == good]
