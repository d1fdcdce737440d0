"""A task from submit to its end: results, retries, both budgets, cancel, deadlines, dependencies, runs by hand."""

from __future__ import annotations

import pytest

from openclaw_ray.core import events as ev
from openclaw_ray.core.backoff import delay_s
from openclaw_ray.core.effects import (
    ChangeTask,
    CloseAttempt,
    CountRetry,
    DeleteTask,
    EndTask,
    Log,
    NoteStart,
    StopLease,
)
from openclaw_ray.core.types import NodeStatus, Outcome, TaskState
from openclaw_ray.errors import Conflict, InvalidRequest, InvalidTransition, NotFound, QueueFull
from tests.support.cluster_builder import Cluster, accepted, happened, needs, only, submitted, why_stale


@pytest.fixture
def c() -> Cluster:
    cluster = Cluster()
    cluster.agent("n1", slots=1)
    return cluster


def ended(c: Cluster, task_id: str) -> EndTask:
    (end,) = [e for e in c.history if isinstance(e, EndTask) and e.task.id == task_id]
    return end


# -- the straight way ----------------------------------------------------------------------------------------------


def test_a_task_waits_is_leased_runs_and_completes(c: Cluster) -> None:
    assert c.submit("t").state is TaskState.PENDING
    assert c.lease("n1") == ["t"]
    task = c.task("t")
    assert (task.state, task.attempt, task.node_id, c.node().seats) == (TaskState.SCHEDULED, 1, "n1", 1)
    c.wait(1)
    assert accepted(c.start("t"))
    assert task.state is TaskState.RUNNING
    c.wait(2)
    effects = c.end("t", result='{"x":1}')
    assert [type(e) for e in effects[1:]] == [EndTask]
    assert ended(c, "t").result == '{"x":1}'
    assert ended(c, "t").task.completed_at == c.wall
    assert "t" not in c.state.tasks
    assert (c.node().seats, c.node().successful, c.state.leases) == (0, 1, {})


def test_start_and_end_may_come_in_one_report(c: Cluster) -> None:
    c.submit("t")
    c.lease("n1")
    c.wait(5)
    effects = c.end("t", started_at=c.wall - 3, run_s=3.0)
    assert only(effects, NoteStart)[0].at == c.wall - 3
    assert happened(effects) == ["running", "completed"]
    assert c.node().mean_run_s == 3.0


@pytest.mark.parametrize(("said", "kept"), [(1.0, 1_000_000.0), (9e9, 1_000_005.0), (1_000_003.0, 1_000_003.0)])
def test_an_agents_wrong_clock_is_held_within_what_can_be(c: Cluster, said: float, kept: float) -> None:
    c.submit("t")
    c.lease("n1")
    c.wait(5)
    c.start("t", at=said)
    assert c.task("t").started_at == kept
    effects = c.end("t", ended_at=said)
    assert only(effects, CloseAttempt)[0].ended_at == kept


def test_the_wait_counts_from_when_only_a_node_was_missing(c: Cluster) -> None:
    c.submit("later", not_before=c.wall + 100)
    c.wait(100)
    c.wait(7)
    c.lease("n1")
    assert only(c.start("later"), NoteStart)[0].wait_s == 7
    c.end("later", Outcome.FAILED)
    c.wait(1)  # the backoff
    c.wait(2)
    c.lease("n1")
    assert only(c.start("later"), NoteStart)[0].wait_s == 2


def test_the_same_id_twice_and_a_task_that_waits_for_itself_are_refused(c: Cluster) -> None:
    c.submit("t")
    with pytest.raises(Conflict):
        c.submit("t")
    with pytest.raises(InvalidRequest):
        c.submit("self", after=("self",))
    c.state.check_invariants()


def test_a_full_queue_refuses_and_changes_nothing() -> None:
    c = Cluster(waiting_tasks_max=2)
    c.submit("a")
    c.submit("b")
    version = c.state.version
    with pytest.raises(QueueFull) as refused:
        c.submit("c")
    assert refused.value.retry_after
    assert (c.state.version, sorted(c.state.tasks)) == (version, ["a", "b"])
    c.cancel("a")
    c.submit("c")


