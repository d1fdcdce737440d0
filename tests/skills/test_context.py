from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from openclaw_ray.errors import NotFound
from openclaw_ray.skills.context import Context, current


def test_outside_of_a_skill_there_is_no_context():
    with pytest.raises(NotFound):
        current()


def test_a_context_without_a_host_can_be_used_in_a_unit_test():
    ctx = Context("t1")
    ctx.progress(1, 2, "x")
    ctx.log.info("hello %s", "you")
    assert ctx.cancelled is False
    assert ctx.remaining_s() == math.inf
    with pytest.raises(NotFound):
        _ = ctx.scratch
    ctx.close()


def test_remaining_time_ends_at_zero():
    assert Context("t", deadline=time.monotonic() - 5).remaining_s() == 0
    assert 50 < Context("t", deadline=time.monotonic() + 60).remaining_s() <= 60


def test_progress_reaches_the_host_as_plain_data():
    seen: list[tuple[int, dict]] = []
    ctx = Context("t", 1, 7, on_progress=lambda token, report: seen.append((token, report)))
    ctx.progress(1, 10, "a" * 500)
    ctx.progress(math.nan, math.inf, "\ud800")
    assert seen[0] == (7, {"done": 1, "total": 10, "text": "a" * 200})
    assert seen[1] == (7, {"done": None, "total": None, "text": "?"})


def test_log_lines_carry_their_level_and_are_cut():
    lines: list[str] = []
    ctx = Context("t", on_log=lines.append)
    ctx.log.debug("d")
    ctx.log.info("%d left", 3)
    ctx.log.warning("100%")
    ctx.log.error("x" * 10_000)
    assert lines[:3] == ["DEBUG d\n", "INFO 3 left\n", "WARNING 100%\n"]
    assert len(lines[3]) < 5_000


def test_the_scratch_folder_is_made_on_use_for_the_owner_only_and_removed(tmp_path: Path):
    ctx = Context("t", token=5, scratch_root=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert ctx.scratch == ctx.scratch == tmp_path / "5"
    assert ctx.scratch.stat().st_mode & 0o777 == 0o700
    (ctx.scratch / "file").write_text("x")
    ctx.close()
    assert list(tmp_path.iterdir()) == []
