"""Standing orders: a lone task is leased with its submit, and never where a plan would not put it."""

from __future__ import annotations

from openclaw_ray.core import events as ev
from openclaw_ray.core.placement import STANDING_CREDIT, STANDING_S, Planner, round_robin
from openclaw_ray.core.types import TaskState
from tests.support.cluster_builder import Cluster, planner_of


def ordered(*nodes: str, credit: int = 2, slots: int = 2) -> Cluster:
    """Nodes, and standing orders for the one shape of the builder on each of them."""
    c = Cluster()
    for node in nodes:
        c.agent(node, slots=slots)
    c.submit("first")
    shape_id = next(iter(c.state.shapes))
    c.apply(ev.Assigned(tuple(ev.PlanRow(shape_id, n, int(n == nodes[0]), 0, credit, STANDING_S) for n in nodes)))
    c.state.settle()
    return c


def test_a_lone_task_is_leased_with_its_submit_on_the_least_loaded_node() -> None:
    c = ordered("n1", "n2")
    c.submit("a")
    assert (c.task("a").state, c.task("a").node_id) == (TaskState.SCHEDULED, "n2")
    c.submit("b")
    assert c.task("b").node_id == "n1"
    c.state.check_invariants()


def test_the_credit_is_spent_and_time_ends_it() -> None:
    c = ordered("n1", credit=1, slots=9)
    c.submit("a")
    c.submit("b")
    assert [c.task(t).state for t in "ab"] == [TaskState.SCHEDULED, TaskState.PENDING]
    c = ordered("n1", credit=9, slots=9)
    c.wait(STANDING_S + 1)
    c.submit("a")
    assert c.task("a").state is TaskState.PENDING


def test_nobody_goes_ahead_of_a_task_that_waits() -> None:
    c = ordered("n1", slots=1)
    c.submit("a")  # no seat is free
    c.end("first")
    c.submit("b")  # there is one now, but it is for `a`
    assert [c.task(t).state for t in "ab"] == [TaskState.PENDING, TaskState.PENDING]


def test_a_changed_node_voids_them_all() -> None:
    c = ordered("n1", "n2")
    c.agent("n3")
    c.submit("a")
    assert c.task("a").state is TaskState.PENDING


def test_they_are_given_where_a_plan_served_a_shape_whole_under_least_tasks() -> None:
    c = Cluster()
    c.agent("n1", slots=2)
    c.submit("a")
    planner: Planner = planner_of(c.state)
    rows = planner.plan()
    assert [(r.node_id, r.credit) for r in planner.standing(rows)] == [("n1", STANDING_CREDIT)]
    planner.strategy = round_robin
    assert planner.standing(rows) == []


def backlog(level: int = 2) -> Cluster:
    c = Cluster()
    c.agent("n1", slots=2)
    for task_id in ("a", "b", "c", "d"):
        c.submit(task_id)
    shape_id = next(iter(c.state.shapes))
    c.apply(ev.Assigned((ev.PlanRow(shape_id, "n1", 2, 0, 9, STANDING_S, level),)))
    return c


def test_a_node_with_a_backlog_is_kept_at_its_level_by_its_own_reports() -> None:
    c = backlog()
    planner = planner_of(c.state)
    assert [c.task(t).state for t in "abcd"] == [TaskState.SCHEDULED] * 2 + [TaskState.PENDING] * 2
    c.end("a")
    c.apply(ev.NodeRefilled("n1"))
    assert [c.task(t).state for t in "bcd"] == [TaskState.SCHEDULED] * 2 + [TaskState.PENDING]
    c.apply(ev.NodeRefilled("n1"))  # it is full
    assert c.task("d").state is TaskState.PENDING
    assert planner.plan() == []
    c.state.check_invariants()


def test_an_order_for_a_backlog_places_no_lone_task() -> None:
    c = backlog(level=9)
    for task_id in ("a", "b"):
        c.end(task_id)
    c.apply(ev.NodeRefilled("n1"))
    c.end("c")
    c.end("d")
    c.submit("lone")  # under round_robin, say, it would go elsewhere
    assert c.task("lone").state is TaskState.PENDING


def test_nothing_is_refilled_while_another_shape_waits_or_the_node_is_held() -> None:
    c = backlog()
    c.submit("other", "rare")
    c.end("a")
    c.apply(ev.NodeRefilled("n1"))
    assert c.task("c").state is TaskState.PENDING
    c = backlog()
    c.apply(ev.NodeHeld("n1", "why", None, 0.0))
    c.apply(ev.NodeRefilled("n1"))
    assert c.task("c").state is TaskState.PENDING
    c.apply(ev.NodeRefilled("nobody"))


def test_a_plan_that_leaves_a_backlog_orders_its_nodes_to_be_kept_full() -> None:
    c = Cluster()
    c.agent("n1", slots=2)
    for task_id in ("a", "b", "c"):
        c.submit(task_id)
    planner = planner_of(c.state)
    assert [(r.node_id, r.level) for r in planner.standing(planner.plan())] == [("n1", 2)]
    c.submit("other", "rare")
    planner = planner_of(c.state)
    assert planner.standing(planner.plan()) == []  # two shapes wait: the plan decides between them
