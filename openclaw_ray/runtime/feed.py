"""What a watching scheduler gets: nodes and shapes that changed since its cursor, newest values, in pages.

Each changed thing keeps only its last change, so a watcher that was away reads what is, not what was; memory follows
nodes and shapes, never the number of changes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from openclaw_ray.core.placement import SHORTEST_RUN_S
from openclaw_ray.core.records import Needs, NodeRecord, Shape
from openclaw_ray.core.state import ClusterState
from openclaw_ray.protocol import NodeView, ShapeView, WatchReply

#: Things in one reply; a node with many skills is some KB.
PAGE = 500

Key = tuple[str, str | int]


class Feed:
    """The order in which nodes and shapes last changed."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._changes: OrderedDict[Key, int] = OrderedDict()
        self._cursor = 0
        self._wake = asyncio.Event()
        self._watchers = 0
        #: Told as gone, forgotten when the watcher comes back with a later cursor. Should another one still believe in
        #: them, the first plan that names them brings them up again.
        self._told_gone: dict[Key, int] = {}

    def collect(self) -> None:
        """Take note of what the books say has changed; call it when memory equals disk."""
        books = self._state.books
        if not books.changed_nodes and not books.changed_shapes:
            return
        for node_id in sorted(books.changed_nodes):
            self._note(("node", node_id))
        for shape_id in sorted(books.changed_shapes):
            self._note(("shape", shape_id))
        books.changed_nodes.clear()
        books.changed_shapes.clear()
        self._wake.set()

    def _note(self, key: Key) -> None:
        self._cursor += 1
        self._changes[key] = self._cursor
        self._changes.move_to_end(key)

    def reset(self) -> None:
        """The state was exchanged: everything counts as changed."""
        books = self._state.books
        books.changed_nodes.update(books.nodes)
        books.changed_shapes.update(books.shapes)
        self.collect()

    @property
    def cursor(self) -> int:
        """The newest change."""
        return self._cursor

    @property
    def watched(self) -> bool:
        """Whether somebody is parked here now."""
        return self._watchers > 0

    async def wait(self, cursor: int) -> None:
        """Wait until something changed after `cursor`; the caller bounds the time."""
        self._watchers += 1
        try:
            while self._cursor <= cursor:
                self._wake.clear()
                await self._wake.wait()
        finally:
            self._watchers -= 1

    async def wait_for_work(self) -> None:
        """Wait until a task is ready; the caller bounds the time."""
        while not self._state.books.ready:
            self._wake.clear()
            await self._wake.wait()

    def read(self, epoch: int, cursor: int) -> WatchReply:
        """The oldest page of changes after `cursor`; cursor 0 reads everything there is."""
        self._forget_gone(cursor)
        picked: list[tuple[Key, int]] = []
        for key in reversed(self._changes):
            at = self._changes[key]
            if at <= cursor:
                break
            picked.append((key, at))
        picked.reverse()
        page = picked[:PAGE]
        reply: dict[str, list[Any]] = {"nodes": [], "shapes": [], "gone_nodes": [], "gone_shapes": []}
        for key, at in page:
            if self._view(*key, reply):
                self._told_gone[key] = at
        more = len(picked) > len(page)
        return WatchReply.model_construct(
            epoch=epoch,
            # The newest change where nothing is left, whether or not it is still listed: a cursor that stayed behind
            # would never wait.
            cursor=page[-1][1] if more else self._cursor,
            more=more,
            nodes=reply["nodes"],
            shapes=reply["shapes"],
            gone_nodes=reply["gone_nodes"],
            gone_shapes=reply["gone_shapes"],
        )

    def _forget_gone(self, cursor: int) -> None:
        for key, at in list(self._told_gone.items()):
            if at <= cursor:
                del self._told_gone[key]
                if self._changes.get(key) == at:
                    del self._changes[key]

    def _view(self, kind: str, name: str | int, reply: dict[str, list[Any]]) -> bool:
        """Add one thing to the reply; whether it is gone."""
        if kind == "node":
            node = self._state.books.nodes.get(str(name))
            if node is not None:
                reply["nodes"].append(node_view(self._state, node))
            else:
                reply["gone_nodes"].append(name)
            return node is None
        shape = self._state.books.shapes.get(int(name))
        if shape is not None and shape.live:
            reply["shapes"].append(shape_view(self._state, shape))
            return False
        reply["gone_shapes"].append(name)
        return True


def node_view(state: ClusterState, node: NodeRecord) -> NodeView:
    """A node as the planner needs it."""
    backlog_s = 0.0
    prefilled = len(node.leases) - node.seats
    if prefilled:
        backlog_s = sum(n * _run_s(state, needs) for needs, n in node.queued.items())
    return NodeView.model_construct(
        id=node.id,
        status=node.shown_status,
        accepts=node.accepts,
        slots=node.slots,
        seats=node.seats,
        total=dict(node.room.total),
        used=dict(node.room.used),
        offers=node.offers,
        tags=sorted(node.tags),
        prefilled=prefilled,
        backlog_s=backlog_s,
        queued=[(shape.id, n) for needs, n in node.queued.items() if (shape := state.books.shape_of.get(needs))],
        queued_since=next((x.leased_at for x in node.leases.values() if not x.seated), 0.0),
        cpu_usage=node.cpu_usage,
        memory_usage=node.memory_usage,
        disk_usage=node.disk_usage,
        last_heartbeat=node.last_heartbeat,
    )


def _run_s(state: ClusterState, needs: Needs) -> float:
    """Expected seconds of one run."""
    shape = state.books.shape_of.get(needs)
    return max(shape.mean_run_s or 0.0, SHORTEST_RUN_S) if shape is not None else SHORTEST_RUN_S


def shape_view(state: ClusterState, shape: Shape) -> ShapeView:
    """A shape as the planner needs it."""
    head = state.books.head(shape)
    needs = shape.needs
    return ShapeView.model_construct(
        id=shape.id,
        runs=needs.runs,
        skills=list(needs.skills),
        optional=list(needs.optional),
        resources=needs.resources.to_units(),
        tags=list(needs.tags),
        affinity=list(needs.affinity),
        strategy=needs.strategy,
        revision=needs.revision,
        urgent=needs.urgent,
        waiting=shape.waiting,
        head_rank=head.rank if head else 0.0,
        tail_rank=shape.tail_rank,
        oldest=head.submitted_at if head else 0.0,
        mean_run_s=shape.mean_run_s,
    )
