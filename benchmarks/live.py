"""Figures of a whole cluster, each beside bare Ray's on the same Ray cluster, taken in turns."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.plan import Plan
from benchmarks.series import Row, at_least, at_most, each, percentile, ratio
from openclaw_ray.client import Cluster
from openclaw_ray.cluster import local
from openclaw_ray.skills.function import skill

NOOP_SIZES = (2_000, 10_000)
NOOP_ROWS = (*(f"noop-{n}" for n in NOOP_SIZES), "calls", "commits")
ROUND_TRIP_ROWS = ("round-trip", "round-trip-p95")
FIFTY_MS_ROWS = ("fifty-ms",)

#: Single round trips of a run, at least.
ROUND_TRIPS = 200
#: 50 ms tasks per slot.
PER_SLOT = 40
#: Ours and bare Ray's take turns; what the one leaves to do is done before the other begins (seconds).
PAUSE_S = 0.3
WARM_UP = 300
#: What has not come by then never will (seconds).
STUCK_S = 120.0
#: Waiting calls of an idle cluster, and our own questions, are no cost of a task.
_OURS = frozenset({"metrics", "stats"})


def noop() -> None:
    """Nothing at all."""


def fifty_ms() -> None:
    """A task of 50 ms."""
    time.sleep(0.05)


@dataclass
class Turns:
    """The same number of tasks, ours and bare Ray's, repetition by repetition (seconds)."""

    n: int
    ours_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)

    def take(self, ours: Callable[[], float], bare: Callable[[], float]) -> None:
        """One repetition of each; who begins changes, so that neither always has the warmer machine."""
        if len(self.ours_s) % 2:
            self.bare_s.append(bare())
            self.ours_s.append(ours())
        else:
            self.ours_s.append(ours())
            self.bare_s.append(bare())

    def rates(self) -> tuple[list[float], list[float]]:
        """Tasks per second."""
        return [self.n / s for s in self.ours_s], [self.n / s for s in self.bare_s]


@dataclass
class Cost:
    """Calls of the StateManager by verb, and commits, of so many no-op tasks."""

    n: int
    calls: list[Counter[str]] = field(default_factory=list)
    commits: list[int] = field(default_factory=list)


class Side:
    """Both ways to run a function on one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        import ray

        self.cluster = cluster
        self._ray = ray
        # Defined here, the functions travel by value: workers need not find this package.
        bare: Any = ray.remote(num_cpus=1)
        self.bare_noop = bare(lambda: None)
        self.bare_fifty_ms = bare(lambda: time.sleep(0.05))
        self.noop = skill(noop)
        self.fifty_ms = skill(fifty_ms)
        for one in (self.noop, self.fifty_ms):
            cluster.gather(cluster.map(one, [{}] * 20), timeout=STUCK_S)
        self.ours(self.noop, WARM_UP)
        self.bare(self.bare_noop, WARM_UP)

    def ours(self, wanted: Any, n: int) -> float:
        """Seconds for `n` tasks submitted by `map` and all results collected."""
        _rest()
        began = time.perf_counter()
        results = self.cluster.gather(self.cluster.map(wanted, [{}] * n), timeout=STUCK_S)
        took_s = time.perf_counter() - began
        if results != [None] * n:
            raise RuntimeError(f"{n:,} tasks returned {len(results):,} results, or others than their own")
        return took_s

    def bare(self, function: Any, n: int) -> float:
        """The same with ``ray.get([f.remote() for _ in range(n)])``."""
        _rest()
        began = time.perf_counter()
        self._ray.get([function.remote() for _ in range(n)])
        return time.perf_counter() - began

    def one(self) -> float:
        """Seconds of one task, from submit to result."""
        began = time.perf_counter()
        self.cluster.submit(self.noop).result(STUCK_S)
        return time.perf_counter() - began

    def bare_one(self) -> float:
        """The same of a bare Ray task."""
        began = time.perf_counter()
        self._ray.get(self.bare_noop.remote())
        return time.perf_counter() - began

    def counted(self) -> tuple[Counter[str], int]:
        """Calls answered by the StateManager so far, by verb, and its commits."""
        ask: Any = self.cluster.call
        series = ask("metrics")["counters"].get("requests_total", [])
        calls: Counter[str] = Counter()
        for (verb, _code), value in series:
            calls[verb] += int(value[0])
        return calls, int(ask("stats")["commits"])


@contextlib.contextmanager
def side(plan: Plan) -> Iterator[Side]:
    """One node whose CPUs are its slots, so that as many bare tasks as ours run at once."""
    with local(nodes=[{"num_cpus": plan.slots}], slots=plan.slots) as cluster:
        yield Side(cluster)


def _rest() -> None:
    gc.collect()
    time.sleep(PAUSE_S)


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure_noop(plan: Plan) -> Iterator[Row]:
    """No-op throughput, and what it costs in calls and commits."""
    sizes = [n for n in NOOP_SIZES if plan.wants(f"noop-{n}")] or [NOOP_SIZES[-1]]
    turns = {n: Turns(n) for n in sizes}
    cost = Cost(sizes[-1])
    with side(plan) as both:
        for _ in range(plan.repetitions):
            for n in sizes:
                calls, commits = both.counted()
                spent: list[tuple[Counter[str], int]] = []

                def ours(n: int = n, spent: list[Any] = spent) -> float:
                    took = both.ours(both.noop, n)
                    spent.append(both.counted())
                    return took

                turns[n].take(ours, lambda n=n: both.bare(both.bare_noop, n))  # type: ignore[misc]
                if n == cost.n:
                    cost.calls.append(spent[0][0] - calls)
                    cost.commits.append(spent[0][1] - commits)
    yield from (throughput_row(one) for one in turns.values())
    yield from cost_rows(cost)


def measure_round_trip(plan: Plan) -> Iterator[Row]:
    """One task at a time on an idle cluster."""
    each_time = -(-ROUND_TRIPS // plan.repetitions)
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    with side(plan) as both:
        for i in range(plan.repetitions):
            for which in ("ours", "bare") if i % 2 else ("bare", "ours"):
                _rest()
                if which == "ours":
                    ours.append([both.one() for _ in range(each_time)])
                else:
                    bare.append([both.bare_one() for _ in range(each_time)])
    yield from round_trip_rows(ours, bare)


def measure_fifty_ms(plan: Plan) -> Iterator[Row]:
    """50 ms tasks on all slots."""
    turns = Turns(PER_SLOT * plan.slots)
    with side(plan) as both:
        for _ in range(plan.repetitions):
            turns.take(
                lambda: both.ours(both.fifty_ms, turns.n),
                lambda: both.bare(both.bare_fifty_ms, turns.n),
            )
    yield fifty_ms_row(turns, plan.slots)


# -- from data to rows -------------------------------------------------------------------------------------------------


def throughput_row(turns: Turns) -> Row:
    """Ours as a multiple of bare Ray's."""
    ours, bare = turns.rates()
    return Row(
        name=f"noop-{turns.n}",
        what=f"{turns.n:,} no-op tasks by map, all collected",
        unit="x",
        runs=each(ratio, ours, bare),
        goal=at_least(10),
        raw={"ours/s": ours, "bare/s": bare},
    )


