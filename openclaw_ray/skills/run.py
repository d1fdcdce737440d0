"""The attempt that an executor runs now, and what of it is still to be told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openclaw_ray.skills.context import Context

#: A start is worth a message of its own only for attempts that run longer, seconds.
STARTED_AFTER_S = 0.02
#: Progress travels at most this often, seconds.
PROGRESS_S = 0.25


class Run:
    """One item while it runs. Changed under the executor's lock only.

    Args:
        item: As it was fed.
        scratch: Where its scratch folder would be made.
        on_progress: Given the token and every report of progress.
        on_log: Given every log line.
    """

    __slots__ = ("announced", "context", "item", "mono", "progress", "sent_at", "token", "unsent", "wall")

    def __init__(
        self,
        item: dict[str, Any],
        scratch: Path,
        on_progress: Callable[[int, dict[str, Any]], None],
        on_log: Callable[[str], None],
    ) -> None:
        self.item = item
        self.token: int = item["token"]
        self.wall = time.time()
        self.mono = time.monotonic()
        timeout_s = item["timeout_s"]
        self.context = Context(
            item["task_id"],
            item["attempt"],
            self.token,
            deadline=math.inf if timeout_s is None else self.mono + timeout_s,
            scratch_root=scratch,
            on_progress=on_progress,
            on_log=on_log,
        )
        #: Whether its start was reported.
        self.announced = False
        #: The last report of progress, whether it is still to be sent, and when one was sent last (monotonic).
        self.progress: dict[str, Any] | None = None
        self.unsent = False
        self.sent_at = -math.inf

    def due_entries(self, now: float) -> list[dict[str, Any]]:
        """What time alone brings about: the start of a long attempt, progress that was held back."""
        found: list[dict[str, Any]] = []
        if not self.announced and now - self.mono >= STARTED_AFTER_S:
            self.announced = True
            found.append({"token": self.token, "event": "started", "at": self.wall})
        if self.unsent and now - self.sent_at >= PROGRESS_S:
            self.unsent, self.sent_at = False, now
            found.append({"token": self.token, "event": "progress", "progress": self.progress})
        return found

    def next_due_s(self, now: float) -> float:
        """Seconds until `due_entries` may have something; `math.inf` if nothing is held back."""
        due = math.inf if self.announced else self.mono + STARTED_AFTER_S
        if self.unsent:
            due = min(due, self.sent_at + PROGRESS_S)
        return max(0.001, due - now)
