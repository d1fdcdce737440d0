"""The database as asyncio sees it: one connection in one thread, functions sent to it whole.

A function that was sent runs to its end, even when its caller is cancelled meanwhile: no transaction is ever left half
way. What it must not know: tasks, nodes, or any SQL but that of upkeep.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from openclaw_ray.clock import SystemClock
from openclaw_ray.errors import Conflict, InvalidRequest, OpenClawError, OutcomeUnknown, StorageError, Unavailable
from openclaw_ray.models.fields import iso
from openclaw_ray.storage import backup, schema, upkeep
from openclaw_ray.storage.backup import BackupInfo
from openclaw_ray.storage.connection import (
    COMMON,
    READ_S_MAX,
    READER,
    STATEMENTS_KEPT,
    WRITER,
    commit,
    configure,
    roll_back,
    savepoint,
    snapshot,
    transact,
    uri,
)
from openclaw_ray.storage.connection import bounded as bounded_on
from openclaw_ray.storage.failures import RAW_ERRORS, mapped
from openclaw_ray.storage.upkeep import Statistics

T = TypeVar("T")


class _Transaction:
    """An open transaction of one database; tasks started inside it belong to it too, for as long as it is open."""

    def __init__(self, database: Database) -> None:
        self.database = database
        #: Whether calls still join; false as soon as the block is left.
        self.open = True
        #: An inner block failed and its error was caught: the outer one must not commit.
        self.doomed = False


#: The transactions that the running code is inside of, at most one per database.
_INSIDE: ContextVar[tuple[_Transaction, ...]] = ContextVar("openclaw_ray_transactions", default=())

#: UPDATE ... FROM, which `bulk` uses, came with this one.
SQLITE_MIN = (3, 33, 0)


class Database:
    """One connection to the database file. Make it with `open`; use it from one event loop.

    After `OutcomeUnknown` every further call raises it again: the process must end and start from disk.
    """

    def __init__(self, path: Path, connection: aiosqlite.Connection, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._aio = connection
        #: Held while a function runs or a transaction is open; the thread alone would let others in between.
        self._turn = asyncio.Lock()
        self._lost: OutcomeUnknown | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path | str,
        *,
        create: bool,
        read_only: bool = False,
        cluster_id: str = "",
        created_at: str | None = None,
        migrations: Sequence[schema.Migration] | None = None,
    ) -> Database:
        """Open the database at `path`, upgrading an older schema after a snapshot beside it.

        The caller holds the `FileLock` unless it only reads.

        Args:
            path: The file; symbolic links are followed.
            create: Make the file if it is missing. Never made otherwise. An existing one of the same cluster is opened,
                so that the call can be repeated.
            read_only: A ``query_only`` connection; neither makes nor upgrades.
            cluster_id: Of the new database; asked for with `create`.
            created_at: ISO time; None: now.
            migrations: Other scripts than the shipped ones, for tests of upgrades.

        Raises:
            StorageError: Missing, or not to be read or written; ``facts["problem"]`` says which.
            Corrupt: Empty, foreign, truncated or damaged. SchemaTooNew: newer than this version. Both untouched.
            Conflict: `create`, but the file is another cluster's.
            StorageBusy: Another program holds it.
        """
        if sqlite3.sqlite_version_info < SQLITE_MIN:
            raise StorageError(
                f"Python brings SQLite {sqlite3.sqlite_version}",
                limit=f"{'.'.join(map(str, SQLITE_MIN))} or newer",
                hint="use another build of Python",
            )
        if create and read_only:
            raise InvalidRequest("create and read_only exclude each other", field="create")
        if create and not cluster_id:
            raise InvalidRequest("a new database needs the id of its cluster", field="cluster_id")
        resolved = Path(os.path.realpath(path))  # noqa: ASYNC240 (a few lstat calls, once)
        scripts = schema.shipped() if migrations is None else migrations
        origin = schema.Origin(cluster_id, created_at or iso(SystemClock().now().wall)) if create else None
        await _whole(asyncio.to_thread(schema.prepare, resolved, scripts, read_only=read_only, origin=origin))
        aio = aiosqlite.connect(
            uri(resolved, "ro" if read_only else "rw"),
            uri=True,
            isolation_level=None,  # transactions begin and end in connection.py and nowhere else
            cached_statements=STATEMENTS_KEPT,
        )
        try:
            database = cls(resolved, await aio, read_only=read_only)
        except RAW_ERRORS as error:
            raise mapped(error) from None
        try:
            await database._thread(lambda conn: configure(conn, *COMMON, *(READER if read_only else WRITER)))
            if not read_only:
                await database._thread(lambda conn: transact(conn, lambda _: None))  # may it be written at all?
                await database.checkpoint()
        except BaseException:
            await database.close()
            raise
        return database

    async def run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` as one transaction: all it did is durable when this returns, or nothing when it raises.

        Inside `transaction()` it becomes a step of that one: undone alone if it fails, durable with the whole.

        Raises:
            OutcomeUnknown: The commit's sync failed; exit and read the database again.
            StorageFull, StorageBusy, Unavailable, Conflict, Corrupt, StorageError: Nothing was changed.
        """
        if self._inside() is not None:
            return await self._thread(lambda conn: savepoint(_still_open(conn), fn))
        async with self._turn:
            return await self._thread(lambda conn: transact(conn, fn))

    async def read(self, fn: Callable[[sqlite3.Connection], T], *, bound_s: float | None = READ_S_MAX) -> T:
        """Run the reading `fn` on one consistent state; inside `transaction()` on that transaction's own.

        Raises:
            Unavailable: SQLite worked longer than `bound_s` seconds on it.
        """
        if self._inside() is not None:
            return await self._thread(lambda conn: _read_inside(_still_open(conn), fn, bound_s))
        async with self._turn:
            return await self._thread(lambda conn: snapshot(conn, fn, bound_s))

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Make the calls inside one transaction; an error or a cancellation in the middle leaves nothing.

        Calls of other tasks wait. An inner block is part of the outer one: if it fails, the outer one fails too.
        For people's own programs and for tests; the StateManager writes a whole batch by `run`.

        Raises:
            Conflict: An inner block failed and the error was caught.
        """
        if (outer := self._inside()) is not None:
            try:
                yield
            except BaseException:
                outer.doomed = True
                raise
            return
        async with self._turn:
            mine = _Transaction(self)
            token = _INSIDE.set((*_INSIDE.get(), mine))
            try:
                await self._begin()
                yield
                if mine.doomed:
                    raise Conflict("a part of the transaction failed", hint="let its error out of the outer block too")
            except BaseException:
                mine.open = False
                await self._thread(roll_back)
                raise
            else:
                mine.open = False
                await self._thread(lambda conn: commit(_still_open(conn)))
            finally:
                _INSIDE.reset(token)

    async def backup(self, to_path: Path | str) -> BackupInfo:
        """Copy the database into a new, checked file while everybody goes on; reads and writes here are not stopped.

        Raises:
            Conflict: `to_path` exists. StorageFull, StorageError, Corrupt: no backup was made, and why.
        """
        self._check()
        stopped = threading.Event()
        target = Path(os.path.abspath(to_path))  # noqa: ASYNC240, PTH100 (no look at the disk)
        copying = asyncio.ensure_future(asyncio.to_thread(backup.copy, self.path, target, stopped))
        return await _finished(copying, stopped.set)

    async def vacuum(self) -> None:
        """Rewrite the file without its free pages; stops every other call meanwhile, needs room for a second copy."""
        await self._upkeep(upkeep.vacuum)

    async def optimize(self) -> None:
        """Let SQLite refresh the statistics it plans by, for a bounded time."""
        await self._upkeep(upkeep.optimize)

    async def checkpoint(self) -> bool:
        """Bring the WAL into the file and cut it; False when a reader or a backup still needs it."""
        return await self._upkeep(upkeep.checkpoint)

    async def statistics(self) -> Statistics:
        """Sizes and row counts; see `Statistics` for which of them are exact."""
        return await self.read(lambda conn: upkeep.statistics(conn, self.path))

    async def quick_check(self, *, bound_s: float | None = None) -> list[str]:
        """What SQLite's quick check finds; empty when all is well. Reads the whole file."""
        return await self.read(lambda conn: upkeep.problems(conn, "quick_check(20)"), bound_s=bound_s)

    async def integrity_check(self, *, bound_s: float | None = None) -> list[str]:
        """What the full check, with indexes and foreign keys, finds; empty when all is well."""
        return await self.read(lambda conn: upkeep.problems(conn, "integrity_check(20)"), bound_s=bound_s)

    async def close(self) -> None:
        """Checkpoint and close, after what runs; calls that still wait are refused. Harmless when closed."""
        if self._closed:
            return
        self._closed = True
        async with self._turn:
            if not self.read_only and self._lost is None:
                with contextlib.suppress(OpenClawError, *RAW_ERRORS):  # the WAL keeps what is not brought in
                    await self._send(upkeep.checkpoint)
            await _whole(self._aio.close())

    def _inside(self) -> _Transaction | None:
        return next((one for one in _INSIDE.get() if one.database is self and one.open), None)

    async def _begin(self) -> None:
        await self._thread(lambda conn: conn.execute("BEGIN IMMEDIATE"))

    async def _upkeep(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        if self._inside() is not None:
            raise Conflict("not inside a transaction", hint="end it first")
        async with self._turn:
            return await self._thread(fn)

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self._closed:
            raise StorageError(f"{self.path} is closed")

    async def _thread(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        self._check()
        try:
            return await self._send(fn)
        except OutcomeUnknown as error:
            self._lost = error
            raise
        except RAW_ERRORS as error:
            raise mapped(error) from None

    async def _send(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """The one use of aiosqlite's private call: a function with the raw connection, in its thread.

        Its public calls are one statement each; a batch would be spread over as many awaits. A contract test guards
        name and behaviour, and the version is bounded in pyproject.toml.
        """
        return await _whole(self._aio._execute(lambda: fn(self._aio._conn)))  # type: ignore[no-untyped-call]


def _still_open(conn: sqlite3.Connection) -> sqlite3.Connection:
    """SQLite ends a transaction by itself on some errors; what follows must not be committed piece by piece."""
    if not conn.in_transaction:
        raise Unavailable("the transaction was ended by an earlier error", hint="begin it again")
    return conn


def _read_inside(conn: sqlite3.Connection, fn: Callable[[sqlite3.Connection], T], bound_s: float | None) -> T:
    with bounded_on(conn, bound_s):
        return fn(conn)


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Wait for `work` to its end; a cancellation meanwhile is raised after it."""
    return await _finished(asyncio.ensure_future(work), None)


async def _finished(work: asyncio.Future[T], on_cancel: Callable[[], None] | None) -> T:
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
            if on_cancel is not None:
                on_cancel()
    if cancelled is not None:
        work.exception()  # looked at, so that asyncio does not report it as lost
        raise cancelled
    return work.result()
