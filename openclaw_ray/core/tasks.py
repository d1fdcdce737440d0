"""What happens to tasks: submitted, started, ended, cancelled, edited, moved by hand.

Each handler takes the books, one event and the time, changes records by the transition table, and returns effects.
It raises before it changes anything, or not at all.
"""

from __future__ import annotations

from typing import Any

from openclaw_ray.core import events as ev
from openclaw_ray.core.backoff import delay_s
from openclaw_ray.core.books import Books
from openclaw_ray.core.effects import (
    ChangeTask,
    CloseAttempt,
    CountRetry,
    DeleteTask,
    Effect,
    EndTask,
    GrantLease,
    InsertTask,
    Log,
    NoteStart,
    RefuseReport,
    StopLease,
)
from openclaw_ray.core.records import LeaseRecord, Rules, TaskRecord, rank_of
from openclaw_ray.core.seats import promote, seat_started
from openclaw_ray.core.transitions import TaskCause, illegal_task, task_after
from openclaw_ray.core.types import Now, Outcome, TaskState
from openclaw_ray.errors import Conflict, InvalidRequest, NotFound, QueueFull

_NOBODY: frozenset[str] = frozenset()


def submitted(books: Books, event: ev.TaskSubmitted, now: Now, rules: Rules) -> list[Effect]:
    """A new task waits, or has already ended because a task that it needs did not complete."""
    if len(books.tasks) >= rules.waiting_tasks_max:
        raise QueueFull(
            f"{len(books.tasks):,} tasks are waiting or running",
            limit=f"{rules.waiting_tasks_max:,}",
            hint="submit again later",
            retry_after=5.0,
        )
    terms = event.terms
    if event.task_id in books.tasks:
        raise Conflict(f"task {event.task_id} exists", field="task_id", limit="a new id")
    if event.task_id in terms.after:
        raise InvalidRequest("a task cannot wait for itself", field="after")
    failed_upstream = next((t for t, s in event.ended.items() if s is not TaskState.COMPLETED), None)
    task = TaskRecord(
        id=event.task_id,
        seq=books.next_seq,
        shape=books.shape(terms.needs) if terms.needs else None,
        priority=terms.priority,
        state=TaskState.PENDING,
        submitted_at=now.wall,
        max_retries=terms.max_retries,
        max_lost=terms.max_lost,
        rank=rank_of(max(now.wall, terms.not_before), terms.priority, rules),
        due=terms.not_before if terms.not_before > now.wall else 0.0,
        deadline=terms.deadline,
        blockers=frozenset(t for t in terms.after if t not in event.ended) if terms.after else _NOBODY,
        daemon=terms.daemon,
    )
    books.next_seq += 1
    books.add_task(task)
    effects: list[Effect] = [InsertTask(task, event.doc, terms.by)]
    if failed_upstream is not None:
        effects += finish(books, task, TaskCause.UPSTREAM_FAILED, now, None, _upstream_error(failed_upstream))
    return effects


def started(books: Books, event: ev.AttemptStarted, now: Now, rules: Rules) -> list[Effect]:
    """The agent started an attempt; its own clock says when."""
    lease, refusal = _current(books, event)
    if lease is None:
        return [RefuseReport(event.token, refusal)]
    if lease.started_at:
        return []
    effects = _note_start(books, lease, _task_under(books, lease), event.at, now)
    seat_started(books, lease)  # what runs holds room; what has ended by now would only give it back
    return effects


def _note_start(books: Books, lease: LeaseRecord, task: TaskRecord | None, at: float, now: Now) -> list[Effect]:
    """The attempt runs since `at`, as its agent says; a recall came too late."""
    books.note_lease(lease)
    lease.started_at = _clamp(at, lease.leased_at, now)
    if lease.stopping == "recall":
        lease.stopping = ""
    if task is None:  # cancelled meanwhile: the lease is being stopped
        return [NoteStart(lease, lease.started_at, lease.skill, lease.started_at - lease.leased_at, runs=False)]
    return [_run(books, task, lease, by=None)]


def _clamp(at: float, earliest: float, now: Now) -> float:
    """A time that an agent names, within what can be: its clock may be wrong."""
    return max(min(at, now.wall), earliest)


