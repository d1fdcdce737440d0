"""Seats, prefill, capacity and plans: who may start where, and in which order."""

from __future__ import annotations

from openclaw_ray.core import events as ev
from openclaw_ray.core.effects import RefuseRow, StopLease
from openclaw_ray.core.records import Needs
from openclaw_ray.core.resources import Resources
from openclaw_ray.core.types import NodeStatus, Outcome, TaskState
from tests.support.cluster_builder import Cluster, missed, needs, only


def asking(cpu: int = 1000) -> Needs:
    return needs(resources=Resources.of(cpu=cpu))


# -- seats and prefill ---------------------------------------------------------------------------------------------


def prefilled(n: int = 4, slots: int = 1) -> Cluster:
    c = Cluster()
    c.agent(slots=slots)
    for i in range(n):
        c.submit(f"t{i}")
    c.measure(0.01)
    c.lease("n1", slots, n - slots)
    return c


def test_a_prefilled_lease_holds_no_room_until_a_seat_is_free() -> None:
    c = prefilled()
    assert [c.lease_of(f"t{i}").seated for i in range(4)] == [True, False, False, False]
    assert (c.node().seats, c.node().shown_status) == (1, NodeStatus.BUSY)
    c.end("t0")
    assert [c.lease_of(f"t{i}").seated for i in range(1, 4)] == [True, False, False]
    c.edit_node(slots=2)
    assert [c.lease_of(f"t{i}").seated for i in range(1, 4)] == [True, True, False]


def test_seats_are_given_in_the_agents_order_interactive_first() -> None:
    c = Cluster()
    c.agent(slots=1)
    c.submit("seat")
    c.measure(0.01)
    c.submit("late", priority=3)
    c.lease("n1", 1, 1)
    c.submit("early", priority=1)
    c.lease("n1", 0, 1)
    c.submit("now", needs(urgent=True), priority=3)
    c.lease("n1", 0, 1, needs(urgent=True))
    order = []
    for task_id in ("seat", "now", "early", "late"):
        order.append(task_id)
        assert c.lease_of(task_id).seated, order
        c.end(task_id)


def test_what_has_started_holds_room_and_what_has_not_makes_way() -> None:
    c = prefilled()
    c.end("t0")
    assert c.lease_of("t1").seated
    c.start("t3")  # the agent knew better
    assert [c.lease_of(f"t{i}").seated for i in range(1, 4)] == [False, False, True]
    c.end("t3")
    assert c.lease_of("t1").seated


def test_a_report_of_a_prefilled_run_moves_the_room_in_one_go() -> None:
    c = prefilled()
    c.end("t0")
    c.end("t2", started_at=c.wall)
    assert [c.lease_of(t).seated for t in ("t1", "t3")] == [True, False]


def test_a_recall_asks_for_the_newest_unstarted_and_a_start_answers_it() -> None:
    c = prefilled()
    shape = c.task("t1").shape
    assert shape is not None
    effects = c.apply(ev.Recalled("n1", shape.id, 2))
    assert [e.token for e in only(effects, StopLease)] == [c.task("t3").token, c.task("t2").token]
    assert c.apply(ev.Recalled("n1", shape.id, 0)) == []
    assert c.apply(ev.Recalled("gone", shape.id, 1)) == []
    c.end("t0")
    assert [c.lease_of(f"t{i}").seated for i in (1, 2, 3)] == [True, False, False]
    c.end("t3", Outcome.RELEASED)
    assert (c.task("t3").state, c.task("t3").lost) == (TaskState.PENDING, 0)
    c.start("t2")
    assert c.lease_of("t2").stopping == ""
    c.end("t2")


def test_behind_a_long_run_nothing_is_prefilled() -> None:
    c = Cluster()
    c.agent(slots=1, offers={"work": "", "long": ""})
    c.submit("long", "long")
    c.lease("n1", wanted="long")
    c.submit("short")
    c.measure(0.001)
    assert c.lease("n1", 0, 1) == []  # how long the seat is taken is not known
    c.measure(60.0, "long")
    assert c.lease("n1", 0, 1) == []
    for _ in range(60):
        c.measure(0.001, "long")
    assert c.lease("n1", 0, 1) == ["short"]


def test_only_what_asks_no_more_than_the_seat_is_prefilled_and_never_too_many() -> None:
    c = Cluster(prefill_max=2)
    c.agent(slots=1, capacity=Resources.of(cpu=4000))
    small, big = asking(1000), asking(2000)
    c.submit("seat", small)
    c.measure(0.001, small)
    c.measure(0.001, big)
    c.lease("n1", 1, 0, small)
    c.submit("big", big)
    assert c.lease("n1", 0, 1, big) == []
    c.cancel("big")
    for i in range(4):
        c.submit(f"small{i}", small)
    assert c.lease("n1", 0, 4, small) == ["small0", "small1"]


