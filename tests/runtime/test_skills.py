"""The registry of skills: kept with its code, newest of each name, old revisions withdrawn at once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import pytest

from openclaw_ray.errors import InvalidRequest, NotFound
from tests.support.fakes import HandAgent, Hub


def registration(revision: str = "1" * 64, blob: bytes = b"code", **more: Any) -> dict[str, Any]:
    manifest = {
        "name": "echo", "kind": "python", "revision": revision, "code": hashlib.sha256(blob).hexdigest(), **more,
    }  # fmt: skip
    return {"manifest": manifest, "blob": base64.b64encode(blob).decode()}


async def test_a_function_is_kept_with_its_code(hub: Hub) -> None:
    made = await hub.call("register_skill", **registration())
    assert made == {"name": "echo", "revision": "1" * 64, "created": True}
    assert not (await hub.call("register_skill", **registration()))["created"]
    await hub.restart()
    assert not (await hub.call("register_skill", **registration()))["created"]
    reply = await hub.call("registry", since=0)
    assert [m.name for m in reply.manifests] == ["echo"]
    assert (await hub.call("registry", since=reply.registry)).manifests == []
    assert base64.b64decode(await hub.call("code", digest=reply.manifests[0].code)) == b"code"
    with pytest.raises(NotFound):
        await hub.call("code", digest="0" * 64)


async def test_what_is_not_what_it_says_is_refused(hub: Hub) -> None:
    good = registration()
    for change in (
        {"blob": "///not base64"},
        {"blob": ""},
        {"blob": base64.b64encode(b"other").decode()},
        {"manifest": {**good["manifest"], "kind": "command", "code": None}},
        {"manifest": {**good["manifest"], "name": "../x"}},
    ):
        with pytest.raises(InvalidRequest):
            await hub.call("register_skill", **{**good, **change})
    assert (await hub.call("registry")).manifests == []


async def test_a_new_revision_is_withdrawn_from_nodes_until_they_have_it(hub: Hub, agent: HandAgent) -> None:
    agent.revision = "1" * 64
    await hub.call("register_skill", **registration())
    await agent.register()
    agent.registry = 1
    await hub.submit("t1")
    parked = hub.spawn(agent.poll(timeout_s=2))
    await hub.clock.settle()
    await hub.call("register_skill", **registration("2" * 64, b"newer"))
    assert (await parked).registry == 2  # told at once
    assert (await hub.assign()).placed == 0
    late = [{"name": "echo", "revision": "1" * 64}]  # said before it heard
    await hub.call("offers", node_id="n1", incarnation=agent.incarnation, offers=late)
    assert (await hub.assign()).placed == 0
    await agent.register()
    assert (await hub.assign()).placed == 0
    newer = [{"name": "echo", "revision": "2" * 64}, {"name": "paint", "reason": "no brush"}]
    await hub.call("offers", node_id="n1", incarnation=agent.incarnation, offers=newer)
    node = await hub.call("get_node", node_id="n1")
    assert (node["offers"], node["withheld"]) == ({"echo": "2" * 64}, {"paint": "no brush"})
    await hub.assign()
    [lease] = (await agent.poll()).leases
    assert lease.revision == "2" * 64
    version = hub.office.commit.version
    await hub.call("offers", node_id="n1", incarnation=agent.incarnation, offers=newer)  # nothing new
    assert hub.office.commit.version == version


async def test_a_task_that_names_a_revision_gets_exactly_that(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1", revision="9" * 64)
    assert (await hub.assign()).placed == 0
    agent.revision = "9" * 64
    await agent.register()
    assert (await hub.assign()).placed == 1


async def test_timeout_retries_and_resources_come_from_the_skill(hub: Hub, agent: HandAgent) -> None:
    agent.revision = "1" * 64
    await hub.call("register_skill", **registration(timeout=33, retries=0, resources={"cpu": 2}))
    await agent.register()
    await hub.submit("t1", "t2", "t3")
    assert (await hub.call("get_task", task_id="t1"))["max_retries"] == 0
    await hub.submit("own", timeout=5, resources={"cpu": 1})
    assert (await hub.assign(seated=3)).placed == 2  # four CPUs
    assert [(x.timeout_s, x.resources) for x in await agent.fetch()] == [(33, {"cpu": 2000})] * 2


async def test_two_registrations_of_one_batch(hub: Hub) -> None:
    calls = (registration(), registration(), registration("2" * 64, b"two"), {**registration(name="other")})
    made = await asyncio.gather(*(hub.call("register_skill", **body) for body in calls))
    assert [m["created"] for m in made] == [True] * 4
    reply = await hub.call("registry")
    assert {m.name: m.revision for m in reply.manifests} == {"echo": "2" * 64, "other": "1" * 64}


async def test_command_skills_that_nodes_find_join_the_registry(hub: Hub, agent: HandAgent) -> None:
    found = {"name": "shout", "kind": "command", "revision": "5" * 64, "argv": ["cat"]}
    offer = [{"name": "shout", "revision": "5" * 64}]
    await agent.register(manifests=[found], offers=offer)
    assert [m.name for m in (await hub.call("registry")).manifests] == ["shout"]
    changed = {**found, "revision": "6" * 64}
    body = {"node_id": "n1", "incarnation": agent.incarnation, "offers": offer}
    await hub.call("offers", **body, manifests=[changed, changed])
    [manifest] = (await hub.call("registry", since=1)).manifests
    assert manifest.revision == "6" * 64
    await hub.call("register_skill", **registration(name="shout"))
    await hub.call("offers", **body, manifests=[found])  # a function of that name wins
    [manifest] = (await hub.call("registry", since=2)).manifests
    assert manifest.kind == "python"
