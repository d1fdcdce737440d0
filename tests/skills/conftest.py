"""Fixtures of the skill tests: an executor that shares our process, scripts in fresh folders, programs that ran."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from openclaw_ray.skills.executor import ExecutorLoop
from openclaw_ray.skills.function import skill

REPOSITORY = Path(__file__).resolve().parents[2]


class Bench:
    """An ExecutorLoop with the packing and feeding that every test needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scratch").mkdir()
        self.loop = ExecutorLoop(folder / "scratch", capture=False)
        self._tokens = 0

    def item(self, fn: Any, params: str = "{}", **changes: Any) -> dict[str, Any]:
        packed = (fn if hasattr(fn, "packed") else skill(fn)).packed()
        path = self.folder / packed.manifest.code
        path.write_bytes(packed.blob)
        self.loop.load_code(packed.manifest.code, path)
        self._tokens += 1
        return {
            "token": self._tokens,
            "task_id": f"t{self._tokens}",
            "attempt": 1,
            "skill": packed.manifest.name,
            "revision": packed.manifest.revision,
            "code": packed.manifest.code,
            "params": params,
            "timeout_s": None,
            "takes_context": packed.manifest.takes_context,
        } | changes

    async def until_ended(self, count: int = 1) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        while sum(entry["event"] in ("ended", "missing_code") for entry in entries) < count:
            found = await self.loop.collect(20)
            assert found, f"nothing happened; so far {entries}"
            entries += found
        return entries

    async def run(self, fn: Any, params: str = "{}", **changes: Any) -> dict[str, Any]:
        """The entry with which one call ended."""
        self.loop.feed([self.item(fn, params, **changes)])
        return (await self.until_ended())[-1]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.loop.close()


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., str]:
    """Runs Python text as a script of its own folder, in a process of its own; returns what it printed."""

    def run(text: str, name: str = "driver.py", **env: str) -> str:
        script = tmp_path / name
        script.write_text(text)
        words = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", **env}
        done = subprocess.run(
            [sys.executable, str(script)], env=words, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
