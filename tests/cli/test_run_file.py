"""`run.json` names processes beyond doubt; only those are ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from openclaw_ray.cluster_run import Process, Run, find, forget_run, read_run, session_processes, stop_run, write_run
from openclaw_ray.errors import Conflict
from tests.support.wait import wait_until

#: Leaves a grandchild whose parent is gone, as a killed raylet leaves its workers.
TREE = """
import subprocess, sys
child = "import subprocess, sys; subprocess.Popen(['sleep', '600'])"
subprocess.run([sys.executable, "-c", child])
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", deaf]).wait()
"""


@pytest.fixture
def tree() -> Iterator[subprocess.Popen[bytes]]:
    found = subprocess.Popen([sys.executable, "-c", TREE], start_new_session=True)
    yield found
    for one in session_processes(found.pid):
        psutil.Process(one.pid).kill()
    found.wait()


def _run(pid: int, **changes: object) -> Run:
    processes = [Process(pid=pid, started=psutil.Process(pid).create_time(), name="raylet")]
    return Run(address="a:1", namespace="n", started_ray=True, session=pid, processes=processes).model_copy(
        update=changes
    )


def test_a_record_survives_and_is_private(tmp_path: Path) -> None:
    run = Run(address="a:1", namespace="n", started_ray=False, metrics="127.0.0.1:9")
    write_run(tmp_path, run)
    assert read_run(tmp_path) == run
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "run.json"]
    forget_run(tmp_path)
    forget_run(tmp_path)
    assert read_run(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"address": 1}', '{"pid": 1}'])
def test_a_broken_record_ends_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(Conflict, match="cannot be used"):
        read_run(tmp_path)


def test_a_process_is_known_by_its_start_too(tree: subprocess.Popen[bytes]) -> None:
    right = _run(tree.pid).processes[0]
    assert find(right) is not None
    assert find(right.model_copy(update={"started": right.started - 60})) is None
    assert find(right.model_copy(update={"pid": 2**22 + 1})) is None


def test_another_process_with_the_number_is_left_alone(tree: subprocess.Popen[bytes]) -> None:
    wrong = _run(tree.pid).processes[0].model_copy(update={"started": 1e9})
    assert stop_run(_run(tree.pid, session=0, processes=[wrong])) == 0
    assert tree.poll() is None


def test_everything_that_came_of_it_is_ended(tree: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openclaw_ray.cluster_run.TERM_S", 0.3)
    wait_until(lambda: len(session_processes(tree.pid)) >= 3)
    assert stop_run(_run(tree.pid)) >= 3
    assert session_processes(tree.pid) == []


def test_a_ray_of_others_is_never_ended(tree: subprocess.Popen[bytes]) -> None:
    assert stop_run(_run(tree.pid, started_ray=False)) == 0
    assert tree.poll() is None
