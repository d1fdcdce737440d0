"""The coordinator's two connections and its lock: one writer, one `query_only` reader, one holder for life."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from openclaw_ray.storage.backup import BackupInfo
from openclaw_ray.storage.batch import Batch, write
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.lock import FileLock
from openclaw_ray.storage.restart import Loaded, load
from openclaw_ray.storage.upkeep import Statistics

T = TypeVar("T")


class SqliteStore:
    """The `Store` of runtime.ports on SQLite. Make it with `open`; everything is released by `close`."""

    def __init__(self, lock: FileLock, writer: Database, reader: Database) -> None:
        self._lock = lock
        self._writer = writer
        self._reader = reader

    @classmethod
    async def open(cls, path: Path, *, create_for: str | None = None, wait_s: float = 3.0) -> SqliteStore:
        """Take the lock, then open the file.

        Args:
            path: The database file.
            create_for: Cluster id of a database to be made; None never makes one.
            wait_s: How long to try for the lock.

        Raises:
            Conflict: another process holds it, named. StorageError: missing, damaged, newer; nothing was touched.
        """
        lock = FileLock(path)
        await lock.acquire(wait_s)
        try:
            writer = await Database.open(path, create=create_for is not None, cluster_id=create_for or "")
            try:
                reader = await Database.open(path, create=False, read_only=True)
            except BaseException:
                await writer.close()
                raise
        except BaseException:
            lock.release()
            raise
        return cls(lock, writer, reader)

    async def load(self) -> Loaded:
        """Everything that a coordinator needs after a start."""
        return await self._reader.read(load, bound_s=None)

    async def commit(self, batch: Batch) -> None:
        """One batch, one transaction."""
        await self._writer.run(lambda conn: write(conn, batch))

    async def look_up(self, asking: list[Callable[[Any], Any] | None]) -> list[Any]:
        """Run each function on the writer's connection, in one visit to its thread."""
        return await self._writer.read(lambda conn: [ask(conn) if ask is not None else None for ask in asking])

    async def read(self, fn: Callable[[Any], T]) -> T:
        """A bounded read on the reader's connection."""
        return await self._reader.read(fn)

    async def backup(self, to_path: Path) -> BackupInfo:
        """A verified copy of the running database."""
        return await self._reader.backup(to_path)

    async def checkpoint(self) -> None:
        """Move the WAL into the file."""
        await self._writer.checkpoint()

    async def statistics(self) -> Statistics:
        """File sizes and row counts."""
        return await self._reader.statistics()

    async def close(self) -> None:
        """Close both connections, then give the lock back."""
        await self._reader.close()
        await self._writer.close()
        self._lock.release()