# -- capacity ------------------------------------------------------------------------------------------------------


def test_after_a_cut_what_runs_finishes_and_nothing_new_starts_until_there_is_room() -> None:
    c = Cluster()
    c.agent(slots=4, capacity=Resources.of(cpu=4000))
    for i in range(6):
        c.submit(f"t{i}", asking())
    shape = asking()
    c.lease("n1", 4, wanted=shape)
    for i in range(3):
        c.start(f"t{i}")
    c.edit_node(capacity=Resources.of(cpu=2000))
    assert c.node().crowded(shape)
    assert not c.lease_of("t3").seated
    assert c.lease("n1", wanted=shape) == []
    c.end("t0")
    assert c.lease("n1", wanted=shape) == []
    c.end("t1")
    assert c.lease_of("t3").seated
    c.edit_node(slots=1)
    assert c.node().seats == 1
    c.edit_node(slots=4, capacity=Resources.of(cpu=8000))
    assert c.lease("n1", 2, wanted=shape) == ["t4", "t5"]


def test_what_can_never_start_after_a_cut_is_asked_back() -> None:
    c = Cluster()
    c.agent(slots=2, capacity=Resources.of(cpu=4000))
    c.submit("t", asking(3000))
    c.lease("n1", wanted=asking(3000))
    token = c.task("t").token
    effects = c.edit_node(capacity=Resources.of(cpu=2000))
    assert only(effects, StopLease) == [StopLease("n1", token, "recall")]
    c.end("t", Outcome.RELEASED)
    assert c.task("t").state is TaskState.PENDING


def test_a_resource_is_as_free_after_a_thousand_leases_as_before() -> None:
    c = Cluster()
    c.agent(slots=9, capacity=Resources.of(cpu=900))
    shape = needs(resources=Resources.of(cpu=100))
    for i in range(60):
        c.submit(f"t{i}", shape)
        c.run(f"t{i}")
    assert (c.node().room.used, c.node().room.free("cpu")) == ({}, 900)


# -- plans ---------------------------------------------------------------------------------------------------------


def test_rows_that_no_longer_hold_are_left_out_and_told() -> None:
    c = Cluster()
    c.agent(slots=2)
    c.record("record")
    c.submit("t")
    shape = c.task("t").shape
    assert shape is not None
    other = c.state.books.shape(needs("other"))
    c.state.books.changed_nodes.clear()
    rows = ((shape.id, "gone", 1, 0), (99, "n1", 1, 0), (other.id, "n1", 1, 0), (shape.id, "record", 1, 0))
    effects = c.apply(ev.Assigned(tuple(ev.PlanRow(*r) for r in rows)))
    assert [(e.placed, e.missed) for e in only(effects, RefuseRow)] == [(0, 1)] * 4
    assert {"n1", "record", "gone"} == c.state.books.changed_nodes
    assert c.assign((shape.id, "n1", 5, 3)) == ["t"]
    assert missed(c.history) == 4 + 7


def test_nobody_goes_ahead_of_a_more_urgent_task_that_fits_there() -> None:
    c = Cluster()
    c.agent(slots=1, offers={"a": "", "b": ""}, capacity=Resources.of(cpu=1000))
    c.submit("urgent", "a", priority=1)
    c.submit("normal", "b")
    assert c.lease("n1", wanted="b") == []
    c.submit("too-big", needs("a", resources=Resources.of(cpu=9000)), priority=0)
    assert c.lease("n1", wanted="a") == ["urgent"]
    c.end("urgent")
    assert c.lease("n1", wanted="b") == ["normal"]


def test_tasks_of_several_shapes_are_leased_in_the_order_of_their_ranks() -> None:
    c = Cluster()
    for node_id in ("n1", "n2"):
        c.agent(node_id, slots=3, offers={"a": "", "b": ""})
    for i in range(6):
        c.wait(1)
        c.submit(f"t{i}", "ab"[i % 2])
    a, b = (c.state.books.shape(needs(x)).id for x in "ab")
    assert c.assign((a, "n1", 3, 0), (b, "n2", 3, 0)) == [f"t{i}" for i in range(6)]


def test_nothing_is_prefilled_ahead_of_a_more_urgent_task_that_waits_for_the_seat() -> None:
    c = Cluster()
    c.agent(slots=1, offers={"a": "", "b": ""})
    c.submit("seat", "a")
    c.lease("n1", wanted="a")
    c.measure(0.001, "a")
    c.submit("urgent", "b", priority=0)
    c.submit("short", "a")
    assert c.lease("n1", 0, 1, "a") == []
    c.cancel("urgent")
    assert c.lease("n1", 0, 1, "a") == ["short"]
