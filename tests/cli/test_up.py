"""`up` to `down` and up again, each command a program of its own, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from openclaw_ray.cli.demo.fleet import SKILLS
from openclaw_ray.cli.demo.metrics_page import parse
from openclaw_ray.cluster_run import find, read_run, session_processes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PROGRAM = [sys.executable, "-c", "from openclaw_ray.cli import main; main()"]


class Shell:
    """Another shell of the same user."""

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENCLAW_", "RAY_AUTH", "RAY_ADDRESS"))}
        self.environment = kept | {"OPENCLAW_HOME": str(home)}

    def __call__(self, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            [*PROGRAM, *args], capture_output=True, text=True, check=False, env=self.environment, timeout=150,
            cwd=self.home.parent,
        )  # fmt: skip
        assert found.returncode == code, f"{args}: {found.returncode}\n{found.stdout}\n{found.stderr}"
        assert "Traceback" not in found.stderr
        return found

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self(*args, "-o", "json", code=code).stdout)

    def up(self) -> Any:
        return self.json("up", "--slots", "2", "--metrics-port", "0", "--skills", str(SKILLS), "--num-cpus", "2")


@pytest.fixture
def shell(tmp_path: Path, no_cluster: None) -> Iterator[Shell]:
    found = Shell(tmp_path / "home")
    yield found
    found("down")


def test_everything_is_still_there_after_down_and_up(shell: Shell, tmp_path: Path) -> None:
    started = shell.up()
    assert (started["already"], started["started_ray"], len(started["nodes"])) == (False, True, 1)
    run = read_run(shell.home)
    assert run is not None
    _only_loopback(run.session)
    assert (shell.home / "token").stat().st_mode & 0o777 == 0o600
    again = shell.up()
    assert (again["already"], again["address"]) == (True, started["address"])

    source = tmp_path / "a.txt"
    source.write_text("hello\n")
    done = shell.json("submit", "sha256", f"path={source}", "--wait", "--wait-timeout", "60s")["task"]
    assert done["result"]["sha256"].startswith("5891b5b522d5df08")
    waiting = shell("submit", "cuda-ocr", "--group", "g").stdout.strip()
    dropped = shell("submit", "cuda-ocr", "--group", "g").stdout.strip()

    assert shell.json("status")["tasks"]["pending"] == 2
    [node] = shell.json("nodes")["nodes"]
    assert (node["status"], node["max_concurrent_tasks"]) == ("online", 2)
    assert {s["name"] for s in shell.json("skills")["skills"]} >= {"sha256"}
    assert [t["task_id"] for t in shell.json("tasks", "state:pending")["tasks"]] == [dropped, waiting]
    assert [a["outcome"] for a in shell.json("task", "show", done["task_id"])["attempts"]] == ["completed"]
    assert shell.json("task", "why", waiting, code=6)["why"]["verdict"] == "never"
    assert shell.json("cancel", dropped)["tasks"] == {dropped: "cancelled"}
    assert shell.json("drain", node["node_id"])["node"]["status"] == "maintenance"
    assert shell.json("undrain", node["node_id"])["node"]["status"] == "online"
    assert shell.json("backup", "--to", str(tmp_path / "copy.db"))["integrity"] == "ok"
    doctor = {one["check"]: one for one in shell.json("doctor")["checks"]}
    for name in ("state manager", "scheduler", "agents", "nodes", "metrics", "token", "database", "backup"):
        assert doctor[name]["level"] == "ok", doctor[name]
    assert "namespace" in shell("--namespace", "elsewhere", "doctor", code=1).stdout
    held = shell("restore", str(tmp_path / "copy.db"), "--replace", "--yes", code=5)
    assert "is held by the state manager with pid" in held.stderr
    with urllib.request.urlopen(f"http://{started['metrics']}/metrics", timeout=10) as page:
        assert parse(page.read().decode())

    ended = shell.json("down")
    assert (ended["was_up"], ended["stopped_ray"], ended["trouble"]) == (True, True, None)
    assert all(find(one) is None for one in run.processes)
    assert session_processes(run.session) == []
    assert read_run(shell.home) is None
    shell("status", code=3)

    assert shell.up()["live_tasks"] == 1
    states = {t["task_id"]: t["status"] for t in shell.json("tasks")["tasks"]}
    assert states == {done["task_id"]: "completed", waiting: "pending", dropped: "cancelled"}
    assert shell.json("task", "show", done["task_id"])["task"]["result"] == done["result"]


def test_a_record_of_what_died_is_replaced(shell: Shell) -> None:
    shell.up()
    run = read_run(shell.home)
    assert run is not None
    raylet = next(find(one) for one in run.processes if one.name == "raylet")
    assert raylet is not None
    raylet.kill()
    raylet.wait(10)
    assert "is gone" in shell("status", code=3).stderr
    assert shell.up()["already"] is False
    assert session_processes(run.session) == []


def _only_loopback(session: int) -> None:
    for one in session_processes(session):
        for held in psutil.Process(one.pid).net_connections("tcp"):
            if held.status == psutil.CONN_LISTEN:
                assert held.laddr.ip.removeprefix("::ffff:") == "127.0.0.1", (one, held)
