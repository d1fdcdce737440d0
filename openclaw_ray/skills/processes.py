"""Finding and ending every process of an attempt, also those that hid in a session of their own.

A process belongs to an attempt when it is in its process group or session, descends from it, or carries the attempt's
scratch folder in its environment, which children inherit. One that leaves its group, its parents and its environment is
not found; keeping such programs in is a sandbox's matter, which this project does not offer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

#: Names the scratch folder of the attempt; the one variable whose value is unlike that of any other attempt.
MARK = "OPENCLAW_TASK_SCRATCH"


class Tree:
    """All processes of one attempt but the first, which its parent waits for.

    Args:
        root: Process id of the first process: a group and session leader, not reaped before the tree is gone (until
            then nobody else can get its id).
        scratch: The attempt's scratch folder.
    """

    def __init__(self, root: int, scratch: Path) -> None:
        self._root = root
        self._mark = f"{MARK}={scratch}"
        #: Everything ever found, so that a process stays known after its parents died.
        self._known: dict[int, psutil.Process] = {}

    def signal(self, number: signal.Signals) -> None:
        """Send to the group, and to every process found outside of it."""
        members = self.living(descendants=True)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._root, number)
        for process in members:
            with contextlib.suppress(psutil.Error, OSError):
                if os.getpgid(process.pid) != self._root:
                    process.send_signal(number)

    def living(self, *, descendants: bool = False) -> list[psutil.Process]:
        """Processes that are alive now.

        Args:
            descendants: Also follow parents to children, which costs a look at every process of the machine. Of use
                only while the first process lives: then its orphans have other parents.
        """
        for pid in _pids():
            if pid not in self._known and (self._root in _groups_of(pid) or _is_marked(pid, self._mark)):
                self._remember(pid)
        if descendants:
            with contextlib.suppress(psutil.Error):
                for process in psutil.Process(self._root).children(recursive=True):
                    self._known.setdefault(process.pid, process)
        self._known = {pid: process for pid, process in self._known.items() if _is_alive(process)}
        return list(self._known.values())

    def _remember(self, pid: int) -> None:
        if pid != self._root:
            with contextlib.suppress(psutil.Error):
                self._known[pid] = psutil.Process(pid)


def leftovers(scratch_root: Path) -> list[psutil.Process]:
    """Living processes of attempts below `scratch_root`, for a new agent to end before it takes work."""
    found: list[psutil.Process] = []
    for pid in _pids():
        if _is_marked(pid, f"{MARK}={scratch_root}{os.sep}", prefix=True):
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(pid))
    return [process for process in found if _is_alive(process)]


def _pids() -> Iterator[int]:
    own = os.getpid()
    return (pid for pid in psutil.pids() if pid != own)


def _groups_of(pid: int) -> tuple[int, ...]:
    """Process group and session; nothing for a process that is gone."""
    try:
        return os.getpgid(pid), os.getsid(pid)
    except OSError:
        return ()


def _is_marked(pid: int, mark: str, *, prefix: bool = False) -> bool:
    wanted = os.fsencode(mark)
    try:
        if sys.platform == "linux":  # several times faster than psutil's, and asked of every process
            data = Path(f"/proc/{pid}/environ").read_bytes()
        else:
            data = b"\0".join(os.fsencode(f"{k}={v}") for k, v in psutil.Process(pid).environ().items())
    except (OSError, psutil.Error):  # gone, or somebody else's
        return False
    return (b"\0" + data + b"\0").find(b"\0" + wanted + (b"" if prefix else b"\0")) >= 0


def _is_alive(process: psutil.Process) -> bool:
    """A zombie has ended; and what we may not even signal, we cannot wait for."""
    try:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        os.kill(process.pid, 0)
    except (psutil.Error, OSError):
        return False
    return True
