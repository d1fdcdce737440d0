"""The examples run as their first lines say, and `ray job submit` works against a started cluster."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openclaw_ray.cluster import LocalRay
from tests.actors.verbs import Driver
from tests.support.wait import wait_until

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]


def start(name: str, *arguments: str, cluster: LocalRay | None = None) -> subprocess.Popen[str]:
    """One example, in a process of its own."""
    environment = dict(os.environ)
    if cluster is not None:
        environment["OPENCLAW_ADDRESS"] = cluster.ray_cluster.address
        environment["OPENCLAW_NAMESPACE"] = cluster.settings.namespace
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(name: str, *arguments: str, cluster: LocalRay | None = None, timeout_s: float = 90) -> str:
    """What an example prints; it must end with 0."""
    with start(name, *arguments, cluster=cluster) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, f"{name}: exit {process.returncode}\n{out}\n{err}"
    return out


def test_verify_state_takes_nine_steps(no_cluster: None) -> None:
    lines = said("verify_state.py").splitlines()
    assert [line[:5] for line in lines] == [f"[{i}/9]" for i in range(1, 10)]
    assert "total 3, pending 3, running 0" in lines[3]
    assert "with skill weather ['mini']" in lines[6]


def test_quickstart(no_cluster: None) -> None:
    out = said("quickstart.py")
    assert "same key:    the same task" in out
    assert "gpu" in out
    assert out.rstrip().endswith("cancelled")


def test_errors(shared: LocalRay) -> None:
    first_words = [line.split()[0] for line in said("errors.py", cluster=shared).splitlines()]
    assert first_words == ["invalid", "failed", "timeout", "waiting", "cancelled", "gather", "not"]


def test_a_long_job_goes_on_while_nobody_watches(shared: LocalRay) -> None:
    driver = Driver(shared.state_manager)
    with start("long_job.py", cluster=shared) as first:
        assert first.stdout is not None
        task_id = first.stdout.readline().strip()
        wait_until(lambda: driver.get_task(task_id)["progress"], 20)
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=20)
    assert first.returncode != 0
    assert f"task {task_id} goes on" in err
    again = said("long_job.py", cluster=shared)
    assert again.splitlines()[0] == task_id  # the key found it
    assert again.splitlines()[-1] == "{'attempt': 1, 'depth': 30}"
    assert said("long_job.py", task_id, cluster=shared).splitlines() == [task_id, "{'attempt': 1, 'depth': 30}"]
    assert driver.remove_task(task_id) is True


def test_nightly_does_nothing_twice(shared: LocalRay) -> None:
    driver = Driver(shared.state_manager)
    folder = str(ROOT / "openclaw_ray" / "models")
    first = said("nightly.py", folder, cluster=shared)
    assert re.fullmatch(r"\d+ files, [\d,]+ lines, 0 failed\n", first)
    total = driver.get_task_stats()["total"]
    assert said("nightly.py", folder, cluster=shared) == first
    assert driver.get_task_stats()["total"] == total


@pytest.mark.skipif(
    importlib.util.find_spec("aiohttp_cors") is None,
    reason="the dashboard is not installed: pip install 'ray[default]'",
)
def test_a_submitted_job_works_on_a_started_cluster(own_cluster: Callable[..., LocalRay], tmp_path: Path) -> None:
    cluster = own_cluster({"node-1": {"slots": 2, "include_dashboard": True, "dashboard_agent_listen_port": 0}})
    address = cluster.ray_cluster.head_node.address_info["webui_url"]
    assert address
    working_dir = tmp_path / "project"
    (working_dir / "examples").mkdir(parents=True)
    (working_dir / "examples" / "nightly.py").write_bytes((ROOT / "examples" / "nightly.py").read_bytes())
    command = [str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", f"http://{address}"]
    command += ["--working-dir", ".", "--", sys.executable, "examples/nightly.py"]

    def submit() -> subprocess.CompletedProcess[str] | None:
        done = subprocess.run(command, cwd=working_dir, capture_output=True, text=True, timeout=90, check=False)
        # Ray's job agent is up some seconds after its dashboard.
        return None if "No available agent" in done.stderr else done

    job = wait_until(submit, 60)
    assert job is not None
    assert job.returncode == 0, f"{job.stdout}\n{job.stderr}"
    assert re.search(r"\d+ files, [\d,]+ lines, 0 failed", job.stdout)
    stats: dict[str, Any] = Driver(cluster.state_manager).get_task_stats()
    assert stats["completed"] == stats["total"] > 50  # the tasks are the cluster's, not the job's
