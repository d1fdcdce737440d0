from __future__ import annotations

import asyncio
import contextlib
import contextvars
import signal
import sqlite3
import threading
from pathlib import Path

import pytest

from openclaw_ray.errors import (
    Conflict,
    Corrupt,
    InvalidRequest,
    OutcomeUnknown,
    StorageBusy,
    StorageError,
    StorageFull,
    Unavailable,
)
from openclaw_ray.storage import database as module
from openclaw_ray.storage.connection import COMMON, READER, WRITER, transact
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.failures import mapped
from openclaw_ray.storage.schema import shipped
from tests.storage.builders import listing, run_python

PUT = "INSERT INTO meta (name, value) VALUES (?, ?)"


async def put(db: Database, name: str, value: str = "x") -> None:
    await db.run(lambda conn: conn.execute(PUT, (name, value)))


async def names(db: Database) -> set[str]:
    """Names in meta beside those that a new database has."""
    rows = await db.read(lambda conn: conn.execute("SELECT name FROM meta").fetchall())
    return {name for (name,) in rows} - {"cluster_id", "created_at", "epoch", "next_token", "next_seq", "next_event"}


async def test_pragmas_are_in_force(db: Database) -> None:
    numbers = {"ON": "1", "OFF": "0", "FULL": "2", "MEMORY": "2", "WAL": "wal"}
    for pragma in (*COMMON, *WRITER):
        (value,) = await db.read(lambda conn, n=pragma.name: conn.execute(f"PRAGMA {n}").fetchone())
        assert str(value) == numbers.get(str(pragma.value), str(pragma.value)), pragma.name
        assert pragma.reason


async def test_the_private_call_of_aiosqlite_runs_a_function_in_its_one_thread(db: Database) -> None:
    # Contract with the library: `Database._send` is built on this and nothing else of it.
    seen = [await db._aio._execute(lambda *a, **k: (a, k, threading.get_ident()), 1, b=2) for _ in range(2)]
    assert [(a, k) for a, k, _ in seen] == [((1,), {"b": 2})] * 2
    assert len({ident for *_, ident in seen} | {threading.get_ident()}) == 2
    assert isinstance(db._aio._conn, sqlite3.Connection)


async def test_a_function_is_all_or_nothing(db: Database) -> None:
    def fn(conn: sqlite3.Connection) -> None:
        conn.execute(PUT, ("a", "1"))
        raise KeyError("stop")

    with pytest.raises(KeyError):
        await db.run(fn)
    assert await names(db) == set()
    await put(db, "b")
    assert await names(db) == {"b"}


async def test_an_error_in_the_middle_of_ten_writes_leaves_none(db: Database) -> None:
    async def ten() -> None:
        async with db.transaction():
            for number in range(10):
                await put(db, f"n{number % 7}")

    with pytest.raises(Conflict):
        await ten()
    assert await names(db) == set()


async def test_calls_inside_a_transaction_see_each_other_and_become_durable_together(db: Database) -> None:
    async with db.transaction():
        await put(db, "a")
        assert await names(db) == {"a"}
        await asyncio.gather(put(db, "b"), asyncio.wait_for(put(db, "c"), 5))
    assert await names(db) == {"a", "b", "c"}


async def test_a_failed_step_that_was_caught_leaves_only_itself_out(db: Database) -> None:
    def two(conn: sqlite3.Connection) -> None:
        conn.execute(PUT, ("half", "x"))
        conn.execute(PUT, ("a", "x"))

    async with db.transaction():
        await put(db, "a")
        with pytest.raises(Conflict):
            await db.run(two)
        await put(db, "b")
    assert await names(db) == {"a", "b"}


async def test_a_failed_inner_block_fails_the_outer_one(db: Database) -> None:
    async def inner() -> None:
        async with db.transaction():
            await put(db, "b")
            raise KeyError

    async def outer() -> None:
        async with db.transaction():
            await put(db, "a")
            with contextlib.suppress(KeyError):
                await inner()

    with pytest.raises(Conflict, match="a part of the transaction failed"):
        await outer()
    assert await names(db) == set()


async def test_other_tasks_wait_for_the_end_of_a_transaction(db: Database) -> None:
    entered, order = asyncio.Event(), []

    async def other() -> None:
        await entered.wait()
        order.append(await names(db))

    waiting = asyncio.create_task(other())
    async with db.transaction():
        entered.set()
        await put(db, "a")
        await put(db, "b")
        order.append(set())
    await waiting
    assert order == [set(), {"a", "b"}]


async def test_a_task_started_inside_is_on_its_own_after_the_end(db: Database) -> None:
    go = asyncio.Event()

    async def late() -> None:
        await go.wait()
        await put(db, "late")

    with contextlib.suppress(KeyError):
        async with db.transaction():
            task = asyncio.create_task(late())
            raise KeyError
    go.set()
    await task
    assert await names(db) == {"late"}


