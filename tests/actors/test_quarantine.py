"""A node whose agent dies again and again is out for a while and comes back by itself, on real processes (F22, I22)."""

from __future__ import annotations

from typing import Any

import pytest
import ray

import openclaw_ray as oc
from actors.names import AGENT_PREFIX
from openclaw_ray.cluster import LocalRay
from tests.actors.processes import kill_and_wait
from tests.actors.verbs import Driver
from tests.support.skills import slow_square
from tests.support.wait import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


def test_a_node_whose_agent_is_killed_again_and_again_is_quarantined_and_returns(own_cluster: Any) -> None:
    cluster: LocalRay = own_cluster({"node-1": {"slots": 1}, "node-2": {"slots": 1}}, quarantine_base_s=8.0)
    driver = Driver(cluster.state_manager)

    def node(node_id: str = "node-1") -> dict[str, Any]:
        return dict(driver.get_node(node_id))

    for killed in range(1, 4):
        handle = ray.get_actor(AGENT_PREFIX + "node-1", namespace=cluster.settings.namespace)
        kill_and_wait(ray.get(handle.info.remote(), timeout=10)["pid"])
        wait_until(lambda killed=killed: node()["incarnation"] > killed, 40)
    found = node()
    assert (found["status"], found["quarantines"]) == ("error", 1), found
    assert found["quarantine_reason"] == "3 failures of its own, the last: its agent died"
    assert node("node-2")["faults"] == 0
    with cluster.connect() as client:
        client.register(oc.skill(slow_square))
        tasks = client.map("slow_square", [{"x": x} for x in range(3)])
        assert oc.gather(tasks, timeout=30) == [0, 1, 4]
        wait_until(lambda: node()["status"] == "online", 20)
