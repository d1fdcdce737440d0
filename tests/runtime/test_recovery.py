"""What a restart cost, in figures and in words (I25)."""

from __future__ import annotations

from openclaw_ray.client.views import recovery_words
from openclaw_ray.core.types import Outcome
from tests.support.fakes import HandAgent, Hub


async def running(hub: Hub, agent: HandAgent, *ids: str) -> list[int]:
    await hub.submit(*ids)
    await hub.assign(agent.node_id, seated=len(ids))
    tokens = [lease.token for lease in await agent.fetch()]
    await agent.report(starts=tuple(tokens))
    return tokens


async def figures(hub: Hub) -> tuple[int, int, int, int]:
    found = await hub.call("hello")
    return found["epoch"], found["live_at_start"], found["rerun"], found["unheard"]


async def test_a_restart_alone_reruns_nothing(hub: Hub, agent: HandAgent) -> None:
    assert await figures(hub) == (1, 0, 0, 0)
    first, second = await running(hub, agent, "t1", "t2")
    await hub.submit("waits")
    await hub.restart()
    assert await figures(hub) == (2, 3, 0, 2)
    await agent.register(holds=(first, second))
    assert await figures(hub) == (2, 3, 0, 0)
    await hub.call("node_gone", node_id="n1")  # what is lost from here on is another matter
    assert (await figures(hub))[2] == 0


async def test_what_a_new_agent_does_not_hold_is_run_again(hub: Hub, agent: HandAgent) -> None:
    await running(hub, agent, "t1", "t2")
    await hub.restart()
    agent.name = "another-process"
    await agent.register()
    assert await figures(hub) == (2, 2, 2, 0)


async def test_what_was_on_a_node_that_stays_away_is_run_again(hub: Hub, agent: HandAgent) -> None:
    other = HandAgent(hub, "n2")
    await other.register()
    [gone] = await running(hub, agent, "t1")
    [held] = await running(hub, other, "t2")
    await hub.restart()
    await other.register(holds=(held,))
    assert await figures(hub) == (2, 2, 0, 1)
    for _ in range(9):
        await hub.advance(2)
        await other.poll(have=(held,))
    assert await figures(hub) == (2, 2, 1, 0)
    await hub.restart()
    assert (await figures(hub))[2] == 0  # of this start
    assert gone


async def test_what_ended_meanwhile_is_not_run_again(hub: Hub, agent: HandAgent) -> None:
    first, second = await running(hub, agent, "t1", "t2")
    await hub.restart()
    await agent.register(holds=(second,), outcomes=[agent.outcome(first)])
    assert await figures(hub) == (2, 2, 0, 0)
    await agent.report(agent.outcome(second, Outcome.FAILED))
    assert (await figures(hub))[2] == 0


async def test_status_says_it_in_words(hub: Hub, agent: HandAgent) -> None:
    await running(hub, agent, "t1")
    await hub.restart()
    state = await hub.call("get_state")
    start = state | {"epoch": 5, "live_at_start": 2_031}
    assert recovery_words(start).startswith("restart 4, ")
    assert recovery_words(start).endswith(" ago, 2,031 live tasks, none re-run, 1 running on nodes not heard of yet")
    assert "1 live task, 3 re-run" in recovery_words(state | {"rerun": 3})
    assert recovery_words(state | {"epoch": 1}).startswith("first start, ")
