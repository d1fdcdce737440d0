"""Ends processes by their id, and sees that they are gone."""

from __future__ import annotations

import os
import signal

import psutil

from tests.support.wait import wait_until


def alive(pid: int) -> bool:
    """Whether a process runs under this id."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_and_wait(pid: int) -> None:
    """kill -9, and wait until the process is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), 10, lambda: f"process {pid} outlives kill -9")
