"""Parameters of tasks that were submitted just now, so that leasing them needs no read. The disk has them all."""

from __future__ import annotations

from collections import OrderedDict

BYTES_MAX = 64 * 1024 * 1024


class ParamsCache:
    """Newest parameters by task id, bounded by their size together."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._texts: OrderedDict[str, tuple[str, int | None]] = OrderedDict()
        self._bytes = 0
        self._max = bytes_max

    def put(self, task_id: str, params: str, timeout: int | None) -> None:
        """Remember; the oldest make room."""
        self.drop(task_id)
        self._texts[task_id] = (params, timeout)
        self._bytes += len(params) + 200
        while self._bytes > self._max:
            _, (old, _) = self._texts.popitem(last=False)
            self._bytes -= len(old) + 200

    def get(self, task_id: str) -> tuple[str, int | None] | None:
        """Parameters as JSON text and the timeout, if they are still here."""
        return self._texts.get(task_id)

    def drop(self, task_id: str) -> None:
        """The task has ended or changed."""
        old = self._texts.pop(task_id, None)
        if old is not None:
            self._bytes -= len(old[0]) + 200
