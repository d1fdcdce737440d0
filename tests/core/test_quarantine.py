"""Quarantine: what counts against a node, what does not, how long it is out, and how it comes back (I18, I22, F22)."""

from __future__ import annotations

from typing import Any

import pytest

from openclaw_ray.core import events as ev
from openclaw_ray.core.crashes import SKILLS_MAX, TASKS_MAX, Crashes
from openclaw_ray.core.effects import CountQuarantine, Effect, Log, StopLease
from openclaw_ray.core.health import GOOD_RUNS
from openclaw_ray.core.state import ClusterState
from openclaw_ray.core.types import Fault, NodeStatus, Outcome
from tests.support.cluster_builder import Cluster, only

NO_CODE = {"outcome": Outcome.LOST, "node_caused": True, "error": {"kind": "no_code"}}
CRASHED = {"outcome": Outcome.FAILED, "error": {"kind": "crashed"}}


class Sick(Cluster):
    """A cluster whose tasks end as the test says, each with a budget that is not the matter here."""

    def __init__(self, **rules: Any) -> None:
        super().__init__(retry_base_s=0.0, **rules)
        self.made = 0

    def once(self, node_id: str = "n1", **end: Any) -> list[Effect]:
        """One attempt of a new task on a node; nothing of the task is left."""
        self.wait(1)
        self.made += 1
        task_id = f"t{self.made}"
        self.submit(task_id, max_lost=99, max_retries=99)
        found = self.run(task_id, node_id, **end)
        if task_id in self.state.tasks:
            self.cancel(task_id)
        return found

    def fail(self, times: int = 1, node_id: str = "n1") -> list[Effect]:
        """Attempts that the node could not run."""
        return [effect for _ in range(times) for effect in self.once(node_id, **NO_CODE)]


def sick(**rules: Any) -> Sick:
    c = Sick(**rules)
    c.agent()
    return c


# -- in ------------------------------------------------------------------------------------------------------------


def test_a_node_that_keeps_failing_is_leased_nothing_until_its_time_is_over() -> None:
    c = sick()
    c.fail(2)
    assert c.node().status is NodeStatus.ONLINE
    effects = c.fail()
    node = c.node()
    assert (node.status, node.quarantined_until, node.quarantines) == (NodeStatus.ERROR, c.wall + 30, 1)
    assert only(effects, CountQuarantine) == [CountQuarantine("n1", Fault.REFUSED)]
    moved = next(e for e in effects if isinstance(e, Log) and e.what == "node_error")
    assert moved.reason == "3 failures of its own, the last: could not run what it offers (no_code)"
    c.submit("waits")
    assert c.plan() == {}
    assert c.lease("n1") == []
    assert c.state.next_deadline()[0] == c.wall + 30
    c.wait(29)
    assert c.node().status is NodeStatus.ERROR
    effects = c.wait(1)
    assert [e.what for e in only(effects, Log)] == ["node_online"]
    assert c.node().quarantine_reason is None
    assert c.plan()["waits"] == "n1"


def test_its_failures_use_the_second_budget_and_never_the_first() -> None:
    c = sick()
    c.submit("t", max_retries=0, max_lost=3)
    for _ in range(3):
        c.wait(1)
        c.run("t", **NO_CODE)
    assert (c.task("t").retries, c.task("t").lost) == (0, 3)
    assert c.node().status is NodeStatus.ERROR


def test_what_was_under_way_together_counts_once() -> None:
    c = sick()
    c.edit_node(slots=9)
    for i in range(9):
        c.submit(f"b{i}")
    c.lease("n1", 9)
    for i in range(9):
        c.end(f"b{i}", **NO_CODE)
    assert (c.node().faults, c.node().status) == (1, NodeStatus.ONLINE)


def test_what_it_has_not_started_comes_back_and_what_runs_may_finish() -> None:
    c = sick()
    c.edit_node(slots=3)
    c.fail(2)
    for task_id in ("bad", "runs", "waits"):
        c.submit(task_id, max_lost=9)
    c.lease("n1", 3)
    c.start("runs")
    effects = c.end("bad", **NO_CODE)
    assert [(e.token, e.why) for e in only(effects, StopLease)] == [(c.task("waits").token, "recall")]
    c.end("runs")
    assert (c.node().status, c.node().successful) == (NodeStatus.ERROR, 1)


