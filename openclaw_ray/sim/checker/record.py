"""The evidence, sorted so that a check can ask by task, token or node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from openclaw_ray.sim.evidence import Evidence, Row
from openclaw_ray.sim.skills import LedgerLine
from openclaw_ray.sim.work import Job

TERMINAL = ("completed", "failed", "cancelled", "timeout")


class Violation(NamedTuple):
    """One broken promise."""

    #: As GUARANTEES numbers it.
    promise: str
    text: str


class Record:
    """Evidence by task, token and node."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.tasks: dict[str, Row] = {row["task_id"]: row for row in evidence.tables.tasks}
        #: In order of their tokens.
        self.attempts: dict[str, list[Row]] = defaultdict(list)
        for row in evidence.tables.attempts:
            self.attempts[row["task_id"]].append(row)
        self.events: dict[str, list[Row]] = defaultdict(list)
        for row in evidence.tables.events:
            if row["task_id"] is not None:
                self.events[row["task_id"]].append(row)
        self.ledger: dict[int, list[LedgerLine]] = defaultdict(list)
        for line in evidence.ledger:
            self.ledger[line.token].append(line)
        #: Acknowledged tasks with the job that they belong to.
        self.job_of: dict[str, Job] = {
            task_id: acked.job for acked in evidence.history.acked.values() for task_id in acked.ids
        }
        #: Whether the StateManager's wall clock was moved: then its times of day cannot be compared.
        self.jumped = any(f.kind == "wall_jump" and f.target == "state" for f in evidence.plan.faults)

    def began(self, token: int) -> bool:
        """Whether the skill itself says that it began under this token."""
        return any(line.what == "began" for line in self.ledger.get(token, ()))


Check = Callable[[Record], Iterator[Violation]]


def seconds(text: str) -> float:
    """A moment of the database as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()
