"""How every connection of ours is set up, and the one way a function runs inside a transaction.

Synchronous: all of it runs in the thread that owns the connection.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from openclaw_ray.errors import OutcomeUnknown, StorageError
from openclaw_ray.storage.failures import RAW_ERRORS, mapped

T = TypeVar("T")

#: ``OcRy`` in the header's application id: tells our files from every other SQLite file.
APPLICATION_ID = 0x4F635279

#: Compiled statements kept per connection: all of ours fit.
STATEMENTS_KEPT = 256

#: Virtual machine steps between two looks at the clock of a bounded read: about 0.1 ms of work.
STEPS_PER_LOOK = 10_000

#: A read on behalf of somebody else ends after this many seconds, so that one bad question cannot stop the others.
READ_S_MAX = 5.0


class Pragma(NamedTuple):
    """One setting of a connection."""

    name: str
    value: str | int
    reason: str


#: Every connection.
COMMON = (
    Pragma("busy_timeout", 2_000, "ms; short visitors are waited for, long ones are StorageBusy within the lease TTL"),
    Pragma("foreign_keys", "ON", "a promise of the data, off by default for old programs"),
    Pragma("temp_store", "MEMORY", "no temporary files beside the database, none in a world-readable /tmp"),
    Pragma("trusted_schema", "OFF", "a doctored file must not call functions from its schema"),
    Pragma("cell_size_check", "ON", "damage is noticed when a page is read, not when its rows are wrong"),
    Pragma("mmap_size", 0, "an I/O error stays an error; on mapped memory it is SIGBUS"),
)
#: The one connection that writes.
WRITER = (
    Pragma("journal_mode", "WAL", "readers and the writer do not stop each other; one sync per commit"),
    Pragma("synchronous", "FULL", "an acked commit survives a power cut; NORMAL would lose the last ones"),
    Pragma("cache_size", -65_536, "KiB; indexes of a million tasks stay in memory"),
    Pragma("wal_autocheckpoint", 4_000, "pages, 16 MiB; every 1,000 would sync the file twice as often under load"),
    Pragma("journal_size_limit", 67_108_864, "bytes; a WAL grown during a backup is cut afterwards"),
)
#: Connections for lists, history and checks.
READER = (
    Pragma("query_only", "ON", "a reader cannot write, whatever is sent through it"),
    Pragma("cache_size", -16_384, "KiB; pages of lists, not a second copy of the working set"),
)


def uri(path: Path, mode: str) -> str:
    """The URI of a database file; `mode` is ``rw`` (never creates), ``ro``, or ``ro&immutable=1``."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def configure(conn: sqlite3.Connection, *pragmas: Pragma) -> None:
    """Set `pragmas`; journal_mode is checked, since SQLite answers a refusal with the old mode."""
    for name, value, _ in pragmas:
        answer = conn.execute(f"PRAGMA {name} = {value}").fetchone()
        if name == "journal_mode" and str(answer[0]).upper() != value:
            raise StorageError(f"journal_mode {value} is refused here (it stays {answer[0]})", hint="use a local disk")


@contextlib.contextmanager
def opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A short-lived connection in this thread, closed at the end; SQLite's errors come out as ours."""
    conn: sqlite3.Connection | None = None
    try:
        conn = sqlite3.connect(uri(path, mode), uri=True, isolation_level=None)
        configure(conn, *COMMON)
        yield conn
    except RAW_ERRORS as error:
        raise mapped(error) from None
    finally:
        if conn is not None:
            conn.close()


def transact(conn: sqlite3.Connection, fn: Callable[[sqlite3.Connection], T]) -> T:
    """Run `fn` between BEGIN IMMEDIATE and COMMIT: all of it, or nothing.

    Raises:
        OutcomeUnknown: COMMIT failed in its sync, or what failed could not be rolled back.
        OpenClawError: Anything else SQLite said; rolled back whole. Exceptions of `fn` pass through, also rolled back.
    """
    try:
        conn.execute("BEGIN IMMEDIATE")
        answer = fn(conn)
    except BaseException as error:
        roll_back(conn)
        if isinstance(error, RAW_ERRORS):
            raise mapped(error) from None
        raise
    commit(conn)
    return answer


def commit(conn: sqlite3.Connection) -> None:
    """COMMIT; a definite failure is rolled back.

    Raises:
        OutcomeUnknown: Nobody can say whether the rows come back.
        OpenClawError: Nothing was written.
    """
    try:
        conn.execute("COMMIT")
    except RAW_ERRORS as error:
        roll_back(conn)
        raise mapped(error, committing=True) from None


def roll_back(conn: sqlite3.Connection) -> None:
    """End an open transaction without a trace; some errors have made SQLite do so already.

    Raises:
        OutcomeUnknown: It does not end; the connection is of no use any more.
    """
    try:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
    except RAW_ERRORS as error:
        raise OutcomeUnknown(f"a failed transaction could not be rolled back ({error})") from None


def savepoint(conn: sqlite3.Connection, fn: Callable[[sqlite3.Connection], T]) -> T:
    """Run `fn` as one step of an open transaction: if it fails it leaves nothing, and the transaction may go on."""
    conn.execute("SAVEPOINT step")
    try:
        answer = fn(conn)
    except BaseException as error:
        if conn.in_transaction:  # SQLite ends it by itself when the disk is full
            conn.execute("ROLLBACK TO step")
            conn.execute("RELEASE step")
        if isinstance(error, RAW_ERRORS):
            raise mapped(error) from None
        raise
    conn.execute("RELEASE step")
    return answer


def snapshot(conn: sqlite3.Connection, fn: Callable[[sqlite3.Connection], T], bound_s: float | None) -> T:
    """Run the reading `fn` on one consistent state of the database, for at most `bound_s` seconds inside SQLite.

    Raises:
        Unavailable: It took longer.
        OpenClawError: Anything else SQLite said.
    """
    try:
        with bounded(conn, bound_s):
            conn.execute("BEGIN DEFERRED")
            return fn(conn)
    except RAW_ERRORS as error:
        raise mapped(error) from None
    finally:
        roll_back(conn)


@contextlib.contextmanager
def bounded(conn: sqlite3.Connection, bound_s: float | None) -> Iterator[None]:
    """Interrupt whatever runs on `conn` after `bound_s` seconds; None: never."""
    if bound_s is None:
        yield
        return
    end = time.monotonic() + bound_s
    conn.set_progress_handler(lambda: time.monotonic() > end, STEPS_PER_LOOK)
    try:
        yield
    finally:
        conn.set_progress_handler(None, 0)
