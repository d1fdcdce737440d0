"""What the tests of documents look at: the files that are, or are about to be, under version control."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Where there is no version control (an unpacked archive), these folders are not ours.
_NOT_OURS = {"__pycache__", "build", "dist", "htmlcov"}


def files() -> list[Path]:
    """Every file of the project, by path."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
        names = found.stdout.split("\0") if found.returncode == 0 else []
    except FileNotFoundError:
        names = []
    paths = {ROOT / name for name in names if name} or {p for p in ROOT.rglob("*") if _ours(p)}
    return sorted(path for path in paths if path.is_file())


def _ours(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return not any(part in _NOT_OURS or (part.startswith(".") and part != ".ci") for part in parts)


def markdown() -> list[Path]:
    """Every Markdown file of the project."""
    return [path for path in files() if path.suffix == ".md"]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language in a Markdown file, in their order."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return found
