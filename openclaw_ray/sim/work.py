"""What clients ask for in a run: jobs with fates, drawn from the seed, and the history of what they were told.

A job is handed in under keys of its own and repeated until it is acknowledged, also by another client after a crash:
so whatever became of a lost answer, its tasks exist once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from openclaw_ray.sim.chance import stream
from openclaw_ray.sim.clock import WALL_START
from openclaw_ray.sim.plan import Plan

SKILL = "work"


@dataclass(frozen=True, slots=True)
class Job:
    """One submit: one task, or several that are alike."""

    n: int
    #: Seconds since the beginning.
    at: float
    copies: int
    #: Parameters of the skill, see `SimExecutor._run`.
    params: dict[str, Any]
    #: Options of the submit.
    options: dict[str, Any]
    #: Job that must complete first.
    after: int | None = None
    #: Seconds after the acknowledgement at which the first task is cancelled.
    cancel_after_s: float | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Parameters of each task."""
        return [{**self.params, "n": self.n, "i": i} for i in range(self.copies)]


def key_of(params: dict[str, Any]) -> str:
    """The key under which a task is handed in."""
    return f"job-{params['n']}-{params['i']}"


def draw_jobs(plan: Plan) -> list[Job]:
    """The work of a plan."""
    chance = stream(plan.seed, "work")
    return sorted((_job(chance, n, plan.faulty_s) for n in range(plan.tasks)), key=lambda job: job.at)


def _job(chance: random.Random, n: int, within_s: float) -> Job:
    at = round(chance.uniform(0.5, within_s * 0.9), 3)
    fate, bad = chance.choice(_FATES)
    run_s = chance.choice((0.001, 0.004, 0.05, 0.6, 2.0, 6.0))
    short = run_s < 0.01 and fate == "ok"
    options: dict[str, Any] = {"priority": chance.choice(("critical", "high", "normal", "low"))}
    options |= {"retries": chance.randint(0, 3), "max_lost": chance.randint(1, 4)}
    if fate == "hang" or chance.random() < 0.1:
        options["timeout"] = chance.randint(3, 12)
    if chance.random() < 0.2:
        options["resources"] = {"cpu": chance.choice((1, 2, 3))}
    start = datetime.fromtimestamp(WALL_START + at, UTC)
    if chance.random() < 0.15:
        options["not_before"] = start + timedelta(seconds=round(chance.uniform(2, 40), 3))
    if chance.random() < 0.1:
        options["deadline"] = start + timedelta(seconds=round(chance.uniform(45, 120), 3))
    return Job(
        n=n,
        at=at,
        copies=chance.randint(5, 25) if short else 1,
        params={"fate": fate, "bad": bad, "run_s": run_s, "polite": chance.random() < 0.5},
        options=options,
        after=chance.randrange(n) if n and chance.random() < 0.15 else None,
        cancel_after_s=round(chance.choice((0.0, 0.2, 3.0, 15.0)) * chance.random(), 3)
        if chance.random() < 0.2
        else None,
    )


#: What a task does, and in how many of its first attempts.
_FATES = (
    *[("ok", 0)] * 8,
    ("fail", 1),
    ("fail", 2),
    ("fail", 99),
    ("permanent", 99),
    ("crash", 1),
    ("hang", 99),
)


@dataclass(frozen=True, slots=True)
class Acked:
    """A submit was acknowledged."""

    at: float
    job: Job
    ids: tuple[str, ...]
    #: Those of them that were not committed at that very moment.
    not_on_disk: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client was told of a task."""

    at: float
    how: str  # results, get_task, cancel
    task_id: str
    status: str
    attempt: int
    #: JSON text; None where there is none, or where this answer carries none.
    result: str | None = None
    completed_at: str | None = None
    version: int = 0
    #: When it was asked.
    asked_at: float = 0.0


@dataclass(slots=True)
class History:
    """All that clients were told, in order."""

    acked: dict[int, Acked] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    #: Tasks whose end a waiting client was told.
    heard: dict[str, Seen] = field(default_factory=dict)
    #: Refusals that nothing excuses.
    refused: list[str] = field(default_factory=list)

    def note(self, seen: Seen) -> None:
        """A client was told something."""
        self.seen.append(seen)
        if seen.how == "results":
            self.heard.setdefault(seen.task_id, seen)
