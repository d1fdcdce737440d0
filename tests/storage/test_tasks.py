from __future__ import annotations

import pytest

from openclaw_ray.core.types import TaskState
from openclaw_ray.errors import Conflict, InvalidRequest, NotFound
from openclaw_ray.models.task import TaskFailure
from openclaw_ray.storage import task_pages
from openclaw_ray.storage.batch import Batch, write
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.rows import EventRow, attempt_row_of
from openclaw_ray.storage.tasks import TaskFilter, TaskRepository
from tests.storage.builders import AT, a_full_task, a_task, an_attempt, at


@pytest.fixture
def repo(db: Database) -> TaskRepository:
    return TaskRepository(db)


def ids(tasks: object) -> list[str]:
    return [task.task_id for task in tasks]  # type: ignore[attr-defined]


async def test_a_created_task_comes_back_equal(repo: TaskRepository) -> None:
    for task in (a_task(), a_full_task()):
        await repo.create(task)
        assert await repo.get(task.task_id) == task
        assert await repo.find(task.task_id) == task


async def test_an_unknown_id_is_not_found(repo: TaskRepository) -> None:
    with pytest.raises(NotFound) as caught:
        await repo.get("nope")
    assert caught.value.facts == {"task_id": "nope"}
    assert await repo.find("nope") is None
    assert await repo.update("nope", name="x") is False
    assert await repo.update("nope") is False
    assert await repo.delete("nope") is False


@pytest.mark.parametrize("second", [a_task("t1"), a_task("t2", key="k")])
async def test_a_taken_id_or_key_is_a_conflict_and_stores_nothing(repo: TaskRepository, second: object) -> None:
    await repo.create(a_task("t1", key="k"))
    with pytest.raises(Conflict):
        await repo.create_many([a_task("t3"), second])  # type: ignore[list-item]
    assert ids(await repo.list()) == ["t1"]


async def test_update_changes_what_is_named_and_nothing_else(repo: TaskRepository) -> None:
    await repo.create(a_task())
    failure = TaskFailure(kind="lost")
    assert await repo.update(
        "t1", priority=0, group="g", metadata={"a": 1}, required_tags=["x"], error=failure, status=TaskState.RUNNING
    )
    changed = {"priority": 0, "group": "g", "metadata": {"a": 1}, "required_tags": ["x"], "error": failure}
    assert await repo.get("t1") == a_task(**changed, status=TaskState.RUNNING)


async def test_the_outcome_of_an_ended_task_is_final(repo: TaskRepository) -> None:
    await repo.create(a_task(status=TaskState.COMPLETED, result=1))
    for late in ({"status": "failed"}, {"result": 2}, {"attempt": 9}, {"error": None}):
        with pytest.raises(Conflict, match="completed"):
            await repo.update("t1", **late)
    assert await repo.update("t1", metadata={"note": "seen"})
    assert (await repo.get("t1")).result == 1


async def test_a_late_writer_of_another_attempt_is_refused(repo: TaskRepository) -> None:
    await repo.create(a_task(status=TaskState.RUNNING, attempt=2))
    with pytest.raises(Conflict):
        await repo.update("t1", if_attempt=1, status=TaskState.COMPLETED)
    assert await repo.update("t1", if_attempt=2, status=TaskState.COMPLETED)


@pytest.mark.parametrize("column", ["stauts", 'name" = 1 --', "seq; DROP TABLE tasks"])
async def test_an_unknown_column_is_refused_and_offers_the_nearest(repo: TaskRepository, column: str) -> None:
    await repo.create(a_task())
    with pytest.raises(InvalidRequest) as caught:
        await repo.update("t1", **{column: 1})
    assert column != "stauts" or "status" in str(caught.value)


async def test_values_the_database_cannot_hold_are_refused(repo: TaskRepository) -> None:
    unchecked = a_task().model_copy(update={"metadata": {"a": float("nan")}})
    for bad in (unchecked, a_task(attempt=2**70), a_task(name="\ud800")):
        with pytest.raises(InvalidRequest):
            await repo.create(bad)
    await repo.create(a_task())
    with pytest.raises(InvalidRequest):
        await repo.update("t1", metadata={"a": object()})


