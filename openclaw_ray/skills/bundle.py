"""What passes between an agent and its executors, as JSON that says once what many items share.

Very short attempts come by the hundred, and differ in little: orders of one skill in their token and parameters, ends
that went well in their token, times and result. Both sides work with one mapping per item; only the text is short.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Item = dict[str, Any]

#: What each order says for itself; the rest is said once for all that follow it.
_OWN = ("token", "task_id", "attempt", "params")
_SHARED = ("skill", "revision", "code", "code_path", "timeout_s", "takes_context")
#: An attempt that completed and left nothing else to tell.
_PLAIN_END: Item = {
    "event": "ended", "outcome": "completed", "error": None, "permanent": False, "log_tail": None, "peak_memory": None,
}  # fmt: skip


def pack_orders(items: Iterable[Item]) -> str:
    """Orders of an agent as text: a mapping says what the rows after it share."""
    parts: list[Any] = []
    before: tuple[Any, ...] | None = None
    for item in items:
        shared = tuple(item[name] for name in _SHARED)
        if shared != before:
            parts.append(dict(zip(_SHARED, shared, strict=True)))
            before = shared
        parts.append([item[name] for name in _OWN])
    return _dumps(parts)


def unpack_orders(text: str) -> list[Item]:
    """The inverse of `pack_orders`."""
    items: list[Item] = []
    shared: Item = {}
    for part in json.loads(text):
        if isinstance(part, dict):
            shared = part
        else:
            token, task_id, attempt, params = part
            items.append({"token": token, "task_id": task_id, "attempt": attempt, "params": params, **shared})
    return items


def pack_entries(entries: Iterable[Item]) -> str:
    """What an executor tells as text: a plain end is a row of its token, start, duration and result."""
    return _dumps([_row_of(entry) if _is_plain_end(entry) else entry for entry in entries])


def unpack_entries(text: str) -> list[Item]:
    """The inverse of `pack_entries`."""
    return [part if isinstance(part, dict) else _entry_of(*part) for part in json.loads(text)]


def _is_plain_end(entry: Item) -> bool:
    get = entry.get
    return (
        get("outcome") == "completed"
        and get("log_tail") is None
        and get("peak_memory") is None
        and "progress" not in entry
    )


def _row_of(entry: Item) -> list[Any]:
    return [entry["token"], entry["started_at"], entry["run_s"], entry["result"]]


def _entry_of(token: int, started_at: float, run_s: float, result: str | None) -> Item:
    times = {"started_at": started_at, "ended_at": started_at + run_s, "run_s": run_s}
    return {"token": token, **_PLAIN_END, **times, "result": result}


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
