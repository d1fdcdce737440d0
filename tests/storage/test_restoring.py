"""A backup comes back whole or not at all; what was there stays; numbers go on (I8, I11, F12, F24)."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from openclaw_ray.errors import Conflict, Corrupt, InvalidRequest, SchemaTooNew, StorageError
from openclaw_ray.storage import schema
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.lock import FileLock
from openclaw_ray.storage.restart import load
from openclaw_ray.storage.restoring import EPOCHS_SKIPPED, TOKENS_SKIPPED, examine, restore
from openclaw_ray.storage.tasks import TaskRepository
from tests.storage.builders import AT, a_task, at, listing


async def made(path: Path, *task_ids: str, cluster: str = "c1") -> Path:
    """A database with tasks, closed."""
    db = await Database.open(path, create=True, cluster_id=cluster)
    await TaskRepository(db).create_many(a_task(one) for one in task_ids)
    await db.close()
    return path


async def tasks_in(path: Path) -> set[str]:
    db = await Database.open(path, create=False)
    found = {row.task_id for row in (await db.read(load)).tasks}
    await db.close()
    return found


def numbers(path: Path) -> dict[str, str]:
    conn = sqlite3.connect(path)
    found = dict(conn.execute("SELECT name, value FROM meta").fetchall())
    conn.close()
    return found


async def test_a_backup_is_restored_to_a_new_name_and_its_numbers_go_on(tmp_path: Path) -> None:
    backup = await made(tmp_path / "backup.db", "t1", "t2")
    before = backup.read_bytes()
    found = restore(backup, tmp_path / "new.db", at(60))
    assert (found.tasks, found.kept, found.path) == (2, None, tmp_path / "new.db")
    assert await tasks_in(found.path) == {"t1", "t2"}
    meta = numbers(found.path)
    assert int(meta["next_token"]) == found.next_token == 1 + TOKENS_SKIPPED
    assert int(meta["epoch"]) == found.epoch == EPOCHS_SKIPPED
    assert (meta["cluster_id"], meta["restored_at"]) == ("c1", at(60))
    assert found.path.stat().st_mode & 0o777 == 0o600
    assert backup.read_bytes() == before
    assert listing(tmp_path) == ["backup.db", "new.db", "new.db.lock"]


async def test_each_restore_skips_further(tmp_path: Path) -> None:
    backup = await made(tmp_path / "backup.db")
    first = restore(backup, tmp_path / "one.db", AT)
    second = restore(first.path, tmp_path / "two.db", AT)
    assert second.next_token == first.next_token + TOKENS_SKIPPED
    conn = sqlite3.connect(second.path)
    events = conn.execute("SELECT seq, what FROM events ORDER BY seq").fetchall()
    conn.close()
    assert events == [(1, "restored"), (2, "restored")]
    assert examine(second.path).newest_change == AT


async def test_a_file_that_is_there_stops_it_unless_it_may_be_replaced_and_is_kept_then(tmp_path: Path) -> None:
    backup = await made(tmp_path / "backup.db", "old")
    target = await made(tmp_path / "openclaw.db", "old", "new")
    with pytest.raises(Conflict, match="exists"):
        restore(backup, target, AT)
    assert await tasks_in(target) == {"old", "new"}
    for _ in range(2):
        found = restore(backup, target, AT, replace=True)
        assert await tasks_in(target) == {"old"}
    kept = [one for one in listing(tmp_path) if ".replaced-" in one and not one.endswith((".lock", "-wal"))]
    assert len(kept) == 2
    assert await tasks_in(tmp_path / kept[0]) == {"old", "new"}
    assert found.kept == tmp_path / kept[1]


async def test_the_wal_of_what_was_there_goes_with_it(tmp_path: Path) -> None:
    backup = await made(tmp_path / "backup.db", "old")
    target = await made(tmp_path / "openclaw.db")
    wal = tmp_path / "openclaw.db-wal"
    wal.write_bytes(b"left by a crash")
    found = restore(backup, target, AT, replace=True)
    assert found.kept is not None
    assert found.kept.with_name(f"{found.kept.name}-wal").read_bytes() == b"left by a crash"
    assert not wal.exists()
    assert await tasks_in(target) == {"old"}


async def test_it_refuses_while_a_state_manager_holds_the_file_and_names_it(tmp_path: Path) -> None:
    backup = await made(tmp_path / "backup.db")
    target = await made(tmp_path / "openclaw.db", "live")
    with FileLock(target), pytest.raises(Conflict, match=f"held by the state manager with pid {os.getpid()}"):
        restore(backup, target, AT, replace=True)
    assert await tasks_in(target) == {"live"}


async def test_a_database_that_is_served_can_be_the_source(tmp_path: Path) -> None:
    source = await made(tmp_path / "live.db", "t1")
    db = await Database.open(source, create=False)
    with FileLock(source):
        await TaskRepository(db).create_many([a_task("in-the-wal")])
        found = restore(source, tmp_path / "new.db", AT)
    await db.close()
    assert await tasks_in(found.path) == {"t1", "in-the-wal"}


def _damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    page = 4096 * 3
    content[page : page + 2048] = os.urandom(2048)
    path.write_bytes(bytes(content))


def _truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _foreign(path: Path) -> None:
    path.unlink()
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE tasks (a)")
    conn.close()


def _newer(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.execute(f"PRAGMA user_version = {len(schema.shipped()) + 1}")
    conn.close()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("no database\n" * 500)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (_damaged, Corrupt), (_truncated, Corrupt), (_foreign, Corrupt), (_empty, Corrupt), (_text, Corrupt),
        (_newer, SchemaTooNew),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_changes_nothing(tmp_path: Path, damage: object, error: type[StorageError]) -> None:
    backup = await made(tmp_path / "backup.db", *(f"t{n}" for n in range(200)))
    target = await made(tmp_path / "openclaw.db", "mine")
    damage(backup)  # type: ignore[operator]
    with pytest.raises(error):
        restore(backup, target, AT, replace=True)
    assert await tasks_in(target) == {"mine"}
    assert listing(tmp_path) == ["backup.db", "openclaw.db", "openclaw.db.lock"]


async def test_broken_foreign_keys_are_found(tmp_path: Path) -> None:
    backup = await made(tmp_path / "backup.db", "t1")
    conn = sqlite3.connect(backup)
    conn.execute("INSERT INTO late_reports VALUES ('nobody', 1, 'failed', '', '', 'n1', 1, 'late', 0)")
    conn.commit()
    conn.close()
    with pytest.raises(Corrupt, match="foreign key of late_reports"):
        restore(backup, tmp_path / "new.db", AT)
    assert not (tmp_path / "new.db").exists()


async def test_a_missing_file_and_the_database_itself_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no file"):
        restore(tmp_path / "nowhere.db", tmp_path / "new.db", AT)
    target = await made(tmp_path / "openclaw.db", "mine")
    with pytest.raises(InvalidRequest, match="the database itself"):
        restore(target, target, AT, replace=True)
    with pytest.raises(StorageError):
        restore(target, tmp_path / "no folder" / "new.db", AT)
    assert await tasks_in(target) == {"mine"}


async def test_the_database_of_another_cluster_is_not_replaced_and_a_damaged_one_is(tmp_path: Path) -> None:
    backup = await made(tmp_path / "backup.db", "mine")
    target = await made(tmp_path / "openclaw.db", "theirs", cluster="c2")
    with pytest.raises(Conflict, match="cluster c2"):
        restore(backup, target, AT, replace=True)
    assert await tasks_in(target) == {"theirs"}
    _truncated(target)
    found = restore(backup, target, AT, replace=True)
    assert found.kept is not None
    assert await tasks_in(target) == {"mine"}


async def test_an_older_backup_is_restored_as_it_is_and_upgraded_at_the_next_start(tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    schema.create(backup, schema.shipped()[:1], schema.Origin("c1", AT))
    found = restore(backup, tmp_path / "openclaw.db", AT)
    db = await Database.open(found.path, create=False)
    assert (await db.statistics()).schema == len(schema.shipped())
    await db.close()
