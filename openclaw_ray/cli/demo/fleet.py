"""The demo's machines and its input: three nodes that differ, and the source of the installed standard library."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from openclaw_ray.cli.demo.work import DISK, PYTHON

#: Folder with the demo's command skill; it is in the wheel, so `openclaw-ray up --skills` can use it as well.
SKILLS = Path(__file__).parents[1] / "demo_skills"

#: Node that is killed. It is preferred by the long task (tag "archive"), and not the one that holds the database.
VICTIM = "node-3"
ARCHIVE = "archive"

#: Parts of the library's folder that are other people's, or made to be broken.
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}


def nodes() -> list[dict[str, Any]]:
    """node-1 only parses; node-2 does everything and has more slots; node-3 only hashes."""
    return [
        {"slots": 2, "tags": [PYTHON], "skill_roots": []},
        {"slots": 4, "tags": [PYTHON, DISK], "skill_roots": [str(SKILLS)]},
        {"slots": 3, "tags": [DISK, ARCHIVE], "skill_roots": [str(SKILLS)]},
    ]


def sources(limit: int) -> tuple[Path, list[str]]:
    """The library's folder, and at most `limit` of its Python files, spread over all of it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = sorted(
        str(path.relative_to(root)) for path in root.rglob("*.py") if _LEFT_OUT.isdisjoint(path.relative_to(root).parts)
    )
    if len(found) <= limit:
        return root, found
    return root, [found[i * len(found) // limit] for i in range(limit)]