async def test_cancelling_inside_a_transaction_leaves_nothing_and_none_open(db: Database) -> None:
    entered = asyncio.Event()

    async def body() -> None:
        async with db.transaction():
            await put(db, "a")
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(db) == set()
    await put(db, "b")


async def test_a_cancelled_function_runs_to_its_end_before_the_cancellation_is_raised(db: Database) -> None:
    started, go = threading.Event(), threading.Event()

    def fn(conn: sqlite3.Connection) -> None:
        conn.execute(PUT, ("a", "x"))
        started.set()
        assert go.wait(10)

    task = asyncio.create_task(db.run(fn))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(db) == {"a"}


async def test_cancelling_while_waiting_for_the_turn_does_nothing(db: Database) -> None:
    async with db.transaction():
        await put(db, "a")
        task = asyncio.get_running_loop().create_task(put(db, "b"), context=contextvars.Context())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await names(db) == {"a"}


KILLED = """
import asyncio, os, signal, sys
from openclaw_ray.storage.database import Database
def half(conn):
    conn.execute("PRAGMA cache_spill = 1")
    conn.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", ((f"h{n}", "x" * 5000) for n in range(20000)))
    os.kill(os.getpid(), signal.SIGKILL)
async def main():
    db = await Database.open(sys.argv[1], create=True, cluster_id="c1")
    await db.run(lambda conn: conn.execute("INSERT INTO meta (name, value) VALUES ('acked', 'x')"))
    await db.run(half)
asyncio.run(main())
"""


async def test_a_process_killed_in_a_transaction_leaves_a_whole_database(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    child = run_python(KILLED, path)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert path.with_name("x.db-wal").stat().st_size > 10_000_000  # it had spilt
    db = await Database.open(path, create=False)
    assert await names(db) == {"acked"}
    assert await db.integrity_check() == []
    assert (await db.statistics()).wal_bytes == 0
    await db.close()


async def test_a_full_disk_is_refused_and_goes_on_when_there_is_room(db: Database) -> None:
    limit = (await db.statistics()).pages + 2
    await db.read(lambda conn: conn.execute(f"PRAGMA max_page_count = {limit}"))
    with pytest.raises(StorageFull) as caught:
        await put(db, "big", "x" * 100_000)
    assert caught.value.retry_after is not None

    async def both() -> None:
        async with db.transaction():
            await put(db, "small")
            await put(db, "big", "x" * 100_000)

    with pytest.raises(StorageFull):  # SQLite ends this transaction by itself
        await both()
    assert await names(db) == set()
    await db.read(lambda conn: conn.execute("PRAGMA max_page_count = 1000000"))
    await put(db, "big", "x" * 100_000)
    assert await names(db) == {"big"}


async def test_a_database_held_by_another_program_is_busy_and_recovers(db: Database) -> None:
    await db.read(lambda conn: conn.execute("PRAGMA busy_timeout = 10"))
    other = sqlite3.connect(db.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageBusy):
        await put(db, "a")
    with pytest.raises(StorageBusy):
        async with db.transaction():
            await put(db, "a")
    other.execute("ROLLBACK")
    other.close()
    await put(db, "a")
    assert await names(db) == {"a"}


async def test_a_transaction_that_sqlite_ended_takes_no_further_steps(db: Database) -> None:
    async def go_on_after_the_error() -> None:
        async with db.transaction():
            with contextlib.suppress(StorageFull):
                await put(db, "big", "x" * 100_000)
            await put(db, "small")

    limit = (await db.statistics()).pages + 2
    await db.read(lambda conn: conn.execute(f"PRAGMA max_page_count = {limit}"))
    with pytest.raises(Unavailable, match="ended by an earlier error"):
        await go_on_after_the_error()
    assert await names(db) == set()


async def test_a_function_holds_the_write_lock_from_its_beginning(db: Database) -> None:
    other = sqlite3.connect(db.path, isolation_level=None, timeout=0, check_same_thread=False)

    def fn(_: sqlite3.Connection) -> None:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")

    await db.run(fn)
    other.close()


class BadDisk(sqlite3.Connection):
    """A connection whose COMMIT fails as told."""

    code, name = 0, ""

    def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode, error.sqlite_errorname = self.code, self.name
            raise error
        return super().execute(sql, *args)


@pytest.mark.parametrize(
    ("code", "name", "expected"),
    [
        (1034, "SQLITE_IOERR_FSYNC", OutcomeUnknown),
        (10, "SQLITE_IOERR", OutcomeUnknown),
        (778, "SQLITE_IOERR_WRITE", Unavailable),
        (13, "SQLITE_FULL", StorageFull),
    ],
)
def test_only_a_failed_sync_of_a_commit_leaves_the_outcome_open(code: int, name: str, expected: type) -> None:
    conn = sqlite3.connect(":memory:", isolation_level=None, factory=BadDisk)
    conn.code, conn.name = code, name
    with pytest.raises(expected):
        transact(conn, lambda c: c.execute("CREATE TABLE t (a)"))
    assert not conn.in_transaction
    assert conn.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,)
    conn.close()


