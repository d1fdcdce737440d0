"""A consistent copy of a running database, checked before it gets its name.

It reads through a connection of its own that holds one snapshot, so the writer is never stopped; only the WAL cannot be
reset below that snapshot until the copy is done. A copy through the writer's connection would block it, and one without
the snapshot would start again at every commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

from openclaw_ray.errors import Conflict, Corrupt, StorageError, Unavailable
from openclaw_ray.storage.connection import opened
from openclaw_ray.storage.upkeep import problems

#: Pages copied between two looks at whether the copy is still wanted: 4 MiB.
PAGES_PER_STEP = 1_024

#: Tables whose rows are counted in the snapshot and in the copy.
_COUNTED = ("tasks", "nodes", "attempts", "events", "skills", "meta")


@dataclass(frozen=True, slots=True)
class BackupInfo:
    """What a backup holds."""

    path: str
    bytes: int
    sha256: str  # of the file, hex
    schema: int
    tasks: int
    integrity: str  # "ok": integrity_check, foreign_key_check and the row counts agree


def copy(source: Path, target: Path, stopped: threading.Event | None = None, *, mode: str = "ro") -> BackupInfo:
    """Copy `source` to the new file `target`, mode 0600; blocking, for a thread.

    Args:
        source: The database; may be in use.
        target: Appears complete or not at all.
        stopped: When set, the copy ends at its next step and leaves nothing.
        mode: How the source is opened, see `connection.uri`.

    Raises:
        Conflict: `target` exists.
        StorageError: The folder refuses; as `StorageFull` when the disk is full.
        Corrupt: The copy does not check out; it is removed.
        Unavailable: It was stopped.
    """
    if target.exists():
        raise Conflict(f"{target} exists", hint="give a new name; a backup overwrites nothing")
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        counts = _fill(source, partial, stopped, mode)
        schema = _check(partial, counts)
        size, sha256 = _sync(partial)
        # A link, unlike a rename, fails when the name was taken meanwhile.
        os.link(partial, target)
    except FileExistsError:
        raise Conflict(f"{target} exists", hint="give a new name; a backup overwrites nothing") from None
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror}", hint="check the folder") from None
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                Path(f"{partial}{suffix}").unlink(missing_ok=True)
    sync_folder(target.parent)
    return BackupInfo(str(target), size, sha256, schema, counts["tasks"], "ok")


def _fill(source: Path, partial: Path, stopped: threading.Event | None, mode: str) -> dict[str, int]:
    """Copy page by page; returns the row counts of the snapshot that was copied."""

    def step(_status: int, _remaining: int, _total: int) -> None:
        if stopped is not None and stopped.is_set():
            raise Unavailable("the backup was stopped")

    with opened(source, mode) as conn, opened(partial, "rw") as into:
        conn.execute("BEGIN")
        counts = _counts(conn)  # the first read fixes the snapshot
        conn.backup(into, pages=PAGES_PER_STEP, progress=step, sleep=0.05)
    return counts


def _counts(conn: sqlite3.Connection) -> dict[str, int]:
    there = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return {t: conn.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in _COUNTED if t in there}


def _check(partial: Path, counts: dict[str, int]) -> int:
    """Check the copy as it lies on disk; returns its schema version."""
    with opened(partial, "ro&immutable=1") as conn:
        found = problems(conn, "integrity_check(3)")
        if found or _counts(conn) != counts:
            raise Corrupt(
                f"the copy does not check out: {'; '.join(found) or 'rows are missing'}",
                hint="run the integrity check on the database",
            )
        return int(conn.execute("PRAGMA user_version").fetchone()[0])


def _sync(partial: Path) -> tuple[int, str]:
    """Bring the copy to the medium; returns size and SHA-256."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def sync_folder(folder: Path) -> None:
    """Make a new name in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
