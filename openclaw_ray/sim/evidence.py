"""What a run leaves behind for its judge: what clients were told, what skills wrote, and what the database holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from openclaw_ray.sim.disk import Disk
from openclaw_ray.sim.plan import Plan
from openclaw_ray.sim.skills import LedgerLine
from openclaw_ray.sim.work import History, Job

Row = dict[str, Any]

_TABLES = {
    "tasks": "SELECT * FROM tasks ORDER BY seq",
    "attempts": "SELECT * FROM attempts ORDER BY token",
    "events": "SELECT * FROM events ORDER BY seq",
    "nodes": "SELECT * FROM nodes ORDER BY node_id",
    "counters": "SELECT * FROM counters ORDER BY family, labels",
}


@dataclass(frozen=True, slots=True)
class Tables:
    """The committed rows at the end of a run, as SQL gives them."""

    tasks: list[Row]
    attempts: list[Row]
    events: list[Row]
    nodes: list[Row]
    counters: list[Row]

    @classmethod
    def read(cls, disk: Disk) -> Self:
        """All rows."""
        if disk.database is None:
            return cls([], [], [], [], [])

        def rows(conn: Any, sql: str) -> list[Row]:
            found = conn.execute(sql)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]

        return cls(**disk.database.read(lambda conn: {name: rows(conn, sql) for name, sql in _TABLES.items()}))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the checker may look at."""

    plan: Plan
    history: History
    ledger: list[LedgerLine]
    tables: Tables
    jobs: list[Job]
    #: Slots of each node.
    slots: dict[str, int]
    #: Where memory differed from the disk.
    differences: list[str]
    #: Mistakes that the program itself logged.
    alarms: list[str]
    #: Agents that ended because they were refused.
    refusals: list[str]
    #: Whether all work ended in time after the heal.
    done: bool
    #: Simulated time: when it began, and how long it was.
    began: float
    seconds: float
    #: Faults by kind, and lines of the trace by their first word.
    faults: dict[str, int]
    messages: dict[str, int]
    trace_sha256: str
    trace: list[str]
