"""Refused late outcomes, kept as evidence: a word about each, never its result.

What an agent says again because an answer was lost is no evidence: it is what was accepted. So a report is looked at
beside the row of its attempt, here in the database thread, and only when there is one.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from openclaw_ray.storage import sql
from openclaw_ray.storage.rows import LATE_COLUMNS, LateRow

#: Kept of one task, the first ones: who came late at all matters, not how often.
PER_TASK_MAX = 10

ATTEMPT_OF = "SELECT task_id, node_id, outcome FROM attempts WHERE token = ?"
RESULT_OF = "SELECT result FROM tasks WHERE task_id = ?"
COUNT = "SELECT COUNT(*) FROM late_reports WHERE task_id = ?"
INSERT = sql.insert("late_reports", LateRow._fields) + " ON CONFLICT DO NOTHING"
OF_TASK = f"SELECT {LATE_COLUMNS} FROM late_reports WHERE task_id = ? ORDER BY token, outcome, sha256"


class LateReport(NamedTuple):
    """A refused outcome, as it came."""

    token: int
    node_id: str
    incarnation: int
    outcome: str
    #: JSON text.
    result: str | None
    at: str
    why: str


def write(conn: sqlite3.Connection, reports: Sequence[LateReport]) -> None:
    """Keep what is new in `reports`, in the caller's transaction and after its attempts and tasks are written."""
    for said in reports:
        found = conn.execute(ATTEMPT_OF, (said.token,)).fetchone()
        if found is None:
            continue  # nobody knows such an attempt: counted, and no more
        task_id, node_id, outcome = found
        mark = digest(said.result)
        if (node_id, outcome) == (said.node_id, said.outcome) and _of(conn, task_id) in ("", mark):
            continue
        if conn.execute(COUNT, (task_id,)).fetchone()[0] >= PER_TASK_MAX:
            continue
        size = len(said.result.encode()) if said.result is not None else 0
        row = LateRow(
            task_id, said.token, said.outcome, mark, said.at, said.node_id, said.incarnation, said.why, size
        )  # fmt: skip
        conn.execute(INSERT, row)


def digest(result: str | None) -> str:
    """SHA-256 of a result's JSON text as hex; empty for none."""
    return hashlib.sha256(result.encode()).hexdigest() if result is not None else ""


def of_task(conn: sqlite3.Connection, task_id: str) -> list[LateRow]:
    """What came late for a task, by attempt."""
    return [LateRow._make(row) for row in conn.execute(OF_TASK, (task_id,))]


def _of(conn: sqlite3.Connection, task_id: str) -> str:
    found = conn.execute(RESULT_OF, (task_id,)).fetchone()
    return digest(found[0]) if found is not None else ""