async def test_after_an_unknown_outcome_every_call_refuses(db: Database) -> None:
    def fn(_: sqlite3.Connection) -> None:
        raise OutcomeUnknown("as if the sync had failed")

    with pytest.raises(OutcomeUnknown):
        await db.run(fn)
    with pytest.raises(OutcomeUnknown):
        await names(db)
    with pytest.raises(OutcomeUnknown):
        await put(db, "a")


@pytest.mark.parametrize(
    ("code", "expected"),
    [(5, StorageBusy), (6, StorageBusy), (11, Corrupt), (26, Corrupt), (522, Corrupt), (19, Conflict), (2067, Conflict),
     (8, StorageError), (14, StorageError), (9, Unavailable), (10, Unavailable), (18, InvalidRequest),
     (4874, StorageFull), (1, StorageError), (0, StorageError)],
)  # fmt: skip
def test_each_code_of_sqlite_has_its_error(code: int, expected: type) -> None:
    error = sqlite3.OperationalError("text")
    error.sqlite_errorcode, error.sqlite_errorname = code, "NAME"
    assert type(mapped(error)) is expected


@pytest.mark.parametrize("value", [2**63, "\ud800"])
async def test_a_value_that_cannot_be_bound_is_an_invalid_request(db: Database, value: object) -> None:
    with pytest.raises(InvalidRequest):
        await db.run(lambda conn: conn.execute(PUT, ("a", value)))


async def test_a_read_ends_at_its_bound(db: Database) -> None:
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    with pytest.raises(Unavailable, match="longer than its bound"):
        await db.read(lambda conn: conn.execute(endless).fetchone(), bound_s=0.01)
    async with db.transaction():
        await put(db, "a")
        with pytest.raises(Unavailable):
            await db.read(lambda conn: conn.execute(endless).fetchone(), bound_s=0.01)
    assert await names(db) == {"a"}


async def test_a_reader_sees_commits_and_cannot_write(db: Database) -> None:
    reader = await Database.open(db.path, create=False, read_only=True)
    assert {p.name for p in READER} >= {"query_only"}
    await put(db, "a")
    assert await names(reader) == {"a"}
    with pytest.raises(StorageError):
        await put(reader, "b")
    with pytest.raises(StorageError):
        await reader.read(lambda conn: conn.execute(PUT, ("b", "x")))
    await reader.close()
    assert await names(db) == {"a"}


async def test_closing_brings_the_wal_in_and_can_be_repeated(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "x.db", create=True, cluster_id="c1")
    await put(db, "a")
    await db.close()
    await db.close()
    assert listing(tmp_path) == ["x.db"]
    for call in (put(db, "b"), names(db), db.checkpoint(), db.backup(tmp_path / "b.db")):
        with pytest.raises(StorageError, match="is closed"):
            await call


async def test_upkeep_is_refused_inside_a_transaction_and_works_outside(db: Database) -> None:
    await put(db, "big", "x" * 1_000_000)
    await db.run(lambda conn: conn.execute("DELETE FROM meta WHERE name = 'big'"))
    assert (await db.statistics()).free_pages > 200
    with pytest.raises(Conflict):
        async with db.transaction():
            await db.vacuum()
    await db.vacuum()
    await db.optimize()
    assert await db.checkpoint()
    found = await db.statistics()
    assert (found.free_pages, found.wal_bytes, found.schema) == (0, 0, len(shipped()))
    assert found.rows == dict.fromkeys(("tasks", "nodes", "skills", "code", "counters", "attempts", "events"), 0)
    assert found.file_bytes == found.pages * found.page_bytes


async def test_checks_find_a_damaged_page(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    db = await Database.open(path, create=True, cluster_id="c1")
    await db.run(lambda conn: conn.executemany(PUT, [(f"n{n:05}", "x" * 100) for n in range(5000)]))
    assert (await db.quick_check(), await db.integrity_check()) == ([], [])
    await db.close()
    with path.open("r+b") as file:
        file.seek(60 * 4096)
        file.write(b"\xff" * 4096)
    db = await Database.open(path, create=False)
    assert await db.quick_check() != []
    assert await db.integrity_check() != []
    with pytest.raises(Corrupt):
        await db.read(lambda conn: conn.execute("SELECT COUNT(value) FROM meta").fetchone())
    with pytest.raises(Corrupt):
        await db.backup(tmp_path / "copy.db")
    await db.close()
    assert listing(tmp_path) == ["x.db"]


async def test_an_old_sqlite_is_refused_before_a_file_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SQLITE_MIN", (99, 0, 0))
    with pytest.raises(StorageError, match="SQLite") as refused:
        await Database.open(tmp_path / "x.db", create=True, cluster_id="c")
    assert refused.value.limit == "99.0.0 or newer"
    assert listing(tmp_path) == []