# -- retries and budgets -------------------------------------------------------------------------------------------


def test_a_failure_waits_twice_as_long_each_time_and_ends_when_the_budget_is_spent(c: Cluster) -> None:
    c.submit("t", max_retries=3)
    for delay in (1, 2, 4):
        effects = c.run("t", outcome=Outcome.FAILED, error={"kind": "skill_error"})
        assert [e.reason for e in only(effects, CountRetry)] == ["failed"]
        task = c.task("t")
        assert (task.state, task.due - c.wall, task.backing_off) == (TaskState.PENDING, delay, True)
        assert c.lease("n1") == []
        c.wait(delay - 0.01)
        assert c.lease("n1") == []
        c.wait(0.01)
        assert not c.task("t").due
    c.run("t", outcome=Outcome.FAILED, error={"kind": "skill_error"})
    end = ended(c, "t")
    assert (end.task.state, end.task.attempt, end.task.retries) == (TaskState.FAILED, 4, 3)
    assert end.error == {"kind": "skill_error", "exhausted": "retries"}


def test_timeouts_use_the_first_budget_and_end_as_timeout(c: Cluster) -> None:
    c.submit("t", max_retries=1)
    c.run("t", outcome=Outcome.TIMEOUT)
    c.wait(1)
    c.run("t", outcome=Outcome.TIMEOUT)
    assert ended(c, "t").task.state is TaskState.TIMEOUT
    assert ended(c, "t").error == {"kind": "timeout", "exhausted": "retries"}


def test_a_permanent_failure_is_not_retried(c: Cluster) -> None:
    c.submit("t")
    c.run("t", outcome=Outcome.FAILED, permanent=True, error={"kind": "not_runnable"})
    assert ended(c, "t").error == {"kind": "not_runnable"}


def test_node_caused_failures_and_losses_use_the_second_budget(c: Cluster) -> None:
    c.submit("t", max_retries=0, max_lost=2)
    c.run("t", outcome=Outcome.FAILED, node_caused=True, permanent=True)
    assert (c.task("t").retries, c.task("t").lost) == (0, 1)
    c.wait(1)
    c.lease("n1")
    c.agent("n1")
    assert (c.task("t").retries, c.task("t").lost) == (0, 2)
    c.wait(2)
    c.lease("n1")
    c.agent("n1")
    end = ended(c, "t")
    assert (end.task.state, end.task.attempt, end.error["exhausted"]) == (TaskState.FAILED, 3, "lost")


def test_a_released_attempt_costs_nothing_and_comes_back_at_once(c: Cluster) -> None:
    c.submit("t", max_retries=0, max_lost=0)
    for attempt in (1, 2, 3):
        assert c.lease("n1") == ["t"]
        c.end("t", Outcome.RELEASED)
        task = c.task("t")
        assert (task.state, task.attempt, task.retries, task.lost, task.due) == (TaskState.PENDING, attempt, 0, 0, 0)
    c.lease("n1")
    c.start("t")
    c.end("t", Outcome.RELEASED)
    assert c.task("t").state is TaskState.PENDING


def test_a_retried_task_keeps_its_place_by_submission(c: Cluster) -> None:
    c.submit("first")
    c.wait(1)
    c.submit("second")
    c.lease("n1")
    c.end("first", Outcome.FAILED)
    c.wait(1)
    assert c.lease("n1") == ["first"]


def test_a_daemon_starts_again_whatever_ends_it_until_it_is_cancelled(c: Cluster) -> None:
    c.submit("d", daemon=True, max_retries=0, max_lost=0)
    for outcome in (Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMEOUT):
        c.run("d", outcome=outcome)
        assert c.task("d").state is TaskState.PENDING
        c.wait(300)
    c.lease("n1")
    c.agent("n1")
    assert c.task("d").state is TaskState.PENDING
    assert c.task("d").retries == 4
    c.wait(300)
    c.run("d", outcome=Outcome.FAILED, run_s=1_000.0)
    assert c.task("d").retries == 1  # ran for long: the backoff begins anew
    c.cancel("d")
    assert ended(c, "d").task.state is TaskState.CANCELLED


