"""The main job on real input, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_the_demo_is_green(no_cluster: None, tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from openclaw_ray.cli import main; main()"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENCLAW_", "RAY_AUTH", "RAY_ADDRESS"))}
    found = subprocess.run(
        [*program, "demo", "--files", "60", "-o", "json"], capture_output=True, text=True, check=False, env=kept,
        timeout=240, cwd=tmp_path,
    )  # fmt: skip
    assert found.stdout, found.stderr
    said = json.loads(found.stdout)
    assert [check for check in said["checks"] if check["wrong"]] == []
    assert (found.returncode, said["ok"], len(said["checks"])) == (0, True, 7)
    assert (said["files"], said["tasks"]) == (60, {"completed": 124, "cancelled": 1})
    assert said["retries"] >= 3
    assert said["rescued"] >= 1
    assert list(tmp_path.iterdir()) == []
