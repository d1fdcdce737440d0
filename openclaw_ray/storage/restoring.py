"""A backup put in the place of the database, while nobody serves it.

The file appears whole and checked, or not at all; what was there before is kept beside it. The numbers that fence off
late reports go on above whatever agents may have seen since the backup was taken (I11): how far the lost file had come
is not asked of it, since it may be the damaged one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from dataclasses import dataclass
from pathlib import Path

from openclaw_ray.errors import Conflict, InvalidRequest, OpenClawError, StorageError
from openclaw_ray.storage import schema, sql
from openclaw_ray.storage.backup import copy, sync_folder
from openclaw_ray.storage.connection import WRITER, configure, opened, transact
from openclaw_ray.storage.lock import FileLock
from openclaw_ray.storage.rows import EventRow

#: Added to the next token: more leases than a cluster gives in years, and room for thousands of restores in 53 bits.
TOKENS_SKIPPED = 2**40
#: Added to the epoch: more starts than anybody makes between a backup and its restore.
EPOCHS_SKIPPED = 1_000

NEWEST_EVENT = "SELECT at FROM events ORDER BY seq DESC LIMIT 1"
LIVE = "SELECT COUNT(*) FROM tasks WHERE status IN ('pending', 'scheduled', 'running')"
OUT = "SELECT COUNT(*) FROM attempts WHERE outcome IS NULL"
META = "SELECT name, value FROM meta"
SET_META = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

_SUFFIXES = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a backup holds, before anything is done with it."""

    path: Path
    cluster_id: str
    schema: int
    #: ISO time of the newest change in it; None: nothing ever happened.
    newest_change: str | None
    #: Tasks that wait or run, and attempts that were with a node when it was taken: these are given out again.
    live_tasks: int
    open_attempts: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done."""

    path: Path
    #: Where the file that was there before lies now; None: there was none.
    kept: Path | None
    tasks: int
    bytes: int
    sha256: str  # of the backup's verified copy, before its numbers were raised
    next_token: int
    epoch: int


def examine(source: Path) -> Candidate:
    """Look at a backup without changing it.

    Raises:
        StorageError: There is none, or it may not be read.
        Corrupt: Empty, foreign or damaged. SchemaTooNew: written by a newer version.
    """
    if not source.exists():
        raise StorageError(f"there is no file {source}", facts={"path": str(source), "problem": "missing"})
    schema.check_access(source, read_only=True)
    found = schema.inspect(source, len(schema.shipped()), alone=not _served(source))
    with opened(source, living_mode(source)) as conn:
        newest = conn.execute(NEWEST_EVENT).fetchone()
        live, out = (int(conn.execute(asked).fetchone()[0]) for asked in (LIVE, OUT))
    return Candidate(source, found.cluster_id, found.schema, newest[0] if newest else None, live, out)


def restore(source: Path, target: Path, at: str, *, replace: bool = False) -> Restored:
    """Put a verified copy of `source` at `target`.

    Args:
        source: A backup, or any database of ours; it is not changed.
        target: Where the database shall be.
        at: ISO time, for the history and the name of what was there.
        replace: A file that is there is renamed; otherwise it stops the restore.

    Raises:
        Conflict: A StateManager holds `target` (named), or there is a file and `replace` was not said, or that file
            belongs to another cluster.
        StorageError: The disk refuses. Corrupt, SchemaTooNew: the backup cannot be used. Nothing was changed.
    """
    target = Path(os.path.realpath(target))
    if source.exists() and target.exists() and source.samefile(target):
        raise InvalidRequest(f"{source} is the database itself", field="file", hint="name a backup")
    with FileLock(target, "restore"):
        candidate = examine(source)
        _check_place(target, candidate, replace=replace)
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.restoring")
        try:
            info = copy(source, partial, mode=living_mode(source))
            token, epoch = _go_on(partial, at, candidate)
            kept = _make_way(target, at)
            partial.rename(target)
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error.strerror}", hint="check the folder") from None
        finally:
            for suffix in _SUFFIXES:
                with contextlib.suppress(OSError):
                    Path(f"{partial}{suffix}").unlink(missing_ok=True)
        sync_folder(target.parent)
    return Restored(target, kept, info.tasks, info.bytes, info.sha256, token, epoch)


def _served(path: Path) -> bool:
    """Whether a StateManager may be at it: then it is no backup, and is read as a living file."""
    return Path(f"{os.path.realpath(path)}.lock").exists()


def living_mode(path: Path) -> str:
    """How to open a database that may be in use, and leave no trace where it is not."""
    return "ro" if _served(path) else schema.reading_mode(path)


def _check_place(target: Path, candidate: Candidate, *, replace: bool) -> None:
    """Refuse to put a backup over something that nobody said may go."""
    if not target.exists():
        return
    if not replace:
        raise Conflict(f"{target} exists", hint="--replace keeps it under another name; --into NEW.db leaves it alone")
    try:
        there = schema.inspect(target, len(schema.shipped()), alone=True).cluster_id
    except OpenClawError:
        return  # damaged, empty or newer: this is what restores are for, and it is kept
    if there != candidate.cluster_id:
        raise Conflict(
            f"{target} is the database of cluster {there}, the backup of {candidate.cluster_id}",
            hint="move that file away first, if this is meant",
            facts={"there": there, "backup": candidate.cluster_id},
        )


def _go_on(path: Path, at: str, candidate: Candidate) -> tuple[int, int]:
    """Raise the numbers that must never come twice, and note the restore; answers the next token and the epoch."""
    with opened(path, "rw") as conn:
        configure(conn, *WRITER)
        return transact(conn, lambda c: _raise_numbers(c, at, candidate))


def _raise_numbers(conn: sqlite3.Connection, at: str, candidate: Candidate) -> tuple[int, int]:
    meta = dict(conn.execute(META).fetchall())
    number = {name: int(meta.get(name, "0")) for name in ("next_token", "epoch", "next_event", "version")}
    token, epoch = number["next_token"] + TOKENS_SKIPPED, number["epoch"] + EPOCHS_SKIPPED
    told = EventRow(
        number["next_event"], at, "restored", None, None, None, None,
        f"from a backup whose newest change is of {candidate.newest_change or 'its making'}", number["version"],
    )  # fmt: skip
    conn.execute(sql.insert("events", EventRow._fields), told)
    raised = {"next_token": token, "epoch": epoch, "next_event": number["next_event"] + 1, "restored_at": at}
    conn.executemany(SET_META, [(name, str(value)) for name, value in raised.items()])
    return token, epoch


def _make_way(target: Path, at: str) -> Path | None:
    """Rename what is there, its WAL last: without it, it would open as if its newest commits had never been."""
    kept = target.with_name(f"{target.name}.replaced-{at[:19].replace(':', '-')}")
    if not any(Path(f"{target}{suffix}").exists() for suffix in _SUFFIXES):
        return None
    while any(Path(f"{kept}{suffix}").exists() for suffix in _SUFFIXES):
        kept = kept.with_name(f"{kept.name}-again")
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{target}{suffix}").rename(f"{kept}{suffix}")
    return kept