def test_the_backoff_doubles_is_bounded_and_spread_by_the_salt() -> None:
    def delay(n: int, jitter: float = 0.0, salt: str = "t:1") -> float:
        return delay_s(n, base_s=1.0, max_s=300.0, jitter=jitter, salt=salt)

    assert [delay(n) for n in (0, 1, 2, 3, 9, 10, 10_000)] == [1, 1, 2, 4, 256, 300, 300]
    spread = [delay(1, 0.2, f"t:{i}") for i in range(200)]
    assert 0.8 <= min(spread) < 0.85
    assert 1.15 < max(spread) <= 1.2
    assert delay(1, 0.2) == delay(1, 0.2)


# -- cancel --------------------------------------------------------------------------------------------------------


def test_a_waiting_task_is_cancelled_at_once(c: Cluster) -> None:
    c.submit("t")
    c.cancel("t")
    assert ended(c, "t").task.state is TaskState.CANCELLED
    assert c.lease("n1") == []
    with pytest.raises(NotFound):
        c.cancel("t")


@pytest.mark.parametrize("running", [False, True])
def test_a_cancelled_lease_keeps_its_room_until_the_agent_says_it_is_gone(c: Cluster, running: bool) -> None:
    c.submit("t")
    c.submit("next")
    c.lease("n1")
    lease = c.lease_of("t")
    if running:
        c.start("t")
    effects = c.cancel("t")
    assert only(effects, StopLease) == [StopLease("n1", lease.token, "cancelled")]
    assert c.lease("n1") == []
    late = c.apply(c.end_report(lease, Outcome.COMPLETED, result="1"))
    assert not accepted(late)
    (closed,) = only(late, CloseAttempt)
    assert (closed.outcome, closed.lease.started_at > 0) == (Outcome.CANCELLED, True)
    assert ended(c, "t").result is None
    assert c.lease("n1") == ["next"]


def test_a_start_that_crosses_a_cancel_is_noted_and_the_task_stays_cancelled(c: Cluster) -> None:
    c.submit("t")
    c.lease("n1")
    lease = c.lease_of("t")
    c.cancel("t")
    effects = c.apply(c.start_report(lease))
    assert only(effects, NoteStart)
    assert "t" not in c.state.tasks
    assert lease.stopping == "cancelled"


# -- deadline, not_before, aging -----------------------------------------------------------------------------------


def test_a_deadline_ends_a_task_in_every_state(c: Cluster) -> None:
    c.agent("n2")
    c.agent("n3")
    deadline = c.wall + 10
    for task_id in ("running", "scheduled", "pending"):
        c.submit(task_id, deadline=deadline)
    c.lease("n1")
    c.start("running")
    c.lease("n2")
    assert c.state.next_deadline()[0] == deadline
    effects = c.wait(10)
    assert [e.why for e in only(effects, StopLease)] == ["deadline", "deadline"]
    for task_id in ("running", "scheduled", "pending"):
        assert ended(c, task_id).task.state is TaskState.TIMEOUT
        assert ended(c, task_id).error["kind"] == "deadline"
    assert c.state.next_deadline()[0] is None


def test_nothing_starts_after_its_deadline_even_before_the_tick(c: Cluster) -> None:
    c.submit("late", deadline=c.wall + 1)
    c.submit("fine")
    c.wall += 2
    assert c.lease("n1", seated=2) == ["fine"]
    assert ended(c, "late").task.state is TaskState.TIMEOUT


def test_not_before_holds_a_task_back_and_is_no_waiting(c: Cluster) -> None:
    start = c.wall + 3_600
    c.submit("delayed", priority=3, not_before=start)
    assert c.lease("n1") == []
    assert c.state.next_deadline()[0] == start
    c.wall = start
    c.mono += 1
    c.submit("urgent", priority=0)
    c.apply(ev.Ticked())
    assert c.lease("n1", seated=2) == ["urgent"]


def test_waiting_raises_a_task_by_a_level_per_minute_and_equals_go_in_order(c: Cluster) -> None:
    c.submit("low", priority=3)
    c.wait(1)
    c.submit("n-a")
    c.submit("n-b")
    c.wait(58)
    c.submit("high-59s-later", priority=2)
    c.wait(2)
    c.submit("normal-61s-later", priority=2)
    c.agent("n1", slots=9)
    order = c.lease("n1", seated=9)
    assert order == ["n-a", "n-b", "high-59s-later", "low", "normal-61s-later"]


