"""The disk under the StateManager: keeps what was committed, and fails as disks do.

Each call of the store is counted, so that a plan can say at which one the process dies, before the write or after it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from openclaw_ray.errors import OutcomeUnknown, StorageBusy, StorageError, StorageFull
from openclaw_ray.models.fields import iso
from openclaw_ray.sim.clock import WALL_START
from openclaw_ray.sim.trace import Trace
from openclaw_ray.storage.backup import BackupInfo
from openclaw_ray.storage.batch import Batch
from openclaw_ray.storage.memory import MemoryDatabase
from openclaw_ray.storage.restart import Loaded
from openclaw_ray.storage.upkeep import Statistics

T = TypeVar("T")

#: A commit and a read of a healthy disk (seconds), drawn between.
COMMIT_S, READ_S = (0.0005, 0.004), (0.0001, 0.0006)


class Disk:
    """One database and its moods."""

    def __init__(self, chance: random.Random, trace: Trace) -> None:
        self.database: MemoryDatabase | None = None
        self.chance = chance
        self.trace = trace
        #: Calls of the store since the beginning, over restarts.
        self.calls = 0
        #: Writes fail with this word until it is None again: "full" or "busy".
        self.refusing: str | None = None
        #: Extra time of a commit (seconds).
        self.slow_s = 0.0
        #: What the next commits answer instead of success: whether the batch is kept all the same.
        self.unknown: list[bool] = []
        #: Number of the call in which the process dies: True: after it was carried out, False: before.
        self.crash_at: dict[int, bool] = {}
        #: Ends the process that uses the disk.
        self.crash: Callable[[], None] = lambda: None

    @property
    def db(self) -> MemoryDatabase:
        """The database, which exists since the first start."""
        assert self.database is not None
        return self.database

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What is committed."""
        return self.db.rows(sql, *values) if self.database is not None else []


class SimStore:
    """`runtime.ports.KeptStore` on a `Disk`: the real SQL, virtual time."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    @staticmethod
    def opener(disk: Disk) -> Callable[..., Any]:
        """`runtime.ports.OpenStore` for one disk."""

        async def open_store(path: Path, /, *, create_for: str | None = None) -> SimStore:
            await asyncio.sleep(disk.chance.uniform(0.01, 0.2))
            if disk.database is None:
                if create_for is None:
                    raise StorageError("there is no database", facts={"problem": "missing"})
                disk.database = MemoryDatabase(create_for, iso(WALL_START))
            return SimStore(disk)

        return open_store

    async def commit(self, batch: Batch) -> None:
        """One batch, one transaction, and whatever the disk does about it."""
        disk = self._disk

        number = disk.calls + 1

        def write() -> None:
            self._refuse()
            if unknown is not False:
                disk.db.commit(batch)
            disk.trace.note("commit", f"{number} events={len(batch.events)} unknown={unknown}")

        unknown = disk.unknown.pop(0) if disk.unknown else None
        await self._call(write, COMMIT_S, disk.slow_s)
        if unknown is not None:
            raise OutcomeUnknown("the disk failed in the middle of a commit")

    async def _call(self, work: Callable[[], T], takes_s: tuple[float, float], more_s: float = 0.0) -> T:
        """Carry out one call somewhere within its time, unless the process dies in it."""
        disk = self._disk
        disk.calls += 1
        number = disk.calls
        await asyncio.sleep(disk.chance.uniform(*takes_s) / 2 + more_s)
        dies_after = disk.crash_at.pop(number, None)
        if dies_after is False:
            await self._die(number, "before")
        answer = work()
        if dies_after:
            await self._die(number, "after")
        await asyncio.sleep(disk.chance.uniform(*takes_s) / 2)
        return answer

    def _refuse(self) -> None:
        if self._disk.refusing == "full":
            raise StorageFull("no room for the write", retry_after=5.0)
        if self._disk.refusing == "busy":
            raise StorageBusy("another program holds the database", retry_after=1.0)

    async def _die(self, number: int, when: str) -> None:
        self._disk.trace.note("fault", f"crash {when} call {number}")
        self._disk.crash()
        await asyncio.get_running_loop().create_future()

    async def look_up(self, asking: list[Callable[[Any], Any] | None]) -> list[Any]:
        """Run each function on the database, in one visit."""
        return await self.read(lambda conn: [ask(conn) if ask is not None else None for ask in asking])

    async def read(self, fn: Callable[[Any], T]) -> T:
        """A read of committed values."""
        return await self._call(lambda: self._disk.db.read(fn), READ_S)

    async def load(self) -> Loaded:
        """Everything that a coordinator needs after a start."""
        return await self._call(self._disk.db.load, READ_S)

    async def backup(self, to_path: Path) -> BackupInfo:
        """Not part of the simulation."""
        raise StorageError(f"the simulated disk has no {to_path}")

    async def checkpoint(self) -> None:
        """There is no log apart from the database."""

    async def statistics(self) -> Statistics:
        """Nothing is measured here."""
        return Statistics(0, 0, 0, 0, 0, 1, {})

    async def close(self) -> None:
        """The disk stays."""
