"""Standing orders: where the next tasks of a shape may go, said in advance, so that a lone task waits for no round trip.

The Scheduler gives them with its plans and only where they say what it would say again; the present is checked when one
is used. They are never written and never undone: any change of a node, its skills or the policy voids them all, and a
restart of either side loses them.
"""

from __future__ import annotations

from openclaw_ray.core import events as ev
from openclaw_ray.core import leases, tasks
from openclaw_ray.core.books import Books
from openclaw_ray.core.effects import Effect, RefuseRow
from openclaw_ray.core.records import NodeRecord, Rules, TaskRecord
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
        # The least loaded first, then in the order of the plan: what `least_tasks` would do with the present.
        if node.accepts and node.has_seat(shape.needs) and (best is None or (len(node.leases), place) < best[:2]):
            best = (len(node.leases), place, node)
    if best is None:
        return []
    node = best[2]
    orders[node.id].credit -= 1
    return [*leases.lease(books, task, node, True, now), RefuseRow(shape.id, node.id, 1, 0)]
