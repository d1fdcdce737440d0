"""One in-process cluster per module, and clients over wires of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from openclaw_ray.client import AsyncCluster, Cluster
from tests.support.inprocess import InProcess, Wire


class Gate:
    """A skill that runs until it is let go."""

    def __init__(self) -> None:
        self._open: asyncio.Event | None = None
        self.entered = threading.Semaphore(0)
        self.home: InProcess

    async def __call__(self, **params: Any) -> Any:
        if self._open is None:
            self._open = asyncio.Event()
        self.entered.release()
        await self._open.wait()
        return params

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=10), "nothing entered the gate"

    def open(self) -> None:
        def let() -> None:
            if self._open is not None:
                self._open.set()
                self._open = None

        self.home.call(let)


def echo(**params: Any) -> Any:
    return params


def same(value: Any) -> Any:
    return value


def boom(x: Any = None) -> Any:
    raise ValueError(f"bad {x}")


class Flaky:
    """Fails as often as it is told, by task."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def __call__(self, ctx: Any, failures: int) -> int:
        tries = self.seen[ctx.task_id] = self.seen.get(ctx.task_id, 0) + 1
        if tries <= failures:
            raise RuntimeError(f"try {tries}")
        return tries


class Home:
    """The cluster, and what its tests use."""

    def __init__(self, home: InProcess, gate: Gate) -> None:
        self.cluster = home
        self.gate = gate

    def wire(self) -> Wire:
        return self.cluster.wire()


def _functions(gate: Gate) -> dict[str, Any]:
    # A coroutine function, not a callable object: that is how the agent sees that it may wait.
    async def held(**params: Any) -> Any:
        return await gate(**params)

    flaky = Flaky()

    def tries(ctx: Any, failures: int) -> int:
        return flaky(ctx, failures)

    async def reporting(ctx: Any, **params: Any) -> Any:
        ctx.progress(3, 10, "page 3")
        return await gate(**params)

    return {"echo": echo, "same": same, "boom": boom, "held": held, "tries": tries, "reporting": reporting}


@pytest.fixture
def home(tmp_path: Any) -> Iterator[Home]:
    gate = Gate()
    with InProcess(tmp_path / "home", _functions(gate), nodes=2, slots=2) as running:
        gate.home = running
        found = Home(running, gate)
        yield found
        gate.open()


@pytest.fixture
def wire(home: Home) -> Wire:
    return home.wire()


@pytest.fixture
def cluster(wire: Wire) -> Iterator[Cluster]:
    with Cluster.over(wire, timeout_s=10) as client:
        client.wait_for_skill("echo", nodes=2)
        yield client


@pytest.fixture
async def client(wire: Wire) -> AsyncIterator[AsyncCluster]:
    async with AsyncCluster(wire, timeout_s=10) as found:
        await found.wait_for_skill("echo", nodes=2)
        yield found
