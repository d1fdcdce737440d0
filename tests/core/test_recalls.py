"""Work that waits behind a slow run is asked back when another node is free."""

from __future__ import annotations

from openclaw_ray.core.placement import STUCK_S, Candidate, Demand, Planner
from openclaw_ray.core.records import Needs
from openclaw_ray.core.resources import Resources, Room

NEEDS = Needs("s", ("s",))


def node(name: str, *, seats: int, queued: int = 0, since: float = 0.0, accepts: bool = True) -> Candidate:
    return Candidate(
        name, accepts, 2, seats, Room(Resources()), frozenset({"s"}), frozenset(), {"s": "r"},
        prefilled=queued, queued={1: queued} if queued else {}, queued_since=since,
    )  # fmt: skip


def planner(*nodes: Candidate, waiting: int = 0) -> Planner:
    found = Planner()
    for one in nodes:
        found.put_node(one)
    found.put_shape(Demand(1, NEEDS, waiting, 0.0))
    return found


def test_as_many_are_recalled_as_others_have_seats() -> None:
    p = planner(node("slow", seats=2, queued=7), node("idle", seats=0), node("half", seats=1))
    assert [(r.node_id, r.seated, r.prefill) for r in p.recalls(STUCK_S + 1)] == [("slow", 0, 3)]


def test_a_fresh_prefill_stays() -> None:
    assert planner(node("slow", seats=2, queued=7, since=10.0), node("idle", seats=0)).recalls(10.5) == []


def test_nothing_is_recalled_where_nobody_is_free_or_others_wait_already() -> None:
    assert planner(node("slow", seats=2, queued=7), node("full", seats=2)).recalls(9.0) == []
    assert planner(node("slow", seats=2, queued=7), node("away", seats=0, accepts=False)).recalls(9.0) == []
    assert planner(node("slow", seats=2, queued=7), node("idle", seats=0), waiting=1).recalls(9.0) == []
