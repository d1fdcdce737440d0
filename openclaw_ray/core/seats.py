"""Who sits on a node: which leases hold room, and which wait in the agent's queue behind them.

Agent and StateManager use the same order, so the room that the StateManager counts is the room that is in use. Where
the two disagree for a moment (reports travel), what has started is right: it holds its room, the rest makes way. Who
sits follows from the leases, so it is not written: after a start everybody is seated again.
"""

from __future__ import annotations

from heapq import heappop

from openclaw_ray.core.books import Books
from openclaw_ray.core.placement import PREFILL_RUN_MAX_S
from openclaw_ray.core.records import LeaseRecord, Needs, NodeRecord, start_order

__all__ = ["may_queue", "promote", "seat_started", "start_order", "unseat"]


def may_queue(books: Books, node: NodeRecord, needs: Needs) -> bool:
    """Whether work with these needs may be leased behind the seats: one of them must soon be free, and large enough."""
    for lease in node.seated.values():
        if not lease.stopping and lease.needs is not None and needs.resources.within(lease.needs.resources):
            shape = books.shape_of.get(lease.needs)
            if shape is not None and shape.mean_run_s is not None and shape.mean_run_s <= PREFILL_RUN_MAX_S:
                return True
    return False


def promote(books: Books, node: NodeRecord) -> None:
    """Give free room to prefilled leases of the node, in the agent's order, until one does not fit."""
    while node.queue and node.seats < node.slots:
        lease = node.leases.get(node.queue[0][2])
        if lease is None or lease.seated or lease.stopping or lease.needs is None:
            heappop(node.queue)
            continue
        if not node.has_seat(lease.needs):
            return
        heappop(node.queue)
        _set_seat(books, lease, True)


def unseat(books: Books, node: NodeRecord) -> None:
    """While more is seated than fits, take the room from what has not started, newest first (I17)."""
    for lease in sorted(node.seated.values(), key=lambda x: (x.rank, x.token), reverse=True):
        if not lease.started_at and not lease.stopping and node.crowded(lease.needs):
            _set_seat(books, lease, False)


def seat_started(books: Books, lease: LeaseRecord) -> None:
    """An attempt runs, so it holds room, whatever was planned; unstarted ones make way."""
    node = books.nodes.get(lease.node_id or "")
    if node is None:
        return
    if not lease.seated:
        _set_seat(books, lease, True)
        unseat(books, node)


def _set_seat(books: Books, lease: LeaseRecord, seated: bool) -> None:
    books.open_lease(lease)
    lease.seated = seated
    books.close_lease(lease)
