"""Skills of the tests, for clusters with real processes. Their work may take time, so they may sleep."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any


def slow_square(x: int) -> int:
    time.sleep(0.01)
    return x * x


def record(ctx: Any, ledger: str, i: int) -> int:
    with Path(ledger).open("a") as file:  # one write below PIPE_BUF: lines of many processes do not mix
        file.write(f"{i} {ctx.token}\n")
    return i


def gate(ctx: Any, folder: str, name: str) -> int:
    """Says that it runs, starts a child of its own, and waits until it is let go."""
    child = subprocess.Popen(["sleep", "300"])
    ready = Path(folder) / f"{name}-{ctx.attempt}.tmp"
    ready.write_text(f"{os.getpid()} {child.pid}")
    ready.rename(ready.with_suffix(".started"))
    try:
        while not (Path(folder) / f"{name}-{ctx.attempt}.go").exists():
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    return ctx.attempt