async def test_delete_takes_the_attempts_and_leaves_the_events(repo: TaskRepository, db: Database) -> None:
    await repo.create(a_task())
    event = EventRow(1, AT, "submitted", "t1", None, None, "me", None, 1)
    batch = Batch(insert_attempts=[attempt_row_of(an_attempt())], events=[event])
    await db.run(lambda conn: write(conn, batch))
    assert await repo.attempts("t1") == [an_attempt()]
    assert await repo.delete("t1")
    assert await repo.attempts("t1") == []
    assert await repo.events(task_id="t1") == [event]
    assert await repo.events(task_id="t1", since=1) == []


async def test_events_of_a_node_are_those_about_the_node_itself(repo: TaskRepository, db: Database) -> None:
    rows = [
        EventRow(1, AT, "heard", None, None, "n1", None, None, 1),
        EventRow(2, AT, "leased", "t", 1, "n1", None, None, 1),
    ]
    await db.run(lambda conn: write(conn, Batch(events=rows)))
    assert await repo.events(node_id="n1") == rows[:1]
    assert await repo.events() == rows
    with pytest.raises(InvalidRequest):
        await repo.events(node_id="n1", task_id="t")


async def test_lists_are_newest_first_and_paged(repo: TaskRepository) -> None:
    await repo.create_many(a_task(f"t{n}", user_id="u", assigned_node="n1") for n in range(7))
    for question in (
        lambda before: repo.list(TaskFilter(limit=3, before_seq=before)),
        lambda before: repo.list(TaskFilter(limit=3, before_seq=before, states=list(TaskState))),
        lambda before: repo.list(TaskFilter(limit=3, before_seq=before, name="NAME OF")),
        lambda before: repo.list_by_status("pending", 3, before),
        lambda before: repo.list_by_node("n1", 3, before),
        lambda before: repo.list_by_user("u", 3, before),
    ):
        seen, before = [], None
        while True:
            page = await question(before)
            assert len(page) <= 3
            seen += ids(page)
            if (before := page.next_seq) is None:
                break
        assert seen == [f"t{n}" for n in reversed(range(7))]


async def test_filters_hold_together(repo: TaskRepository) -> None:
    await repo.create_many([
        a_task("a", user_id="u1", group="g", skill="s1", submitted_at=at(0)),
        a_task("b", user_id="u1", group="g", skill="s2", submitted_at=at(10), status=TaskState.RUNNING),
        a_task("c", user_id="u2", group="g", skill="s2", submitted_at=at(20), status=TaskState.FAILED),
        a_task("d", user_id="u2", skill="s1", submitted_at=at(30), assigned_node="n", key="k"),
    ])  # fmt: skip
    for wanted, expected in (
        (TaskFilter(states=["pending"]), "da"),
        (TaskFilter(states=["running", "failed"]), "cb"),
        (TaskFilter(user="u1"), "ba"),
        (TaskFilter(user="u1", states=["running"]), "b"),
        (TaskFilter(group="g", user="u2"), "c"),
        (TaskFilter(skill="s2"), "cb"),
        (TaskFilter(skill="s1", node="n"), "d"),
        (TaskFilter(key="k"), "d"),
        (TaskFilter(key="k", user="u1"), ""),
        (TaskFilter(since=at(10)), "dcb"),
        (TaskFilter(since="2023-11-14T23:13:40+01:00"), "dc"),
        (TaskFilter(ids=["a", "c", "nope"]), "ca"),
        (TaskFilter(ids=["a", "b", "c"], limit=2), "cb"),
        (TaskFilter(ids=["a", "c"], states=["failed"]), "c"),
        (TaskFilter(ids=[]), ""),
    ):
        assert "".join(ids(await repo.list(wanted))) == expected, wanted


async def test_a_name_is_searched_letter_by_letter(repo: TaskRepository) -> None:
    names = {"a": "100% done", "b": "100 done", "c": "x_y", "d": "xzy", "e": "back\\slash", "f": "'; DROP TABLE tasks"}
    await repo.create_many(a_task(task_id, name=name) for task_id, name in names.items())
    for part, expected in (("0%", "a"), ("_", "c"), ("\\", "e"), ("DONE", "ba"), ("'; drop", "f"), ("", "fedcba")):
        assert "".join(ids(await repo.list(TaskFilter(name=part)))) == expected


