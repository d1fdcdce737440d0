"""What the program itself reports as its own mistake: a bug that was caught and survived is still a bug."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

#: Constant texts of our log that say that something happened which must not.
_OURS = frozenset({
    "batch failed", "effects of a committed batch", "call failed", "entries of an executor", "round failed",
})  # fmt: skip


class Alarms(logging.Handler):
    """Collects the errors that are logged within; use it as a context. Nothing else is written meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        self._root = logging.getLogger("openclaw_ray")
        self._before: tuple[int, bool] = (0, True)

    def __enter__(self) -> Self:
        self._before = (self._root.level, self._root.propagate)
        self._root.setLevel(logging.ERROR)
        self._root.propagate = False
        self._root.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._root.removeHandler(self)
        level, self._root.propagate = self._before
        self._root.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is a mistake of ours."""
        text = record.getMessage()
        if text in _OURS or record.exc_info:
            raised = record.exc_info[1] if record.exc_info else None
            self.lines.append(f"{text}: {type(raised).__name__}: {raised}" if raised else text)
