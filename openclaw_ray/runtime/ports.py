"""What the shells need from outside, as small protocols: the real things are Ray and SQLite, tests bring fakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from openclaw_ray.storage.backup import BackupInfo
from openclaw_ray.storage.restart import Loaded
from openclaw_ray.storage.upkeep import Statistics

T = TypeVar("T")


class Store(Protocol):
    """The database as the coordinator uses it."""

    async def commit(self, batch: Any) -> None:
        """Write one batch in one transaction.

        Raises:
            StorageFull, StorageBusy, Unavailable: nothing was written.
            OutcomeUnknown: nobody knows; stop and start again from disk.
        """
        ...

    async def look_up(self, asking: list[Callable[[Any], Any] | None]) -> list[Any]:
        """Run each function on the writer's connection before a batch; None stays None."""
        ...

    async def read(self, fn: Callable[[Any], T]) -> T:
        """Run a bounded read on the reader's connection: committed values only."""
        ...


class KeptStore(Store, Protocol):
    """A store with its upkeep: what opens it also loads, copies and closes it."""

    async def load(self) -> Loaded:
        """Everything that a coordinator needs after a start."""
        ...

    async def backup(self, to_path: Path) -> BackupInfo:
        """A verified copy of the running database."""
        ...

    async def checkpoint(self) -> None:
        """Move the log of writes into the database."""
        ...

    async def statistics(self) -> Statistics:
        """Sizes and row counts."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


class OpenStore(Protocol):
    """How a coordinator comes to its store."""

    async def __call__(self, path: Path, /, *, create_for: str | None = None) -> KeptStore:
        """Open the database at `path`; `create_for` = cluster id of one to be made, None never makes one.

        Raises:
            OpenClawError: why it cannot be used; nothing was touched.
        """
        ...


class Coordinator(Protocol):
    """The StateManager as clients, scheduler and agents reach it: a verb and a JSON body in, a JSON body out."""

    async def call(self, verb: str, body: str, timeout_s: float) -> str:
        """One call.

        Raises:
            NotConnected: it cannot be reached now.
            OutcomeUnknown: it may or may not have happened; repeating it is safe.
            OpenClawError: what it refused.
        """
        ...


class Executor(Protocol):
    """A process on this node that runs Python skills, one after another."""

    async def feed(self, items: list[dict[str, Any]]) -> None:
        """Queue attempts."""
        ...

    async def collect(self, max_wait_s: float) -> list[dict[str, Any]]:
        """What happened since the last call; waits until something has, at most `max_wait_s`."""
        ...

    async def withdraw(self, tokens: list[int]) -> list[int]:
        """Take back attempts that have not started; returns those that it could."""
        ...

    async def cancel(self, token: int) -> None:
        """Set the cooperative flag of a running attempt."""
        ...

    async def kill(self) -> None:
        """End the process and its children; returns when it is gone."""
        ...


class ExecutorDied(Exception):
    """The process of an executor is gone; what it ran has crashed."""


class ExecutorFactory(Protocol):
    """Starts executors on this node."""

    async def start(self, resources: dict[str, int], scratch: str) -> Executor:
        """Start one that answers already; `resources` in whole units are asked of the cluster engine for its life.

        Raises:
            Unavailable: not within 10 s: other work holds the resources.
        """
        ...


class Fleet(Protocol):
    """The machines of the cluster, and the agents on them."""

    async def alive(self) -> dict[str, str]:
        """Living machines: machine id to node id."""
        ...

    async def ensure_agent(self, machine: str) -> None:
        """Start an agent on a machine that has none; nothing if it has one."""
        ...
