"""Many runs: seeds over some processes, what they covered, and which of them broke a promise."""

from __future__ import annotations

import contextlib
import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from openclaw_ray.sim.checker import Violation, violations
from openclaw_ray.sim.plan import Plan, draw
from openclaw_ray.sim.world import run

#: Seeds within which a planted bug has to be caught.
BUG_SEEDS_MAX = 200


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one plan."""

    plan: Plan
    violations: list[Violation]
    seconds: float
    faults: dict[str, int]
    messages: dict[str, int]
    trace_sha256: str


@dataclass(slots=True)
class Summary:
    """What came of many."""

    runs: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    failed: list[Verdict] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """One more run."""
        self.runs += 1
        self.seconds += verdict.seconds
        self.faults.update(verdict.faults)
        self.messages.update(verdict.messages)
        if verdict.violations:
            self.failed.append(verdict)


def judge(plan: Plan) -> Verdict:
    """Carry out a plan and judge it."""
    evidence = run(plan)
    return Verdict(
        plan, violations(evidence), evidence.seconds, evidence.faults, evidence.messages, evidence.trace_sha256
    )


def judge_seed(seed: int) -> Verdict:
    """Carry out the plan of a seed and judge it."""
    return judge(draw(seed))


def judge_all(seeds: Iterable[int], jobs: int) -> Iterator[Verdict]:
    """Verdicts in the order of the seeds, from `jobs` processes."""
    if jobs <= 1:
        yield from map(judge_seed, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(judge_seed, seeds, chunksize=2)


@dataclass(frozen=True, slots=True)
class Catch:
    """What caught a planted bug."""

    bug: str
    #: None: nothing did.
    seed: int | None
    promise: str = ""
    text: str = ""


def planting(module: str) -> tuple[list[str], Callable[[str], AbstractContextManager[None]]]:
    """The names of planted bugs and how one is planted, from a module of the tests."""
    found: Any = importlib.import_module(module)
    return list(found.PLANTED), found.planted


def hunt(module: str, bug: str, first: int, seeds: int) -> Catch:
    """The first seed that catches a planted bug, which the program without it passes."""
    _, planted = planting(module)
    for seed in range(first, first + seeds):
        with planted(bug):
            found = judge_seed(seed).violations
        if found:
            return Catch(bug, seed, found[0].promise, found[0].text)
    return Catch(bug, None)


def hunt_all(module: str, first: int, seeds: int, jobs: int) -> Iterator[Catch]:
    """A catch for every planted bug."""
    names, _ = planting(module)
    with ProcessPoolExecutor(jobs) if jobs > 1 else contextlib.nullcontext() as pool:
        each = ([module] * len(names), names, [first] * len(names), [seeds] * len(names))
        yield from map(hunt, *each) if pool is None else pool.map(hunt, *each)
