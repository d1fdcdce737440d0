"""`ClusterState`: the one thing that decides. Events in, effects out, nothing else changes it.

Same events, same times: same effects. It keeps no clock and waits for nothing: leases, backoff and deadlines are data,
and `next_deadline()` says when to look again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from openclaw_ray.core import events as ev
from openclaw_ray.core import health, leases, nodes, standing, tasks
from openclaw_ray.core.books import Books
from openclaw_ray.core.effects import STORED, Effect
from openclaw_ray.core.records import LeaseRecord, Needs, NodeRecord, Rules, Shape, TaskRecord
from openclaw_ray.core.seats import promote, unseat
from openclaw_ray.core.types import NodeStatus, Now, TaskState

Handler = Callable[[Books, Any, Now, Rules], list[Effect]]

_HANDLERS: Mapping[type, Handler] = MappingProxyType(
    {
        ev.TaskSubmitted: standing.submitted,
        ev.NodeRefilled: standing.refilled,
        ev.Assigned: leases.assigned,
        ev.AttemptStarted: tasks.started,
        ev.AttemptEnded: health.ended,
        ev.CancelAsked: tasks.cancel_asked,
        ev.TaskEdited: tasks.edited,
        ev.TaskMovedByHand: tasks.moved_by_hand,
        ev.TaskRemoved: tasks.removed,
        ev.Recalled: leases.recalled,
        ev.Ticked: nodes.ticked,
        ev.NodeAdded: nodes.added,
        ev.NodeRegistered: nodes.registered,
        ev.NodeHeard: nodes.heard,
        ev.NodeSilenced: nodes.silenced,
        ev.NodeHeld: nodes.held,
        ev.NodeUnheld: nodes.unheld,
        ev.NodeEdited: nodes.edited,
        ev.NodeMovedByHand: nodes.moved_by_hand,
        ev.NodeRemoved: nodes.removed,
    }
)


class ClusterState:
    """Live tasks, leases and nodes, and what follows from an event.

    Between two `settle()` calls everything can be taken back with `undo()`; the caller commits in between. Records that
    the views hand out are the live ones: read them, never change them, and not across an await.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.books = Books()
        #: Grows with every event that changed something durable; the same after a restart.
        self.version = 0
        self._settled_version = 0

    def apply(self, event: ev.Event, now: Now) -> list[Effect]:
        """Carry out one event.

        Returns:
            Effects in the order in which they happened.

        Raises:
            OpenClawError: the event is refused; nothing of it was applied.
        """
        before = self.books.writes
        effects = _HANDLERS[type(event)](self.books, event, now, self.rules)
        if self.books.writes != before or any(isinstance(e, STORED) for e in effects):
            self.version += 1
        return effects

    def settle(self) -> None:
        """The batch is on disk."""
        self._settled_version = self.version
        self.books.settle()

    def undo(self) -> None:
        """The batch was refused: memory equals disk again."""
        self.version = self._settled_version
        self.books.undo()

    def restore(
        self,
        version: int,
        next_seq: int,
        next_token: int,
        node_records: list[NodeRecord],
        task_records: list[TaskRecord],
        lease_records: list[LeaseRecord],
        now: Now | None = None,
    ) -> None:
        """Take over what the database holds, after a start; only on an empty state.

        Args:
            version: State version of the newest commit.
            next_seq: Above every submission number ever given.
            next_token: Above every token ever given.
            node_records: All nodes.
            task_records: All live tasks.
            lease_records: All leases that have not ended.
            now: The present, see `watch_all`; without it the caller does that before it serves.
        """
        books = self.books
        for node in node_records:
            books.add_node(node)
        for task in task_records:
            books.add_task(task)
        for lease in lease_records:
            if not lease.rank and lease.task_id in books.tasks:
                lease.rank = books.tasks[lease.task_id].rank
            lease.seated = lease.seated or lease.started_at > 0
            books.add_lease(lease)
        for node in node_records:
            unseat(books, node)
            promote(books, node)
        books.next_seq, books.next_token = next_seq, next_token
        self.version = version
        if now is not None:
            self.watch_all(now)
        self.settle()

    def watch_all(self, now: Now) -> None:
        """Give every node that is not offline a full lease time: after a start, and after a stall of this process."""
        for node in self.books.nodes.values():
            if node.status is not NodeStatus.OFFLINE:
                self.books.watch_silence(node, now.mono + self.rules.lease_ttl_s)

    def observe(self, node_id: str, cpu: float, memory: float, disk: float, now: Now) -> None:
        """A living node was heard: an observation, in memory at once, without version, event or undo."""
        node = self.books.nodes.get(node_id)
        if node is None or node.status is NodeStatus.OFFLINE:
            return  # removed meanwhile, or silent for too long: only `NodeHeard` and `NodeRegistered` bring it back
        node.cpu_usage, node.memory_usage, node.disk_usage = cpu, memory, disk
        node.last_heartbeat = now.wall
        self.books.watch_silence(node, now.mono + self.rules.lease_ttl_s)
        self.books.changed_nodes.add(node_id)

    def observe_run(self, shape_needs: Needs, run_s: float) -> None:
        """A run of a shape took this long; the mean follows with weight 0.2, so it adapts within some runs."""
        shape = self.books.shape_of.get(shape_needs)
        if shape is not None:
            shape.mean_run_s = run_s if shape.mean_run_s is None else 0.8 * shape.mean_run_s + 0.2 * run_s

    def replace(self, fresh: ClusterState) -> None:
        """Take over another state whole, such as one that was built from disk."""
        self.books, self.version = fresh.books, fresh.version
        self.settle()

    def next_deadline(self) -> tuple[float | None, float | None]:
        """When `Ticked` will do something next: (wall seconds, monotonic seconds), None where nothing is due."""
        books = self.books
        walls = [
            at
            for timers in (books.due, books.deadlines, books.holds, books.quarantines)
            if (at := timers.first()) is not None
        ]
        return (min(walls, default=None), books.silences.first())

    # -- views ----------------------------------------------------------------------------------------------------

    def task(self, task_id: str) -> TaskRecord | None:
        """A live task, or None."""
        return self.books.tasks.get(task_id)

    def node(self, node_id: str) -> NodeRecord | None:
        """A node, or None."""
        return self.books.nodes.get(node_id)

    @property
    def tasks(self) -> Mapping[str, TaskRecord]:
        """All live tasks by id."""
        return MappingProxyType(self.books.tasks)

    @property
    def nodes(self) -> Mapping[str, NodeRecord]:
        """All nodes by id."""
        return MappingProxyType(self.books.nodes)

    @property
    def leases(self) -> Mapping[int, LeaseRecord]:
        """All live leases by token."""
        return MappingProxyType(self.books.leases)

    @property
    def shapes(self) -> Mapping[int, Shape]:
        """All shapes by id."""
        return MappingProxyType(self.books.shapes)

    def count(self, state: TaskState) -> int:
        """Live tasks in a state."""
        return self.books.counts[state]

    # -- proof ----------------------------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        """Derive every index again and check what must always hold; for tests and simulations.

        Raises:
            AssertionError: naming every difference.
        """
        wrong = [*self.books.mirror(), *self._broken_promises()]
        assert not wrong, "; ".join(wrong)

    def _broken_promises(self) -> list[str]:
        books = self.books
        wrong = [line for task in books.tasks.values() if (line := _wrong_task(task, books))]
        for node in books.nodes.values():
            early = [x for x in node.by_token if x.seated and not x.started_at and not x.stopping]
            if crowding := [x.token for x in early if node.crowded(x.needs)]:
                wrong.append(
                    f"node {node.id} has too little for {crowding}, which sit there and have not started (I17)"
                )
            if (node.silent_at > 0) == (node.status is NodeStatus.OFFLINE):
                wrong.append(f"node {node.id} is {node.status}, watched until {node.silent_at} (I23)")
            if node.quarantined_until and node.status not in (NodeStatus.ERROR, NodeStatus.OFFLINE):
                wrong.append(f"node {node.id} is {node.status}, though it is quarantined (I18)")
        for lease in books.leases.values():
            under = books.tasks.get(lease.task_id)
            if not lease.stopping and (under is None or under.token != lease.token):
                wrong.append(f"lease {lease.token} has no task and is not being stopped")
            if lease.node_id is not None and lease.node_id not in books.nodes:
                wrong.append(f"lease {lease.token} is on node {lease.node_id}, which is gone")
        if max(books.leases, default=0) >= books.next_token:
            wrong.append("a token was given twice (I11)")
        return wrong


def _wrong_task(task: TaskRecord, books: Books) -> str:
    """What is wrong with one task; empty when nothing is."""
    lease = books.leases.get(task.token)
    held = lease is not None and (lease.task_id, lease.attempt) == (task.id, task.attempt)
    if (task.state is not TaskState.PENDING) != held:
        return f"task {task.id} is {task.state} with lease {lease}"
    if lease is not None and held and lease.node_id != task.node_id:
        return f"task {task.id} is on {task.node_id}; its lease says {lease}"
    if not task.daemon and (task.lost > task.max_lost or task.retries > task.max_retries):
        return f"task {task.id} spent more than its budget (I14)"
    if unknown := [] if books.touched_tasks else sorted(b for b in task.blockers if b not in books.tasks):
        return f"task {task.id} waits for {unknown}, which will never end"
    return ""
