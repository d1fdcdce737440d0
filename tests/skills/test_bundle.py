"""What an agent and an executor say to each other arrives as it was said."""

from __future__ import annotations

from typing import Any

import pytest

from openclaw_ray.skills.bundle import pack_entries, pack_orders, unpack_entries, unpack_orders


def order(token: int, **other: Any) -> dict[str, Any]:
    return {
        "token": token, "task_id": f"t{token}", "attempt": 1, "skill": "s", "revision": "r", "code": "c",
        "code_path": "/code/c", "params": '{"a":"ü"}', "timeout_s": None, "takes_context": False, **other,
    }  # fmt: skip


def ended(token: int, **other: Any) -> dict[str, Any]:
    return {
        "token": token, "event": "ended", "outcome": "completed", "started_at": 1000.25, "ended_at": 1000.5,
        "run_s": 0.25, "result": '"ü"', "error": None, "permanent": False, "log_tail": None, "peak_memory": None,
        **other,
    }  # fmt: skip


def test_orders_of_several_skills_keep_their_order_and_what_is_theirs() -> None:
    orders = [order(1), order(2), order(3, skill="other", timeout_s=5), order(4, skill="other", timeout_s=5), order(5)]
    assert unpack_orders(pack_orders(orders)) == orders


def test_orders_say_once_what_they_share() -> None:
    one, many = len(pack_orders([order(1)])), len(pack_orders([order(n) for n in range(101)]))
    assert (many - one) / 100 < one / 3


@pytest.mark.parametrize(
    "entry",
    [
        ended(1),
        ended(1, result=None),
        ended(1, log_tail="said"),
        ended(1, peak_memory=7),
        ended(1, progress={"done": 1, "total": 2, "text": ""}),
        ended(1, outcome="failed", result=None, error={"kind": "skill_error"}, permanent=True),
        {"token": 1, "event": "started", "at": 1000.5},
        {"token": 1, "event": "progress", "progress": {"done": 1}},
        {"token": 1, "event": "missing_code", "code": "c"},
    ],
)
def test_an_entry_arrives_as_it_was_between_two_plain_ones(entry: dict[str, Any]) -> None:
    entries = [ended(7), entry, ended(8)]
    assert unpack_entries(pack_entries(entries)) == entries
