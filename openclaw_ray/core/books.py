"""The records and everything derived from them, with one rule that keeps them together.

A record changes only between `open_*` and `close_*`: opening notes a copy for undo and takes the record out of every
index that follows what may change, closing puts it back by what it says now. So an index can never disagree with its
records, undo is the same move with the old copy, and `mirror()` can derive everything again to prove it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

from openclaw_ray.core.crashes import Crashes
from openclaw_ray.core.records import LeaseRecord, Needs, NodeRecord, Order, Shape, TaskRecord, start_order
from openclaw_ray.core.resources import Room
from openclaw_ray.core.timers import STALE_MAX, Timers
from openclaw_ray.core.types import TERMINAL_STATES, TaskState

#: Shapes without a live task that are remembered for their run times; those idle longest are forgotten.
IDLE_SHAPES_MAX = 256

_PENDING = TaskState.PENDING


class Books:
    """Live tasks, leases, nodes and shapes of one cluster."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.leases: dict[int, LeaseRecord] = {}
        self.nodes: dict[str, NodeRecord] = {}
        self.shapes: dict[int, Shape] = {}
        self.shape_of: dict[Needs, Shape] = {}
        #: Live tasks by state.
        self.counts: Counter[TaskState] = Counter()
        #: Task id to the ids of those that wait for it.
        self.dependents: dict[str, set[str]] = {}
        #: Shapes without a live task, idle longest first.
        self.idle: dict[int, Shape] = {}
        #: Tasks by the wall time of their not_before or backoff, and of their deadline.
        self.due = Timers()
        self.deadlines = Timers()
        #: Drained nodes by the wall time until which what runs there may finish.
        self.holds = Timers()
        #: Quarantined nodes by the wall time of its end.
        self.quarantines = Timers()
        #: Which skill crashed where, see health.py. Neither written nor undone.
        self.crashes = Crashes()
        #: Watched nodes by the monotonic time until which they may be silent.
        self.silences = Timers()
        #: Ready tasks of all shapes.
        self.ready = 0
        #: Shape to node to standing order, see standing.py. Neither written nor undone.
        self.standing: dict[int, dict[str, Order]] = {}
        self.next_seq = 1
        self.next_token = 1
        self.next_shape = 1
        #: Since the last `settle`: what changed, for the watchers and the database.
        self.touched_tasks: dict[str, TaskRecord | None] = {}
        self.touched_leases: dict[int, LeaseRecord | None] = {}
        self.touched_nodes: dict[str, NodeRecord | None] = {}
        self.changed_shapes: set[int] = set()
        self.changed_nodes: set[str] = set()
        #: Grows with every change to a stored record, for `ClusterState.version`. Leases are stored with their tasks.
        self.writes = 0
        self._saved = (1, 1)

    # -- tasks -----------------------------------------------------------------------------------------------------

    def add_task(self, task: TaskRecord) -> None:
        """Take in a new record."""
        self.touched_tasks.setdefault(task.id, None)
        self.writes += 1
        self.tasks[task.id] = task
        self._index_task(task)

    def open_task(self, task: TaskRecord) -> None:
        """Before the first change to a record."""
        if task.id not in self.touched_tasks:
            self.touched_tasks[task.id] = task.copy()
        self.writes += 1
        self._unfile_task(task)

    def close_task(self, task: TaskRecord) -> None:
        """After the last change to a record; a task that has ended leaves memory."""
        if task.state in TERMINAL_STATES:
            self.tasks.pop(task.id, None)
            self._leave_shape(task)
            self.deadlines.clear(task.id)
        else:
            self._file_task(task)

    def reshape_task(self, task: TaskRecord, needs: Needs) -> None:
        """What an opened task asks is another thing now."""
        self._leave_shape(task)
        task.shape = self.shape(needs)
        self._join_shape(task)

    def rouse_task(self, task: TaskRecord) -> None:
        """Backoff or `not_before` is over. Time alone did it, so it is neither written nor undone."""
        self._unfile_task(task)
        task.ready_at = task.due
        task.due = 0.0
        task.backing_off = False
        self._file_task(task)

    def _index_task(self, task: TaskRecord) -> None:
        self._join_shape(task)
        if task.deadline:
            self.deadlines.set(task.id, task.deadline)
        self._file_task(task)

    def _unindex_task(self, task: TaskRecord) -> None:
        self._unfile_task(task)
        self._leave_shape(task)
        self.deadlines.clear(task.id)

    def _join_shape(self, task: TaskRecord) -> None:
        shape = task.shape
        if shape is not None:
            shape.live += 1
            if shape.live == 1:
                self.idle.pop(shape.id, None)

    def _leave_shape(self, task: TaskRecord) -> None:
        shape = task.shape
        if shape is not None:
            shape.live -= 1
            if not shape.live:
                self.idle[shape.id] = shape

    def _file_task(self, task: TaskRecord) -> None:
        """Into the indexes that follow its state: the counts, and where it waits."""
        self.counts[task.state] += 1
        if task.state is not _PENDING:
            return
        shape = task.shape
        if task.blockers:
            for blocker in task.blockers:
                self.dependents.setdefault(blocker, set()).add(task.id)
        elif task.due:
            self.due.set(task.id, task.due)
        elif shape is not None:
            heapq.heappush(shape.heap, (task.rank, task.seq, task.id))
            shape.tail_rank = max(shape.tail_rank, task.rank) if shape.waiting else task.rank
            shape.waiting += 1
            self.ready += 1
            self.changed_shapes.add(shape.id)

    def _unfile_task(self, task: TaskRecord) -> None:
        self.counts[task.state] -= 1
        if task.state is not _PENDING:
            return
        shape = task.shape
        if task.blockers:
            for blocker in task.blockers:
                waiting = self.dependents[blocker]
                waiting.discard(task.id)
                if not waiting:
                    del self.dependents[blocker]
        elif task.due:
            self.due.clear(task.id)
        elif shape is not None:
            shape.waiting -= 1
            self.ready -= 1
            self.changed_shapes.add(shape.id)
            if len(shape.heap) > STALE_MAX + 2 * shape.waiting:
                self._compact(shape, task)

    def _compact(self, shape: Shape, leaving: TaskRecord) -> None:
        """Drop stale heap entries, so that a shape that lives for weeks does not grow."""
        kept = {e for e in shape.heap if e[2] != leaving.id and self._is_ready(shape, e)}
        shape.heap = sorted(kept)

    def _is_ready(self, shape: Shape, entry: tuple[float, int, str]) -> bool:
        task = self.tasks.get(entry[2])
        return task is not None and task.rank == entry[0] and task.shape is shape and task.ready

    def head(self, shape: Shape) -> TaskRecord | None:
        """The next ready task of a shape; stale entries above it are dropped."""
        heap = shape.heap
        while heap:
            if self._is_ready(shape, heap[0]):
                return self.tasks[heap[0][2]]
            heapq.heappop(heap)
        return None

    def ahead(self, task: TaskRecord) -> int:
        """How many ready tasks of the same shape come before a ready task."""
        shape = task.shape
        if shape is None or not task.ready:
            return 0
        mine = (task.rank, task.seq)
        return len({e[2] for e in shape.heap if (e[0], e[1]) < mine and self._is_ready(shape, e)})

    # -- shapes ----------------------------------------------------------------------------------------------------

    def shape(self, needs: Needs) -> Shape:
        """The shape of these needs; made, and matched with every node, when it is new."""
        shape = self.shape_of.get(needs)
        if shape is None:
            shape = Shape(self.next_shape, needs)
            self.next_shape += 1
            self.shapes[shape.id] = self.shape_of[needs] = self.idle[shape.id] = shape
            shape.nodes = {n.id for n in self.nodes.values() if n.offers_all(needs)}
        return shape

    def _forget_idle_shapes(self) -> None:
        while len(self.idle) > IDLE_SHAPES_MAX:
            shape = self.idle.pop(next(iter(self.idle)))
            del self.shapes[shape.id], self.shape_of[shape.needs]
            self.changed_shapes.add(shape.id)

    # -- leases ----------------------------------------------------------------------------------------------------

    def add_lease(self, lease: LeaseRecord) -> None:
        """Take in a new lease."""
        self.touched_leases.setdefault(lease.token, None)
        self.leases[lease.token] = lease
        self._index_lease(lease)

    def note_lease(self, lease: LeaseRecord) -> None:
        """Before a change that no index follows: its start, and why it is being stopped."""
        if lease.token not in self.touched_leases:
            self.touched_leases[lease.token] = lease.copy()

    def open_lease(self, lease: LeaseRecord) -> None:
        """Before the first change to a lease."""
        self.note_lease(lease)
        self._unindex_lease(lease)

    def close_lease(self, lease: LeaseRecord) -> None:
        """After the last change to a lease that lives on."""
        self._index_lease(lease)

    def drop_lease(self, lease: LeaseRecord) -> None:
        """End a lease: its room is free."""
        self.open_lease(lease)
        del self.leases[lease.token]

    def _index_lease(self, lease: LeaseRecord) -> None:
        node = self.nodes.get(lease.node_id) if lease.node_id else None
        if node is None:
            return
        node.leases[lease.token] = lease
        if lease.seated:
            node.seated[lease.token] = lease
            if lease.needs is not None:
                node.room.take(lease.needs.resources)
        elif lease.needs is not None:
            if len(node.queue) > STALE_MAX + 2 * len(node.leases):
                node.queue = sorted({e for e in node.queue if (x := node.leases.get(e[2])) and not x.seated})
            node.queued[lease.needs] = node.queued.get(lease.needs, 0) + 1
            heapq.heappush(node.queue, start_order(lease.needs.urgent, lease.rank, lease.token))
        self.changed_nodes.add(node.id)

    def _unindex_lease(self, lease: LeaseRecord) -> None:
        node = self.nodes.get(lease.node_id) if lease.node_id else None
        if node is None:
            return
        del node.leases[lease.token]
        if lease.seated:
            del node.seated[lease.token]
            if lease.needs is not None:
                node.room.give(lease.needs.resources)
        elif lease.needs is not None:
            left = node.queued[lease.needs] - 1
            if left:
                node.queued[lease.needs] = left
            else:
                del node.queued[lease.needs]
        self.changed_nodes.add(node.id)

    # -- nodes -----------------------------------------------------------------------------------------------------

    def add_node(self, node: NodeRecord) -> None:
        """Take in a new node."""
        self.touched_nodes.setdefault(node.id, None)
        self.writes += 1
        self.nodes[node.id] = node
        self.close_node(node)

    def open_node(self, node: NodeRecord) -> None:
        """Before the first change to a node."""
        if node.id not in self.touched_nodes:
            self.touched_nodes[node.id] = node.copy()
        self.writes += 1

    def close_node(self, node: NodeRecord) -> None:
        """After the last change: capacity and eligibility follow what the node says now."""
        self.standing.clear()
        if node.room.total != node.capacity.to_units():
            self._seat_again(node)
        for shape in self.shapes.values():
            if node.offers_all(shape.needs):
                shape.nodes.add(node.id)
            else:
                shape.nodes.discard(node.id)
        if node.held_until:
            self.holds.set(node.id, node.held_until)
        else:
            self.holds.clear(node.id)
        if node.quarantined_until:
            self.quarantines.set(node.id, node.quarantined_until)
        else:
            self.quarantines.clear(node.id)
        self.changed_nodes.add(node.id)

    def drop_node(self, node: NodeRecord) -> None:
        """Forget a node; its leases have ended before."""
        self.open_node(node)
        self._forget_node(node.id)

    def _forget_node(self, node_id: str) -> None:
        self.standing.clear()
        del self.nodes[node_id]
        self.holds.clear(node_id)
        self.quarantines.clear(node_id)
        self.silences.clear(node_id)
        for shape in self.shapes.values():
            shape.nodes.discard(node_id)
        self.changed_nodes.add(node_id)

    def _seat_again(self, node: NodeRecord) -> None:
        node.room = Room(node.capacity)
        node.queued = Counter(x.needs for x in node.leases.values() if not x.seated and x.needs is not None)
        node.seated = {token: lease for token, lease in node.leases.items() if lease.seated}
        for lease in node.seated.values():
            if lease.needs is not None:
                node.room.take(lease.needs.resources)

    def watch_silence(self, node: NodeRecord, silent_at: float) -> None:
        """Note until when (monotonic) a node may be silent; 0: it is not watched."""
        node.silent_at = silent_at
        if silent_at:
            self.silences.set(node.id, silent_at)
        else:
            self.silences.clear(node.id)

    # -- commit and undo -------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """The batch is on disk: what was touched is no longer undone."""
        self.touched_tasks.clear()
        self.touched_leases.clear()
        self.touched_nodes.clear()
        self._saved = (self.next_seq, self.next_token)
        self._forget_idle_shapes()  # not sooner: a record that an undo brings back needs its shape

    def undo(self) -> None:
        """The batch was refused: every touched record is again what it was at the last `settle`.

        What was observed meanwhile (usage, signs of life, that a wait is over) stays.
        """
        for token in self.touched_leases:
            if token in self.leases:
                self._unindex_lease(self.leases.pop(token))
        for node_id, old_node in self.touched_nodes.items():
            self._undo_node(node_id, old_node)
        for token, old_lease in self.touched_leases.items():
            if old_lease is not None:
                self.leases[token] = old_lease
                self._index_lease(old_lease)
        for task_id, old_task in self.touched_tasks.items():
            if task_id in self.tasks:
                self._unindex_task(self.tasks.pop(task_id))
            if old_task is not None:
                self.tasks[task_id] = old_task
                self._index_task(old_task)
        self.next_seq, self.next_token = self._saved
        self.settle()

    def _undo_node(self, node_id: str, old: NodeRecord | None) -> None:
        now = self.nodes.get(node_id)
        if old is None:
            if now is not None:
                self._forget_node(node_id)
            return
        if now is not None:
            old.leases, old.queue = now.leases, now.queue
            old.keep_observations(now)
        self.nodes[node_id] = old
        self._seat_again(old)
        self.watch_silence(old, old.silent_at)
        self.close_node(old)

    # -- proof -----------------------------------------------------------------------------------------------------

    def mirror(self) -> Iterator[str]:
        """Derive every index again from the records; yield a line for each difference."""
        counts = Counter(t.state for t in self.tasks.values())
        if self.ready != (ready := sum(t.ready for t in self.tasks.values())):
            yield f"{self.ready} are ready, records say {ready}"
        if counts != +self.counts:
            yield f"counts are {dict(+self.counts)}, records say {dict(counts)}"
        if lost := [t.id for t in self.tasks.values() if t.shape and self.shapes.get(t.shape.id) is not t.shape]:
            yield f"their shape is forgotten: {lost}"
        dependents: dict[str, set[str]] = {}
        for task in self.tasks.values():
            if task.state is TaskState.PENDING:
                for blocker in task.blockers:
                    dependents.setdefault(blocker, set()).add(task.id)
        if dependents != self.dependents:
            yield f"dependents are {self.dependents}, records say {dependents}"
        for shape in self.shapes.values():
            yield from self._mirror_shape(shape)
        for node in self.nodes.values():
            yield from self._mirror_node(node)
        tasks, nodes = self.tasks.values(), self.nodes.values()
        waits = {t.id: t.due for t in tasks if t.state is TaskState.PENDING and t.due and not t.blockers}
        for name, timers, wanted in (
            ("due", self.due, waits),
            ("deadlines", self.deadlines, {t.id: t.deadline for t in tasks if t.deadline}),
            ("silences", self.silences, {n.id: n.silent_at for n in nodes if n.silent_at}),
            ("quarantines", self.quarantines, {n.id: n.quarantined_until for n in nodes if n.quarantined_until}),
        ):
            if timers.at != wanted:
                yield f"{name} are {timers.at}, records say {wanted}"

    def _mirror_shape(self, shape: Shape) -> Iterator[str]:
        ready = {t.id for t in self.tasks.values() if t.shape is shape and t.ready}
        live = sum(t.shape is shape for t in self.tasks.values())
        if shape.waiting != len(ready) or shape.live != live:
            yield f"shape {shape.id}: waiting {shape.waiting} of {len(ready)}, live {shape.live} of {live}"
        if (shape.id in self.idle) != (not live) or self.shape_of.get(shape.needs) is not shape:
            yield f"shape {shape.id}: {live} live, idle {shape.id in self.idle}"
        if missing := ready - {e[2] for e in shape.heap if self._is_ready(shape, e)}:
            yield f"shape {shape.id}: not in its heap: {sorted(missing)}"
        eligible = {n.id for n in self.nodes.values() if n.offers_all(shape.needs)}
        if eligible != shape.nodes:
            yield f"shape {shape.id}: nodes {sorted(shape.nodes)}, should be {sorted(eligible)}"

    def _mirror_node(self, node: NodeRecord) -> Iterator[str]:
        leases = {t: x for t, x in self.leases.items() if x.node_id == node.id}
        if leases != node.leases:
            yield f"node {node.id}: leases {sorted(node.leases)}, should be {sorted(leases)}"
        room = Room(node.capacity)
        seated = [x for x in leases.values() if x.seated]
        for lease in seated:
            if lease.needs is not None:
                room.take(lease.needs.resources)
        if ({x.token for x in seated}, room.used, room.total) != (set(node.seated), node.room.used, node.room.total):
            yield f"node {node.id}: {node.seats} seats, {node.room.used} used; records say {len(seated)}, {room.used}"
        by_needs = Counter(x.needs for x in leases.values() if not x.seated and x.needs is not None)
        if by_needs != node.queued:
            yield f"node {node.id}: {sum(node.queued.values())} queued, records say {sum(by_needs.values())}"
        queued = {t for t, x in leases.items() if not x.seated and x.needs is not None and not x.stopping}
        if missing := queued - {e[2] for e in node.queue}:
            yield f"node {node.id}: not in its queue: {sorted(missing)}"
