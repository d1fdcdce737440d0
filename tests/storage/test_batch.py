from __future__ import annotations

import pytest

from openclaw_ray.errors import Conflict, InvalidRequest, StorageError
from openclaw_ray.storage.batch import AttemptEnd, AttemptStart, Batch, NodeObservation, write
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.nodes import NodeRepository
from openclaw_ray.storage.rows import EventRow, attempt_row_of, node_row_of, row_of
from openclaw_ray.storage.tasks import TaskRepository
from tests.storage.builders import AT, a_node, a_task, an_attempt, an_end, an_update, at

ROW = row_of(a_task(), seq=1)


async def put(db: Database, batch: Batch) -> None:
    assert not batch.empty
    await db.run(lambda conn: write(conn, batch))


def test_a_new_batch_is_empty() -> None:
    assert Batch().empty
    assert not Batch(meta={"a": "b"}).empty


async def test_a_whole_life_in_one_batch(db: Database) -> None:
    running = ROW._replace(status="running", attempt=1, assigned_node="n1", token=7, version=2)
    await put(db, Batch(
        insert_tasks=[ROW],
        insert_attempts=[attempt_row_of(an_attempt(7))],
        start_attempts=[AttemptStart(at(1), 7)],
        update_tasks=[an_update(running)],
        end_tasks=[an_end(running, result='{"a":1}', version=3)],
        end_attempts=[AttemptEnd("completed", at(1), at(9), None, 0, None, 5, "tail", 7)],
        events=[EventRow(1, AT, "submitted", "t1", None, None, None, None, 1)],
    ))  # fmt: skip
    task = await TaskRepository(db).get("t1")
    assert (task.status, task.result, task.attempt, task.version) == ("completed", {"a": 1}, 1, 3)
    (attempt,) = await TaskRepository(db).attempts("t1")
    assert (attempt.outcome, attempt.started_at, attempt.log_tail) == ("completed", at(1), "tail")


async def test_none_overwrites(db: Database) -> None:
    held = ROW._replace(assigned_node="n1", scheduled_at=AT, retry_at=AT, status="scheduled")
    await put(db, Batch(insert_tasks=[held]))
    await put(db, Batch(update_tasks=[an_update(held, assigned_node=None, scheduled_at=None, retry_at=None)]))
    task = await TaskRepository(db).get("t1")
    assert (task.assigned_node, task.scheduled_at, task.retry_at) == (None, None, None)


async def test_a_batch_that_does_not_fit_the_rows_is_refused_whole(db: Database) -> None:
    ended = row_of(a_task("old", status="completed"), seq=2)
    await put(db, Batch(insert_tasks=[ROW, ended]))
    for bad in (
        Batch(update_tasks=[an_update(ended)]),  # terminal is final
        Batch(end_tasks=[an_end(ended)]),
        Batch(end_tasks=[an_end(ROW), an_end(ROW)]),
        Batch(update_tasks=[an_update(ROW, task_id="nope")]),
        Batch(delete_tasks=["nope"]),
        Batch(change_tasks=[("nope", {"name": "x"})]),
        Batch(start_attempts=[AttemptStart(AT, 99)]),
    ):
        bad.meta["seen"] = "x"
        with pytest.raises(StorageError, match="rows were not there"):
            await put(db, bad)
    with pytest.raises(Conflict):
        await put(db, Batch(insert_tasks=[ROW._replace(seq=9)], meta={"seen": "x"}))
    assert await db.read(lambda conn: conn.execute("SELECT 1 FROM meta WHERE name = 'seen'").fetchone()) is None


async def test_a_user_may_change_the_listed_columns_only(db: Database) -> None:
    await put(db, Batch(insert_tasks=[ROW]))
    values = {"name": "new", "timeout": 5, "required_tags": ["a"], "metadata": {"b": 1}, "priority": 0, "version": 4}
    await put(db, Batch(change_tasks=[("t1", values), ("t1", {})]))
    task = await TaskRepository(db).get("t1")
    assert {name: getattr(task, name) for name in values} == values
    with pytest.raises(InvalidRequest, match="status"):
        await put(db, Batch(change_tasks=[("t1", {"name": "x", "status": "completed"})]))


async def test_deleting_a_task_deletes_its_attempts_also_in_the_batch_that_made_it(db: Database) -> None:
    await put(db, Batch(insert_tasks=[ROW], insert_attempts=[attempt_row_of(an_attempt())], delete_tasks=["t1"]))
    assert await TaskRepository(db).find("t1") is None
    assert await TaskRepository(db).attempts("t1") == []


async def test_nodes_are_replaced_observed_and_deleted(db: Database) -> None:
    repo = NodeRepository(db)
    await put(db, Batch(upsert_nodes=[node_row_of(a_node("a")), node_row_of(a_node("b"))]))
    await put(db, Batch(
        upsert_nodes=[node_row_of(a_node("a", hostname="new", version=2))],
        observe_nodes=[NodeObservation(1.0, 2.0, 3.0, 4, at(9), "a"), NodeObservation(1.0, 2.0, 3.0, 4, at(9), "gone")],
        delete_nodes=["b"],
    ))  # fmt: skip
    (node,) = await repo.get_all_nodes()
    assert (node.hostname, node.cpu_usage, node.running_tasks, node.last_heartbeat) == ("new", 1.0, 4, at(9))


async def test_totals_meta_and_code_are_overwritten_or_kept(db: Database) -> None:
    for value in ("1", "2"):
        await put(db, Batch(counters=[("f", "{}", value)], meta={"epoch": value}, insert_code=[("d", value.encode())]))

    def read(sql: str) -> object:
        return db.read(lambda conn: conn.execute(sql).fetchall())

    assert await read("SELECT * FROM counters") == [("f", "{}", "2")]  # type: ignore[misc]
    assert await read("SELECT value FROM meta WHERE name = 'epoch'") == [("2",)]  # type: ignore[misc]
    assert await read("SELECT blob FROM code") == [(b"1",)]  # type: ignore[misc]
