"""All chance of a run comes from its seed: named streams, so that one more draw here moves nothing elsewhere.

What draws by itself (ids, sessions, the pauses between polls) and what asks the machine is given the run's own for as
long as the run lasts.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from openclaw_ray.client import waiter
from openclaw_ray.models import ids
from openclaw_ray.runtime import agent


def stream(seed: int, name: str) -> random.Random:
    """One source of chance of a run."""
    return random.Random(f"{seed}/{name}")


class _Secrets:
    """`secrets`, as far as ids use it."""

    def __init__(self, chance: random.Random) -> None:
        self.randbits: Callable[[int], int] = chance.getrandbits
        self._chance = chance

    def token_hex(self, size: int) -> str:
        return self._chance.randbytes(size).hex()


class _Time:
    """`time`, as far as ids use it."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall

    def time_ns(self) -> int:
        return int(self._wall() * 1e9)


@contextlib.contextmanager
def governed(seed: int, wall: Callable[[], float], leftovers: Callable[[Path], list[Any]]) -> Iterator[None]:
    """Within, nothing draws or looks at this machine by itself.

    Args:
        seed: Of the run.
        wall: The wall clock by which ids are made.
        leftovers: Ends and answers what an agent before left running below a folder.
    """
    with (
        mock.patch.object(ids, "secrets", _Secrets(stream(seed, "ids"))),
        mock.patch.object(ids, "time", _Time(wall)),
        mock.patch.object(waiter, "random", stream(seed, "waiter")),
        mock.patch.object(agent, "leftovers", leftovers),
    ):
        yield
