"""How one attempt ended, in the one form that executor processes and commands share: an agent treats both alike.

Also what may be kept of text that a skill wrote: bounded, valid Unicode, cut with a mark. Must not know who runs it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from openclaw_ray.core.limits import DESCRIPTION_LEN_MAX, ERROR_TEXT_MAX, OUTPUT_BYTES_MAX

#: A TaskFailure as plain data; see models/task.py.
Failure = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """One attempt that is over. Times of day are seconds since 1970; `run_s` is from the monotonic clock."""

    token: int
    #: completed, failed; a command also: timeout, cancelled. The words of core.types.Outcome.
    outcome: str
    started_at: float
    ended_at: float  # started_at + run_s: a clock that was set back cannot make it precede the start
    run_s: float
    result: str | None = None  # canonical JSON
    error: Failure | None = None
    #: Another attempt would end the same way, wherever it ran.
    permanent: bool = False
    exit_status: int | None = None  # commands that ended by themselves
    signal: str | None = None  # commands: name of the signal that ended it, for example SIGSEGV
    peak_memory: int | None = None  # bytes
    log_tail: str | None = None
    #: The last progress that was reported: done, total, text.
    progress: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As an entry of ExecutorLoop.collect."""
        return {"event": "ended", **{name: getattr(self, name) for name in _FIELDS}}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Ended:
        """The inverse of `to_json`; what is left out is as it is by default."""
        get = entry.get
        return cls(
            token=entry["token"],
            outcome=entry["outcome"],
            started_at=entry["started_at"],
            ended_at=entry["ended_at"],
            run_s=entry["run_s"],
            result=get("result"),
            error=get("error"),
            permanent=get("permanent", False),
            exit_status=get("exit_status"),
            signal=get("signal"),
            peak_memory=get("peak_memory"),
            log_tail=get("log_tail"),
            progress=get("progress"),
        )


_FIELDS = tuple(field.name for field in dataclasses.fields(Ended))


def failure(kind: str, message: str, *, type_name: str = "", traceback: str = "") -> Failure:
    """A TaskFailure mapping with bounded, valid text. A traceback loses its beginning: its end says what happened."""
    return {
        "kind": kind,
        "type": clean(type_name, 200),
        "message": clean(message, DESCRIPTION_LEN_MAX),
        "traceback": clean(traceback, ERROR_TEXT_MAX, keep_end=True),
    }


def clean(text: str, limit: int, *, keep_end: bool = False) -> str:
    """Text of at most `limit` characters that every store and encoder takes: no NUL, no lone surrogates."""
    cut = len(text) - limit
    if cut > 0:
        mark = f"[{cut:,} characters cut]"
        text = f"{mark}\n{text[cut:]}" if keep_end else f"{text[:limit]} {mark}"
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class Tail:
    """The last `limit` bytes of a stream, in bounded memory."""

    __slots__ = ("_kept", "_limit", "total")

    def __init__(self, limit: int = OUTPUT_BYTES_MAX) -> None:
        self._limit = limit
        self._kept = bytearray()
        #: Bytes ever added; starts at 0.
        self.total = 0

    def add(self, data: bytes) -> None:
        """Append; what no longer fits falls off the front."""
        self.total += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._limit:  # twice, so that cutting is rare
            del self._kept[: -self._limit]

    def text(self) -> str | None:
        """What was kept, or None if nothing was written. A cut is marked in front."""
        if not self.total:
            return None
        kept = bytes(self._kept[-self._limit :])
        cut = self.total - len(kept)
        text = kept.decode("utf-8", "replace").replace("\0", "\ufffd")
        return f"[{cut:,} bytes cut]\n{text}" if cut else text
