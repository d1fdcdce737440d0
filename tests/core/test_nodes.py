"""Nodes: registration with inventory, silence and rescue, drains, edits, records by hand."""

from __future__ import annotations

import pytest

from openclaw_ray.core import events as ev
from openclaw_ray.core.effects import CloseAttempt, DeleteNode, Log, LoseNode, StopLease
from openclaw_ray.core.types import NodeStatus, Outcome, TaskState
from openclaw_ray.errors import Conflict, InvalidRequest, InvalidTransition, NotFound
from tests.support.cluster_builder import Cluster, needs, only, why_stale


def states(c: Cluster, *task_ids: str) -> list[str]:
    return [c.task(t).state.value for t in task_ids]


# -- registration --------------------------------------------------------------------------------------------------


def test_the_same_agent_keeps_what_it_holds_and_gives_back_what_never_reached_it() -> None:
    c = Cluster()
    c.agent(slots=4)
    for task_id in ("held", "unheld", "ran"):
        c.submit(task_id)
    c.lease("n1", 3)
    c.start("ran")
    token = c.task("held").token
    c.agent(slots=4, incarnation=1, same_agent=True, holds=frozenset({token}))
    assert states(c, "held", "unheld", "ran") == ["scheduled", "pending", "pending"]
    assert [c.task(t).lost for t in ("held", "unheld", "ran")] == [0, 0, 1]
    assert not c.task("unheld").due
    assert list(c.state.leases) == [token]


def test_another_agent_loses_everything_that_was_leased_there() -> None:
    c = Cluster()
    c.agent(slots=4)
    c.submit("a")
    c.submit("b")
    c.lease("n1", 2)
    c.start("a")
    old = c.end_report(c.lease_of("a"))
    effects = c.agent(slots=4)
    assert [e.outcome for e in only(effects, CloseAttempt)] == [Outcome.LOST, Outcome.LOST]
    assert [c.task(t).lost for t in "ab"] == [1, 1]
    assert why_stale(c.apply(old)) == "no such lease"


def test_a_held_run_that_is_being_stopped_is_told_again() -> None:
    c = Cluster()
    c.agent()
    c.submit("t")
    c.lease("n1")
    token = c.task("t").token
    c.cancel("t")
    effects = c.agent(incarnation=1, same_agent=True, holds=frozenset({token}))
    assert only(effects, StopLease) == [StopLease("n1", token, "cancelled")]
    c.agent()  # another one: nobody runs it any more
    assert not c.state.leases


# -- silence -------------------------------------------------------------------------------------------------------


def test_a_silent_node_goes_offline_its_work_is_rescued_and_it_may_come_back() -> None:
    c = Cluster()
    c.agent()
    c.agent("n2")
    c.submit("t")
    c.submit("cancelled")
    c.lease("n1")
    c.lease("n2")
    c.cancel("cancelled")
    assert c.state.next_deadline()[1] == c.mono + 15
    c.wait(14, silent=True)
    c.apply(ev.NodeHeard("n2", 1))
    effects = c.wait(1, silent=True)
    assert only(effects, LoseNode) == [LoseNode("n1")]
    assert c.node("n1").status is NodeStatus.OFFLINE
    assert (c.task("t").state, c.task("t").lost) == (TaskState.PENDING, 1)
    c.wait(1)
    assert c.lease("n1") == []
    c.apply(ev.NodeHeard("n1", 1))
    assert c.node("n1").status is NodeStatus.ONLINE
    assert c.lease("n1") == ["t"]


def test_only_its_own_agent_speaks_for_a_node() -> None:
    c = Cluster()
    c.agent()
    c.wait(10, silent=True)
    c.apply(ev.NodeHeard("n1", 0))
    c.apply(ev.NodeHeard("n1", None))
    c.wait(5, silent=True)
    assert c.node().status is NodeStatus.OFFLINE
    c.state.observe("n1", 1.0, 2.0, 3.0, c.now)
    assert c.node().cpu_usage == 0.0
    c.state.observe("gone", 1.0, 2.0, 3.0, c.now)
    with pytest.raises(NotFound):
        c.apply(ev.NodeHeard("gone", 1))


