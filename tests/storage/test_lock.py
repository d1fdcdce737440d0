from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openclaw_ray.errors import Conflict, StorageError
from openclaw_ray.storage.lock import FileLock

HOLDER = """
import sys
from openclaw_ray.storage.lock import FileLock
FileLock(sys.argv[1], "test holder").take()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "x.db")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


async def test_a_second_process_is_refused_naming_the_holder(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=f"test holder with pid {holder.pid} on ") as caught:
        await FileLock(tmp_path / "x.db").acquire(wait_s=0.1)
    assert set(caught.value.facts["holder"]) == {"pid", "host", "started", "purpose"}


def test_another_path_to_the_file_meets_the_same_lock(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "sub").symlink_to(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "x.db")
    for path in (tmp_path / "sub" / "x.db", tmp_path / "link.db", tmp_path / "sub" / ".." / tmp_path.name / "x.db"):
        with pytest.raises(Conflict):
            FileLock(path).take()


async def test_a_killed_holder_frees_the_lock(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x.db")
    waiting = asyncio.create_task(lock.acquire(wait_s=10))
    holder.send_signal(signal.SIGKILL)
    await waiting
    assert lock.held
    lock.release()


def test_the_same_process_may_not_take_it_twice(tmp_path: Path) -> None:
    first = FileLock(tmp_path / "x.db", "first")
    with first:
        for lock in (first, FileLock(tmp_path / "x.db")):
            with pytest.raises(Conflict):
                lock.take()
        assert first.held
    with FileLock(tmp_path / "x.db") as again:
        assert again.held
    again.release()


def test_the_database_file_is_neither_made_nor_touched(tmp_path: Path) -> None:
    with FileLock(tmp_path / "x.db"):
        assert [p.name for p in tmp_path.iterdir()] == ["x.db.lock"]
        assert (tmp_path / "x.db.lock").stat().st_mode & 0o777 == 0o600


def test_a_removed_lock_file_does_not_give_two_locks_on_the_new_one(tmp_path: Path) -> None:
    with FileLock(tmp_path / "x.db"):
        (tmp_path / "x.db.lock").unlink()
        with FileLock(tmp_path / "x.db"), pytest.raises(Conflict):
            FileLock(tmp_path / "x.db").take()


def test_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the folder must exist"):
        FileLock(tmp_path / "no" / "x.db").take()


class Overtaken(FileLock):
    """The lock file is removed between its opening and its locking."""

    def _open(self) -> int:
        fd = super()._open()
        self.path.unlink()
        return fd


def test_a_lock_on_a_file_nobody_else_can_meet_is_none(tmp_path: Path) -> None:
    lock = Overtaken(tmp_path / "x.db")
    with pytest.raises(Conflict):
        lock.take()
    assert not lock.held
