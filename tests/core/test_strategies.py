"""One fleet, five strategies, five placements that a reader can check by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from openclaw_ray.core.placement import STRATEGIES, WEIGHTS, Candidate, Demand, Planner, bonus
from openclaw_ray.core.records import Needs
from openclaw_ray.core.resources import Resources, Room
from tests.support.cluster_builder import LARGE, Cluster, needs

#: Likes tag ``ssd`` and skill ``cache``.
WANTED = needs(affinity=("ssd",), optional=("cache",))


def fleet() -> list[Candidate]:
    """Four nodes. ``big`` is empty and busy by other work, ``idle`` is idle and half full, ``liked`` has what is liked,
    ``small`` has one slot.
    """

    def node(name: str, slots: int, seats: int, cpu: float, memory: float, liked: bool = False) -> Candidate:
        skills, tags = frozenset({"work", *(["cache"] if liked else [])}), frozenset(["ssd"] if liked else [])
        return Candidate(name, True, slots, seats, Room(LARGE), skills, tags, {}, cpu_usage=cpu, memory_usage=memory)

    return [
        node("big", 8, 0, 90.0, 80.0),
        node("idle", 6, 3, 0.0, 10.0),
        node("liked", 4, 2, 60.0, 60.0, liked=True),
        node("small", 1, 0, 50.0, 50.0),
    ]


def place(strategy: str, count: int, wanted: Needs = WANTED) -> list[str]:
    """Where the next tasks go, one after another."""
    found = []
    planner = Planner(STRATEGIES[strategy], seed=7)
    for node in fleet():
        planner.put_node(node)
    for _ in range(count):
        planner.put_shape(Demand(1, wanted, 1, 0.0))
        found += [row.node_id for row in planner.plan()]
    return found


#: Worked out by hand from the fleet. best_fit for the first task: big .3*.1+.3*.2+.2*1 = .29,
#: idle .3*1+.3*.9+.2*.5 = .67, liked .3*.4+.3*.4+.2*.5+.2 = .54, small .3*.5+.3*.5+.2*1 = .5; each further task takes
#: .2/slots from its node.
EXPECTED = {
    "least_tasks": ["big", "small", "big", "liked", "big", "liked"],
    "round_robin": ["liked", "big", "idle", "small", "liked", "big"],
    "best_fit": ["idle", "idle", "idle", "liked", "small", "liked"],
    "affinity": ["liked", "liked", "big", "small", "big", "big"],
}


@pytest.mark.parametrize("strategy", EXPECTED)
def test_a_strategy_places_as_it_says(strategy: str) -> None:
    assert place(strategy, 6) == EXPECTED[strategy]


def test_random_is_fair_and_the_same_for_the_same_seed() -> None:
    first = place("random", 15)
    assert first == place("random", 15)
    assert first not in EXPECTED.values()
    assert Counter(first) == {"big": 8, "idle": 3, "liked": 2, "small": 1}  # every seat is taken in the end


def test_the_five_place_differently() -> None:
    assert len({tuple(place(name, 6)) for name in STRATEGIES}) == 5
    assert set(STRATEGIES) == {*EXPECTED, "random"}


def test_the_weights_are_those_of_the_design() -> None:
    assert WEIGHTS == (0.3, 0.3, 0.2, 0.2)
    assert [bonus(WANTED, node) for node in fleet()] == [0, 0, 2, 0]


def test_a_task_may_name_its_own_strategy() -> None:
    c = Cluster()
    c.agent("n1", slots=4)
    c.agent("n2", slots=4, tags=frozenset({"ssd"}))
    c.submit("fills", needs(tags=("ssd",)))
    c.plan()
    c.submit("least")
    c.submit("liked", needs(affinity=("ssd",), strategy="affinity"))
    c.submit("unknown", needs(strategy="mine:pick"))
    assert c.plan() == {"least": "n1", "liked": "n2", "unknown": "n1"}


def test_every_strategy_respects_room_and_order() -> None:
    for strategy in STRATEGIES:
        c = Cluster()
        c.agent("n1", slots=2, capacity=Resources.of(cpu=1000))
        c.agent("n2", slots=3, capacity=Resources.of(cpu=9000))
        wanted = needs(resources=Resources.of(cpu=1000))
        for i in range(9):
            c.submit(f"t{i}", wanted)
        placed = c.plan(strategy)
        assert sorted(placed) == ["t0", "t1", "t2", "t3"]
        assert sorted(placed.values()) == ["n1", "n2", "n2", "n2"]
        assert c.plan(strategy) == {}
