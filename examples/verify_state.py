"""The StateManager by its handle, step by step: what a driver of your own may call, and what comes back.

    python examples/verify_state.py

Starts Ray on this machine, uses no client and no agents, and removes everything at the end. Every verb is in
docs/verbs.md. On a running cluster a driver needs only one line of this file::

    state = ray.get_actor("openclaw-state-manager", namespace="openclaw")
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray

from actors.names import PIN, STATE_MANAGER, singleton_options
from actors.state_manager import StateManager
from openclaw_ray.config import Settings
from openclaw_ray.errors import InvalidRequest, InvalidTransition
from openclaw_ray.storage.database import Database

STEPS = 9
_done = 0


def step(title: str, facts: object = "") -> None:
    """Print one step that went as it should."""
    global _done  # noqa: PLW0603
    _done += 1
    print(f"[{_done}/{STEPS}] {title:<28} {facts}", flush=True)


def expect(found: object, wanted: object) -> None:
    """Stop with exit code 1 if something is not as it should be."""
    if found != wanted:
        sys.exit(f"step {_done + 1}: found {found!r}, wanted {wanted!r}")


async def make_database(path: Path) -> list[str]:
    """A new, empty database, checked. Usually nobody does this by hand: `openclaw-ray up` sends `initialise` once."""
    database = await Database.open(path, create=True, cluster_id="cluster-verify")
    try:
        return await database.integrity_check()
    finally:
        await database.close()


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="openclaw-"))
    ray.init(address="local", num_cpus=1, resources={PIN: 1}, include_dashboard=False, logging_level="ERROR")
    state: Any = None
    try:
        expect(asyncio.run(make_database(home / "openclaw.db")), [])
        step("open the database", home / "openclaw.db")

        # One per cluster, by name: whoever asks a second time gets the one that is there. Ray restarts it when its
        # process dies, and it continues from the file. `initialise` answers who it is, or says why it cannot serve.
        options = singleton_options(STATE_MANAGER, "openclaw")
        state = StateManager.options(**options).remote(Settings(home=home).to_json())  # type: ignore[attr-defined]
        who = ray.get(state.initialise.remote(), timeout=60)
        step("start the StateManager", f"{who['cluster_id']}, start {who['epoch']}, protocol {who['protocol']}")
        walk(state)
    finally:
        if state is not None:
            # It commits what waits, closes the file and ends; the call itself is answered by the actor's end.
            with contextlib.suppress(ray.exceptions.RayActorError):
                ray.get(state.stop.remote(), timeout=30)
        ray.shutdown()
        shutil.rmtree(home)
    step("close", "everything that was started is gone")


def walk(state: Any) -> None:
    """Steps 3 to 8. Every call returns an ObjectRef; when `ray.get` has its value, the change is on disk."""
    # -- nodes: plain mappings in, plain values out. A node kept by hand is a record; agents add their nodes themselves.
    node = {"node_id": "mini", "hostname": "mini.local", "platform": "darwin", "skills": ["weather"], "tags": ["desk"]}
    expect(ray.get(state.add_node.remote(node)), "mini")
    found = ray.get(state.get_node.remote("mini"))
    expect((found["status"], found["available_skills"], found["tags"]), ("online", ["weather"], ["desk"]))
    step("add and find a node", f"{found['node_id']}: {found['status']}, skills {found['available_skills']}")

    # -- tasks: one, or a list (then all or none). Your own ids make a repeat harmless; left out, one is made.
    tasks = [
        {
            "task_id": "weather-1",
            "name": "测试天气查询",
            "required_skills": ["weather"],
            "parameters": {"city": "北京"},
        },
        {"task_id": "sum-1", "name": "sums", "priority": "low"},
        {"task_id": "sum-2", "name": "more sums", "priority": "high"},
    ]
    expect(ray.get(state.add_task.remote(tasks)), ["weather-1", "sum-1", "sum-2"])
    expect(ray.get(state.get_task.remote("weather-1"))["name"], "测试天气查询")
    stats = ray.get(state.get_task_stats.remote())
    expect((stats["total"], stats["pending"], stats["running"]), (3, 3, 0))
    step(
        "add tasks, read statistics", f"total {stats['total']}, pending {stats['pending']}, running {stats['running']}"
    )

    # -- a program that runs its own tasks says so; each change answers the version that it made.
    version = ray.get(state.update_task.remote("weather-1", {"status": "running", "assigned_node": "mini"}))
    expect(ray.get(state.get_task_stats.remote())["running"], 1)
    try:  # A refusal is an exception of openclaw_ray.errors: with the field, what is accepted, the legal next states.
        ray.get(state.update_task.remote("sum-1", {"status": "completed"}))
        expect("accepted", "refused: it never ran")
    except InvalidTransition as refused:
        expect(refused.facts["legal"], ["cancelled", "running"])
    step("set a task to running", f"version {version}; pending to completed is refused")

    # -- without a sign of life a node goes offline; agents send theirs themselves.
    usage = {"cpu_usage": 12.5, "memory_usage": 40.0, "disk_usage": 71.0}
    expect(ray.get(state.update_heartbeat.remote("mini", usage)), "online")
    expect(ray.get(state.get_node.remote("mini"))["cpu_usage"], 12.5)
    try:
        ray.get(state.update_heartbeat.remote("mini", {"cpu_usage": 250.0}))
        expect("accepted", "refused: more than 100 %")
    except InvalidRequest as refused:
        expect(refused.field, "usage.cpu_usage")
    step("heartbeat", f"cpu {usage['cpu_usage']} %, 250 % is refused")

    # -- queries: lists come in pages, newest first; pending tasks in the order in which they are due.
    pending = [task["task_id"] for task in ray.get(state.get_pending_tasks.remote(10))]
    online = [one["node_id"] for one in ray.get(state.get_online_nodes.remote())]
    skilled = [one["node_id"] for one in ray.get(state.find_nodes_by_skill.remote("weather"))]
    expect((pending, online, skilled), (["sum-2", "sum-1"], ["mini"], ["mini"]))
    step("queries", f"pending {pending}, online {online}, with skill weather {skilled}")

    # -- several at once as a mapping; only what has ended can be removed, only a node without tasks.
    ray.get(state.update_task.remote("weather-1", {"status": "completed", "result": {"degrees": 21}}))
    ray.get(state.update_task.remote({"sum-1": {"status": "cancelled"}, "sum-2": {"status": "cancelled"}}))
    expect(ray.get(state.remove_task.remote(["weather-1", "sum-1", "sum-2"])), [True, True, True])
    expect(ray.get(state.remove_node.remote("mini")), True)
    version = ray.get(state.sync_to_database.remote())
    expect(ray.get(state.refresh_from_database.remote()), {"version": version, "differences": []})
    expect(ray.get(state.get_task_stats.remote())["total"], 0)
    step("clean up", f"nothing left at version {version}; memory equals disk")


if __name__ == "__main__":
    main()
