"""From effects to rows: what one batch writes, what it counts, and whom it wakes after the commit.

The core says what happened; here it becomes the content of one transaction. Which records changed is read from the
books' own notes, so a changed record cannot be forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from openclaw_ray.core import effects as fx
from openclaw_ray.core.records import LeaseRecord, NodeRecord, TaskRecord
from openclaw_ray.core.state import ClusterState
from openclaw_ray.core.types import TERMINAL_STATES, Now, Outcome, TaskState
from openclaw_ray.metrics import Meter
from openclaw_ray.models.door import dumps
from openclaw_ray.models.fields import amounts_of, iso
from openclaw_ray.runtime.intake import Intake
from openclaw_ray.storage.batch import (
    NO_EVIDENCE,
    AttemptEnd,
    AttemptStart,
    Batch,
    NodeObservation,
    TaskEnd,
    TaskUpdate,
)
from openclaw_ray.storage.lookups import Known
from openclaw_ray.storage.rows import AttemptRow, EventRow, NodeRow, SkillRow

#: Observations of nodes are written with a commit, but not more often than this (seconds).
OBSERVE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class NodeDoc:
    """What is kept of a node beside what decisions need."""

    hostname: str = ""
    platform: str = ""
    arch: str = ""
    ip_address: str | None = None
    tailscale_ip: str | None = None
    port: int | None = None
    registered_at: str | None = None
    gpus: str = "[]"  # JSON text
    withheld: str = "{}"  # JSON text: skill -> reason
    #: Which agent process registered last; tells a restart of the coordinator from a restart of the agent.
    agent_process: str = ""
    #: Slots and tags as the agent declared them, JSON text: a different declaration replaces the owner's changes.
    declared: str = ""

    def with_withheld(self, withheld: str) -> NodeDoc:
        """The same node, withholding other skills."""
        return replace(self, withheld=withheld)


@dataclass(slots=True)
class Signals:
    """Whom a committed batch wakes."""

    grants: list[LeaseRecord] = field(default_factory=list)
    stops: list[fx.StopLease] = field(default_factory=list)
    closed: list[LeaseRecord] = field(default_factory=list)
    #: Task, result and error as JSON text.
    ended: list[tuple[TaskRecord, str | None, str | None]] = field(default_factory=list)
    accepted: list[tuple[str, Intake]] = field(default_factory=list)
    skills: bool = False


class Ledger:
    """The batch in the making, and the counts and documents that outlive it."""

    def __init__(self, meter: Meter, revision_of: Callable[[str, str], str | None]) -> None:
        self.meter = meter
        #: (node, skill) -> the revision that the node offers now; recorded on the attempt.
        self._revision_of = revision_of
        self.batch = Batch()
        self.signals = Signals()
        self.node_docs: dict[str, NodeDoc] = {}
        self.next_event = 1
        #: Tasks of the batch in the making, for a repeat of a submit within it.
        self.fresh: dict[str, Known] = {}
        #: Ended tasks that are kept, by final state.
        self.finished: Counter[str] = Counter()
        self._finished_before: Counter[str] = Counter()
        self._docs_before: dict[str, NodeDoc | None] = {}
        self._inserted: dict[str, int] = {}
        #: Attempts that started in this batch and go on.
        self._starts: dict[int, AttemptStart] = {}
        self._event_before = 1
        self._observed_at = 0.0
        self._observed: set[str] = set()
        self._flushed: set[str] = set()
        #: The time of the batch, and its text.
        self._now, self._at = Now(0.0, 0.0), ""

    # -- one batch -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Open a batch."""
        self.batch = Batch()
        self.signals = Signals()
        self._docs_before.clear()
        self._inserted.clear()
        self._flushed.clear()
        self.fresh.clear()
        self._starts.clear()
        self._finished_before = self.finished.copy()
        self._event_before = self.next_event
        self.meter.checkpoint()

    def record(self, effects: list[fx.Effect], version: int, now: Now) -> None:
        """Turn the effects of one event into rows, counts and signals."""
        if now is not self._now:
            self._now, self._at = now, iso(now.wall)
        for effect in effects:
            _RECORDERS[type(effect)](self, effect, version)

    def put_skill(self, row: SkillRow, code: tuple[str, bytes] | None) -> None:
        """Store a registration."""
        self.batch.insert_skills.append(row)
        if code is not None:
            self.batch.insert_code.append(code)
        self.signals.skills = True

    def write_needed(self, state: ClusterState) -> bool:
        """Finish the batch from the touched records; False when there is nothing to write."""
        books = state.books
        for task_id in books.touched_tasks:
            task = books.tasks.get(task_id)
            if task is not None:
                task.version = state.version
                if self._inserted.get(task_id) != _stamp(task):
                    self.batch.update_tasks.append(TaskUpdate._make((*_live_columns(task), task_id)))
        for node_id in books.touched_nodes:
            node = books.nodes.get(node_id)
            if node is not None:
                node.version = state.version
                self.batch.upsert_nodes.append(self.node_row(node))
        self.batch.start_attempts = list(self._starts.values())
        if self.batch.empty:
            return False
        self._observe(state)
        self.batch.counters = self.meter.take_changed()
        self.batch.meta |= {
            "version": str(state.version),
            "next_seq": str(books.next_seq),
            "next_token": str(books.next_token),
            "next_event": str(self.next_event),
        }
        return True

    def committed(self, seconds: float | None) -> None:
        """The batch is on disk (or was empty)."""
        self.meter.commit()
        if seconds is not None:
            self.meter.observe("commit_seconds", (), seconds)
            self.meter.observe("commit_batch_changes", (), float(len(self.batch.events)))
        # From here on there is nothing to take back, should the next batch be refused before it begins.
        self._docs_before.clear()
        self._finished_before = self.finished.copy()
        self._event_before = self.next_event

    def rolled_back(self) -> None:
        """The batch was refused: nothing of it happened."""
        self.meter.rollback()
        self.next_event = self._event_before
        self.finished = self._finished_before
        for node_id, doc in self._docs_before.items():
            if doc is None:
                self.node_docs.pop(node_id, None)
            else:
                self.node_docs[node_id] = doc
        self._observed |= self._flushed
        self.batch = Batch()
        self.signals = Signals()

    def note_observation(self, node_id: str) -> None:
        """A heartbeat changed what is observed of a node; it is written with a commit before long."""
        self._observed.add(node_id)

    def observation_due(self, now: Now, after_s: float) -> bool:
        """Whether observations have waited for `after_s` seconds."""
        return bool(self._observed) and now.mono - self._observed_at >= after_s

    def flush_observations(self, state: ClusterState, now: Now) -> None:
        """Write the observations with this batch, whatever else it holds."""
        self._observed_at = now.mono
        for node_id in sorted(self._observed):
            node = state.books.nodes.get(node_id)
            if node is not None:
                self.batch.observe_nodes.append(
                    NodeObservation(
                        node.cpu_usage,
                        node.memory_usage,
                        node.disk_usage,
                        node.seats,
                        iso(node.last_heartbeat),
                        node_id,
                    )
                )
        self._flushed |= self._observed
        self._observed.clear()

    def _observe(self, state: ClusterState) -> None:
        if self.observation_due(self._now, OBSERVE_EVERY_S):
            self.flush_observations(state, self._now)

    # -- effects ---------------------------------------------------------------------------------------------------

    def _event(
        self,
        version: int,
        what: str,
        task_id: str | None,
        attempt: int | None,
        node_id: str | None,
        by: str | None = None,
        reason: str | None = None,
    ) -> None:
        """One row of history."""
        row = EventRow(self.next_event, self._at, what, task_id, attempt, node_id, by, reason, version)
        self.batch.events.append(row)
        self.next_event += 1

    def _log(self, e: fx.Log, version: int) -> None:
        self._event(version, *e)

    def _insert_task(self, e: fx.InsertTask, version: int) -> None:
        task, intake = e.task, e.doc
        task.version = version
        self._inserted[task.id] = _stamp(task)
        row = intake.draft.row(task, intake)
        if task.state in TERMINAL_STATES:  # because of an upstream task, in this very event: its end is written too
            row = row._replace(status=TaskState.PENDING.value)
        self.batch.insert_tasks.append(row)
        self._event(version, "submitted", task.id, 0, None, e.by)
        self.signals.accepted.append((task.id, intake))
        self.meter.inc("tasks_submitted_total", (intake.spec.runs or "",))

    def _end_task(self, e: fx.EndTask, version: int) -> None:
        task = e.task
        task.version = version
        state = task.state.value
        error = dumps(e.error) if e.error is not None else None
        self.batch.end_tasks.append(TaskEnd._make((*_live_columns(task), e.result, error, task.id)))
        self.signals.ended.append((task, e.result, error))
        self.finished[state] += 1
        self.meter.inc("tasks_finished_total", (task.skill, state))
        self._event(version, state, task.id, task.attempt or None, e.node_id, e.by, e.reason)

    def _change_task(self, e: fx.ChangeTask, version: int) -> None:
        self.batch.change_tasks.append((e.task_id, {**e.columns, "version": version}))

    def _delete_task(self, e: fx.DeleteTask, version: int) -> None:
        self.batch.delete_tasks.append(e.task_id)

    def _grant(self, e: fx.GrantLease, version: int) -> None:
        lease = e.lease
        started = iso(lease.started_at) if lease.started_at else None
        revision = self._revision_of(lease.node_id, lease.needs.runs) if lease.node_id and lease.needs else None
        self.batch.insert_attempts.append(
            AttemptRow(
                token=lease.token,
                task_id=lease.task_id,
                attempt=lease.attempt,
                node_id=lease.node_id,
                outcome=None,
                leased_at=iso(lease.leased_at),
                started_at=started,
                ended_at=None,
                revision=revision,
                error=None,
                exit_status=None,
                signal=None,
                peak_memory=None,
                log_tail=None,
                by=None,
            )
        )
        if lease.node_id and not e.task.by_hand:
            self.signals.grants.append(lease)
            self._event(version, "scheduled", lease.task_id, lease.attempt, lease.node_id)

    def _note_start(self, e: fx.NoteStart, version: int) -> None:
        lease = e.lease
        self._starts[lease.token] = AttemptStart(iso(e.at), lease.token)
        self.meter.observe("task_wait_seconds", (e.skill,), e.wait_s)
        if e.runs:
            self._event(version, "running", lease.task_id, lease.attempt, lease.node_id, e.by)

    def _close(self, e: fx.CloseAttempt, version: int) -> None:
        lease, outcome = e.lease, e.outcome.value
        self._starts.pop(lease.token, None)  # its end says when it started as well
        started = iso(lease.started_at) if lease.started_at else None
        error = dumps(e.error) if e.error is not None else None
        exit_status, signal, peak_memory, log_tail = e.evidence or NO_EVIDENCE
        self.batch.end_attempts.append(
            AttemptEnd(
                outcome, started, iso(e.ended_at), error, exit_status, signal, peak_memory, log_tail, lease.token
            )
        )
        self.signals.closed.append(lease)
        self.meter.inc("task_attempts_total", (e.skill, outcome))
        if lease.started_at and e.outcome not in (Outcome.LOST, Outcome.RELEASED):
            self.meter.observe("task_run_seconds", (e.skill, outcome), e.run_s)

    def _stop(self, e: fx.StopLease, version: int) -> None:
        self.signals.stops.append(e)

    def _refuse(self, e: fx.RefuseReport, version: int) -> None:
        self.meter.inc("stale_reports_total", (_STALE_KINDS.get(e.why, "other"),))

    def _retry(self, e: fx.CountRetry, version: int) -> None:
        self.meter.inc("task_retries_total", (e.skill, e.reason))

    def _row(self, e: fx.RefuseRow, version: int) -> None:
        if e.placed:
            self.meter.inc("placements_total", ("placed",), e.placed)
        if e.missed:
            self.meter.inc("placements_total", ("raced",), e.missed)

    def _save_node(self, e: fx.SaveNode, version: int) -> None:
        self._docs_before.setdefault(e.node_id, self.node_docs.get(e.node_id))
        known = self.node_docs.get(e.node_id)
        first = known.registered_at if known is not None else None
        doc = e.doc if first is None else replace(e.doc, registered_at=first)
        self.node_docs[e.node_id] = doc
        if e.node_id in self.batch.delete_nodes:  # removed and back in one batch: deletes are written last
            self.batch.delete_nodes.remove(e.node_id)

    def _delete_node(self, e: fx.DeleteNode, version: int) -> None:
        self._docs_before.setdefault(e.node_id, self.node_docs.get(e.node_id))
        self.node_docs.pop(e.node_id, None)
        self.batch.delete_nodes.append(e.node_id)

    def _lose_node(self, e: fx.LoseNode, version: int) -> None:
        self.meter.inc("nodes_lost_total")

    # -- rows ------------------------------------------------------------------------------------------------------

    def node_row(self, node: NodeRecord) -> NodeRow:
        """The row of a node, from its record and its document."""
        doc = self.node_docs.get(node.id, NodeDoc())
        return NodeRow(
            node_id=node.id,
            hostname=doc.hostname,
            platform=doc.platform,
            arch=doc.arch,
            status=node.status.value,
            cpu_usage=node.cpu_usage,
            memory_usage=node.memory_usage,
            disk_usage=node.disk_usage,
            available_skills=dumps(sorted(node.offers)),
            max_concurrent_tasks=node.slots,
            running_tasks=node.seats,
            ip_address=doc.ip_address,
            tailscale_ip=doc.tailscale_ip,
            port=doc.port,
            total_tasks_processed=node.successful + node.failed,
            successful_tasks=node.successful,
            failed_tasks=node.failed,
            average_execution_time=node.mean_run_s,
            registered_at=doc.registered_at,
            last_heartbeat=iso(node.last_heartbeat) if node.last_heartbeat else None,
            tags=dumps(sorted(node.tags)),
            agent=int(node.agent),
            incarnation=node.incarnation,
            resources=dumps(amounts_of(node.capacity)),
            offers=dumps(node.offers),
            withheld=doc.withheld,
            gpus=doc.gpus,
            agent_process=doc.agent_process,
            declared=doc.declared,
            held_reason=node.held_reason,
            held_by=node.held_by,
            held_until=iso(node.held_until) if node.held_until else None,
            version=node.version,
        )