def test_a_node_that_flaps_is_watched_each_time() -> None:
    c = Cluster()
    c.agent()
    for _ in range(300):
        c.apply(ev.NodeSilenced("n1", "ray says it is dead"))
        c.apply(ev.NodeHeard("n1", 1))
    assert len(c.state.books.silences) < 300
    c.wait(15, silent=True)
    assert c.node().status is NodeStatus.OFFLINE
    assert c.apply(ev.NodeSilenced("n1", "again")) == []


def test_an_observation_moves_the_moment_of_silence() -> None:
    c = Cluster()
    c.agent()
    version = c.state.version
    for _ in range(500):
        c.wait(1, silent=True)
        c.state.observe("n1", 50.0, 40.0, 30.0, c.now)
    assert c.node().status is NodeStatus.ONLINE
    assert (c.node().cpu_usage, c.state.version) == (50.0, version)
    assert len(c.state.books.silences) < 200


# -- drain ---------------------------------------------------------------------------------------------------------


def test_a_drained_node_gets_nothing_new_and_finishes_what_runs() -> None:
    c = Cluster()
    c.agent(slots=2)
    for task_id in ("runs", "waits", "next"):
        c.submit(task_id)
    c.lease("n1", 2)
    c.start("runs")
    effects = c.apply(ev.NodeHeld("n1", "update", "ops", 0.0))
    assert only(effects, StopLease) == [StopLease("n1", c.task("waits").token, "recall")]
    assert c.node().status is NodeStatus.MAINTENANCE
    c.end("waits", Outcome.RELEASED)
    assert states(c, "runs", "waits", "next") == ["running", "pending", "pending"]
    assert c.lease("n1") == []
    c.end("runs")
    c.apply(ev.NodeHeld("n1", "still", "ops", 0.0))
    assert c.node().held_reason == "still"
    assert only(c.apply(ev.NodeUnheld("n1", "ops")), Log)[0].what == "node_online"
    assert c.apply(ev.NodeUnheld("n1", "ops")) == []
    assert c.lease("n1") == ["waits"]


def test_a_drains_deadline_sends_back_what_still_runs_uncharged() -> None:
    c = Cluster()
    c.agent(slots=2)
    c.submit("says-cancelled", max_retries=0, max_lost=0)
    c.submit("completes")
    c.lease("n1", 2)
    c.start("says-cancelled")
    c.start("completes")
    c.apply(ev.NodeHeld("n1", "update", None, c.wall + 60))
    assert c.state.next_deadline()[0] == c.wall + 60
    assert not only(c.wait(59), StopLease)
    assert [e.why for e in only(c.wait(1), StopLease)] == ["drained", "drained"]
    c.end("says-cancelled", Outcome.CANCELLED)
    assert (c.task("says-cancelled").state, c.task("says-cancelled").retries) == (TaskState.PENDING, 0)
    c.end("completes")
    assert "completes" not in c.state.tasks
    assert c.state.next_deadline()[0] is None


def test_a_node_given_back_in_time_keeps_its_work() -> None:
    c = Cluster()
    c.agent()
    c.submit("t")
    c.lease("n1")
    c.start("t")
    c.apply(ev.NodeHeld("n1", "update", None, c.wall + 60))
    c.apply(ev.NodeUnheld("n1", None))
    assert not only(c.wait(60), StopLease)


def test_a_held_node_stays_held_through_silence_and_a_new_agent() -> None:
    c = Cluster()
    c.agent()
    c.apply(ev.NodeHeld("n1", "update", "ops", 0.0))
    c.wait(15, silent=True)
    assert c.node().status is NodeStatus.OFFLINE
    c.agent()
    assert c.node().status is NodeStatus.MAINTENANCE
    c.wait(15, silent=True)
    c.apply(ev.NodeUnheld("n1", "ops"))
    assert c.node().status is NodeStatus.OFFLINE
    c.agent()
    assert c.node().status is NodeStatus.ONLINE


# -- edits and records by hand -------------------------------------------------------------------------------------


