"""Real processes die: drivers, the StateManager, the Scheduler, agents. No task is lost, none accepted twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

import openclaw_ray as oc
from actors.names import AGENT_PREFIX
from openclaw_ray.cluster import LocalRay
from tests.actors.processes import alive, kill_and_wait
from tests.actors.verbs import Driver
from tests.support.skills import gate, record, slow_square
from tests.support.wait import wait_until

pytestmark = pytest.mark.ray

NODES = {"node-1", "node-2", "node-3"}


@pytest.fixture
def client(shared: LocalRay) -> Iterator[oc.Cluster]:
    """A client of the shared cluster; afterwards nothing runs there and every node is online."""
    driver = Driver(shared.state_manager)
    with shared.connect() as cluster:
        for fn in (slow_square, record, gate):
            cluster.register(oc.skill(fn))
        _whole(driver)
        try:
            yield cluster
        finally:
            live = [t["task_id"] for t in driver.get_state(tasks=True)["live_tasks"]]
            if live:
                cluster.call("cancel", ids=live)
            _whole(driver)


def _whole(driver: Driver) -> None:
    """Wait until every node is online, offers the skills of this page, and does nothing."""

    def whole() -> bool:
        nodes = {n["node_id"]: n for n in driver.get_online_nodes()}
        return set(nodes) >= NODES and all(
            n["running_tasks"] == 0 and {"slow_square", "record", "gate", "napper"} <= set(n["available_skills"])
            for n in nodes.values()
        )

    wait_until(whole, 20, lambda: json.dumps(driver.get_state(), indent=1))


def _agent(shared: LocalRay, node_id: str) -> Driver:
    import ray

    handle = ray.get_actor(AGENT_PREFIX + node_id, namespace=shared.settings.namespace)
    return Driver(shared.state_manager, shared.scheduler, handle)


def _agent_pid(shared: LocalRay, node_id: str) -> int:
    agent = _agent(shared, node_id)
    return int(agent.get(agent.agent.info.remote())["pid"])


def _situation(shared: LocalRay) -> str:
    """What holds the tasks, for the failure that says they do not end."""
    driver = Driver(shared.state_manager, shared.scheduler)
    live = driver.get_state(tasks=True)["live_tasks"]
    facts: list[Any] = [Counter((t["status"], t["assigned_node"], t["skill"], t["attempt"]) for t in live)]
    facts += [driver.get(shared.scheduler.why.remote(t["task_id"]))["summary"] for t in live[:3]]
    facts.append(driver.get(shared.scheduler.status.remote()))
    for node_id in sorted(NODES):
        agent = _agent(shared, node_id)
        facts.append({**agent.get(agent.agent.info.remote()), **driver.get_node(node_id)})
    return "\n".join(map(str, facts))


def _started(folder: Path, name: str, attempt: int = 1, timeout_s: float = 20) -> list[int]:
    """Process ids of an attempt that runs: of its executor, and of its child."""
    path = folder / f"{name}-{attempt}.started"
    return [int(pid) for pid in wait_until(lambda: path.exists() and path.read_text(), timeout_s).split()]


def _rows(shared: LocalRay, sql: str) -> list[Any]:
    """Read the database as a stranger would."""
    path = shared.settings.home / "openclaw.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


# -- the driver --------------------------------------------------------------------------------------------------------


def _driver(shared: LocalRay, *arguments: str) -> subprocess.Popen[str]:
    """A driver with handles only, in a process of its own."""
    script = str(Path(__file__).with_name("driver.py"))
    environment = {**os.environ, "RAY_ADDRESS": shared.ray_cluster.address}
    return subprocess.Popen(
        [sys.executable, script, shared.settings.namespace, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_thousand_tasks_outlive_the_driver_that_submitted_them(shared: LocalRay, client: oc.Cluster) -> None:
    prefix = f"orphan-{os.urandom(3).hex()}"
    with _driver(shared, "submit", prefix, "1000") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "acknowledged 1000\n"
        kill_and_wait(first.pid)
    left = Driver(shared.state_manager).get_task_stats()
    assert left["pending"] + left["scheduled"] + left["running"] > 0  # it was killed in the middle
    with _driver(shared, "read", prefix, "1000") as second:
        said, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    found = json.loads(said)
    assert found == {f"{prefix}-{i}": i * i for i in range(1000)}


# -- the StateManager --------------------------------------------------------------------------------------------------


def test_a_killed_state_manager_loses_nothing_and_accepts_nothing_twice(
    shared: LocalRay, client: oc.Cluster, tmp_path: Path
) -> None:
    driver = Driver(shared.state_manager)
    ledger, prefix, count = tmp_path / "ledger", f"kill-{os.urandom(3).hex()}", 2_000
    ledger.touch()
    # Both slots of one node are taken for long: what is prefilled behind them must come back.
    long = [
        client.submit("gate", {"folder": str(tmp_path), "name": f"long{i}"}, required_tags=["two"]) for i in range(2)
    ]
    pids = {pid for i in range(2) for pid in _started(tmp_path, f"long{i}")}
    before = driver.get_state()["epoch"]

    def submit(first: int) -> None:
        tasks = [
            {"id": f"{prefix}-{i}", "spec": {"skill": "record", "params": {"ledger": str(ledger), "i": i}}}
            for i in range(first, first + 100)
        ]
        _repeated(driver, "submit", {"tasks": tasks})

    for first in range(0, 1_000, 100):
        submit(first)
    wait_until(lambda: ledger.read_text().count("\n") >= 200, 20)
    kill_and_wait(driver.pid())
    for first in range(1_000, count, 100):
        submit(first)

    tasks = [client.task(f"{prefix}-{i}") for i in range(count)]
    try:
        assert client.gather(tasks, timeout=60) == list(range(count))
    except oc.WaitTimeout:
        pytest.fail(_situation(shared))
    assert client.identity["epoch"] == before
    assert driver.get_state()["epoch"] == before + 1
    runs = [line.split() for line in ledger.read_text().splitlines()]
    tokens = Counter(token for _, token in runs)
    assert max(tokens.values()) == 1  # a lease is run once
    accepted = dict(
        _rows(
            shared,
            "SELECT task_id, count(*) FROM attempts WHERE outcome = 'completed' "
            f"AND task_id LIKE '{prefix}-%' GROUP BY task_id",
        )
    )
    assert accepted == {f"{prefix}-{i}": 1 for i in range(count)}
    kept = dict(_rows(shared, f"SELECT token, task_id FROM attempts WHERE task_id LIKE '{prefix}-%'"))
    assert {int(token) for token in tokens} <= set(kept)  # nothing ran that is not on record
    assert all(kept[int(token)] == f"{prefix}-{i}" for i, token in runs)
    assert Counter(i for i, _ in runs).most_common(1)[0][1] == 1  # the agents lived: nothing ran again

    assert all(alive(pid) for pid in pids)
    for i in range(2):
        (tmp_path / f"long{i}-1.go").touch()
    assert client.gather(long, timeout=20) == [1, 1]  # their first attempts went on all the time
    assert sorted(p.name for p in tmp_path.glob("*.started")) == ["long0-1.started", "long1-1.started"]


def _repeated(driver: Driver, verb: str, body: dict[str, Any]) -> None:
    """What a careful driver does: the same call again with the same ids until it is answered."""
    import ray

    def answered() -> bool:
        try:
            answer = json.loads(driver.call_json(verb, json.dumps(body)))
        except ray.exceptions.RayError:
            return False
        if not answer["ok"] and answer["error"]["retry_after"]:
            return False
        assert answer["ok"], answer
        return True

    wait_until(answered, 30)


# -- the Scheduler -----------------------------------------------------------------------------------------------------


def test_assignment_goes_on_within_five_seconds_of_the_schedulers_death(shared: LocalRay, client: oc.Cluster) -> None:
    driver = Driver(shared.state_manager, shared.scheduler)
    pid = driver.get(shared.scheduler.status.remote())["pid"]
    kill_and_wait(pid)
    task = client.submit("slow_square", {"x": 7})
    assert task.result(timeout=5) == 49

    def back() -> int:
        import ray

        try:
            return int(driver.get(shared.scheduler.status.remote())["pid"])
        except ray.exceptions.RayError:
            return 0

    assert wait_until(back, 10) != pid
    assert driver.get_state()["epoch"] >= 1


# -- an agent ----------------------------------------------------------------------------------------------------------


def test_work_of_a_killed_agent_is_rescued_and_its_processes_die(
    shared: LocalRay, client: oc.Cluster, tmp_path: Path
) -> None:
    driver = Driver(shared.state_manager)
    python = client.submit("gate", {"folder": str(tmp_path), "name": "py"}, required_tags=["one"])
    command = client.submit("napper", {"folder": str(tmp_path), "name": "cmd"}, required_tags=["one"])
    left = _started(tmp_path, "py") + _started(tmp_path, "cmd")
    assert {driver.get_task(task.id)["assigned_node"] for task in (python, command)} == {"node-1"}
    before = driver.get_node("node-1")
    agent = _agent(shared, "node-1")
    assert set(agent.get(agent.agent.running.remote())) == {python.id, command.id}
    kill_and_wait(_agent_pid(shared, "node-1"))
    wait_until(lambda: not any(map(alive, left)), 15, lambda: [p for p in left if alive(p)])

    _started(tmp_path, "py", 2)
    _started(tmp_path, "cmd", 2)
    for name in ("py", "cmd"):
        (tmp_path / f"{name}-2.go").touch()
    assert (python.result(timeout=20), command.result(timeout=20)) == (2, 2)
    for task in (python, command):
        first, second = client.call("history", task_id=task.id)["attempts"]
        assert (first["outcome"], second["outcome"]) == ("lost", "completed")
    assert driver.get_node("node-1")["incarnation"] > before["incarnation"]


def test_a_frozen_agent_goes_offline_its_work_is_rescued_and_its_late_word_refused(
    shared: LocalRay, client: oc.Cluster, tmp_path: Path
) -> None:
    driver = Driver(shared.state_manager)
    ttl_s = shared.settings.lease_ttl_s

    def status(node_id: str) -> str:
        return str(driver.get_node(node_id)["status"])

    tasks = {
        name: client.submit("gate", {"folder": str(tmp_path), "name": name}, required_tags=["spare"])
        for name in ("a", "b", "c")
    }
    for name in tasks:
        _started(tmp_path, name)
    wait_until(lambda: (status("node-2"), status("node-3")) == ("busy", "busy"), 5)  # as many as their slots
    assert driver.get_node("node-3")["running_tasks"] == 1
    assert "node-3" not in {n["node_id"] for n in driver.get_available_nodes()}
    name = next(name for name, task in tasks.items() if driver.get_task(task.id)["assigned_node"] == "node-3")
    frozen = _agent_pid(shared, "node-3")
    os.kill(frozen, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        wait_until(lambda: status("node-3") == "offline", ttl_s + 2)
        offline_s = time.monotonic() - stopped
        # Room on the other node: the lost attempt runs again there.
        other = next(n for n in tasks if n != name)
        (tmp_path / f"{other}-1.go").touch()
        assert tasks[other].result(timeout=10) == 1
        _started(tmp_path, name, 2)
        assert driver.get_task(tasks[name].id)["assigned_node"] == "node-2"
        (tmp_path / f"{name}-1.go").touch()  # the first attempt ends while its agent cannot say so
        child = _started(tmp_path, name)[1]
        wait_until(lambda: not alive(child), 10)
    finally:
        os.kill(frozen, signal.SIGCONT)
    wait_until(lambda: status("node-3") == "online", 10)
    assert _agent_pid(shared, "node-3") == frozen
    agent = _agent(shared, "node-3")
    wait_until(lambda: agent.get(agent.agent.info.remote())["unreported"] == 0, 10)
    assert driver.get_task(tasks[name].id)["status"] == "running"  # its late word changed nothing
    for n in tasks:
        (tmp_path / f"{n}-2.go").touch()
        (tmp_path / f"{n}-1.go").touch()
    assert tasks[name].result(timeout=20) == 2
    attempts = client.call("history", task_id=tasks[name].id)["attempts"]
    assert [(a["node_id"], a["outcome"]) for a in attempts] == [("node-3", "lost"), ("node-2", "completed")]
    assert offline_s <= ttl_s + 1
    wait_until(lambda: (status("node-2"), status("node-3")) == ("online", "online"), 10)


def test_of_fifty_running_tasks_none_starts_again_when_the_state_manager_dies(own_cluster: Any, tmp_path: Path) -> None:
    cluster: LocalRay = own_cluster({"node-1": {"slots": 50}})
    driver = Driver(cluster.state_manager)
    with cluster.connect() as client:
        client.wait_for_skill("napper", timeout=30)
        tasks = client.map("napper", [{"folder": str(tmp_path), "name": f"n{i}"} for i in range(50)])
        wait_until(lambda: len(list(tmp_path.glob("*.started"))) == 50, 60, lambda: json.dumps(driver.get_state()))
        before = driver.get_state()["epoch"]
        kill_and_wait(driver.pid())
        wait_until(lambda: _epoch(driver) > before, 20)
        for i in range(50):
            (tmp_path / f"n{i}-1.go").touch()
        assert client.gather(tasks, timeout=60) == [1] * 50
    assert sorted(one.name for one in tmp_path.glob("*.started")) == sorted(f"n{i}-1.started" for i in range(50))


def _epoch(driver: Driver) -> int:
    """Its start number; 0 while it does not answer."""
    import ray

    try:
        return int(driver.get_state()["epoch"])
    except (oc.OpenClawError, ray.exceptions.RayError):
        return 0


def test_nothing_of_ours_is_left_when_a_cluster_stops(own_cluster: Any) -> None:
    cluster: LocalRay = own_cluster({"node-1": {"slots": 1}})
    pids = [cluster_pid(cluster), _agent_pid(cluster, "node-1")]
    assert all(map(alive, pids))
    cluster.stop()
    wait_until(lambda: not any(map(alive, pids)), 10)
    names = [p.name() for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    assert not [n for n in names if n in {"raylet", "gcs_server"}]


def cluster_pid(cluster: LocalRay) -> int:
    """Process id of the StateManager."""
    return int(Driver(cluster.state_manager).pid())
