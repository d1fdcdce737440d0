from __future__ import annotations

from openclaw_ray.core.types import TaskState
from openclaw_ray.storage.batch import Batch, write
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.restart import LiveTask, load
from openclaw_ray.storage.rows import EventRow, attempt_row_of, node_row_of, row_of
from openclaw_ray.storage.skills import skill_row_of
from tests.storage.builders import AT, a_node, a_task, an_attempt
from tests.storage.test_skills import manifest


async def test_a_new_database_loads_as_empty(db: Database) -> None:
    found = await db.read(load)
    assert (found.tasks, found.nodes, found.leases, found.skills) == ([], [], [], {})
    assert (found.last_token, found.last_seq, found.last_event, found.last_skill) == (0, 0, 0, 0)
    assert found.meta["cluster_id"] == "cluster-1"


async def test_everything_a_start_needs_comes_in_one_read(db: Database) -> None:
    rows = [
        row_of(a_task("run", status=TaskState.RUNNING, attempt=1), seq=3, token=9, seated=True),
        row_of(a_task("wait", revision="b" * 64), seq=1),
        row_of(a_task("done", status=TaskState.COMPLETED), seq=7),
        row_of(a_task("held", status=TaskState.SCHEDULED, attempt=1), seq=2, token=8),
    ]
    attempts = [
        an_attempt(7, "done", outcome="completed"),
        an_attempt(8, "held"),
        an_attempt(9, "run", revision="a" * 64),
    ]
    batch = Batch(
        insert_tasks=rows,
        insert_attempts=[attempt_row_of(one) for one in attempts],
        upsert_nodes=[node_row_of(a_node(f"n{n}")) for n in range(3)],
        insert_skills=[skill_row_of(manifest("echo", r), AT, None, n) for n, r in enumerate("abcd", 1)],
        events=[EventRow(4, AT, "submitted", "run", None, None, None, None, 1)],
        counters=[("tasks_submitted_total", "{}", "4")],
    )
    await db.run(lambda conn: write(conn, batch))
    found = await db.read(load, bound_s=None)
    assert [task.task_id for task in found.tasks] == ["wait", "held", "run"]
    assert found.tasks[-1] == LiveTask(**{name: getattr(rows[0], name) for name in LiveTask._fields})
    assert [lease.token for lease in found.leases] == [8, 9]
    assert [node.node_id for node in found.nodes] == ["n0", "n1", "n2"]
    assert found.newest == {"echo": "d" * 64}
    assert {revision[0] for _, revision in found.skills} == set("abd")  # leased, pinned, newest
    assert found.counts["completed"] == 1
    assert (found.last_token, found.last_seq, found.last_event, found.last_skill) == (9, 7, 4, 4)
    assert found.counters == [("tasks_submitted_total", "{}", "4")]


async def test_live_tasks_can_be_handed_over_one_by_one(db: Database) -> None:
    await db.run(lambda conn: write(conn, Batch(insert_tasks=[row_of(a_task(f"t{n}"), seq=n) for n in range(1, 9)])))
    seen: list[str] = []
    found = await db.read(lambda conn: load(conn, lambda task: seen.append(task.task_id)))
    assert seen == [f"t{n}" for n in range(1, 9)]
    assert found.tasks == []