# -- dependencies --------------------------------------------------------------------------------------------------


def test_a_task_starts_when_all_it_waits_for_completed(c: Cluster) -> None:
    c.submit("a")
    c.submit("b", priority=3)
    c.submit("both", priority=0, after=("a", "b", "done"), ended={"done": TaskState.COMPLETED})
    assert c.lease("n1") == ["a"]
    c.end("a")
    assert c.lease("n1") == ["b"]
    c.end("b")
    assert c.lease("n1") == ["both"]


@pytest.mark.parametrize("how", ["cancel", "fail"])
def test_a_failed_task_ends_the_whole_chain_behind_it(c: Cluster, how: str) -> None:
    c.submit("t0")
    length = 3_000  # deeper than Python's stack
    for i in range(1, length):
        c.state.apply(submitted(f"t{i}", after=(f"t{i - 1}",)), c.now)
    if how == "cancel":
        c.cancel("t0")
    else:
        c.run("t0", outcome=Outcome.FAILED, permanent=True)
    assert not c.state.tasks
    assert ended(c, f"t{length - 1}").error["kind"] == "upstream"
    assert ended(c, "t1").task.state is TaskState.FAILED


def test_a_task_after_one_that_failed_already_ends_at_once(c: Cluster) -> None:
    task = c.submit("t", after=("gone",), ended={"gone": TaskState.TIMEOUT})
    assert task.state is TaskState.FAILED
    assert "gone" in ended(c, "t").error["message"]


def test_a_dependency_and_not_before_both_have_to_pass(c: Cluster) -> None:
    c.submit("a")
    c.submit("b", after=("a",), not_before=c.wall + 10)
    c.run("a")
    assert c.lease("n1") == []
    c.wait(10)
    assert c.lease("n1") == ["b"]
    c.submit("x")
    c.end("b")
    c.submit("y", after=("x",), not_before=c.wall + 1)
    c.wait(2)
    c.run("x")
    assert c.lease("n1") == ["y"]


# -- stale reports -------------------------------------------------------------------------------------------------


def test_late_doubled_and_foreign_reports_change_nothing(c: Cluster) -> None:
    c.agent("n2")
    c.submit("t")
    c.lease("n1")
    lease = c.lease_of("t")
    good = c.end_report(lease)
    c.state.settle()
    version = c.state.version
    assert why_stale(c.apply(good._replace(node_id="n2"))) == "another node holds it"
    assert why_stale(c.apply(good._replace(incarnation=0))) == "another agent owns the node"
    assert why_stale(c.apply(good._replace(token=99))) == "no such lease"
    assert why_stale(c.apply(c.start_report(lease)._replace(token=99))) == "no such lease"
    assert c.state.version == version
    assert not c.state.books.touched_tasks
    assert accepted(c.apply(c.start_report(lease)))
    version = c.state.version
    assert accepted(c.apply(c.start_report(lease)))  # a repeat is harmless
    assert c.state.version == version
    assert accepted(c.apply(good))
    assert why_stale(c.apply(good)) == "no such lease"


def test_the_result_of_an_attempt_that_was_lost_is_not_accepted(c: Cluster) -> None:
    c.agent("n2")
    c.submit("t")
    c.lease("n1")
    old = c.end_report(c.lease_of("t"))
    c.apply(ev.NodeSilenced("n1", "dead"))
    c.wait(1)
    c.lease("n2")
    assert not accepted(c.apply(old))
    assert c.task("t").attempt == 2
    assert c.lease_of("t").token > old.token


# -- edits and removal ---------------------------------------------------------------------------------------------


def test_a_changed_priority_moves_the_place_in_the_queue(c: Cluster) -> None:
    c.submit("a")
    c.submit("b")
    effects = c.apply(ev.TaskEdited("b", 0, None, {"description": "x"}, "me"))
    assert only(effects, ChangeTask) == [ChangeTask("b", {"description": "x"})]
    assert only(effects, Log)[0].reason == "description, priority"
    assert c.lease("n1") == ["b"]
    with pytest.raises(NotFound):
        c.apply(ev.TaskEdited("gone", 0, None, {}, None))