@pytest.mark.parametrize(
    "end",
    [
        {"outcome": Outcome.FAILED},
        {"outcome": Outcome.FAILED, "error": {"kind": "crashed"}},
        {"outcome": Outcome.TIMEOUT},
        {"outcome": Outcome.RELEASED, "error": {"kind": "no_executor"}},  # other work holds what it needs
        {"outcome": Outcome.LOST, "error": {"kind": "lost"}},  # a crashing task took it along
        {"outcome": Outcome.LOST, "node_caused": True, "error": {"kind": "skill_changed"}},
    ],
)
def test_what_is_not_its_fault_does_not_count(end: dict[str, Any]) -> None:
    c = sick()
    for _ in range(5):
        c.once(**end)
    assert (c.node().faults, c.node().status) == (0, NodeStatus.ONLINE)


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        ({"outcome": Outcome.LOST, "node_caused": True, "error": {"kind": "not_offered"}}, Fault.REFUSED),
        ({"outcome": Outcome.LOST, "node_caused": True, "error": {"kind": "lost"}}, Fault.EXECUTOR),
        ({"outcome": Outcome.RELEASED, "node_caused": True, "error": {"kind": "no_executor"}}, Fault.REFUSED),
    ],
)
def test_each_failure_of_its_own_is_counted_by_its_kind(end: dict[str, Any], fault: Fault) -> None:
    c = sick(quarantine_faults=2)
    c.once(**end)
    assert only(c.once(**end), CountQuarantine) == [CountQuarantine("n1", fault)]


def test_a_node_that_does_most_of_its_work_stays() -> None:
    c = sick()
    for _ in range(5):
        c.fail()
        for _ in range(GOOD_RUNS):
            c.once()
    assert (c.node().faults, c.node().status) == (1, NodeStatus.ONLINE)


def test_old_failures_are_forgotten() -> None:
    c = sick()
    for _ in range(5):
        c.fail(2)
        c.wait(300)
    assert c.node().status is NodeStatus.ONLINE


def test_zero_switches_it_off() -> None:
    c = sick(quarantine_faults=0)
    c.fail(9)
    assert (c.node().faults, c.node().status) == (0, NodeStatus.ONLINE)


# -- agents that die -----------------------------------------------------------------------------------------------


def test_an_agent_that_dies_again_and_again_is_out_when_it_comes_back() -> None:
    c = sick()
    for _ in range(3):
        effects = c.apply(ev.NodeSilenced("n1", "its agent is gone", Fault.AGENT))
        c.wait(1, silent=True)
        if not c.node().quarantined_until:
            c.agent()
            assert c.node().status is NodeStatus.ONLINE
    assert only(effects, CountQuarantine) == [CountQuarantine("n1", Fault.AGENT)]
    assert c.node().status is NodeStatus.OFFLINE
    c.agent()
    assert c.node().status is NodeStatus.ERROR
    c.apply(ev.NodeSilenced("n1", "its agent is gone", Fault.AGENT))
    assert c.node().quarantines == 1  # it is out already: nothing more to learn
    c.wait(30, silent=True)
    assert (c.node().status, c.node().quarantined_until) == (NodeStatus.OFFLINE, 0.0)
    c.agent()
    assert c.node().status is NodeStatus.ONLINE


def test_a_node_that_falls_silent_again_and_again_is_out() -> None:
    c = sick()
    for _ in range(3):
        effects = c.wait(15, silent=True)
        c.apply(ev.NodeHeard("n1", c.node().incarnation))
    assert only(effects, CountQuarantine) == [CountQuarantine("n1", Fault.SILENT)]
    assert c.node().status is NodeStatus.ERROR


def test_a_process_that_takes_over_a_live_id_says_that_the_one_before_died() -> None:
    c = sick()
    for _ in range(3):
        c.wait(1)
        c.agent()
    assert c.node().status is NodeStatus.ERROR


