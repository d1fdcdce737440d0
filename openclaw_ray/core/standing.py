"""Standing orders: where the next tasks of a shape may go, said in advance, so that a lone task needs no round trip.

And what a node gave back is leased to it anew in the transaction of its report, while one shape alone has a backlog.

The Scheduler gives them with its plans and only where they say what it would say again; the present is checked when one
is used. They are never written and never undone: any change of a node, its skills or the policy voids them all, and a
restart of either side loses them.
"""

from __future__ import annotations

from openclaw_ray.core import events as ev
from openclaw_ray.core import leases, tasks
from openclaw_ray.core.books import Books
from openclaw_ray.core.effects import Effect, RefuseRow
from openclaw_ray.core.records import NodeRecord, Order, Rules, Shape, TaskRecord
from openclaw_ray.core.seats import may_queue
from openclaw_ray.core.types import Now


def submitted(books: Books, event: ev.TaskSubmitted, now: Now, rules: Rules) -> list[Effect]:
    """A new task; leased in the same transaction where a standing order allows it."""
    effects = tasks.submitted(books, event, now, rules)
    task = books.tasks.get(event.task_id)
    if task is not None and task.ready:
        effects += use(books, task, now)
    return effects


def use(books: Books, task: TaskRecord, now: Now) -> list[Effect]:
    """Lease a task by a standing order, if it is the only one that is ready: then it goes ahead of nobody (I20)."""
    shape = task.shape
    if shape is None or books.ready != 1 or shape.id not in books.standing:
        return []
    if task.deadline and task.deadline <= now.wall:
        return []
    orders = books.standing[shape.id]
    best: tuple[int, int, NodeRecord] | None = None
    for place, (node_id, order) in enumerate(orders.items()):
        node = books.nodes.get(node_id)
        if node is None or order.credit < 1 or order.until < now.mono or node_id not in shape.nodes:
            continue
        if order.level:  # given for a backlog, under whatever strategy: it says nothing of a lone task
            continue
        # The least loaded first, then in the order of the plan: what `least_tasks` would do with the present.
        if node.accepts and node.has_seat(shape.needs) and (best is None or (len(node.leases), place) < best[:2]):
            best = (len(node.leases), place, node)
    if best is None:
        return []
    node = best[2]
    orders[node.id].credit -= 1
    return [*leases.lease(books, task, node, True, now), RefuseRow(shape.id, node.id, 1, 0)]


def refilled(books: Books, event: ev.NodeRefilled, now: Now, rules: Rules) -> list[Effect]:
    """Keep a node at the level that the plan gave it, as long as no other shape waits: then nobody is passed over."""
    node = books.nodes.get(event.node_id)
    if node is None or not node.accepts or not books.ready:
        return []
    for shape_id, orders in books.standing.items():
        order, shape = orders.get(node.id), books.shapes.get(shape_id)
        if order is None or shape is None or order.until < now.mono or shape.waiting != books.ready:
            continue
        return _keep_at_level(books, node, shape, order, now, rules)
    return []


def _keep_at_level(books: Books, node: NodeRecord, shape: Shape, order: Order, now: Now, rules: Rules) -> list[Effect]:
    effects: list[Effect] = []
    placed = 0
    level = min(order.level, node.slots + rules.prefill_max)
    while order.credit > 0 and len(node.leases) < level and node.id in shape.nodes:
        task = books.head(shape)
        if task is None or (task.deadline and task.deadline <= now.wall):
            break
        seated = node.has_seat(shape.needs)
        if not seated and not may_queue(books, node, shape.needs):
            break
        effects += leases.lease(books, task, node, seated, now)
        order.credit -= 1
        placed += 1
    return [*effects, RefuseRow(shape.id, node.id, placed, 0)] if placed else []
