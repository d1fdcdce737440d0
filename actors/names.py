"""What our actors are called and how they are placed: a contract with drivers, jobs and operators."""

from __future__ import annotations

from typing import Any

STATE_MANAGER = "openclaw-state-manager"
SCHEDULER = "openclaw-scheduler"
AGENT_PREFIX = "openclaw-agent-"

#: Ray resource of the machine that holds the database; `up` and `oc.local` give it to their head.
PIN = "openclaw_state"
#: Ray label with a node's id.
NODE_LABEL = "openclaw-node"

#: A restart must never be counted out, a call never be repeated by Ray: we repeat by id and token ourselves.
#: max_concurrency: parked polls of a thousand nodes and clients must not keep others out.
_SINGLETON: dict[str, Any] = {
    "lifetime": "detached",
    "get_if_exists": True,
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": 0,
    "max_concurrency": 10_000,
    "enable_task_events": False,
}


def singleton_options(name: str, namespace: str, pin: str = PIN) -> dict[str, Any]:
    """Options of the StateManager and the Scheduler: by resource, since a restarted raylet has another node id."""
    return {**_SINGLETON, "name": name, "namespace": namespace, "resources": {pin: 0.001}}


def agent_name(node_id: str) -> str:
    """Name of a node's agent."""
    return AGENT_PREFIX + node_id


def agent_options(node_id: str, namespace: str, ray_node: str) -> dict[str, Any]:
    """Options of a NodeAgent: bound to its machine, never restarted by Ray (the Scheduler makes a new one)."""
    return {
        "name": agent_name(node_id),
        "namespace": namespace,
        "lifetime": "detached",
        "num_cpus": 0,
        "max_restarts": 0,
        "max_concurrency": 1_000,
        "enable_task_events": False,
        "label_selector": {"ray.io/node-id": ray_node},
    }
