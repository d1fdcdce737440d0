"""The file itself: made once, recognised, upgraded by numbered scripts, and otherwise refused and left alone."""

from __future__ import annotations

import os
import re
import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from openclaw_ray.errors import Conflict, Corrupt, InvalidRequest, SchemaTooNew, StorageError
from openclaw_ray.storage.backup import copy, sync_folder
from openclaw_ray.storage.connection import APPLICATION_ID, COMMON, WRITER, configure, opened, transact
from openclaw_ray.storage.rows import ROWS

_SCRIPT = re.compile(r"(\d{4})_\w+\.sql\Z")

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_COLUMNS = "SELECT name FROM pragma_table_info(?) ORDER BY cid"
_META = "SELECT value FROM meta WHERE name = ?"
_INSERT_META = "INSERT INTO meta (name, value) VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered script; forward only."""

    number: int
    script: str


def shipped() -> tuple[Migration, ...]:
    """The scripts in this package, from 1 without a gap."""
    folder = files("openclaw_ray.storage").joinpath("migrations")
    found = [
        Migration(int(match[1]), entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if (match := _SCRIPT.match(entry.name))
    ]
    found.sort(key=lambda migration: migration.number)
    assert [m.number for m in found] == list(range(1, len(found) + 1)), "a migration is missing from the package"
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a new database is told about itself."""

    cluster_id: str
    created_at: str  # ISO time


def prepare(path: Path, migrations: Sequence[Migration], *, read_only: bool, origin: Origin | None) -> None:
    """Make sure that a database of ours with the present schema is at `path`, or say why not.

    A file that is refused is not changed by a byte.

    Args:
        path: Resolved path of the database.
        migrations: From 1 without a gap.
        read_only: Neither made nor upgraded; an older schema is refused.
        origin: Makes a missing file; None never does.

    Raises:
        StorageError: Missing, or not writable; ``facts["problem"]`` is ``missing``, ``mode``, ``link`` or ``old``.
        Corrupt: Empty, foreign, truncated or damaged.
        SchemaTooNew: Written by a newer version.
        Conflict: To be made, but there is one of another cluster.
    """
    if not path.exists():
        if origin is None or read_only:
            raise _missing(path)
        create(path, migrations, origin)
    check_access(path, read_only=read_only)
    found = inspect(path, len(migrations), alone=not read_only)
    if origin is not None and found.cluster_id != origin.cluster_id:
        raise Conflict(f"{path} is the database of cluster {found.cluster_id}", facts={"cluster_id": found.cluster_id})
    if found.schema < len(migrations):
        if read_only:
            raise StorageError(
                f"{path} has schema {found.schema}, this version reads {len(migrations)}",
                hint="start the state manager once; it upgrades the file",
                facts={"problem": "old", "path": str(path)},
            )
        upgrade(path, migrations, found)


@dataclass(frozen=True, slots=True)
class Found:
    """What an existing file says about itself."""

    schema: int
    cluster_id: str
    epoch: str


def check_access(path: Path, *, read_only: bool) -> None:
    """Refuse what SQLite would notice late or not at all.

    Raises:
        StorageError: No file, not ours to read or write, or the file has a second name (WAL and lock go by name).
        Corrupt: The file is empty; SQLite would take it for a new database.
    """
    stat = path.stat()
    facts = {"path": str(path), "problem": "mode"}
    if not path.is_file():
        raise StorageError(f"{path} is not a file", facts=facts)
    needed = ((path, os.R_OK if read_only else os.R_OK | os.W_OK), (path.parent, os.X_OK if read_only else os.W_OK))
    for one, access in needed:
        if not os.access(one, access):
            mode = one.stat().st_mode & 0o7777
            raise StorageError(
                f"{one} (mode {mode:04o}) may not be written by this user", hint="chmod or chown it", facts=facts
            )
    if stat.st_nlink > 1:
        raise StorageError(
            f"{path} has {stat.st_nlink} names (hard links); under another name it would be damaged",
            hint="remove the other name",
            facts={**facts, "problem": "link"},
        )
    if stat.st_size == 0:
        raise Corrupt(f"{path} is empty", hint="restore a backup")


def inspect(path: Path, newest: int, *, alone: bool = False) -> Found:
    """Recognise a database of ours without changing it.

    Args:
        path: The file.
        newest: The schema this version knows.
        alone: The caller holds the lock of the file.

    Raises:
        Corrupt: It is not one, or it is damaged.
        SchemaTooNew: Its schema is newer than `newest`.
    """
    with opened(path, reading_mode(path) if alone else "ro") as conn:
        (application,) = conn.execute("PRAGMA application_id").fetchone()
        (schema,) = conn.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID or schema < 1:
            raise Corrupt(f"{path} is a database of another program", hint="give the path of ours")
        if schema > newest:
            raise SchemaTooNew(
                f"{path} has schema {schema}, this version knows up to {newest}",
                hint="start the newer version again; the file was not touched",
                facts={"found": schema, "known": newest},
            )
        tables = {name for (name,) in conn.execute(_TABLES)}
        if "meta" not in tables:
            raise Corrupt(f"{path} has lost its table meta", hint="restore a backup")
        rows = [conn.execute(_META, (name,)).fetchone() for name in ("cluster_id", "epoch")]
        if None in rows:
            raise Corrupt(f"{path} does not say which cluster it belongs to", hint="restore a backup")
        if schema == newest:
            check_columns(conn, path)
        return Found(schema=schema, cluster_id=rows[0][0], epoch=rows[1][0])


def check_columns(conn: sqlite3.Connection, path: Path) -> None:
    """Each table has the columns that its row has.

    Raises:
        Corrupt: Naming what is missing.
    """
    for table, columns in ROWS.items():
        there = {name for (name,) in conn.execute(_COLUMNS, (table,))}
        if missing := [column for column in columns if column not in there]:
            raise Corrupt(f"{path}: table {table} has lost {', '.join(missing)}", hint="restore a backup")


def create(path: Path, migrations: Sequence[Migration], origin: Origin) -> None:
    """Make a new database, mode 0600; it appears under its name complete or not at all.

    Raises:
        StorageError: The folder refuses, or holds the WAL of a database that was lost.
        InvalidRequest: `origin` names no cluster.
    """
    if not origin.cluster_id:
        raise InvalidRequest("a new database needs the id of its cluster", field="cluster_id")
    if _has_wal(path):
        raise StorageError(
            f"{path}-wal belongs to a database that is gone",
            hint="bring the database file back, or move this one away",
            facts={"path": str(path), "problem": "missing"},
        )
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        # Made here and not by SQLite: it would follow the umask.
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StorageError(
            f"{path.parent} takes no new file: {error.strerror}", facts={"path": str(path), "problem": "mode"}
        ) from None
    try:
        with opened(partial, "rw") as conn:
            configure(conn, *COMMON, *WRITER)
            transact(conn, lambda c: initial(c, migrations, origin))
        partial.rename(path)
        sync_folder(path.parent)
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{partial}{suffix}").unlink(missing_ok=True)


def initial(conn: sqlite3.Connection, migrations: Sequence[Migration], origin: Origin) -> None:
    """Fill an empty database, in the caller's transaction: every script, then what it is told about itself."""
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for migration in migrations:
        apply(conn, migration)
    conn.executemany(
        _INSERT_META,
        [
            ("cluster_id", origin.cluster_id),
            ("created_at", origin.created_at),
            ("epoch", "0"),
            ("next_token", "1"),
            ("next_seq", "1"),
            ("next_event", "1"),
        ],
    )


def upgrade(path: Path, migrations: Sequence[Migration], found: Found) -> None:
    """Bring an older file up, one transaction per script, after a snapshot beside it.

    A killed upgrade leaves the file at the last complete script; the next start goes on from there.
    """
    # The epoch grows with every start, so this name stands for this content: a second try finds it there.
    kept = path.with_name(f"{path.name}.schema{found.schema}-epoch{found.epoch}.bak")
    if not kept.exists():
        copy(path, kept)
    with opened(path, "rw") as conn:
        configure(conn, *WRITER)
        for migration in migrations[found.schema :]:
            try:
                transact(conn, lambda c, m=migration: apply(c, m))  # type: ignore[misc]
            except StorageError as error:
                raise StorageError(
                    f"{path}: the upgrade to schema {migration.number} failed: {error}",
                    hint=f"nothing was changed; a copy is in {kept}",
                ) from None


def apply(conn: sqlite3.Connection, migration: Migration) -> None:
    """Run one script in the caller's transaction; executescript would commit it."""
    for statement in statements(migration.script):
        conn.execute(statement)
    conn.execute(f"PRAGMA user_version = {migration.number}")


def statements(script: str) -> list[str]:
    """A script's statements; one ends with its line."""
    found, lines = [], ""
    for line in script.splitlines(keepends=True):
        lines += line
        if sqlite3.complete_statement(lines):
            found.append(lines.strip())
            lines = ""
    return found


def reading_mode(path: Path) -> str:
    """How a file that nobody writes is read without a trace.

    mode=ro recovers a WAL left by a crash without writing it back on closing, but makes an empty one where there is
    none; immutable does not, and is right only while nobody else writes.
    """
    return "ro" if _has_wal(path) else "ro&immutable=1"


def _has_wal(path: Path) -> bool:
    wal = path.with_name(f"{path.name}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _missing(path: Path) -> StorageError:
    return StorageError(
        f"there is no database at {path}",
        hint="start a new cluster to make one, or restore a backup there",
        facts={"path": str(path), "problem": "missing"},
    )