def test_changed_offers_and_tags_change_who_may_have_what() -> None:
    c = Cluster()
    c.agent()
    c.submit("t", needs(tags=("gpu",), revision="r2"))
    wanted = needs(tags=("gpu",), revision="r2")
    assert c.lease("n1", wanted=wanted) == []
    c.edit_node(tags=frozenset({"gpu"}))
    assert c.lease("n1", wanted=wanted) == []
    c.edit_node(offers={"work": "r2"}, doc="x")
    assert c.lease("n1", wanted=wanted) == ["t"]


def test_a_record_is_leased_nothing_until_an_agent_registers() -> None:
    c = Cluster()
    c.record()
    c.submit("t")
    assert c.lease("n1") == []
    with pytest.raises(Conflict):
        c.record()
    c.agent()
    assert c.lease("n1") == ["t"]


def test_a_record_goes_offline_unless_somebody_reports_its_heartbeat() -> None:
    c = Cluster()
    c.record()
    c.record("quiet", NodeStatus.OFFLINE)
    c.wait(10, silent=True)
    c.apply(ev.NodeHeard("n1", None))
    c.wait(10, silent=True)
    assert c.node().status is NodeStatus.ONLINE
    c.wait(15, silent=True)
    assert c.node().status is NodeStatus.OFFLINE


def test_the_owner_of_a_record_says_how_it_is() -> None:
    c = Cluster()
    c.record("n1", NodeStatus.MAINTENANCE)
    assert c.node().held_reason

    def move(status: NodeStatus) -> NodeStatus:
        c.apply(ev.NodeMovedByHand("n1", status, "me"))
        return c.node().status

    for status in (NodeStatus.ONLINE, NodeStatus.ERROR, NodeStatus.MAINTENANCE, NodeStatus.OFFLINE, NodeStatus.ONLINE):
        assert move(status) is status
    assert c.apply(ev.NodeMovedByHand("n1", NodeStatus.ONLINE, "me")) == []
    for refused in (lambda: move(NodeStatus.BUSY), lambda: c.record("n2", NodeStatus.BUSY)):
        with pytest.raises(InvalidRequest, match="busy"):
            refused()
    c.wait(15, silent=True)
    assert c.node().status is NodeStatus.OFFLINE


def test_a_record_set_offline_by_hand_is_watched_again_when_it_is_back() -> None:
    c = Cluster()
    c.record()
    c.submit("t", None)
    c.by_hand("t", TaskState.RUNNING, "n1")
    c.apply(ev.NodeMovedByHand("n1", NodeStatus.OFFLINE, None))
    assert c.task("t").state is TaskState.PENDING
    c.wait(20, silent=True)
    c.apply(ev.NodeMovedByHand("n1", NodeStatus.ONLINE, None))
    c.wait(15, silent=True)
    assert c.node().status is NodeStatus.OFFLINE


def test_a_node_with_an_agent_says_itself_how_it_is() -> None:
    c = Cluster()
    c.agent()
    with pytest.raises(Conflict):
        c.apply(ev.NodeMovedByHand("n1", NodeStatus.OFFLINE, None))
    c.apply(ev.NodeMovedByHand("n1", NodeStatus.MAINTENANCE, None))
    assert c.node().status is NodeStatus.MAINTENANCE
    c.apply(ev.NodeMovedByHand("n1", NodeStatus.ONLINE, None))
    assert c.node().status is NodeStatus.ONLINE
    c.wait(15, silent=True)
    with pytest.raises(InvalidTransition, match="not heard"):
        c.apply(ev.NodeMovedByHand("n1", NodeStatus.ONLINE, None))


def test_a_node_with_leases_is_removed_only_by_force() -> None:
    c = Cluster()
    c.agent()
    c.submit("t")
    c.lease("n1")
    with pytest.raises(Conflict, match="1 leases"):
        c.apply(ev.NodeRemoved("n1", False, None))
    effects = c.apply(ev.NodeRemoved("n1", True, None))
    assert only(effects, DeleteNode)
    assert (c.task("t").lost, c.state.leases, c.state.nodes) == (1, {}, {})
    assert c.state.next_deadline()[1] is None
    c.agent()
    c.apply(ev.NodeRemoved("n1", False, None))
    with pytest.raises(NotFound):
        c.apply(ev.NodeRemoved("n1", False, None))