def _task_under(books: Books, lease: LeaseRecord) -> TaskRecord | None:
    """The task of a lease, None when it has ended under it."""
    task = books.tasks.get(lease.task_id)
    return task if task is not None and task.token == lease.token else None


def _run(books: Books, task: TaskRecord, lease: LeaseRecord, by: str | None) -> NoteStart:
    after = task_after(task.state, TaskCause.STARTED)
    books.open_task(task)
    task.state = after
    task.started_at = lease.started_at
    books.close_task(task)
    wait_s = max(0.0, lease.started_at - max(task.submitted_at, task.ready_at))
    return NoteStart(lease, lease.started_at, task.skill, wait_s, by)


def ended(books: Books, event: ev.AttemptEnded, now: Now, rules: Rules) -> list[Effect]:
    """The agent says how an attempt ended: room is free, and the task completes, waits again or ends."""
    lease, refusal = _current(books, event)
    if lease is None:
        return [RefuseReport(event.token, refusal)]
    task = _task_under(books, lease)
    effects: list[Effect] = [] if task is not None else [RefuseReport(event.token, "task ended")]
    if not lease.started_at and (task is not None or event.started_at) and event.outcome not in _NEVER_RAN:
        effects += _note_start(books, lease, task, event.started_at, now)
    if task is None:
        # The task ended under it (cancelled, deadline): only the room matters now.
        outcome = Outcome.CANCELLED if event.outcome is not Outcome.LOST else Outcome.LOST
        return effects + close(books, lease, outcome, event, now)
    if lease.stopping == "drained" and event.outcome is Outcome.CANCELLED:
        event = event._replace(outcome=Outcome.RELEASED)  # the node gave up its work; the task was not cancelled
    effects += close(books, lease, event.outcome, event, now)
    effects += settle_task(books, task, event, now, rules)
    return effects


#: Outcomes that say nothing of a start: it was not begun, or nobody knows.
_NEVER_RAN = (Outcome.RELEASED, Outcome.LOST)


def settle_task(books: Books, task: TaskRecord, event: ev.AttemptEnded, now: Now, rules: Rules) -> list[Effect]:
    """What the end of its current attempt means for a task, by outcome and what is left of the budgets."""
    outcome = event.outcome
    if outcome is Outcome.RELEASED:
        return _wait_again(books, task, TaskCause.RELEASED, 0.0, now, event.error)
    if task.daemon and outcome is not Outcome.CANCELLED and not event.permanent:
        return _restart_daemon(books, task, event, now, rules)
    if outcome is Outcome.COMPLETED:
        return finish(books, task, TaskCause.COMPLETED, now, event.result, None, node_id=event.node_id)
    if outcome is Outcome.CANCELLED:
        return finish(books, task, TaskCause.CANCELLED, now, None, event.error, node_id=event.node_id)
    if outcome is Outcome.LOST or event.node_caused:
        return _lost(books, task, event, now, rules)
    if event.permanent or task.retries >= task.max_retries:
        cause = TaskCause.TIMED_OUT if outcome is Outcome.TIMEOUT else TaskCause.FAILED
        error = _last_word(event, None if event.permanent else "retries")
        return finish(books, task, cause, now, None, error, node_id=event.node_id)
    effects = _wait_again(books, task, TaskCause.RETRY, _backoff(task, task.retries + 1, rules), now, event.error)
    task.retries += 1
    return [*effects, CountRetry(task.skill, outcome.value)]


def _restart_daemon(books: Books, task: TaskRecord, event: ev.AttemptEnded, now: Now, rules: Rules) -> list[Effect]:
    """A daemon has no budget; one that ran for longer than the longest backoff begins with the shortest again."""
    nth = 1 if event.run_s > rules.retry_max_s else task.retries + 1
    cause = TaskCause.LOST if event.outcome is Outcome.LOST else TaskCause.RETRY
    effects = _wait_again(books, task, cause, _backoff(task, nth, rules), now, event.error)
    task.retries = nth
    return [*effects, CountRetry(task.skill, event.outcome.value)]


def _lost(books: Books, task: TaskRecord, event: ev.AttemptEnded, now: Now, rules: Rules) -> list[Effect]:
    if task.lost >= task.max_lost:
        error = _last_word(event, "lost")
        return finish(books, task, TaskCause.FAILED, now, None, error, node_id=event.node_id)
    effects = _wait_again(books, task, TaskCause.LOST, _backoff(task, task.lost + 1, rules), now, event.error)
    task.lost += 1
    return [*effects, CountRetry(task.skill, Outcome.LOST.value)]