async def test_a_rare_task_is_found_over_short_pages(repo: TaskRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_pages, "WALK_MAX", 10)
    await repo.create_many(a_task(f"t{n}", name="rare" if n in {3, 15, 25} else "common") for n in range(35))
    found, pages, before = [], 0, None
    while True:
        page = await repo.list(TaskFilter(name="rare", before_seq=before))
        found += ids(page)
        pages += 1
        if (before := page.next_seq) is None:
            break
    assert (found, pages) == (["t25", "t15", "t3"], 4)


@pytest.mark.parametrize(
    "wanted",
    [
        TaskFilter(limit=0), TaskFilter(limit=1001), TaskFilter(limit=True), TaskFilter(states=["done"]),
        TaskFilter(since="yesterday"), TaskFilter(name="x" * 201), TaskFilter(ids=["x"] * 1001),
        TaskFilter(before_seq=2**64),
    ],
)  # fmt: skip
async def test_a_filter_that_cannot_be_is_refused(repo: TaskRepository, wanted: TaskFilter) -> None:
    with pytest.raises(InvalidRequest):
        await repo.list(wanted)


async def test_pending_tasks_come_by_priority_then_submission(repo: TaskRepository) -> None:
    await repo.create_many(a_task(f"t{n}", priority=p) for n, p in enumerate((2, 0, 3, 0, 2)))
    await repo.create(a_task("r", priority=0, status=TaskState.RUNNING))
    assert ids(await repo.get_pending_tasks()) == ["t1", "t3", "t0", "t4", "t2"]
    assert ids(await repo.get_pending_tasks(2)) == ["t1", "t3"]
    with pytest.raises(InvalidRequest):
        await repo.get_pending_tasks(0)


async def test_statistics_count_and_average(repo: TaskRepository) -> None:
    assert (await repo.get_statistics()).average_wait_s is None
    for n, status in enumerate((TaskState.COMPLETED, TaskState.FAILED)):
        await repo.create(a_task(f"e{n}", status=status, started_at=at(2), completed_at=at(5 + 2 * n)))
    await repo.create(a_task("back", skill="s", status=TaskState.CANCELLED, started_at=at(-9), completed_at=at(-20)))
    await repo.create(a_task("p", skill=None))
    found = await repo.get_statistics()
    assert found.by_status == {**dict.fromkeys(TaskState, 0), "completed": 1, "failed": 1, "cancelled": 1, "pending": 1}
    assert found.by_status == await repo.count_by_status()
    assert (found.total, found.by_skill) == (4, {"echo": 2, "s": 1})
    assert found.average_wait_s == pytest.approx(4 / 3)
    assert found.average_run_s == pytest.approx(8 / 3)
    assert found.success_rate == pytest.approx(1 / 3)
    assert found.sample_by_skill == {"echo": 2, "s": 1}


async def test_cleanup_takes_old_ended_tasks_only(repo: TaskRepository) -> None:
    await repo.create_many(
        a_task(f"t{n}", status=TaskState.COMPLETED, completed_at=at(n), started_at=at(0)) for n in range(1200)
    )
    await repo.create(a_task("live", submitted_at=at(-1000)))
    assert await repo.cleanup_old_tasks(at(1100), limit=3) == 3
    assert await repo.find("t2") is None
    assert await repo.cleanup_old_tasks(at(1100)) == 1097
    assert await repo.cleanup_old_tasks(at(1100)) == 0
    assert (await repo.count_by_status())["completed"] == 100
    assert await repo.find("live") is not None
    with pytest.raises(InvalidRequest):
        await repo.cleanup_old_tasks("long ago")


async def test_calls_join_the_callers_transaction(repo: TaskRepository, db: Database) -> None:
    async def ten_and_a_miss() -> None:
        async with db.transaction():
            for n in range(10):
                await repo.create(a_task(f"t{n}"))
            await repo.update("t1", name="x")
            assert len(await repo.list()) == 10
            await repo.get("nope")

    with pytest.raises(NotFound):
        await ten_and_a_miss()
    assert len(await repo.list()) == 0
