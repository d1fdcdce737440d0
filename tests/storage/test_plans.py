"""Each question of the storage is asked, and SQLite says how it answers it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

import pytest

from openclaw_ray.core.types import TaskState
from openclaw_ray.storage import late_reports, lookups, node_queries, restart, skills, task_queries
from openclaw_ray.storage.batch import AttemptEnd, AttemptStart, Batch, NodeObservation, write
from openclaw_ray.storage.bulk import ROWS_MIN
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.rows import EventRow, attempt_row_of, node_row_of, row_of
from openclaw_ray.storage.task_pages import TaskFilter, page
from tests.storage.builders import AT, START_S, a_node, a_task, an_attempt, an_end, an_update
from tests.storage.test_skills import manifest

Ask = Callable[[sqlite3.Connection], object]
FILTERS = [
    TaskFilter(), TaskFilter(states=["pending"]), TaskFilter(states=list(TaskState)), TaskFilter(user="u"),
    TaskFilter(node="n"), TaskFilter(group="g"), TaskFilter(skill="echo"), TaskFilter(key="k"), TaskFilter(ids=["t1"]),
    TaskFilter(name="x"), TaskFilter(since=AT), TaskFilter(before_seq=5), TaskFilter(states=["failed"], name="x"),
    TaskFilter(user="u", node="n", group="g", skill="s", states=["pending", "failed"], name="x", since=AT),
    TaskFilter(ids=["t1"], user="u", states=["pending"]), TaskFilter(node="n", states=["running"]),
]  # fmt: skip
ROW = row_of(a_task(), seq=1)
WHOLE = Batch(
    insert_tasks=[ROW, row_of(a_task("t2"), seq=2)], update_tasks=[an_update(ROW)], end_tasks=[an_end(ROW)],
    change_tasks=[("t1", {"name": "x"})], delete_tasks=["t1"], insert_attempts=[attempt_row_of(an_attempt())],
    start_attempts=[AttemptStart(AT, 1)], end_attempts=[AttemptEnd("lost", None, AT, None, None, None, None, None, 1)],
    events=[EventRow(1, AT, "x", "t1", None, None, None, None, 1)], upsert_nodes=[node_row_of(a_node())],
    observe_nodes=[NodeObservation(0, 0, 0, 0, AT, "n1")], delete_nodes=["n1"], insert_code=[("d", b"")],
    insert_skills=[skills.skill_row_of(manifest("echo", "a"), AT, None, 1)],
    counters=[("f", "l", "1")], meta={"a": "b"},
)  # fmt: skip
MANY = [row_of(a_task(f"m{n}"), seq=10 + n) for n in range(ROWS_MIN)]
MANY_LEASED = [attempt_row_of(an_attempt(10 + n, f"m{n}")) for n in range(ROWS_MIN)]
BULK = Batch(
    insert_tasks=MANY, update_tasks=[an_update(row) for row in MANY], end_tasks=[an_end(row) for row in MANY],
    insert_attempts=MANY_LEASED, start_attempts=[AttemptStart(AT, row.token) for row in MANY_LEASED],
    end_attempts=[AttemptEnd("lost", None, AT, None, None, None, None, None, row.token) for row in MANY_LEASED],
    events=[EventRow(10 + n, AT, "x", row.task_id, None, None, None, None, 1) for n, row in enumerate(MANY)],
)  # fmt: skip
QUESTIONS: dict[str, Ask] = {
    **{f"page {wanted}": lambda c, w=wanted: page(c, w) for wanted in FILTERS},
    "task": lambda c: task_queries.find(c, "t1"),
    "task update": lambda c: task_queries.update(c, "t2", {"status": "running", "name": "y"}, 0),
    "task delete": lambda c: task_queries.delete(c, "t1"),
    "task create": lambda c: task_queries.create_many(c, [ROW._replace(task_id="t3", seq=0)]),
    "pending": lambda c: task_queries.pending(c, 10),
    "counts": task_queries.count_by_status,
    "statistics": task_queries.statistics,
    "cleanup": lambda c: task_queries.cleanup(c, AT, 10),
    "attempts": lambda c: task_queries.attempts(c, "t1"),
    "late_reports": lambda c: late_reports.of_task(c, "t1"),
    "late_report": lambda c: late_reports.write(c, [late_reports.LateReport(1, "n9", 1, "failed", None, "", "late")]),
    "events of a task": lambda c: task_queries.events(c, task_id="t1"),
    "events of a node": lambda c: task_queries.events(c, node_id="n1", since=3),
    "events": task_queries.events,
    "node": lambda c: node_queries.find(c, "n1"),
    "node update": lambda c: node_queries.update(c, "n1", {"status": "offline"}),
    "node delete": lambda c: node_queries.delete(c, "n1"),
    "heartbeat": lambda c: node_queries.heartbeat(c, "n1", AT, {"cpu_usage": 1}),
    "nodes": node_queries.every_node,
    "nodes by status": lambda c: node_queries.by_status(c, "online", 10, "a"),
    "available nodes": lambda c: node_queries.available(c, 10),
    "silent nodes": lambda c: node_queries.unresponsive(c, 1, START_S, 10),
    "nodes by skill": lambda c: node_queries.by_skill(c, "echo", "online", 10),
    "newest skill": lambda c: skills.newest(c, "echo"),
    "skill": lambda c: skills.find(c, "echo", "a"),
    "skills since": lambda c: skills.since(c, 0, 10),
    "register": lambda c: skills.register(c, manifest("echo", "b", "1"), AT, None, b"x"),
    "code": lambda c: skills.code(c, "d"),
    "known": lambda c: lookups.known(c, ["t1"], ["k"]),
    "batch": lambda c: write(c, WHOLE),
    "batch of many": lambda c: write(c, BULK),
    "restart": restart.load,
}
# What is small and wanted whole; CTE and table-valued functions are no tables.
SMALL = "USING INDEX attempts_open"  # holds the open leases only
ALLOWED = {"meta", "counters", "names", "one", "json_each", "j"}


def plans(conn: sqlite3.Connection, ask: Ask) -> list[tuple[str, str]]:
    """(statement, line of its plan) of everything that `ask` makes SQLite do."""
    asked: list[str] = []
    conn.execute("BEGIN")
    conn.set_trace_callback(asked.append)
    ask(conn)
    conn.set_trace_callback(None)
    conn.execute("ROLLBACK")
    return [
        (sql, row[3]) for sql in asked if not sql.startswith("--") for row in conn.execute(f"EXPLAIN QUERY PLAN {sql}")
    ]


@pytest.mark.parametrize("name", QUESTIONS)
async def test_no_question_scans_a_table_or_sorts(db: Database, name: str) -> None:
    found = await db.read(lambda conn: (conn.execute("ROLLBACK"), plans(conn, QUESTIONS[name]))[1])
    assert found or name == "task create"
    for sql, line in found:
        if line.endswith(SMALL):
            continue
        scanned = re.match(r"SCAN (\w+)", line)
        assert scanned is None or scanned[1] in ALLOWED, (line, sql)
        assert "TEMP B-TREE" not in line, (line, sql)


async def test_plans_hold_with_the_statistics_of_a_lopsided_database(db: Database) -> None:
    rows = [row_of(a_task(f"x{n}", user_id="u", group="g", assigned_node="n"), seq=100 + n) for n in range(3000)]
    await db.run(lambda conn: write(conn, Batch(insert_tasks=rows)))
    await db.run(lambda conn: conn.execute("ANALYZE"))
    for name in QUESTIONS:
        await test_no_question_scans_a_table_or_sorts(db, name)