def test_goodbyes_restarts_of_the_coordinator_and_records_by_hand_do_not_count() -> None:
    c = sick()
    c.record("hand")
    for _ in range(5):
        c.apply(ev.NodeSilenced("n1", "its agent stopped"))
        c.agent()
        c.agent(incarnation=c.node().incarnation, same_agent=True)
        c.apply(ev.NodeSilenced("hand", "silent for 15 s", Fault.SILENT))
        c.apply(ev.NodeHeard("hand", None))
    assert (c.node().faults, c.node("hand").faults) == (0, 0)


# -- tasks that crash on one node only -----------------------------------------------------------------------------


def test_a_skill_that_crashes_on_one_node_and_completes_on_another_speaks_against_the_first() -> None:
    c = sick()
    c.agent("n2")
    c.submit("first", max_retries=9)
    c.run("first", "n1", **CRASHED)
    assert (c.task("first").retries, c.node("n1").faults) == (1, 0)
    c.run("first", "n2")
    assert (c.node("n1").faults, c.node("n2").faults) == (1, 0)
    c.submit("second", max_retries=0, max_lost=9)
    c.run("second", "n1", **CRASHED)  # by now it is known whose fault that is
    assert (c.task("second").retries, c.task("second").lost) == (0, 1)
    c.run("second", "n1", **CRASHED)
    assert c.node("n1").status is NodeStatus.ERROR
    assert c.node("n1").quarantine_reason == (
        "3 failures of its own, the last: tasks crash here and complete elsewhere (work)"
    )


def test_a_skill_that_crashes_on_two_nodes_is_at_fault_itself() -> None:
    c = sick()
    for other in ("n2", "n3"):
        c.agent(other)
    for i in range(6):
        c.submit(f"t{i}", max_retries=9)
        c.run(f"t{i}", "n2", **CRASHED)
        c.run(f"t{i}", "n1", **CRASHED)
        c.run(f"t{i}", "n3")
    assert [c.node(n).faults for n in ("n1", "n2", "n3")] == [0, 0, 0]
    c.wait(301)  # evidence against the skill ages
    c.submit("late", max_retries=9)
    c.run("late", "n1", **CRASHED)
    c.run("late", "n3")
    assert c.node("n1").faults == 1


def test_a_task_that_crashed_and_then_completed_on_the_same_node_speaks_against_nobody() -> None:
    crashes = Crashes()
    crashes.note("work", "t1", "n1", 7, 1.0)
    assert crashes.suspect("work", "t1", "n1", 2.0, 9.0) is None
    assert not crashes.proven("work", "n1", 2.0, 9.0)
    assert crashes.suspect("work", "t1", "n2", 2.0, 9.0) == ("n1", 7)
    assert crashes.proven("work", "n1", 2.0, 9.0)


def test_evidence_is_bounded() -> None:
    crashes = Crashes()
    assert not crashes
    for i in range(2 * TASKS_MAX):
        crashes.note(f"s{i}", f"t{i}", "n1", i, 1.0)
        crashes.suspect(f"s{i}", f"t{i}", "n2", 2.0, 9.0)
    assert crashes
    assert (len(crashes._nodes), len(crashes._tasks), len(crashes._proven)) == (SKILLS_MAX, TASKS_MAX, SKILLS_MAX)
    assert crashes.suspect("s0", "t0", "n2", 2.0, 9.0) is None


# -- back-off ------------------------------------------------------------------------------------------------------


def quarantined_for(c: Sick) -> float:
    return c.node().quarantined_until - c.wall


def test_the_back_off_doubles_while_it_keeps_failing_up_to_its_limit() -> None:
    c = sick(quarantine_max_s=200.0)
    c.fail(3)
    waits = [quarantined_for(c)]
    for _ in range(4):
        c.wait(waits[-1])
        effects = c.fail()  # on probation one failure is enough
        waits.append(quarantined_for(c))
    assert waits == [30, 60, 120, 200, 200]
    assert any("failed again after its quarantine" in str(e.reason) for e in only(effects, Log))


def test_good_work_ends_the_probation_and_a_good_stretch_forgets_the_back_off() -> None:
    c = sick()
    c.fail(3)
    c.wait(30)
    for _ in range(GOOD_RUNS):
        c.once()
    c.fail(2)
    assert c.node().status is NodeStatus.ONLINE
    c.fail()
    assert quarantined_for(c) == 60  # so soon it is still the second in a row
    c.wait(60)
    c.wait(600)
    c.fail(2)
    assert c.node().status is NodeStatus.ONLINE
    c.fail()
    assert (quarantined_for(c), c.node().quarantines) == (30, 1)


