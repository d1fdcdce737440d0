"""The demo's skills in Python. They are what users write: plain functions."""

from __future__ import annotations

import ast
import hashlib
import time
from pathlib import Path

from openclaw_ray.skills.context import Context
from openclaw_ray.skills.function import skill

#: Tag of the nodes that parse, and of those that may read everything.
PYTHON, DISK = "python", "disk"


@skill(timeout="60s", requires={"tags": [PYTHON]})
def parse_module(path: str) -> dict[str, int]:
    """Count what a Python file defines."""
    tree = ast.parse(Path(path).read_bytes())
    found = {"functions": 0, "classes": 0, "imports": 0}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found["functions"] += 1
        elif isinstance(node, ast.ClassDef):
            found["classes"] += 1
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found["imports"] += 1
    return found


@skill(timeout="10m", requires={"tags": [DISK]})
def digest_of_all(ctx: Context, root: str, paths: list[str], pause_s: float) -> dict[str, object]:
    """One digest over many files, read with pauses to go easy on the disk; a node may be lost meanwhile."""
    digest = hashlib.sha256()
    for done, path in enumerate(paths, 1):
        digest.update(Path(root, path).read_bytes())
        ctx.progress(done, len(paths), path)
        time.sleep(pause_s)
    return {"sha256": digest.hexdigest(), "files": len(paths)}


@skill(timeout="30s", retries=2, requires={"tags": [PYTHON]})
def unsteady(ctx: Context, name: str, seen: str) -> dict[str, object]:
    """Fails the first time that it runs, as networks do; `seen` is a file that remembers it.

    The attempt's number would not do: one that was handed back unstarted has a number too.
    """
    if not Path(seen).exists():
        Path(seen).touch()
        raise ConnectionError(f"{name} did not answer")
    return {"name": name, "attempt": ctx.attempt}