def test_changed_needs_move_a_task_to_another_queue(c: Cluster) -> None:
    c.submit("t")
    c.apply(ev.TaskEdited("t", None, needs(tags=("gpu",)), {}, None))
    assert c.lease("n1") == []
    c.edit_node(tags=frozenset({"gpu"}))
    assert c.lease("n1", wanted=needs(tags=("gpu",))) == ["t"]


def test_only_an_ended_task_can_be_removed(c: Cluster) -> None:
    c.submit("t")
    with pytest.raises(Conflict):
        c.apply(ev.TaskRemoved("t", None))
    c.cancel("t")
    assert only(c.apply(ev.TaskRemoved("t", None)), DeleteTask)


# -- by hand -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node_id", [None, "record"])
@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.FAILED, TaskState.TIMEOUT, TaskState.CANCELLED])
def test_a_program_runs_its_own_task(node_id: str | None, state: TaskState) -> None:
    c = Cluster()
    c.record("record")
    c.submit("t", None)
    c.by_hand("t", TaskState.RUNNING, node_id, by="script")
    assert (c.task("t").state, c.task("t").attempt, c.task("t").by_hand) == (TaskState.RUNNING, 1, True)
    assert c.node("record").seats == (1 if node_id else 0)
    c.by_hand("t", state, result="1" if state is TaskState.COMPLETED else None)
    assert ended(c, "t").task.state is state
    assert not c.state.leases
    assert c.node("record").seats == 0


def test_a_program_hands_its_task_back_and_an_agent_runs_it(c: Cluster) -> None:
    c.submit("t")
    c.by_hand("t", TaskState.RUNNING)
    effects = c.by_hand("t", TaskState.PENDING, by="script")
    assert only(effects, Log)[-1].by == "script"
    c.lease("n1")
    assert not c.task("t").by_hand
    with pytest.raises(Conflict, match="n1"):
        c.by_hand("t", TaskState.COMPLETED)
    c.by_hand("t", TaskState.CANCELLED)
    assert ended(c, "t").task.state is TaskState.CANCELLED


def test_what_leads_nowhere_is_refused_with_what_does(c: Cluster) -> None:
    c.submit("t")
    with pytest.raises(InvalidTransition) as refused:
        c.by_hand("t", TaskState.SCHEDULED)
    assert refused.value.facts["legal"] == ["cancelled", "running"]
    with pytest.raises(NotFound):
        c.by_hand("gone", TaskState.RUNNING)
    with pytest.raises(NotFound):
        c.by_hand("t", TaskState.RUNNING, "nowhere")
    with pytest.raises(Conflict, match="agent"):
        c.by_hand("t", TaskState.RUNNING, "n1")


def test_a_program_may_not_start_what_may_not_start(c: Cluster) -> None:
    c.submit("a")
    c.submit("blocked", after=("a",))
    c.submit("delayed", not_before=c.wall + 9)
    c.submit("late", deadline=c.wall + 1)
    c.wall += 2
    for task_id in ("blocked", "delayed", "late"):
        with pytest.raises(Conflict, match=task_id):
            c.by_hand(task_id, TaskState.RUNNING)
    c.run("a", outcome=Outcome.FAILED)
    c.by_hand("a", TaskState.RUNNING)  # a backoff holds nobody who starts it by hand


def test_a_run_by_hand_is_lost_with_its_node_and_ends_at_its_deadline(c: Cluster) -> None:
    c.record("record")
    c.submit("t", deadline=c.wall + 50)
    c.by_hand("t", TaskState.RUNNING, "record")
    c.wait(15, silent=True)
    assert c.node("record").status is NodeStatus.OFFLINE
    assert (c.task("t").state, c.task("t").lost) == (TaskState.PENDING, 1)
    c.by_hand("t", TaskState.RUNNING)
    c.wait(40)
    assert ended(c, "t").task.state is TaskState.TIMEOUT
    assert not c.state.leases