def _last_word(event: ev.AttemptEnded, exhausted: str | None) -> dict[str, Any]:
    """The task's error: that of its last attempt, and which budget ran out."""
    error = event.error if isinstance(event.error, dict) else {"kind": event.outcome.value}
    return {**error, "exhausted": exhausted} if exhausted else error


def _backoff(task: TaskRecord, nth: int, rules: Rules) -> float:
    salt = f"{task.id}:{task.attempt}"
    return delay_s(nth, base_s=rules.retry_base_s, max_s=rules.retry_max_s, jitter=rules.retry_jitter, salt=salt)


def _wait_again(
    books: Books, task: TaskRecord, cause: TaskCause, after_s: float, now: Now, error: Any, by: str | None = None
) -> list[Effect]:
    after = task_after(task.state, cause)
    books.open_task(task)
    task.state = after
    task.ready_at = now.wall + after_s
    task.due = task.ready_at if after_s else 0.0
    task.backing_off = bool(after_s)
    ran_on, task.node_id, task.seated, task.by_hand = task.node_id, None, False, False
    books.close_task(task)
    why = str(error.get("kind", "")) if isinstance(error, dict) else ""
    reason = f"{cause.value}: {why}" if why and why != cause.value else cause.value
    return [Log("pending", task.id, task.attempt, ran_on, by, reason)]


def finish(
    books: Books,
    task: TaskRecord,
    cause: TaskCause,
    now: Now,
    result: Any,
    error: Any,
    *,
    node_id: str | None = None,
    by: str | None = None,
) -> list[Effect]:
    """End a task for good, and everything that waited for it if it did not complete."""
    effects = _end(books, task, cause, now, result, error, node_id, by)
    ended = [task]
    for upstream in ended:  # grows: a chain of ten thousand tasks must not be as many calls deep
        for task_id in sorted(books.dependents.get(upstream.id, ())):
            waiting = books.tasks[task_id]
            if upstream.state is TaskState.COMPLETED:
                _unblock(books, waiting, upstream.id, now)
                continue
            effects += _end(books, waiting, TaskCause.UPSTREAM_FAILED, now, None, _upstream_error(upstream.id))
            ended.append(waiting)
    return effects


def _end(
    books: Books,
    task: TaskRecord,
    cause: TaskCause,
    now: Now,
    result: Any,
    error: Any,
    node_id: str | None = None,
    by: str | None = None,
) -> list[Effect]:
    after = task_after(task.state, cause)
    books.open_task(task)
    task.state = after
    task.completed_at = max(now.wall, task.started_at, task.submitted_at)
    books.close_task(task)
    reason = str(error.get("kind")) if isinstance(error, dict) else None
    return [EndTask(task, result, error, node_id, by, reason)]


def _unblock(books: Books, task: TaskRecord, upstream_id: str, now: Now) -> None:
    books.open_task(task)
    task.blockers -= {upstream_id}
    task.ready_at = max(now.wall, task.due)
    if task.due <= now.wall:
        task.due = 0.0
    books.close_task(task)


def _upstream_error(upstream_id: str) -> dict[str, Any]:
    return {"kind": "upstream", "message": f"upstream task {upstream_id} did not complete"}


def close(books: Books, lease: LeaseRecord, outcome: Outcome, event: ev.AttemptEnded, now: Now) -> list[Effect]:
    """End a lease: its room is free, the next prefilled one sits down, the node's figures follow."""
    books.drop_lease(lease)
    ended_at = _clamp(event.ended_at or now.wall, lease.started_at or lease.leased_at, now)
    effects: list[Effect] = [
        CloseAttempt(lease, outcome, lease.skill, ended_at, event.run_s, event.error, event.evidence)
    ]
    node = books.nodes.get(lease.node_id) if lease.node_id else None
    if node is None:
        return effects
    books.open_node(node)
    if lease.started_at and outcome not in _NEVER_RAN:
        total = node.successful + node.failed
        node.mean_run_s = (node.mean_run_s * total + event.run_s) / (total + 1)
        if outcome is Outcome.COMPLETED:
            node.successful += 1
        else:
            node.failed += 1
    if lease.seated:
        promote(books, node)
    return effects


