"""Submitting: durable, once, all or none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openclaw_ray.errors import Conflict, InvalidRequest, QueueFull, UnknownSkill
from tests.support.fakes import HandAgent, Hub


def one(task_id: str, **spec: Any) -> dict[str, Any]:
    return {"id": task_id, "spec": {"skill": "echo", **spec}}


async def test_a_submit_that_returned_is_there_after_a_restart(hub: Hub) -> None:
    params = {"text": "天气 ✓", "n": [1, 2.5, None]}
    await hub.submit("t1", params=params, priority="high", metadata={"a": 1}, required_tags=["x"])
    before = await hub.call("get_task", task_id="t1")
    await hub.restart()
    after = await hub.call("get_task", task_id="t1")
    assert after == before
    assert (after["parameters"], after["priority"], after["required_tags"]) == (params, 1, ["x"])


async def test_the_same_again_is_the_same_task(hub: Hub) -> None:
    assert await hub.submit("t1", params={"a": 1}) == [["t1", "pending", True]]
    assert await hub.submit("t1", params={"a": 1}) == [["t1", "pending", False]]
    await hub.restart()
    assert await hub.submit("t1", params={"a": 1}) == [["t1", "pending", False]]


async def test_another_spec_for_a_known_id_is_a_conflict_that_names_it(hub: Hub) -> None:
    await hub.submit("t1", params={"a": 1})
    with pytest.raises(Conflict, match="t1") as refused:
        await hub.submit("t0", "t1", params={"a": 2})
    assert refused.value.field == "tasks[1].id"
    assert refused.value.facts["task_id"] == "t1"
    assert (await hub.call("get_task_stats"))["total"] == 1  # t0 was not taken either


async def test_the_same_id_twice_within_one_call(hub: Hub) -> None:
    assert (await hub.call("submit", tasks=[one("t1"), one("t1")]))["tasks"] == [
        ["t1", "pending", True],
        ["t1", "pending", False],
    ]
    with pytest.raises(Conflict):
        await hub.call("submit", tasks=[one("t2"), one("t2", priority=0)])
    assert (await hub.call("get_task_stats"))["total"] == 1


async def test_the_same_id_in_two_calls_of_one_batch(hub: Hub) -> None:
    calls = (hub.submit("t1"), hub.submit("t1"), hub.submit("t1", params={"other": 1}))
    first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, second) == ([["t1", "pending", True]], [["t1", "pending", False]])
    assert isinstance(third, Conflict)


async def test_a_key_stands_for_one_task(hub: Hub) -> None:
    await hub.submit("t1", key="k")
    assert await hub.submit("t2", key="k") == [["t1", "pending", False]]
    with pytest.raises(Conflict, match="'k' belongs to task t1") as refused:
        await hub.submit("t3", key="k", priority=0)
    assert refused.value.field == "tasks[0].spec.key"
    calls = (hub.submit("t5", key="new"), hub.submit("t6", key="new"))
    assert await asyncio.gather(*calls) == [[["t5", "pending", True]], [["t5", "pending", False]]]


async def test_an_ended_task_answers_a_repeat_with_its_state(hub: Hub, agent: HandAgent) -> None:
    await hub.submit("t1")
    await agent.run()
    assert await hub.submit("t1") == [["t1", "completed", False]]


async def test_one_bad_task_refuses_the_whole_call(hub: Hub) -> None:
    with pytest.raises(InvalidRequest):
        await hub.call("submit", tasks=[one("good"), one("bad", after=["nobody"])])
    assert (await hub.call("get_task_stats"))["total"] == 0
    assert await hub.on_disk("SELECT COUNT(*) FROM events") == [(0,)]


async def test_dependencies_that_cannot_be_are_named(hub: Hub) -> None:
    with pytest.raises(InvalidRequest, match="for itself"):
        await hub.submit("t1", after=["t1"])
    with pytest.raises(InvalidRequest, match="a -> b -> a"):
        await hub.call("submit", tasks=[one("a", after=["b"]), one("b", after=["a"])])
    with pytest.raises(InvalidRequest, match="later in this call"):
        await hub.call("submit", tasks=[one("a", after=["b"]), one("b")])


async def test_a_task_after_others_waits_for_them_and_ends_with_them(hub: Hub, agent: HandAgent) -> None:
    await hub.call("submit", tasks=[one("a"), one("b", after=["a"]), one("c", after=["b"])])
    assert (await hub.assign(seated=2)).placed == 1
    [lease] = await agent.fetch()
    await agent.report(agent.outcome(lease.token))
    assert (await hub.assign(seated=2)).placed == 1
    await hub.call("cancel", ids=["b"])
    assert await hub.state_of("c") == "failed"
    assert (await hub.call("get_task", task_id="c"))["error"]["kind"] == "upstream"
    assert await hub.submit("d", after=["a"]) == [["d", "pending", True]]
    assert await hub.submit("e", after=["c"]) == [["e", "failed", True]]
    await hub.check()


async def test_bulk_rows_are_the_same_tasks_as_single_ones(hub: Hub) -> None:
    rows = [["b1", '{"n": 1}', None], ["b2", "{}", "key"]]
    bulk = {"spec": {"skill": "echo"}, "rows": rows}
    assert len((await hub.call("submit", bulk=bulk))["tasks"]) == 2
    assert await hub.submit("b1", params={"n": 1}) == [["b1", "pending", False]]
    assert await hub.submit("b2", key="key") == [["b2", "pending", False]]
    with pytest.raises(InvalidRequest, match="comes with each row"):
        await hub.call("submit", bulk={"spec": {"skill": "echo", "key": "x"}, "rows": rows})
    for text in ("{", "[NaN]", "x" * (1 << 20) + "x"):
        with pytest.raises(InvalidRequest):
            await hub.call("submit", bulk={"spec": {"skill": "echo"}, "rows": [["b3", text, None]]})


async def test_strict_refuses_a_skill_that_no_node_offers(hub: Hub, agent: HandAgent) -> None:
    with pytest.raises(UnknownSkill, match="paint"):
        await hub.call("submit", tasks=[{"id": "t1", "spec": {"skill": "paint"}}], strict=True)
    await hub.call("submit", tasks=[one("t1")], strict=True)


async def test_a_full_queue_takes_nothing_more(tmp_path: Any) -> None:
    async with Hub(tmp_path / "home", waiting_tasks_max=2) as hub:
        await hub.submit("t1", "t2")
        with pytest.raises(QueueFull) as refused:
            await hub.submit("t3")
        assert refused.value.retry_after
        await hub.call("cancel", ids=["t1"])
        await hub.submit("t3")


async def test_add_task_takes_mappings_text_and_lists(hub: Hub) -> None:
    made = await hub.call("add_task", task={"name": "天气", "required_skills": ["weather"], "parameters": {"a": 1}})
    assert (await hub.call("get_task", task_id=made))["skill"] == "weather"
    assert await hub.call("add_task", task='{"task_id": "x", "name": "n"}') == "x"
    assert await hub.call("add_task", task=[{"task_id": "y", "name": "n"}, {"id": "z", "name": "n"}]) == ["y", "z"]
    for bad in ("{", 7, [{"nam": "n"}]):
        with pytest.raises(InvalidRequest):
            await hub.call("add_task", task=bad)
