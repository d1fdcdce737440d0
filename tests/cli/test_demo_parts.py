"""The demo's own instruments: the page reader, the count by tokens, the choice of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw_ray.cli.demo.checks import count_tokens
from openclaw_ray.cli.demo.fleet import SKILLS, sources
from openclaw_ray.cli.demo.metrics_page import Page, parse, same
from openclaw_ray.cli.demo.work import parse_module
from openclaw_ray.skills.folder import discover

PAGE = """# HELP openclaw_tasks_finished_total Tasks that reached an end.
# TYPE openclaw_tasks_finished_total counter
openclaw_tasks_finished_total{outcome="completed",skill="a \\"b\\""} 3.0
openclaw_tasks_finished_total{outcome="failed",skill="c"} 1.0
openclaw_state_epoch 1.0
"""


ODD = '''"""def class import"""
from __future__ import annotations
import os, sys; import re
if os: import json
try: from a import (b,
    c)
except ImportError: pass
async def f(x=lambda: 1):
    yield from x
    raise ValueError from None
class A: import io
x = {1: 2}[1:2]
"""
    def no(): pass
"""
'''


def test_a_page_is_read() -> None:
    page = Page(parse(PAGE))
    assert page.by("openclaw_tasks_finished_total", "outcome") == {("completed",): 3.0, ("failed",): 1.0}
    assert same(page.by("openclaw_tasks_finished_total", "outcome"), {("completed",): 3, ("failed",): 1, ("x",): 0})
    assert not same(page.by("openclaw_tasks_finished_total", "outcome"), {("completed",): 4})
    assert page.by("openclaw_state_epoch") == {(): 1.0}


@pytest.mark.parametrize("line", ["a b c", 'a{b="c} 1', "a{b} 1", "a one", "# HELLO a b", "openclaw_state_epoch 2"])
def test_a_page_that_is_wrong_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(PAGE + line + "\n")


def test_both_counts_agree_on_odd_code(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(ODD)
    assert count_tokens(ODD.encode()) == parse_module(str(path)) == {"functions": 1, "classes": 1, "imports": 6}


def test_both_counts_agree_on_this_project() -> None:
    root = Path(__file__).parents[2] / "openclaw_ray"
    for path in sorted(root.rglob("*.py"))[::7]:
        assert count_tokens(path.read_bytes()) == parse_module(str(path)), path


def test_files_are_taken_from_all_of_the_library() -> None:
    root, names = sources(50)
    assert len(set(names)) == 50
    assert all((root / name).is_file() and "test" not in Path(name).parts for name in names)
    assert {name[0] for name in names} >= {"a", "t"}


def test_the_demos_skill_can_be_read() -> None:
    found = discover([SKILLS])
    assert (found.rejected, [skill.name for skill in found.skills]) == ([], ["sha256"])
