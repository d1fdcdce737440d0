"""The door: every refusal is one of ours, in whatever form the call came."""

from __future__ import annotations

import json

import pytest

from openclaw_ray.errors import InvalidRequest, OpenClawError
from openclaw_ray.metrics import Meter
from openclaw_ray.runtime.door import Door
from tests.support.clock import VirtualClock
from tests.support.fakes import HandAgent, Hub


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("no_such_verb", {}),
        ("submit", {"taskz": []}),
        ("submit", "{"),
        ("submit", b"\xff"),
        ("get_task", {"task": "t1"}),
        ("get_task", {}),
        ("get_task", "[1]"),
        ("get_task", "{"),
        ("get_task", {1: 2}),
        ("hello", {"nobody": "expected this"}),
        ("update_node", {"node_id": ["a"], "changes": {}}),
        ("poll", {"node_id": "n1", "incarnation": 1, "n": 0}),
    ],
)
async def test_bad_bodies_are_refused_and_the_next_call_works(hub: Hub, verb: str, body: object) -> None:
    with pytest.raises(InvalidRequest):
        await hub.coordinator.call(verb, body)
    assert (await hub.coordinator.call("hello"))["protocol"] == 1


async def test_json_in_and_out(hub: Hub, agent: HandAgent) -> None:
    ok = json.loads(await hub.coordinator.call_json("submit", '{"tasks":[{"id":"t1","spec":{"skill":"echo"}}]}'))
    assert ok == {"ok": True, "value": {"tasks": [["t1", "pending", True]]}}
    watched = json.loads(await hub.coordinator.call_json("watch", '{"timeout_s":0}'))
    assert watched["value"]["nodes"][0]["id"] == "n1"
    assert json.loads(await hub.coordinator.call_json("hello", ""))["ok"]
    bad = json.loads(await hub.coordinator.call_json("get_task", '{"task_id":"nobody"}'))
    assert (bad["ok"], bad["error"]["code"]) == (False, "not_found")


async def test_calls_are_counted_by_verb_and_code(hub: Hub) -> None:
    await hub.call("hello")
    with pytest.raises(OpenClawError):
        await hub.call("x" * 300)
    counted = {tuple(k): v[0] for k, v in (await hub.call("metrics"))["counters"]["requests_total"]}
    assert counted["hello", "ok"] == 1.0
    assert counted["unknown", "invalid_request"] == 1.0


async def test_our_own_mistake_is_an_error_too() -> None:
    async def broken() -> None:
        raise KeyError("a bug")

    meter = Meter()
    with pytest.raises(OpenClawError, match="internal error in broken: KeyError"):
        await Door({"broken": broken}, meter, VirtualClock()).call("broken", None)
    assert meter.totals()["requests_total"] == [[["broken", "internal"], [1.0]]]
