"""What a running skill may know and say: who it is, how long it has, how far it got.

A context is made for every attempt, also of skills that never look at it, so it does nothing until it is used. Must not
know of Ray, agents or how its words travel; the host hands in two functions for that.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from openclaw_ray.core.limits import PROGRESS_WORDS_MAX
from openclaw_ray.errors import NotFound

#: One log line, cut here: the log is bounded as a whole, and one line should not be all of it.
LINE_LEN_MAX = 4_096

_CURRENT: ContextVar[Context | None] = ContextVar("openclaw_ray_context", default=None)


def current() -> Context:
    """The context of the attempt that runs here, for code that was not handed one. Threads of the skill do not see it.

    Raises:
        NotFound: No skill is running here.
    """
    found = _CURRENT.get()
    if found is None:
        raise NotFound("no skill is running here", hint="current() works inside a running skill, in its own thread")
    return found


class Context:
    """Handed to a skill whose first parameter is `ctx`, `context` or annotated with `Context`. Thread-safe.

    Args:
        task_id: The task.
        attempt: Which try this is, from 1.
        token: Grows with every lease ever given: an idempotency key for effects outside, since a skill may run twice.
        deadline: When the attempt is killed, on the clock of `time.monotonic`; `math.inf` without a timeout.
        scratch_root: Where the attempt's own folder is made on first use; None: there is none.
        on_progress: Told of every report of progress.
        on_log: Given every log line.
    """

    __slots__ = (
        "_cancelled",
        "_on_log",
        "_on_progress",
        "_scratch",
        "_scratch_root",
        "attempt",
        "deadline",
        "task_id",
        "token",
    )

    def __init__(
        self,
        task_id: str,
        attempt: int = 1,
        token: int = 0,
        *,
        deadline: float = math.inf,
        scratch_root: Path | None = None,
        on_progress: Callable[[int, dict[str, Any]], None] | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.task_id = task_id
        self.attempt = attempt
        self.token = token
        self.deadline = deadline
        self._cancelled = False
        self._scratch_root = scratch_root
        self._scratch: Path | None = None
        self._on_progress = on_progress
        self._on_log = on_log

    def __repr__(self) -> str:
        return f"<Context {self.task_id} attempt {self.attempt}>"

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants this attempt to stop. A skill that returns soon is not killed."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask the skill to stop; called by the host."""
        self._cancelled = True

    def remaining_s(self) -> float:
        """Seconds until the attempt is killed: 0 when that is due, `math.inf` without a timeout."""
        return max(0.0, self.deadline - time.monotonic())

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Say how far the work is. Cheap: only the last report of every quarter second travels.

        Args:
            done: Units done, from 0.
            total: Units in all, if known.
            text: A few words, cut after 200 characters.
        """
        if self._on_progress is not None:
            words = str(text)[:PROGRESS_WORDS_MAX].encode("utf-8", "replace").decode()
            self._on_progress(self.token, {"done": _number(done), "total": _number(total), "text": words})

    @property
    def log(self) -> Log:
        """Lines kept with the attempt: ``ctx.log.info("3 pages left")``. The last 64 KiB of all output are kept."""
        return Log(self._on_log)

    @property
    def scratch(self) -> Path:
        """A folder of this attempt alone (0700), made on first use and removed afterwards."""
        if self._scratch is None:
            if self._scratch_root is None:
                raise NotFound("this attempt has no scratch folder", hint="run the skill through the cluster")
            path = self._scratch_root / str(self.token)
            path.mkdir(mode=0o700, exist_ok=True)
            self._scratch = path
        return self._scratch

    def close(self) -> None:
        """Remove the scratch folder; called by the host when the attempt is over."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


class Log:
    """Writes lines with a level word in front."""

    __slots__ = ("_write",)

    def __init__(self, write: Callable[[str], None] | None) -> None:
        self._write = write

    def debug(self, message: object, *args: object) -> None:
        """A detail. `args` are put into `message` with %, as in `logging`."""
        self._line("DEBUG", message, args)

    def info(self, message: object, *args: object) -> None:
        """Something worth knowing later."""
        self._line("INFO", message, args)

    def warning(self, message: object, *args: object) -> None:
        """Something odd that the skill could deal with."""
        self._line("WARNING", message, args)

    def error(self, message: object, *args: object) -> None:
        """Something that went wrong; raising is what fails the attempt."""
        self._line("ERROR", message, args)

    def _line(self, level: str, message: object, args: tuple[object, ...]) -> None:
        if self._write is not None:
            text = str(message) % args if args else str(message)
            self._write(f"{level} {text[:LINE_LEN_MAX]}\n")


def _number(value: float | None) -> float | None:
    """A finite number, or nothing: progress is shown, never trusted."""
    try:
        # Added to 0, true is 1.
        return value + 0 if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:  # a whole number of a thousand digits
        return None
