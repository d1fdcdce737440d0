"""The planner: never beyond capacity, seats before queues, prefill only for short known work, cost in bounds."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from openclaw_ray.core.placement import PREFILL_RUN_MAX_S, Candidate, Demand, Planner
from openclaw_ray.core.resources import Resources, Room
from tests.support.cluster_builder import LARGE, Cluster, needs, planner_of


def candidate(name: str, slots: int = 2, seats: int = 0, **fields: object) -> Candidate:
    values = {"skills": frozenset({"work"}), "tags": frozenset(), "revisions": {"work": "r1"}, **fields}
    return Candidate(name, True, slots, seats, Room(LARGE), **values)  # type: ignore[arg-type]


def planner(*nodes: Candidate, **fields: float) -> Planner:
    found = Planner(**fields)  # type: ignore[arg-type]
    for node in nodes:
        found.put_node(node)
    return found


def total(p: Planner) -> tuple[int, int]:
    rows = p.plan()
    return sum(r.seated for r in rows), sum(r.prefill for r in rows)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_never_exceeds_a_capacity_and_is_leased_within_few_rounds(seed: int) -> None:
    rng = random.Random(seed)
    c = Cluster(prefill_max=0)
    for i in range(6):
        capacity = Resources.of(cpu=rng.randint(0, 8) * 500, memory=rng.randint(1, 8), gpu=rng.randint(0, 2) * 1000)
        c.agent(f"n{i}", slots=rng.randint(0, 5), capacity=capacity, tags=frozenset({rng.choice("xy")}))
    for i in range(40):
        asked = Resources.of(cpu=rng.randint(0, 4) * 500, memory=rng.randint(0, 3), gpu=rng.choice([0, 0, 1000]))
        c.submit(f"t{i}", needs(resources=asked, tags=tuple(rng.sample("xy", rng.randint(0, 1)))), rng.randint(0, 3))
    p = planner_of(c.state)
    rows = p.plan()
    for node in p.nodes.values():
        assert node.seats <= node.slots
        assert node.room.fits_total()
    # Ranks inside a shape are guessed, so a row may have to give way to a more urgent task; the next plan knows better.
    for _ in range(4):
        assert c.assign(*((r.shape_id, r.node_id, r.seated, r.prefill) for r in rows))
        rows = planner_of(c.state).plan()
        if not rows:
            return
    pytest.fail(f"still planned after four rounds: {rows}")


def test_a_more_urgent_shape_is_served_first_and_equal_ones_in_turn() -> None:
    p = planner(candidate("n1", slots=3))
    p.put_shape(Demand(1, needs(), 9, 10.0, 20.0))
    p.put_shape(Demand(2, needs(urgent=True), 1, 5.0, 5.0))
    assert {(r.shape_id, r.seated) for r in p.plan()} == {(2, 1), (1, 2)}
    p = planner(candidate("n1", slots=10))
    for shape in (1, 2):
        p.put_shape(Demand(shape, needs(optional=(str(shape),)), 100, 0.0, 100.0))
    assert {r.shape_id: r.seated for r in p.plan()} == {1: 5, 2: 5}


def test_eligibility_follows_nodes_and_shapes() -> None:
    p = planner(candidate("n1"))
    p.put_shape(Demand(1, needs(tags=("gpu",)), 1, 0.0))
    p.put_shape(Demand(2, needs(revision="r2"), 1, 0.0))
    assert p.plan() == []
    p.put_node(candidate("n1", tags=frozenset({"gpu"})))
    p.put_node(candidate("n2", revisions={"work": "r2"}))
    assert {(r.shape_id, r.node_id) for r in p.plan()} == {(1, "n1"), (2, "n2")}
    p.drop_node("n2")
    p.put_shape(Demand(2, needs(revision="r2"), 1, 0.0))
    assert [r.shape_id for r in p.plan()] == [1]
    p.drop_shape(1)
    assert p.plan() == []


def test_what_was_planned_is_counted_until_the_node_is_heard_of_again() -> None:
    p = planner(candidate("n1", slots=1))
    p.put_shape(Demand(1, needs(), 5, 0.0))
    assert total(p) == (1, 0)
    assert total(p) == (0, 0)
    p.put_node(candidate("n1", slots=1))
    assert total(p) == (1, 0)


def test_a_node_that_takes_no_work_is_left_out() -> None:
    closed = candidate("n1")
    closed.accepts = False
    p = planner(closed)
    p.put_shape(Demand(1, needs(), 1, 0.0))
    assert p.plan() == []


# -- prefill -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_s", "ahead"), [(None, 0), (PREFILL_RUN_MAX_S + 0.01, 0), (0.1, 4), (0.01, 40), (0.000001, 50)]
)
def test_only_short_runs_of_a_known_length_are_prefilled(run_s: float | None, ahead: int) -> None:
    p = planner(candidate("n1", slots=2), prefill_max=50)
    p.put_shape(Demand(1, needs(), 1_000, 0.0, 10.0, run_s))
    assert total(p) == (2, ahead)


def test_a_seat_anywhere_is_better_than_a_place_in_a_queue() -> None:
    p = planner(candidate("full", slots=1, seats=1), candidate("busy", slots=9, seats=8))
    p.put_shape(Demand(1, needs(), 1, 0.0, 0.0, 0.001))
    assert [(r.node_id, r.seated, r.prefill) for r in p.plan()] == [("busy", 1, 0)]


def test_nothing_is_prefilled_where_it_could_never_start_or_a_more_urgent_task_waits() -> None:
    node = candidate("n1", slots=1, seats=1)
    node.room = Room(Resources.of(cpu=1000))
    p = planner(node)
    p.put_shape(Demand(1, needs(resources=Resources.of(cpu=2000)), 1, 0.0, 0.0, 0.001))
    assert p.plan() == []
    p.put_shape(Demand(2, needs(optional=("x",)), 3, 2.0, 2.0, 0.001))
    assert [(r.shape_id, r.prefill) for r in p.plan()] == [(2, 3)]
    p.put_node(node)
    p.put_shape(Demand(3, needs(optional=("y",)), 1, 1.0))
    assert p.plan() == []


# -- cost ----------------------------------------------------------------------------------------------------------


def test_a_thousand_nodes_and_a_hundred_shapes_are_planned_in_a_moment() -> None:
    p = planner(*(candidate(f"n{i:04}", slots=4, tags=frozenset({f"g{i % 10}"})) for i in range(1_000)))
    for shape in range(100):
        p.put_shape(Demand(shape, needs(tags=(f"g{shape % 10}",), optional=(f"o{shape}",)), 50, shape * 0.01, 60.0))
    begun = time.perf_counter()
    rows = p.plan()
    assert time.perf_counter() - begun < 3.0
    placed = Counter[str]()
    for row in rows:
        placed[row.node_id] += row.seated
    assert sum(placed.values()) == 4_000
    assert set(placed.values()) == {4}
