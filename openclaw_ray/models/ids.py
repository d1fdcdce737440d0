"""Ids that clients make themselves, so that a call can be repeated."""

from __future__ import annotations

import secrets
import time

#: Without vowels and look-alikes: no words by accident, nothing to misread on the phone.
_LETTERS = "23456789bcdfghjkmnpqrstvwxz"
#: Milliseconds since 1970 until the year 2211: ids of one time are neighbours in the database's indexes.
_TIME_LENGTH = 9
#: 27**9 is 2**42 for each millisecond: a collision is a rarity, and then a `Conflict`, not a mix-up.
_LENGTH = 9


def new_task_id() -> str:
    """A new task id, such as ``t-2v9kq2mx9d4wbzhc7r``."""
    return "t-" + _letters(time.time_ns() // 1_000_000, _TIME_LENGTH) + _letters(secrets.randbits(64), _LENGTH)


def _letters(n: int, length: int) -> str:
    found = []
    for _ in range(length):
        n, digit = divmod(n, len(_LETTERS))
        found.append(_LETTERS[digit])
    return "".join(reversed(found))


def new_name(prefix: str) -> str:
    """A new name for a session or an agent process."""
    return f"{prefix}-{secrets.token_hex(8)}"
