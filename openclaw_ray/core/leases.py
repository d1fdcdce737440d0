"""What happens to leases: a plan is checked against the present and committed row by row; unstarted ones are recalled.

The Scheduler proposes, this disposes: it never trusts a row further than the records of this moment.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from heapq import heapify, heappop, heappush

from openclaw_ray.core import events as ev
from openclaw_ray.core.books import Books
from openclaw_ray.core.effects import Effect, GrantLease, RefuseRow
from openclaw_ray.core.records import LeaseRecord, NodeRecord, Order, Rules, Shape, TaskRecord
from openclaw_ray.core.seats import may_queue
from openclaw_ray.core.tasks import ask_stop, deadline_passed
from openclaw_ray.core.transitions import TaskCause, task_after
from openclaw_ray.core.types import Now


def assigned(books: Books, event: ev.Assigned, now: Now, rules: Rules) -> list[Effect]:
    """Lease what still holds of a plan, the most urgent task first; say of each row what was missed."""
    rows = event.rows
    placed = [0] * len(rows)
    effects = _Round(books, now, rules, rows, placed, seated=True).lease_all()
    effects += _Round(books, now, rules, rows, placed, seated=False).lease_all()
    for row, n in zip(rows, placed, strict=True):
        if row.credit and row.shape_id in books.shapes:
            orders = books.standing.setdefault(row.shape_id, {})
            orders[row.node_id] = Order(row.credit, now.mono + row.expires_s, row.level)
        missed = row.seated + row.prefill - n
        effects.append(RefuseRow(row.shape_id, row.node_id, n, missed))
        if missed:  # what the scheduler counted as taken is free: tell it again
            books.changed_nodes.add(row.node_id)
            books.changed_shapes.add(row.shape_id)
    return effects


class _Round:
    """One walk over the rows of a plan: first for its seats, then for its prefills.

    Rows of all shapes are served together in the order of rank, because ranks of shapes interleave: row by row, the
    second task of the first row would go ahead of the first task of the second.
    """

    def __init__(
        self, books: Books, now: Now, rules: Rules, rows: tuple[ev.PlanRow, ...], placed: list[int], *, seated: bool
    ) -> None:
        self.books, self.now, self.rules, self.rows, self.placed = books, now, rules, rows, placed
        self.seated = seated
        #: Shape to the numbers of its rows, in the plan's order, and what is left of the first.
        self.todo: dict[int, deque[int]] = {}
        self.left = [row.seated if seated else row.prefill for row in rows]
        for i, row in enumerate(rows):
            if self.left[i] > 0 and self._holds(row):
                self.todo.setdefault(row.shape_id, deque()).append(i)
        #: Waiting shapes that the plan does not (or no longer) serve, by the rank of their head.
        self.rivals: list[tuple[float, int]] = []
        for shape in books.shapes.values():
            if shape.waiting and shape.id not in self.todo:
                self._add_rival(shape)

    def lease_all(self) -> list[Effect]:
        """Lease as many as hold, count them in `placed`."""
        books, effects = self.books, list[Effect]()
        heap = [(head.rank, head.seq, i) for i in self.todo if (head := books.head(books.shapes[i])) is not None]
        heapify(heap)
        while heap:
            shape = books.shapes[heappop(heap)[2]]
            task = books.head(shape)
            if task is None:
                continue
            if task.deadline and task.deadline <= self.now.wall:
                effects += deadline_passed(books, task, self.now)  # time passed, the tick only comes later (I19)
            else:
                effects += self._lease_next(shape, task)
            head = books.head(shape)
            if head is None:
                continue
            if self.todo[shape.id]:
                heappush(heap, (head.rank, head.seq, shape.id))
            else:
                self._add_rival(shape)
        return effects

    def _lease_next(self, shape: Shape, task: TaskRecord) -> list[Effect]:
        """Lease a shape's head by its first row, or give that row up."""
        rows = self.todo[shape.id]
        i = rows[0]
        node = self.books.nodes[self.rows[i].node_id]
        if not self._has_place(node, shape) or self._has_rival(node, task):
            rows.popleft()
            return []
        self.placed[i] += 1
        self.left[i] -= 1
        if not self.left[i]:
            rows.popleft()
        return lease(self.books, task, node, self.seated, self.now)

    def _holds(self, row: ev.PlanRow) -> bool:
        shape, node = self.books.shapes.get(row.shape_id), self.books.nodes.get(row.node_id)
        if shape is None or node is None or not node.accepts or node.id not in shape.nodes:
            return False
        return self.seated or may_queue(self.books, node, shape.needs)

    def _has_place(self, node: NodeRecord, shape: Shape) -> bool:
        if self.seated:
            return node.has_seat(shape.needs)
        return len(node.leases) - node.seats < self.rules.prefill_max

    def _has_rival(self, node: NodeRecord, task: TaskRecord) -> bool:
        """Whether a more urgent task that this plan leaves out fits on the node (I20).

        For a prefill the room of now does not matter: it would take the next seat that the other waits for.
        """
        for rank, shape_id in self.rivals:
            if rank >= task.rank:
                return False
            other = self.books.shapes[shape_id]
            if node.id in other.nodes and (node.has_seat(other.needs) if self.seated else node.could_seat(other.needs)):
                return True
        return False

    def _add_rival(self, shape: Shape) -> None:
        head = self.books.head(shape)
        if head is not None:
            insort(self.rivals, (head.rank, shape.id))


def lease(books: Books, task: TaskRecord, node: NodeRecord, seated: bool, now: Now) -> list[Effect]:
    """Give `node` the right to run the next attempt of `task`."""
    shape = task.shape
    after = task_after(task.state, TaskCause.LEASED)
    token = books.next_token
    books.next_token += 1
    books.open_task(task)
    task.state = after
    task.attempt += 1
    task.token = token
    task.node_id = node.id
    task.seated = seated
    task.by_hand = False
    task.scheduled_at = max(now.wall, task.submitted_at)
    task.started_at = 0.0
    books.close_task(task)
    granted = LeaseRecord(
        token, task.id, task.attempt, node.id, shape.needs if shape else None, seated, task.scheduled_at,
        rank=task.rank,
    )  # fmt: skip
    books.add_lease(granted)
    return [GrantLease(granted, task)]


def recalled(books: Books, event: ev.Recalled, now: Now, rules: Rules) -> list[Effect]:
    """Ask a node to hand back prefilled leases of a shape, newest first; it answers `released` or `started`."""
    node = books.nodes.get(event.node_id)
    shape = books.shapes.get(event.shape_id)
    if node is None or shape is None:
        return []
    effects: list[Effect] = []
    for held in reversed(node.by_token):
        if len(effects) >= event.at_most:
            break
        if not held.seated and not held.stopping and not held.started_at and held.needs == shape.needs:
            effects += ask_stop(books, held, "recall")
    return effects
