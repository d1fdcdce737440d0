"""One process per database file, by a lock file beside it that is held for life.

The database file itself is never opened here: closing any descriptor of it would drop SQLite's own locks in this
process. The kernel frees the lock when the holder dies, however it dies; the file stays and is never deleted, since a
second process may be waiting on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
from collections import defaultdict
from pathlib import Path
from typing import Any

from openclaw_ray.clock import SystemClock
from openclaw_ray.errors import Conflict, StorageError
from openclaw_ray.models.fields import iso

#: How long a starting process waits for an ending one, and how often it looks: flock has no timeout of its own.
WAIT_S, LOOK_EVERY_S = 3.0, 0.05


class FileLock:
    """The right to be the only program on one database file.

    A lock belongs to one `FileLock` object: a second one conflicts in the same process too. Programs started by exec
    do not inherit it; a child made by a bare fork does, until it ends.

    Args:
        path: The database file; it need not exist. Symbolic links are followed, so that another path to the same file
            meets the same lock.
        purpose: What the holder is, for the message that a second one gets.
    """

    def __init__(self, path: Path | str, purpose: str = "state manager") -> None:
        self.path = Path(f"{os.path.realpath(path)}.lock")
        self.purpose = purpose
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def take(self) -> None:
        """Take the lock now.

        Raises:
            Conflict: Somebody holds it; ``facts["holder"]`` has pid, host, started and purpose as far as readable.
            StorageError: The lock file cannot be made there.
        """
        if self._fd is not None:
            raise Conflict(f"this process holds {self.path} already", facts={"holder": _self(self.purpose)})
        fd = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Somebody may have removed the file between open and lock: then we hold a lock nobody else can meet.
            if os.fstat(fd).st_ino != self.path.stat().st_ino:
                raise BlockingIOError
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(_self(self.purpose)).encode() + b"\n", 0)
        except (BlockingIOError, FileNotFoundError):
            holder = _read(fd)
            os.close(fd)
            raise Conflict(
                f"{self.path.with_suffix('')} is held by {_named(holder)}",
                hint="stop that process first; the lock goes with it",
                retry_after=LOOK_EVERY_S,
                facts={"holder": holder},
            ) from None
        except OSError as error:
            os.close(fd)
            raise StorageError(f"{self.path} cannot be locked: {error.strerror}") from None
        self._fd = fd

    async def acquire(self, wait_s: float = WAIT_S) -> None:
        """Take the lock, trying again for `wait_s` seconds while somebody holds it.

        Raises:
            Conflict: Still held, naming the holder.
            StorageError: The lock file cannot be made there.
        """
        clock = SystemClock()
        end = clock.now().mono + wait_s
        while True:
            try:
                return self.take()
            except Conflict:
                if self.held or (now := clock.now().mono) >= end:
                    raise
            await asyncio.sleep(min(LOOK_EVERY_S, max(end - now, 0.0)))

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def __enter__(self) -> FileLock:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be opened: {error.strerror}", hint="the folder must exist and be writable"
            ) from None


def holder_of(path: Path | str) -> dict[str, Any] | None:
    """Who holds the lock of `path`; None when nobody does. Takes nothing away from whoever is about to.

    Returns:
        pid, host, started and purpose as far as readable.
    """
    try:
        fd = os.open(f"{os.path.realpath(path)}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for the moment of asking; a starting holder tries again
    except BlockingIOError:
        return _read(fd)
    else:
        return None
    finally:
        os.close(fd)


def _self(purpose: str) -> dict[str, Any]:
    started = iso(SystemClock().now().wall)
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": started, "purpose": purpose}


def _read(fd: int) -> dict[str, Any]:
    """What the holder wrote about itself; empty while it is about to."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(os.pread(fd, 4096, 0))
        if isinstance(found, dict):
            return found
    return {}


def _named(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return "the {purpose} with pid {pid} on {host}, since {started}".format_map(defaultdict(str, holder))
