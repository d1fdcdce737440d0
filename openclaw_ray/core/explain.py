"""Why a task waits, in reasons that a program can count and a person can act on. Asks the records, decides nothing."""

from __future__ import annotations

from typing import NamedTuple

from openclaw_ray.core.books import Books
from openclaw_ray.core.records import NodeRecord, TaskRecord
from openclaw_ray.core.resources import CPU, GPU, MEMORY
from openclaw_ray.core.types import NodeStatus, Now, Reason, TaskState

_BY_RESOURCE = {CPU: Reason.CPU, MEMORY: Reason.MEMORY, GPU: Reason.GPU}
_BY_STATUS = {
    NodeStatus.OFFLINE: Reason.NODE_OFFLINE,
    NodeStatus.MAINTENANCE: Reason.NODE_DRAINING,
    NodeStatus.ERROR: Reason.NODE_QUARANTINED,
}


class NodeVerdict(NamedTuple):
    """What one node lacks for a task. `never` = nothing that runs will change it; an owner must."""

    node_id: str
    status: NodeStatus
    missing_skills: tuple[str, ...]
    missing_tags: tuple[str, ...]
    wrong_revision: str | None
    #: Resource name, asked, free now, total: only what does not fit.
    short: tuple[tuple[str, int, int, int], ...]
    slots_free: int
    slots: int
    reasons: tuple[Reason, ...]
    never: bool


class Explanation(NamedTuple):
    """Every reason that holds, the first being the headline, and the verdict of each node."""

    reasons: tuple[Reason, ...]
    nodes: tuple[NodeVerdict, ...]
    #: Ready tasks of the same shape that come before it.
    ahead: int
    #: Tasks that must complete first.
    blockers: tuple[str, ...]
    #: Wall time of the next possible start; 0: now.
    due: float
    fits_now: tuple[str, ...]


def verdict(node: NodeRecord, task: TaskRecord) -> NodeVerdict:
    """What one node lacks for one task."""
    shape = task.shape
    assert shape is not None
    needs = shape.needs
    missing = tuple(s for s in needs.skills if s not in node.offers)
    tags = tuple(t for t in needs.tags if t not in node.tags)
    offered = node.offers.get(needs.runs)
    wrong = offered if needs.revision is not None and offered not in (None, needs.revision) else None
    short = tuple(
        (name, units, node.room.free(name), node.room.total.get(name, 0))
        for name, units in needs.resources
        if units > node.room.free(name)
    )
    reasons: list[Reason] = []
    if missing:
        reasons.append(Reason.NO_NODE_HAS_SKILL)
    if wrong is not None:
        reasons.append(Reason.SKILL_REVISION)
    if tags:
        reasons.append(Reason.EXCLUDED)
    if not node.accepts:
        reasons.append(_BY_STATUS.get(node.status, Reason.NODE_OFFLINE))
    if node.seats >= node.slots:
        reasons.append(Reason.NO_FREE_SLOT)
    reasons += dict.fromkeys(_BY_RESOURCE.get(name, Reason.RESOURCE) for name, *_ in short)
    never = bool(missing or tags) or wrong is not None or not node.could_seat(needs)
    return NodeVerdict(
        node.id, node.shown_status, missing, tags, wrong, short, node.slots - node.seats, node.slots,
        tuple(reasons), never,
    )  # fmt: skip


def explain(books: Books, task: TaskRecord, now: Now, *, scheduler_alive: bool = True) -> Explanation:
    """Every reason why `task` does not run, on the records as they stand.

    Args:
        books: Committed records.
        task: A live task.
        now: The present.
        scheduler_alive: Whether a scheduler watches; without one nothing is placed.
    """
    reasons: list[Reason] = []
    lease = books.leases.get(task.token) if task.state is not TaskState.PENDING else None
    if lease is not None and lease.stopping:
        reasons.append(Reason.STOPPING)
    if task.due > now.wall:
        reasons.append(Reason.BACKOFF if task.backing_off else Reason.NOT_YET)
    if task.blockers:
        reasons.append(Reason.DEPENDENCY)
    verdicts: tuple[NodeVerdict, ...] = ()
    fits: tuple[str, ...] = ()
    if task.shape is not None and task.state is TaskState.PENDING:
        verdicts = tuple(verdict(books.nodes[n], task) for n in sorted(books.nodes))
        fits = tuple(v.node_id for v in verdicts if not v.reasons)
        if not fits:
            reasons += _cluster_reasons(verdicts)
    ahead = books.ahead(task)
    if fits and not reasons:
        behind = ahead or all(_has_rival(books, books.nodes[n], task) for n in fits)
        # Free room and nobody before it: the next plan takes it.
        reasons.append(Reason.BEHIND_PRIORITY if behind else Reason.SCHEDULER_BEHIND)
    if task.ready and not scheduler_alive:
        reasons = [Reason.SCHEDULER_BEHIND, *(r for r in reasons if r is not Reason.SCHEDULER_BEHIND)]
    return Explanation(tuple(reasons), verdicts, ahead, tuple(sorted(task.blockers)), task.due, fits)


def _cluster_reasons(verdicts: tuple[NodeVerdict, ...]) -> list[Reason]:
    """What holds for the cluster: the reasons of the nodes that come nearest.

    A node that only has to get room comes before one that somebody must bring back, and that one before a node that
    lacks what the task asks; among equals, those with the fewest reasons, so that one mended thing helps.
    """
    able = [v for v in verdicts if not v.missing_skills]
    if not able:
        return [Reason.NO_NODE_HAS_SKILL]
    nearest = min(_distance(v) for v in able)
    found = {r for v in able if _distance(v) == nearest for r in v.reasons}
    return sorted(found, key=list(Reason).index)


def _distance(v: NodeVerdict) -> tuple[bool, bool, int]:
    return (v.never, not _AWAY.isdisjoint(v.reasons), len(v.reasons))


_AWAY = frozenset({Reason.NODE_OFFLINE, Reason.NODE_DRAINING, Reason.NODE_QUARANTINED})


def _has_rival(books: Books, node: NodeRecord, task: TaskRecord) -> bool:
    """Whether a more urgent task of other needs could take the same room now."""
    for other in books.shapes.values():
        if other.waiting and other is not task.shape and node.id in other.nodes and node.has_seat(other.needs):
            head = books.head(other)
            if head is not None and head.rank < task.rank:
                return True
    return False