def cost_rows(cost: Cost) -> Iterator[Row]:
    """Calls and commits per 1,000 tasks; in the tens, or the batches are none."""
    per = 1_000 / cost.n
    verbs = sorted({verb for calls in cost.calls for verb in calls} - _OURS)
    by_verb: dict[str, Sequence[float]] = {v: [calls[v] * per for calls in cost.calls] for v in verbs}
    told = ", ".join(f"{v} {statistics.median(by_verb[v]):.1f}" for v in verbs)
    yield Row(
        name="calls",
        what=f"calls of the StateManager per 1,000 of {cost.n:,} no-op tasks",
        unit="",
        runs=[sum(values) for values in zip(*by_verb.values(), strict=True)] or [0.0],
        goal=at_most(99),
        raw=_largest(by_verb),
        note=f"answered by the StateManager, by verb: {told}; an agent's calls of its own executors are not among them",
    )
    yield Row(
        name="commits",
        what=f"commits per 1,000 of {cost.n:,} no-op tasks",
        unit="",
        runs=[commits * per for commits in cost.commits],
        goal=at_most(99),
    )


def _largest(by_verb: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """The four most frequent verbs: what a table has room for."""
    order = sorted(by_verb, key=lambda verb: -statistics.median(by_verb[verb]))
    return {verb: by_verb[verb] for verb in order[:4]}


def round_trip_rows(ours: Sequence[Sequence[float]], bare: Sequence[Sequence[float]]) -> Iterator[Row]:
    """p50 as a multiple of bare Ray's p50, and p95 as a multiple of our p50."""
    p50 = [percentile(one, 0.5) * 1000 for one in ours]
    p95 = [percentile(one, 0.95) * 1000 for one in ours]
    bare_p50 = [percentile(one, 0.5) * 1000 for one in bare]
    bare_p95 = [percentile(one, 0.95) * 1000 for one in bare]
    yield Row(
        name="round-trip",
        what="one task, submit to result, idle cluster, p50",
        unit="x",
        runs=each(ratio, p50, bare_p50),
        goal=at_most(2),
        raw={"ours ms": p50, "bare ms": bare_p50},
    )
    yield Row(
        name="round-trip-p95",
        what="the same, p95 as a multiple of our p50",
        unit="x",
        runs=each(ratio, p95, p50),
        goal=at_most(2),
        raw={"ours ms": p95, "bare ms": bare_p95},
    )


def fifty_ms_row(turns: Turns, slots: int) -> Row:
    """Share of what the slots could do if nothing cost time."""
    ideal_s = turns.n / slots * 0.05
    ours = [100 * ideal_s / s for s in turns.ours_s]
    bare = [100 * ideal_s / s for s in turns.bare_s]
    return Row(
        name="fifty-ms",
        what=f"{turns.n} tasks of 50 ms on {slots} slots, share of ideal",
        unit="%",
        runs=ours,
        goal=at_least(95),
        raw={"bare %": bare},
    )
