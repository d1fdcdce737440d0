"""The planner alone: placements a second, and what more nodes cost. No Ray, no disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.plan import Plan
from benchmarks.series import Row, at_least, at_most, each, ratio
from openclaw_ray.core.placement import Candidate, Demand, Planner
from openclaw_ray.core.records import Needs
from openclaw_ray.core.resources import Resources, Room

SHAPES = 100
WAITING = 100_000
FEW, MANY = 10, 1_000
SKILLS = 20
#: Slots per node where not everything fits: the settings' default.
SLOTS = 5
PLACING_ROWS = (f"placing-{MANY}", "placing-nodes", "placing-pass")


def planner(nodes: int, slots: int) -> Planner:
    """`nodes` of `slots`, each with three skills of four; 100 shapes of a skill and an amount of CPU, 100k waiting."""
    found = Planner()
    for i in range(nodes):
        skills = frozenset(f"skill-{s}" for s in range(SKILLS) if (i + s) % 4)
        room = Room(Resources.of(cpu=slots * 1_000))
        node = Candidate(
            f"node-{i:04d}",
            accepts=True,
            slots=slots,
            seats=0,
            room=room,
            skills=skills,
            tags=frozenset(),
            revisions={},
        )
        found.put_node(node)
    for i in range(SHAPES):
        name = f"skill-{i % SKILLS}"
        needs = Needs(runs=name, skills=(name,), resources=Resources.of(cpu=100 * (1 + i // SKILLS)))
        found.put_shape(Demand(i, needs, WAITING // SHAPES, head_rank=float(i), tail_rank=float(i) + WAITING))
    return found


def placements_per_s(nodes: int, slots: int) -> float:
    """One pass over everything that waits."""
    found = planner(nodes, slots)
    began = time.perf_counter()
    rows = found.plan()
    took = time.perf_counter() - began
    return sum(row.seated + row.prefill for row in rows) / took


def measure_placing(plan: Plan) -> Iterator[Row]:
    """The same number of placements on few and on many nodes, in turns; then a pass onto few free slots of many."""
    room = 2 * WAITING  # so that skills, not slots, decide how many fit
    rates: dict[str, list[float]] = {"many": [], "few": [], "pass": []}
    for _ in range(plan.repetitions):
        rates["many"].append(placements_per_s(MANY, room // MANY))
        rates["few"].append(placements_per_s(FEW, room // FEW))
        rates["pass"].append(placements_per_s(MANY, SLOTS))
    yield from placing_rows(rates)


def placing_rows(rates: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    """From placements per second."""
    where = f"{SHAPES} shapes, {WAITING // 1000}k waiting"
    yield Row(
        name=f"placing-{MANY}",
        what=f"placements, pure core: {MANY:,} nodes, {where}, room for all",
        unit="/s",
        runs=rates["many"],
        goal=at_least(50_000),
    )
    yield Row(
        name="placing-nodes",
        what=f"cost per placement at {MANY:,} nodes / at {FEW}",
        unit="x",
        runs=each(ratio, rates["few"], rates["many"]),
        goal=at_most(2),
        raw={f"at {FEW}/s": rates["few"]},
    )
    yield Row(
        name="placing-pass",
        what=f"the same, one pass onto {MANY * SLOTS:,} free slots only",
        unit="/s",
        runs=rates["pass"],
        note=f"a pass looks at each of {MANY:,} nodes for each of {SHAPES} shapes before it places the first task",
    )