def _current(books: Books, event: ev.AttemptStarted | ev.AttemptEnded) -> tuple[LeaseRecord | None, str]:
    """The lease a report is about, or why the report is late or foreign."""
    lease = books.leases.get(event.token)
    if lease is None:
        return None, "no such lease"
    if lease.node_id != event.node_id:
        return None, "another node holds it"
    node = books.nodes.get(event.node_id)
    if node is None or node.incarnation != event.incarnation:
        return None, "another agent owns the node"
    return lease, ""


def cancel_asked(books: Books, event: ev.CancelAsked, now: Now, rules: Rules) -> list[Effect]:
    """The task ends cancelled at once; what runs is stopped by its agent, which keeps its room until it is gone."""
    task = books.tasks.get(event.task_id)
    if task is None:
        raise NotFound(f"no live task {event.task_id!r}", field="task_id")
    error = {"kind": "cancelled", "message": event.reason or "cancelled"}
    return _end_under_lease(books, task, TaskCause.CANCELLED, "cancelled", error, now, event.by)


def deadline_passed(books: Books, task: TaskRecord, now: Now) -> list[Effect]:
    """The task ran out of its time as a whole."""
    error = {"kind": "deadline", "message": "the task's deadline passed"}
    return _end_under_lease(books, task, TaskCause.TIMED_OUT, "deadline", error, now, None)


def _end_under_lease(
    books: Books, task: TaskRecord, cause: TaskCause, why: str, error: dict[str, Any], now: Now, by: str | None
) -> list[Effect]:
    lease = books.leases.get(task.token) if task.state is not TaskState.PENDING else None
    effects = finish(books, task, cause, now, None, error, node_id=task.node_id, by=by)
    if lease is None:
        return effects
    if task.by_hand:  # no agent will answer for it
        return effects + close(books, lease, Outcome.CANCELLED, _word(lease, Outcome.CANCELLED, error), now)
    return effects + ask_stop(books, lease, why)


def ask_stop(books: Books, lease: LeaseRecord, why: str) -> list[Effect]:
    """Tell the agent to stop an attempt; asked once, repeated by the poll until the agent has forgotten it."""
    if lease.stopping == why or lease.node_id is None:
        return []
    books.open_lease(lease)
    lease.stopping = why
    books.close_lease(lease)
    return [StopLease(lease.node_id, lease.token, why)]


def _word(lease: LeaseRecord, outcome: Outcome, error: Any) -> ev.AttemptEnded:
    """What the coordinator itself has to say about an attempt whose agent cannot."""
    return ev.AttemptEnded(lease.token, lease.node_id or "", 0, outcome, lease.started_at, 0.0, 0.0, error=error)


def lose(books: Books, lease: LeaseRecord, outcome: Outcome, message: str, now: Now, rules: Rules) -> list[Effect]:
    """End a lease whose agent is gone (`lost`) or never had it (`released`)."""
    error = {"kind": outcome.value, "message": message, "node_id": lease.node_id, "attempt": lease.attempt}
    word = _word(lease, outcome, error)
    task = _task_under(books, lease)
    if task is None:
        return close(books, lease, Outcome.CANCELLED, word, now)
    return close(books, lease, outcome, word, now) + settle_task(books, task, word, now, rules)


def edited(books: Books, event: ev.TaskEdited, now: Now, rules: Rules) -> list[Effect]:
    """Priority, tags and text of a live task change; a lease that is out is not touched."""
    task = books.tasks.get(event.task_id)
    if task is None:
        raise NotFound(f"no live task {event.task_id!r}", field="task_id")
    books.open_task(task)
    if event.priority is not None:
        task.rank += (event.priority - task.priority) * rules.aging_s
        task.priority = event.priority
    if event.needs is not None:
        books.reshape_task(task, event.needs)
    books.close_task(task)
    changed = sorted({*event.columns, *(["priority"] if event.priority is not None else [])})
    effects: list[Effect] = [Log("changed", task.id, None, None, event.by, ", ".join(changed))]
    if event.columns:
        effects.append(ChangeTask(task.id, dict(event.columns)))
    return effects


