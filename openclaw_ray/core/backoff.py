"""How long a failed task waits before its next attempt: 1 s, 2 s, 4 s ... at most 5 minutes, spread by a fifth."""

from __future__ import annotations

import zlib


def delay_s(retries_so_far: int, *, base_s: float, max_s: float, jitter: float, salt: str) -> float:
    """Seconds until the next attempt.

    The spread keeps a thousand tasks that failed together from coming back together. It is taken from `salt` (the task
    and attempt), not from a random generator: the same history gives the same delays.

    Args:
        retries_so_far: Attempts that failed before this retry; 1 for the first retry.
        base_s: Delay of the first retry.
        max_s: Upper bound before the spread.
        jitter: Largest relative deviation, 0 to 1.
        salt: What makes this retry different from others.
    """
    plain = min(max_s, base_s * 2.0 ** min(max(retries_so_far - 1, 0), 60))
    unit = zlib.crc32(salt.encode()) / 0xFFFFFFFF  # 0 .. 1
    return plain * (1.0 + jitter * (2.0 * unit - 1.0))
