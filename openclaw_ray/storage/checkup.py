"""A database as a passer-by sees it: recognised, measured and checked for a bounded time, never changed.

It may be in use: then it is read as a living file, in a process that is not the StateManager's.
"""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from openclaw_ray.errors import StorageError, Unavailable
from openclaw_ray.storage import schema
from openclaw_ray.storage.connection import bounded, opened
from openclaw_ray.storage.failures import RAW_ERRORS, mapped
from openclaw_ray.storage.restoring import NEWEST_EVENT, living_mode
from openclaw_ray.storage.upkeep import problems

#: Version of the SQLite library that holds the database.
SQLITE_VERSION = sqlite3.sqlite_version

META = "SELECT name, value FROM meta"


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found."""

    cluster_id: str
    schema: int
    schema_known: int
    file_bytes: int
    wal_bytes: int
    #: What the check found; empty when all is well.
    problems: tuple[str, ...]
    #: Whether the check came to its end within its time.
    whole: bool
    #: ISO times; None: never.
    newest_change: str | None
    last_backup: str | None
    restored_at: str | None
    seconds: float


def look(path: Path, bound_s: float) -> Checkup:
    """Look at a database for about `bound_s` seconds.

    Raises:
        StorageError: Missing, or it may not be read; ``facts["problem"]`` says which.
        Corrupt: Empty, foreign, truncated or damaged. SchemaTooNew: written by a newer version.
    """
    began = time.monotonic()
    path = Path(os.path.realpath(path))
    if not path.exists():
        raise StorageError(f"there is no database at {path}", facts={"path": str(path), "problem": "missing"})
    schema.check_access(path, read_only=True)
    known, mode = len(schema.shipped()), living_mode(path)
    found = schema.inspect(path, known, alone=mode != "ro")
    with opened(path, mode) as conn:
        meta = dict(conn.execute(META).fetchall())
        newest = conn.execute(NEWEST_EVENT).fetchone()
        wrong, whole = _checked(conn, bound_s)
    wal = path.with_name(f"{path.name}-wal")
    return Checkup(
        cluster_id=found.cluster_id,
        schema=found.schema,
        schema_known=known,
        file_bytes=path.stat().st_size,
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
        problems=tuple(wrong),
        whole=whole,
        newest_change=newest[0] if newest else None,
        last_backup=meta.get("last_backup"),
        restored_at=meta.get("restored_at"),
        seconds=time.monotonic() - began,
    )


def _checked(conn: sqlite3.Connection, bound_s: float) -> tuple[list[str], bool]:
    """The quick check and the foreign keys, as far as the time allows."""
    try:
        with bounded(conn, bound_s):
            found = problems(conn, "quick_check(5)")
            found += [f"foreign key of {row[0]}" for row in conn.execute("PRAGMA foreign_key_check").fetchmany(5)]
            return found, True
    except RAW_ERRORS as error:
        if isinstance(ours := mapped(error), Unavailable):
            return [], False
        raise ours from None