def moved_by_hand(books: Books, event: ev.TaskMovedByHand, now: Now, rules: Rules) -> list[Effect]:
    """An operator's act, carried out as a legal transition; never over a live lease of an agent."""
    task = books.tasks.get(event.task_id)
    if task is None:
        raise NotFound(f"no live task {event.task_id!r}", field="task_id")
    lease = books.leases.get(task.token) if task.state is not TaskState.PENDING else None
    if event.state is TaskState.CANCELLED:
        return _end_under_lease(
            books, task, TaskCause.CANCELLED, "cancelled", {"kind": "cancelled", "message": "by hand"}, now, event.by
        )
    if lease is not None and not task.by_hand:
        raise Conflict(
            f"an agent on {lease.node_id} holds task {task.id}",
            field="status",
            limit="cancelled",
            hint="cancel it, or wait for the agent",
        )
    if event.state is TaskState.RUNNING and task.state is TaskState.PENDING:
        return _start_by_hand(books, task, event, now)
    cause = _BY_HAND.get(event.state)
    if cause is None or task.state is not TaskState.RUNNING or lease is None:
        raise illegal_task(task.state, event.state.value, _legal_by_hand(task.state))
    outcome = Outcome.RELEASED if event.state is TaskState.PENDING else Outcome(event.state.value)
    run_s = max(0.0, now.wall - lease.started_at)
    word = _word(lease, outcome, event.error)._replace(ended_at=now.wall, run_s=run_s)
    effects = close(books, lease, outcome, word, now)
    if cause is TaskCause.RELEASED:
        return effects + _wait_again(books, task, cause, 0.0, now, None, event.by or "hand")
    return effects + finish(
        books, task, cause, now, event.result, event.error, node_id=lease.node_id, by=event.by or "hand"
    )


_BY_HAND = {
    TaskState.PENDING: TaskCause.RELEASED,
    TaskState.COMPLETED: TaskCause.COMPLETED,
    TaskState.FAILED: TaskCause.FAILED,
    TaskState.TIMEOUT: TaskCause.TIMED_OUT,
}


def _legal_by_hand(state: TaskState) -> list[TaskState]:
    """What a program may make of a task that no agent holds."""
    if state is TaskState.RUNNING:
        return [*_BY_HAND, TaskState.CANCELLED]
    return [TaskState.RUNNING, TaskState.CANCELLED]


def _check_may_start(task: TaskRecord, now: Now) -> None:
    if task.blockers:
        why, hint = f"waits for {', '.join(sorted(task.blockers)[:3])}", "complete those first"
    elif task.due > now.wall and not task.backing_off:
        why, hint = "may not start yet (not_before)", None
    elif task.deadline and task.deadline <= now.wall:
        why, hint = "is past its deadline", None
    else:
        return
    raise Conflict(f"task {task.id} {why}", field="status", hint=hint)


def _start_by_hand(books: Books, task: TaskRecord, event: ev.TaskMovedByHand, now: Now) -> list[Effect]:
    node = books.nodes.get(event.node_id) if event.node_id else None
    if event.node_id and node is None:
        raise NotFound(f"no node {event.node_id!r}", field="assigned_node")
    if node is not None and node.agent:
        raise Conflict(f"node {node.id} has an agent that starts its own tasks", field="assigned_node")
    _check_may_start(task, now)
    token = books.next_token
    books.next_token += 1
    needs = task.shape.needs if task.shape else None
    lease = LeaseRecord(token, task.id, task.attempt + 1, event.node_id, needs, True, now.wall, now.wall)
    books.open_task(task)
    task.attempt, task.token, task.node_id = lease.attempt, token, event.node_id
    task.by_hand, task.scheduled_at, task.due, task.backing_off = True, now.wall, 0.0, False
    books.close_task(task)
    books.add_lease(lease)
    return [GrantLease(lease, task), _run(books, task, lease, event.by or "hand")]


def removed(books: Books, event: ev.TaskRemoved, now: Now, rules: Rules) -> list[Effect]:
    """Delete the record of a task that has ended."""
    if event.task_id in books.tasks:
        state = books.tasks[event.task_id].state
        raise Conflict(
            f"task {event.task_id} is {state.value}",
            field="task_id",
            limit="ended tasks",
            hint="cancel it first",
            facts={"state": state.value},
        )
    return [DeleteTask(event.task_id), Log("removed", event.task_id, None, None, event.by)]
