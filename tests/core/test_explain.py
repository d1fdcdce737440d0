"""Why a task waits: every reason can come, and the first one is the one that holds it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from openclaw_ray.core import events as ev
from openclaw_ray.core.explain import Explanation, explain
from openclaw_ray.core.resources import Resources
from openclaw_ray.core.types import Outcome, Reason
from tests.support.cluster_builder import Cluster, needs

R = Reason


def why(c: Cluster, task_id: str = "t", **fields: bool) -> Explanation:
    return explain(c.state.books, c.task(task_id), c.now, **fields)


def reasons(c: Cluster, task_id: str = "t", **fields: bool) -> list[Reason]:
    return list(why(c, task_id, **fields).reasons)


def asking(**amounts: int) -> Callable[[Cluster], None]:
    def arrange(c: Cluster) -> None:
        c.agent(capacity=Resources.of(cpu=1000, memory=1000))
        c.submit("t", needs(resources=Resources.of(**amounts)))

    return arrange


def not_yet(c: Cluster) -> None:
    c.agent()
    c.submit("t", not_before=c.wall + 9)


def dependency(c: Cluster) -> None:
    c.submit("other", None)
    c.agent()
    c.submit("t", after=("other",))


def backoff(c: Cluster) -> None:
    c.agent()
    c.submit("t")
    c.run("t", outcome=Outcome.FAILED)


def no_skill(c: Cluster) -> None:
    c.agent(offers={"other": ""}, slots=0)
    c.submit("t")


def no_node(c: Cluster) -> None:
    c.submit("t")


def revision(c: Cluster) -> None:
    c.agent()
    c.submit("t", needs(revision="r9"))


def excluded(c: Cluster) -> None:
    c.agent()
    c.submit("t", needs(tags=("gpu",)))


def offline(c: Cluster) -> None:
    c.agent()
    c.submit("t")
    c.apply(ev.NodeSilenced("n1", "dead"))


def without_agent(c: Cluster) -> None:
    c.record()
    c.submit("t")


def draining(c: Cluster) -> None:
    c.agent()
    c.submit("t")
    c.apply(ev.NodeHeld("n1", "why", None, 0.0))


def quarantined(c: Cluster) -> None:
    c.record()
    c.submit("t")
    c.state.books.nodes["n1"].status = c.state.books.nodes["n1"].status.ERROR


def no_slot(c: Cluster) -> None:
    c.agent()
    c.submit("first")
    c.submit("t")
    c.lease("n1")


def behind_same(c: Cluster) -> None:
    c.agent()
    c.submit("first")
    c.submit("t")


def behind_other(c: Cluster) -> None:
    c.agent(offers={"work": "", "other": ""})
    c.submit("first", "other")
    c.wait(1)
    c.submit("t")


def next_plan(c: Cluster) -> None:
    c.agent()
    c.submit("t")


def stopping(c: Cluster) -> None:
    c.agent()
    c.submit("t")
    c.lease("n1")
    c.apply(ev.NodeHeld("n1", "why", None, 0.0))


CASES: list[tuple[Callable[[Cluster], None], Reason]] = [
    (not_yet, R.NOT_YET),
    (dependency, R.DEPENDENCY),
    (backoff, R.BACKOFF),
    (no_skill, R.NO_NODE_HAS_SKILL),
    (no_node, R.NO_NODE_HAS_SKILL),
    (revision, R.SKILL_REVISION),
    (excluded, R.EXCLUDED),
    (offline, R.NODE_OFFLINE),
    (without_agent, R.NODE_OFFLINE),
    (draining, R.NODE_DRAINING),
    (quarantined, R.NODE_QUARANTINED),
    (no_slot, R.NO_FREE_SLOT),
    (asking(cpu=2000), R.CPU),
    (asking(memory=2000), R.MEMORY),
    (asking(gpu=1000), R.GPU),
    (asking(licence=1000, seat=1000), R.RESOURCE),
    (behind_same, R.BEHIND_PRIORITY),
    (behind_other, R.BEHIND_PRIORITY),
    (next_plan, R.SCHEDULER_BEHIND),
    (stopping, R.STOPPING),
]


@pytest.mark.parametrize(("arrange", "reason"), CASES)
def test_the_one_thing_that_holds_a_task_is_the_reason(arrange: Callable[[Cluster], None], reason: Reason) -> None:
    c = Cluster()
    arrange(c)
    assert reasons(c) == [reason]


def test_every_reason_has_a_case() -> None:
    assert {reason for _, reason in CASES} == set(Reason)


def test_a_task_that_runs_or_that_a_program_runs_waits_for_nothing() -> None:
    c = Cluster()
    c.agent()
    c.submit("t")
    c.submit("own", None)
    c.lease("n1")
    assert reasons(c) == []
    assert reasons(c, "own") == []


def test_busy_nodes_are_the_reason_even_where_another_one_is_offline_or_too_small() -> None:
    c = Cluster()
    for name, slots in (("busy", 1), ("offline", 1), ("none", 0)):
        c.agent(name, slots=slots)
    c.apply(ev.NodeSilenced("offline", "dead"))
    c.submit("first")
    c.lease("busy")
    c.submit("t")
    found = why(c)
    assert found.reasons == (R.NO_FREE_SLOT,)
    assert {v.node_id: (v.reasons, v.never) for v in found.nodes} == {
        "busy": ((R.NO_FREE_SLOT,), False),
        "offline": ((R.NODE_OFFLINE,), False),
        "none": ((R.NO_FREE_SLOT,), True),
    }
    c.apply(ev.NodeSilenced("busy", "dead"))
    assert reasons(c) == [R.NODE_OFFLINE]


def test_a_verdict_says_what_is_short() -> None:
    c = Cluster()
    asking(cpu=500, memory=4000)(c)
    (verdict,) = why(c).nodes
    assert (verdict.short, verdict.never, verdict.slots_free) == ((("memory", 4000, 1000, 1000),), True, 1)


def test_all_reasons_are_shown_and_time_comes_first() -> None:
    c = Cluster()
    c.submit("other", None)
    c.submit("t", after=("other",), not_before=c.wall + 9)
    found = why(c)
    assert found.reasons == (R.NOT_YET, R.DEPENDENCY, R.NO_NODE_HAS_SKILL)
    assert (found.blockers, found.due) == (("other",), c.wall + 9)


def test_without_a_scheduler_that_is_the_first_reason() -> None:
    c = Cluster()
    no_slot(c)
    assert reasons(c, scheduler_alive=False) == [R.SCHEDULER_BEHIND, R.NO_FREE_SLOT]
    c.end("first")
    assert reasons(c, scheduler_alive=False) == [R.SCHEDULER_BEHIND]


def test_who_left_the_queue_is_not_counted_as_ahead() -> None:
    c = Cluster()
    c.agent(slots=9)
    for i in range(5):
        c.submit(f"t{i}")
    assert why(c, "t4").ahead == 4
    c.cancel("t1")
    c.apply(ev.TaskEdited("t2", 3, None, {}, None))
    c.lease("n1")
    found = why(c, "t4")
    assert (found.ahead, found.fits_now) == (1, ("n1",))
    assert why(c, "t3").ahead == 0
