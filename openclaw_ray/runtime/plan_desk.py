"""The scheduler, as the coordinator meets it: it watches, it proposes, it is told what held."""

from __future__ import annotations

from typing import Any

from openclaw_ray.core import effects as fx
from openclaw_ray.core import events as ev
from openclaw_ray.core.types import NodeStatus, TaskState
from openclaw_ray.protocol import AssignReply, AssignRequest, WatchReply, WatchRequest
from openclaw_ray.runtime.commit import Turn
from openclaw_ray.runtime.context import Office
from openclaw_ray.runtime.waiting import until

#: Totals for /metrics travel with a watch reply when the last ones are older than this.
TOTALS_EVERY_S = 1.0


class PlanDesk:
    """Serves the scheduler."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._totals_at = 0.0

    async def watch(self, request: WatchRequest) -> WatchReply:
        """Wait until a node or shape changed after the cursor; everything for a cursor of another start."""
        office = self._office
        office.strategy = request.strategy or office.strategy
        cursor = request.cursor if request.epoch == office.identity.epoch else 0
        now = office.clock.now()
        office.scheduler_seen = now.wall  # it lives, also while news gather for its first answer
        await until(office.clock, now.mono + request.timeout_s, office.feed.wait(cursor))
        office.scheduler_seen = office.clock.now().wall
        if request.gather_s and not office.state.books.ready:
            await until(office.clock, office.clock.now().mono + request.gather_s, office.feed.wait_for_work())
        found = None
        if office.clock.now().mono - self._totals_at >= TOTALS_EVERY_S:
            await office.commit.quiet()
            self._totals_at = office.clock.now().mono
            found = totals(office)
        # Nodes and shapes may be a batch ahead of the disk: a plan made of them is checked against the present anyway.
        reply = office.feed.read(office.identity.epoch, cursor)
        office.scheduler_seen = office.clock.now().wall
        return reply if found is None else reply.model_copy(update={"totals": found})

    async def assign(self, request: AssignRequest) -> AssignReply:
        """Check a plan against the present and commit what still holds; its nodes hear of it at once."""
        office = self._office
        office.scheduler_seen = office.clock.now().wall
        if request.epoch != office.identity.epoch:
            return AssignReply(placed=0, missed=sum(r.seated + r.prefill for r in request.rows))
        rows = tuple(
            ev.PlanRow(r.shape, r.node, r.seated, r.prefill, r.credit, r.expires_s, r.level) for r in request.rows
        )

        def assign(turn: Turn) -> AssignReply:
            if request.void:
                turn.state.books.standing.clear()
            for recall in request.recalls:
                turn.apply(ev.Recalled(recall.node, recall.shape, recall.prefill))
            effects = turn.apply(ev.Assigned(rows))
            verdicts = [e for e in effects if isinstance(e, fx.RefuseRow)]
            # A node that missed tasks is shown again, so that a plan made of old news is made again of new ones.
            for verdict in verdicts:
                if verdict.missed and verdict.node_id in turn.state.nodes:
                    turn.state.books.changed_nodes.add(verdict.node_id)
            return AssignReply(placed=sum(v.placed for v in verdicts), missed=sum(v.missed for v in verdicts))

        reply: AssignReply = await office.commit.run(assign)
        return reply


def totals(office: Office) -> dict[str, Any]:
    """What /metrics shows, as of the last commit."""
    state = office.state
    nodes = list(state.nodes.values())
    now = office.clock.now()
    by_status = {s.value: 0 for s in NodeStatus}
    for node in nodes:
        by_status[node.shown_status.value] += 1
    oldest = 0.0
    pending: dict[str, float] = {}
    for shape in state.shapes.values():
        if shape.waiting:
            skill = office.meter.skill_label(shape.needs.runs)
            pending[skill] = pending.get(skill, 0) + shape.waiting
            head = state.books.head(shape)
            if head is not None:
                oldest = max(oldest, now.wall - head.submitted_at)
    return {
        "counters": office.meter.totals(),
        "gauges": {
            "tasks": {s.value: state.count(s) for s in (TaskState.PENDING, TaskState.SCHEDULED, TaskState.RUNNING)},
            "pending_tasks": pending,
            "oldest_pending_age_seconds": oldest,
            "nodes": by_status,
            "node_slots": {n.id: n.slots for n in nodes},
            "node_slots_used": {n.id: n.seats for n in nodes},
            "node_cpu_usage_ratio": {n.id: n.cpu_usage / 100 for n in nodes},
            "node_memory_usage_ratio": {n.id: n.memory_usage / 100 for n in nodes},
            "node_disk_usage_ratio": {n.id: n.disk_usage / 100 for n in nodes},
            "node_last_heartbeat_timestamp_seconds": {n.id: n.last_heartbeat for n in nodes},
            "state_epoch": office.identity.epoch,
            **office.file_sizes,
        },
    }
