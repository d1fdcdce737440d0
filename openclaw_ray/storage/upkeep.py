"""Upkeep of the file: checks, sizes, and making it smaller. Synchronous, for the database thread."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from openclaw_ray.errors import Corrupt
from openclaw_ray.storage.failures import RAW_ERRORS, mapped

#: Rows per index that ANALYZE reads: keeps `optimize` at milliseconds, as https://www.sqlite.org/pragma.html advises.
ANALYSIS_ROWS = 400

# A count reads an index; of the two long tables the span of the key is enough, and costs two look-ups.
_EXACT = ("tasks", "nodes", "skills", "code", "counters")
_SPAN = (
    ("attempts", "SELECT COALESCE((SELECT MAX(token) FROM attempts) - (SELECT MIN(token) FROM attempts) + 1, 0)"),
    ("events", "SELECT COALESCE((SELECT MAX(seq) FROM events) - (SELECT MIN(seq) FROM events) + 1, 0)"),
)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sizes of the database."""

    file_bytes: int
    wal_bytes: int
    page_bytes: int
    pages: int
    #: Pages that a vacuum would give back.
    free_pages: int
    schema: int
    #: Rows per table; of ``attempts`` and ``events`` last number - first + 1, which is exact until some are pruned or
    #: a backup is restored (tokens are skipped then).
    rows: dict[str, int]


def statistics(conn: sqlite3.Connection, path: Path) -> Statistics:
    """Sizes and row counts of the database behind `conn`."""

    def pragma(name: str) -> int:
        return int(conn.execute(f"PRAGMA {name}").fetchone()[0])

    rows = {table: int(conn.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]) for table in _EXACT}
    rows |= {table: int(conn.execute(sql).fetchone()[0]) for table, sql in _SPAN}
    wal = path.with_name(f"{path.name}-wal")
    return Statistics(
        file_bytes=path.stat().st_size,
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
        page_bytes=pragma("page_size"),
        pages=pragma("page_count"),
        free_pages=pragma("freelist_count"),
        schema=pragma("user_version"),
        rows=rows,
    )


def vacuum(conn: sqlite3.Connection) -> None:
    """Rewrite the file."""
    conn.execute("VACUUM")


def optimize(conn: sqlite3.Connection) -> None:
    """Refresh the planner's statistics where they are old."""
    conn.execute(f"PRAGMA analysis_limit = {ANALYSIS_ROWS}")
    conn.execute("PRAGMA optimize")


def checkpoint(conn: sqlite3.Connection) -> bool:
    """Bring the whole WAL into the file and cut it to nothing; False when somebody still reads from it."""
    busy, _, _ = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def problems(conn: sqlite3.Connection, pragma: str) -> list[str]:
    """What ``quick_check`` or ``integrity_check`` (then with foreign keys) finds; empty when all is well."""
    try:
        found = [str(row[0]) for row in conn.execute(f"PRAGMA {pragma}")]
        if pragma.startswith("integrity_check"):
            found += [f"foreign key of {row[0]}" for row in conn.execute("PRAGMA foreign_key_check")]
    except RAW_ERRORS as error:
        # Damage bad enough to stop the check is what it was to find.
        if isinstance(ours := mapped(error), Corrupt):
            return [ours.message]
        raise
    return [line for line in found if line != "ok"]