def test_the_spread_keeps_nodes_apart_and_is_the_same_each_time() -> None:
    def waits() -> list[float]:
        c = Sick(retry_jitter=0.2)
        for node_id in ("n1", "n2"):
            c.agent(node_id)
            c.fail(3, node_id)
        return [c.node(n).quarantined_until for n in ("n1", "n2")]

    assert waits() == waits()
    assert 24 <= waits()[0] - Sick().wall - 3 <= 36


# -- owners --------------------------------------------------------------------------------------------------------


def test_undrain_ends_it_and_forgets_everything() -> None:
    c = sick()
    c.fail(3)
    effects = c.apply(ev.NodeUnheld("n1", "owner"))
    assert [(e.what, e.by) for e in only(effects, Log)] == [("node_online", "owner")]
    node = c.node()
    assert (node.status, node.quarantined_until, node.faults, node.quarantines) == (NodeStatus.ONLINE, 0.0, 0, 0)
    assert c.state.next_deadline()[0] is None
    assert c.apply(ev.NodeUnheld("n1", None)) == []


def test_setting_it_online_by_hand_ends_it_too() -> None:
    c = sick()
    c.fail(3)
    c.apply(ev.NodeMovedByHand("n1", NodeStatus.ONLINE, None))
    assert c.node().status is NodeStatus.ONLINE


def test_undrain_ends_what_is_remembered_of_an_offline_node() -> None:
    c = sick()
    c.fail(3)
    c.apply(ev.NodeSilenced("n1", "dead"))
    c.apply(ev.NodeUnheld("n1", None))
    c.agent()
    assert c.node().status is NodeStatus.ONLINE


def test_a_drain_takes_the_place_of_a_quarantine_and_a_drained_node_is_not_quarantined() -> None:
    c = sick()
    c.fail(3)
    c.apply(ev.NodeHeld("n1", "repair", None, 0.0))
    assert (c.node().status, c.node().quarantined_until) == (NodeStatus.MAINTENANCE, 0.0)
    for _ in range(4):
        c.apply(ev.NodeSilenced("n1", "dead", Fault.AGENT))
        c.agent()
    assert c.node().status is NodeStatus.MAINTENANCE
    c.apply(ev.NodeUnheld("n1", None))
    assert (c.node().status, c.node().faults) == (NodeStatus.ONLINE, 0)


def test_a_removed_node_begins_anew() -> None:
    c = sick()
    c.fail(3)
    c.apply(ev.NodeRemoved("n1", True, None))
    c.agent()
    assert c.node().status is NodeStatus.ONLINE
    assert c.state.next_deadline()[0] is None


# -- restart and undo ----------------------------------------------------------------------------------------------


def test_a_quarantine_goes_on_over_a_restart() -> None:
    c = sick()
    c.fail(3)
    c.state.settle()
    fresh = ClusterState(c.state.rules)
    record = c.node().copy()
    record.agent = False  # until it registers again
    fresh.restore(c.state.version, 99, c.state.books.next_token, [record], [], [], c.now)
    c.state = fresh
    assert c.state.next_deadline()[0] == c.wall + 30
    c.agent(incarnation=1, same_agent=True)
    assert c.node().status is NodeStatus.ERROR
    c.wait(30)
    assert c.node().status is NodeStatus.ONLINE
    c.fail()
    assert c.node().quarantines == 2


def test_an_undone_quarantine_and_an_undone_return_come_again() -> None:
    c = sick()
    c.fail(2)
    c.state.settle()
    c.fail()
    assert c.node().status is NodeStatus.ERROR
    c.state.undo()
    c.state.check_invariants()
    assert (c.node().status, c.node().faults) == (NodeStatus.ONLINE, 2)
    c.fail()
    c.state.settle()
    c.wait(30)
    c.state.undo()
    c.state.check_invariants()
    assert c.node().status is NodeStatus.ERROR
    c.wait(0)
    assert c.node().status is NodeStatus.ONLINE
