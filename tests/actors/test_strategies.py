"""The five strategies, live: the fleet and the placements of tests/core/test_strategies.py, by real actors.

This test speaks for four agents by handle: so what their machines do is what that page says.
"""

from __future__ import annotations

import itertools
import json
import threading
from typing import Any

import pytest

from openclaw_ray.cluster import LocalRay
from openclaw_ray.core.placement import Candidate
from tests.actors.processes import kill_and_wait
from tests.actors.verbs import Driver
from tests.core.test_strategies import EXPECTED, WANTED, fleet
from tests.support.wait import wait_until

pytestmark = pytest.mark.ray

#: As the planner of a new process places with its seed 0; see `random` in openclaw_ray/core/placement.py.
STATED = {**EXPECTED, "random": ["liked", "small", "liked", "big", "big", "idle"]}
_numbers = itertools.count(1)


class Fleet:
    """Four agents without machines: they register, poll, and report what the test wants."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._incarnations: dict[str, int] = {}
        self._polls = itertools.count(1)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="fleet")
        self.nodes = {node.id: node for node in fleet()}

    def __enter__(self) -> Fleet:
        for node in self.nodes.values():
            self._register(node)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self.driver.remove_node(list(self.nodes), force=True)

    def _register(self, node: Candidate) -> None:
        reply = self.call(
            "register",
            node_id=node.id,
            agent=f"agent-{next(_numbers)}",
            slots=node.slots,
            tags=[*node.tags, f"at-{node.id}"],
            machine={"hostname": node.id, "capacity": {"cpu": 1000}},
            usage=self._usage(node),
            offers=[{"name": name, "revision": "r1"} for name in sorted(node.skills)],
        )
        self._incarnations[node.id] = reply["incarnation"]

    def call(self, verb: str, **body: Any) -> Any:
        answer = json.loads(self.driver.call_json(verb, json.dumps(body)))
        assert answer["ok"], answer
        return answer["value"]

    def _usage(self, node: Candidate) -> dict[str, float]:
        return {"cpu_usage": node.cpu_usage, "memory_usage": node.memory_usage}

    def _beat(self) -> None:
        """Heartbeats, in time for the lease."""
        while not self._closing.wait(0.5):
            for node in self.nodes.values():
                incarnation, n = self._incarnations[node.id], next(self._polls)
                self.call("poll", node_id=node.id, incarnation=incarnation, n=n, usage=self._usage(node), timeout_s=0)

    def submit(self, **spec: Any) -> str:
        """A task, leased one after another; answers where it went."""
        task_id = f"placed-{next(_numbers)}"
        self.call("submit", tasks=[{"id": task_id, "spec": {"skill": "work", **spec}}])

        def leased() -> bool:
            return self.driver.get_task(task_id)["status"] == "scheduled"

        wait_until(leased, 10, lambda: json.dumps(self.call("why", task_id=task_id), indent=1))
        return str(self.driver.get_task(task_id)["assigned_node"])

    def take_seats(self) -> None:
        """As many as the page says."""
        for node in self.nodes.values():
            for _ in range(node.seats):
                assert self.submit(required_tags=[f"at-{node.id}"]) == node.id


def restart_scheduler(shared: LocalRay) -> None:
    """A planner without a history of turns."""
    import ray

    driver = Driver(shared.state_manager)
    old = driver.get(shared.scheduler.status.remote())["pid"]
    kill_and_wait(old)

    def knows_all() -> bool:
        try:
            found = driver.get(shared.scheduler.status.remote())
        except ray.exceptions.RayError:
            return False
        return found["pid"] != old and found["nodes"] >= 7

    wait_until(knows_all, 20)


@pytest.mark.parametrize("strategy", STATED)
def test_a_strategy_places_live_as_in_the_core(strategy: str, shared: LocalRay) -> None:
    driver = Driver(shared.state_manager)
    with Fleet(driver) as fleet:
        fleet.take_seats()
        restart_scheduler(shared)
        assert driver.get(shared.scheduler.set_strategy.remote(strategy)) == "least_tasks"
        try:
            wishes = {"affinity_tags": list(WANTED.affinity), "optional_skills": list(WANTED.optional)}
            assert [fleet.submit(**wishes) for _ in range(6)] == STATED[strategy]
        finally:
            driver.get(shared.scheduler.set_strategy.remote("least_tasks"))
            live = [t["task_id"] for t in driver.get_state(tasks=True)["live_tasks"]]
            fleet.call("cancel", ids=live)


def test_the_five_placements_differ() -> None:
    assert len({tuple(nodes) for nodes in STATED.values()}) == 5
