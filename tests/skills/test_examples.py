"""The skill folders that the project shows are read and run as they are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from openclaw_ray.skills.command import CommandRunner
from openclaw_ray.skills.folder import discover

from .conftest import REPOSITORY


@pytest.fixture(params=["sha256sum", "shasum"])
def path_with(request, tmp_path):
    """A PATH with the shell's own tools and one of the two programs."""
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} here")
    (tmp_path / "bin").mkdir()
    for name in ("sh", "wc", "perl", request.param):
        if found := shutil.which(name):
            (tmp_path / "bin" / name).symlink_to(found)
    return str(tmp_path / "bin")


@pytest.mark.parametrize("name", ["plain", "-n", "a b", "it's $(here) \\", "ä"])
async def test_sha256_hashes_any_file(tmp_path, path_with, name):
    found = discover([REPOSITORY / "examples" / "skills"])
    assert found.rejected == []
    (manifest,) = [skill for skill in found.skills if skill.name == "sha256"]
    data = os.urandom(1_000)
    (tmp_path / name).write_bytes(data)

    async def run(path):
        params = json.dumps({"path": str(path)})
        return await CommandRunner().run(
            manifest, params, token=1, task_id="t", attempt=1, timeout_s=20, scratch=tmp_path, kill_grace_s=1,
            env={"PATH": path_with},
        )  # fmt: skip

    ended = await run(tmp_path / name)
    assert json.loads(ended.result) == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": 1_000}
    assert (await run("-x")).exit_status == 66