_RECORDERS: dict[type, Any] = {
    fx.Log: Ledger._log,
    fx.InsertTask: Ledger._insert_task,
    fx.EndTask: Ledger._end_task,
    fx.ChangeTask: Ledger._change_task,
    fx.DeleteTask: Ledger._delete_task,
    fx.GrantLease: Ledger._grant,
    fx.NoteStart: Ledger._note_start,
    fx.CloseAttempt: Ledger._close,
    fx.StopLease: Ledger._stop,
    fx.RefuseReport: Ledger._refuse,
    fx.CountRetry: Ledger._retry,
    fx.RefuseRow: Ledger._row,
    fx.SaveNode: Ledger._save_node,
    fx.DeleteNode: Ledger._delete_node,
    fx.LoseNode: Ledger._lose_node,
}

_STALE_KINDS = {
    "no such lease": "no_lease",
    "another node holds it": "other_node",
    "another agent owns the node": "other_agent",
    "task ended": "task_ended",
}


def _stamp(task: TaskRecord) -> int:
    """What an insert has written already: an untouched new task needs no update."""
    return hash((task.state, task.attempt, task.priority))


def _live_columns(task: TaskRecord) -> tuple[Any, ...]:
    """What of a task's row changes while it lives: the columns of `TaskUpdate` but its id."""
    return (
        task.state.value,
        task.priority,
        task.node_id,
        iso(task.scheduled_at) if task.scheduled_at else None,
        iso(task.started_at) if task.started_at else None,
        iso(task.completed_at) if task.completed_at else None,
        task.retries,
        task.lost,
        task.attempt,
        iso(task.due) if task.due and task.backing_off else None,
        task.version,
        task.token,
        int(task.seated),
        int(task.by_hand),
    )
