from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
from pathlib import Path

import pytest

from openclaw_ray.errors import Conflict, StorageError, Unavailable
from openclaw_ray.storage import backup
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.schema import shipped
from openclaw_ray.storage.tasks import TaskRepository
from tests.storage.builders import a_task, listing


def measured(path: str) -> tuple[int, str, int]:
    content = Path(path).read_bytes()
    return len(content), hashlib.sha256(content).hexdigest(), Path(path).stat().st_mode & 0o777


async def test_a_backup_is_a_whole_database_and_says_what_it_holds(db: Database, tmp_path: Path) -> None:
    await TaskRepository(db).create_many(a_task(f"t{n}") for n in range(300))
    info = await db.backup(tmp_path / "copy.db")
    assert (info.tasks, info.schema, info.integrity) == (300, len(shipped()), "ok")
    assert (info.bytes, info.sha256, 0o600) == measured(info.path)
    copy = await Database.open(info.path, create=False)
    assert (await TaskRepository(copy).get("t299")).name == "name of t299"
    await copy.close()
    assert [name for name in listing(tmp_path) if name.startswith(".")] == []


async def test_a_backup_overwrites_nothing(db: Database, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    for target in (tmp_path / "copy.db", db.path):
        with pytest.raises(Conflict):
            await db.backup(target)
    assert (tmp_path / "copy.db").read_text() == "mine"


async def test_a_backup_into_a_missing_folder_is_a_storage_error(db: Database, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        await db.backup(tmp_path / "no" / "copy.db")


async def test_a_backup_is_one_moment_while_others_write(db: Database, tmp_path: Path) -> None:
    repo = TaskRepository(db)
    await repo.create_many(a_task(f"t{n}", description="x" * 4000) for n in range(2000))
    copying = asyncio.create_task(db.backup(tmp_path / "copy.db"))
    written = 0
    while not copying.done():
        # Pairs in one transaction: a copy with an odd number would be torn.
        await repo.create_many([a_task(f"a{written}"), a_task(f"b{written}")])
        written += 1
    info = await copying
    assert written > 0
    assert info.tasks % 2 == 0
    assert 2000 <= info.tasks <= 2000 + 2 * written


def test_a_stopped_backup_leaves_nothing(tmp_path: Path) -> None:
    source = sqlite3.connect(tmp_path / "x.db")
    source.execute("CREATE TABLE tasks (a)")
    source.close()
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Unavailable):
        backup.copy(tmp_path / "x.db", tmp_path / "copy.db", stopped)
    assert listing(tmp_path) == ["x.db"]
