"""Where tasks go: a pure function from a view of nodes and shapes to a plan.

Decisions are made per shape, so the cost follows nodes x shapes and what is placed, not what waits. A strategy is one
pure function of (needs, candidate): the smallest key wins.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import Any

from openclaw_ray.core.events import PlanRow
from openclaw_ray.core.records import Needs
from openclaw_ray.core.resources import Room

#: Runs shorter than this cost their overhead anyway; the prefill is not sized below it.
SHORTEST_RUN_S = 0.0001
#: A prefill that has not started after this is asked back when another node is free: it was sized for less.
STUCK_S = 1.0
#: A standing order holds for so many tasks and seconds: long enough for a person at a prompt, short enough to be true.
STANDING_CREDIT, STANDING_S = 100, 10.0
#: The same for a backlog: as many as come back from a node before the next plan, which follows every report.
BACKLOG_CREDIT, BACKLOG_S = 10_000, 5.0
#: Nodes that get one, the best liked first.
STANDING_NODES = 16
#: Runs longer than this are not worth a prefill: a message is short against them.
PREFILL_RUN_MAX_S = 0.1


@dataclass(slots=True)
class Candidate:
    """A node as the planner sees it; the plan counts on it what it places."""

    id: str
    accepts: bool
    slots: int
    seats: int
    room: Room
    skills: frozenset[str]
    tags: frozenset[str]
    revisions: Mapping[str, str]
    #: Leases beyond the seats.
    prefilled: int = 0
    #: Expected seconds of work in them.
    backlog_s: float = 0.0
    #: Prefilled leases by shape, and the wall time at which the oldest of them was given.
    queued: Mapping[int, int] = field(default_factory=dict)
    queued_since: float = 0.0
    cpu_usage: float = 0.0  # percent
    memory_usage: float = 0.0  # percent
    #: Tasks given to it since the planner started; when it was last given one (a count, not a time).
    picks: int = 0
    last_turn: int = 0

    def offers_all(self, needs: Needs) -> bool:
        """Whether skills, revision and tags fit."""
        return (
            self.skills.issuperset(needs.skills)
            and (needs.revision is None or self.revisions.get(needs.runs) == needs.revision)
            and self.tags.issuperset(needs.tags)
        )

    def has_seat(self, needs: Needs) -> bool:
        """Whether a slot and every asked resource are free now."""
        return self.seats < self.slots and self.room.fits(needs.resources)


@dataclass(slots=True)
class Demand:
    """A shape as the planner sees it."""

    id: int
    needs: Needs
    waiting: int
    #: Rank of the next task, and of the last known one.
    head_rank: float
    tail_rank: float = 0.0
    mean_run_s: float | None = None
    #: Ids of candidates that offer what it needs; kept up to date by `Planner`.
    eligible: set[str] = field(default_factory=set)


#: (needs, candidate, seed) -> key; smaller is better.
Strategy = Callable[[Needs, Candidate, int], tuple[Any, ...]]


def bonus(needs: Needs, node: Candidate) -> int:
    """How many optional skills and affinity tags a node meets."""
    return sum(s in node.skills for s in needs.optional) + sum(t in node.tags for t in needs.affinity)


def least_tasks(needs: Needs, node: Candidate, seed: int) -> tuple[Any, ...]:
    """The node with the fewest tasks; then the better liked one."""
    return (node.seats + node.prefilled, -bonus(needs, node), node.id)


def round_robin(needs: Needs, node: Candidate, seed: int) -> tuple[Any, ...]:
    """The node whose turn was longest ago."""
    return (node.last_turn, -bonus(needs, node), node.id)


#: Weights of `best_fit`: free CPU, free memory, free slots, affinity; they add up to 1.
WEIGHTS = (0.3, 0.3, 0.2, 0.2)


def best_fit(needs: Needs, node: Candidate, seed: int) -> tuple[Any, ...]:
    """The best weighted mix of free CPU, free memory, free slots and affinity."""
    wanted = len(needs.optional) + len(needs.affinity)
    cpu, memory, tasks, affinity = WEIGHTS
    score = (
        cpu * (1 - node.cpu_usage / 100)
        + memory * (1 - node.memory_usage / 100)
        + tasks * (1 - (node.seats + node.prefilled) / max(node.slots, 1))
        + affinity * (bonus(needs, node) / wanted if wanted else 0.0)
    )
    return (-score, node.id)


def random(needs: Needs, node: Candidate, seed: int) -> tuple[Any, ...]:
    """Any node; the same seed and history give the same choice."""
    return (zlib.crc32(f"{seed}:{node.id}:{node.picks}".encode()), node.id)


def affinity(needs: Needs, node: Candidate, seed: int) -> tuple[Any, ...]:
    """The best liked node; then the one with the fewest tasks."""
    return (-bonus(needs, node), node.seats + node.prefilled, node.id)


STRATEGIES: Mapping[str, Strategy] = {
    "least_tasks": least_tasks,
    "round_robin": round_robin,
    "best_fit": best_fit,
    "random": random,
    "affinity": affinity,
}


class Planner:
    """Nodes and shapes as last heard, and the plan that follows. Rebuilt from one snapshot after a restart."""

    def __init__(
        self, strategy: Strategy = least_tasks, *, seed: int = 0, prefill_ms: float = 200.0, prefill_max: int = 4_000
    ) -> None:
        self.strategy = strategy
        self.seed = seed
        self.prefill_s = prefill_ms / 1000
        self.prefill_max = prefill_max
        self.nodes: dict[str, Candidate] = {}
        self.shapes: dict[int, Demand] = {}
        #: Strategies of tasks that name their own.
        self.named: dict[str, Strategy] = dict(STRATEGIES)
        self._turn = 0

    def put_node(self, node: Candidate) -> None:
        """A node is new or changed; eligibility follows, and its turns are remembered."""
        old = self.nodes.get(node.id)
        if old is not None:
            node.picks, node.last_turn = old.picks, old.last_turn
        self.nodes[node.id] = node
        same = old is not None and (old.skills, old.tags, old.revisions) == (node.skills, node.tags, node.revisions)
        if not same:
            for demand in self.shapes.values():
                (demand.eligible.add if node.offers_all(demand.needs) else demand.eligible.discard)(node.id)

    def drop_node(self, node_id: str) -> None:
        """A node is gone."""
        self.nodes.pop(node_id, None)
        for demand in self.shapes.values():
            demand.eligible.discard(node_id)

    def put_shape(self, demand: Demand) -> None:
        """A shape is new or its queue changed."""
        old = self.shapes.get(demand.id)
        if old is not None:
            demand.eligible = old.eligible
        else:
            demand.eligible = {n.id for n in self.nodes.values() if n.offers_all(demand.needs)}
        self.shapes[demand.id] = demand

    def drop_shape(self, shape_id: int) -> None:
        """Nobody waits with these needs any more."""
        self.shapes.pop(shape_id, None)

    def plan(self) -> list[PlanRow]:
        """Rows in the order of urgency; what is placed is counted on the candidates until they are put again."""
        rows: dict[tuple[int, str], list[int]] = {}
        queue = [(d.head_rank, d.id, 0) for d in self.shapes.values() if d.waiting and d.eligible]
        heapify(queue)
        candidates: dict[int, list[tuple[tuple[Any, ...], str]]] = {}
        #: Nodes where a more urgent task waits for the next seat: nothing is prefilled ahead of it.
        awaited: set[str] = set()
        while queue:
            _, shape_id, placed = queue[0]
            demand = self.shapes[shape_id]
            picked = self._pick(demand, candidates, awaited)
            if picked is None:
                awaited.update(n for n in demand.eligible if self.nodes[n].room.could_fit(demand.needs.resources))
                heappop(queue)
                continue
            node, seated = picked
            rows.setdefault((shape_id, node.id), [0, 0])[0 if seated else 1] += 1
            placed += 1
            if placed >= demand.waiting:
                heappop(queue)
                continue
            step = max(demand.tail_rank - demand.head_rank, 0.0) / demand.waiting
            heapreplace(queue, (demand.head_rank + placed * step, shape_id, placed))
        return [PlanRow(shape_id, node_id, n, m) for (shape_id, node_id), (n, m) in rows.items()]

    def standing(self, rows: list[PlanRow]) -> list[PlanRow]:
        """Standing orders that say what the next plans would: call it right after `plan`.

        For a shape that was served whole: where the next lone task may go. Only under `least_tasks`, whose choice can
        be made again from the present; the best liked node comes first. For a backlog of one shape alone: that each
        node is kept as full as the plan has made it.
        """
        waiting = [d for d in self.shapes.values() if d.waiting]
        served: dict[int, int] = {}
        for row in rows:
            served[row.shape_id] = served.get(row.shape_id, 0) + row.seated + row.prefill
        orders: list[PlanRow] = []
        for shape_id, n in served.items():
            demand = self.shapes[shape_id]
            if n < demand.waiting:
                if len(waiting) == 1:
                    orders += [
                        PlanRow(shape_id, node.id, 0, 0, BACKLOG_CREDIT, BACKLOG_S, node.seats + node.prefilled)
                        for node in self._open(demand)
                        if node.seats
                    ]
                continue
            if self.named.get(demand.needs.strategy or "", self.strategy) is not least_tasks:
                continue
            nodes = sorted(self._open(demand), key=lambda node: (-bonus(demand.needs, node), node.id))
            orders += [PlanRow(shape_id, node.id, 0, 0, STANDING_CREDIT, STANDING_S) for node in nodes[:STANDING_NODES]]
        return orders

    def recalls(self, wall: float) -> list[PlanRow]:
        """Prefilled leases to be asked back, since their node is slower than was thought and another one is free."""
        free = {n.id: n.slots - n.seats for n in self.nodes.values() if n.accepts and n.slots > n.seats}
        rows: list[PlanRow] = []
        for node in self.nodes.values():
            if not node.queued or wall - node.queued_since < STUCK_S:
                continue
            for shape_id, count in node.queued.items():
                demand = self.shapes.get(shape_id)
                if demand is None or demand.waiting:
                    continue  # the free seats have takers already
                others = [n for n in sorted(demand.eligible) if n != node.id and self.nodes[n].has_seat(demand.needs)]
                n = min(count, sum(free.get(other, 0) for other in others))
                if n > 0:
                    rows.append(PlanRow(shape_id, node.id, 0, n))
                    free = {k: v for k, v in free.items() if k not in others}
        return rows

    def _pick(
        self, demand: Demand, candidates: dict[int, list[tuple[tuple[Any, ...], str]]], awaited: set[str]
    ) -> tuple[Candidate, bool] | None:
        """The best node for one more task of a shape, counted as taken; None when it fits nowhere now.

        A seat anywhere is better than a place in a queue, whatever the strategy likes.
        Keys go stale when another shape takes a node: they are looked at again when they come up, so a pick costs a few
        heap moves whatever the number of nodes.
        """
        needs = demand.needs
        strategy = self.named.get(needs.strategy, self.strategy) if needs.strategy else self.strategy
        heap = candidates.get(demand.id)
        if heap is None:
            heap = [(self._key(strategy, needs, n), n.id) for n in self._open(demand)]
            heapify(heap)
            candidates[demand.id] = heap
        while heap:
            key, node_id = heap[0]
            node = self.nodes[node_id]
            seated = node.has_seat(needs)
            if not seated and (node_id in awaited or not self._may_prefill(demand, node)):
                heappop(heap)
                continue
            fresh = self._key(strategy, needs, node)
            if fresh != key:
                heapreplace(heap, (fresh, node_id))
                continue
            self._take(demand, node, seated)
            heapreplace(heap, (self._key(strategy, needs, node), node_id))
            return node, seated
        return None

    def _key(self, strategy: Strategy, needs: Needs, node: Candidate) -> tuple[Any, ...]:
        return (not node.has_seat(needs), *strategy(needs, node, self.seed))

    def _open(self, demand: Demand) -> Iterable[Candidate]:
        return (self.nodes[n] for n in sorted(demand.eligible) if self.nodes[n].accepts)

    def _may_prefill(self, demand: Demand, node: Candidate) -> bool:
        """Only short work, only where seats are taken by work, only as much as a message takes to come."""
        run_s = demand.mean_run_s
        if run_s is None or run_s > PREFILL_RUN_MAX_S or not node.seats or node.slots < 1:
            return False
        if not node.room.could_fit(demand.needs.resources) or node.prefilled >= self.prefill_max:
            return False
        return node.backlog_s / node.slots < self.prefill_s

    def _take(self, demand: Demand, node: Candidate, seated: bool) -> None:
        self._turn += 1
        node.last_turn = self._turn
        node.picks += 1
        if seated:
            node.seats += 1
            node.room.take(demand.needs.resources)
        else:
            node.prefilled += 1
            node.backlog_s += max(demand.mean_run_s or 0.0, SHORTEST_RUN_S)
