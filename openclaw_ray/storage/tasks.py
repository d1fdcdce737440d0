"""Tasks in the database, for programs of people and for tests; the StateManager uses `task_queries` and `batch`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, TypeAlias

from openclaw_ray.core.limits import PAGE_MAX
from openclaw_ray.errors import InvalidRequest, NotFound
from openclaw_ray.models.task import Attempt, Task
from openclaw_ray.storage import task_pages, task_queries
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.rows import EventRow, TaskRow, attempt_of, row_of, task_of
from openclaw_ray.storage.task_pages import TaskFilter, page_limit
from openclaw_ray.storage.task_queries import TaskStatistics

__all__ = ["TaskFilter", "TaskList", "TaskRepository", "TaskStatistics"]

# TaskRepository.list hides the type of that name inside the class.
Tasks: TypeAlias = list[Task]
Attempts: TypeAlias = list[Attempt]
Events: TypeAlias = list[EventRow]

#: Tasks deleted in one transaction of a clean-up: a few milliseconds, so that others get their turn.
CLEANUP_STEP = 500


class TaskList(list[Task]):
    """One page of tasks, newest first."""

    def __init__(self, tasks: Iterable[Task] = (), next_seq: int | None = None) -> None:
        super().__init__(tasks)
        #: `before_seq` of the next page; None: there is none. A short page may still have a next one.
        self.next_seq = next_seq


class TaskRepository:
    """Tasks by id, state, node and user.

    Each call is one transaction, or joins the caller's `Database.transaction()`. All raise `Unavailable`,
    `StorageBusy`, `StorageFull`, `Corrupt` or `StorageError` when the database does.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, task: Task) -> None:
        """Store a new task as the newest one.

        Raises:
            Conflict: Its id or its key is taken.
            InvalidRequest: A value that the database cannot hold.
        """
        await self.create_many([task])

    async def create_many(self, tasks: Iterable[Task]) -> None:
        """Store new tasks, all or none; in their order, newer than all others."""
        rows = [_row(task) for task in tasks]
        await self._db.run(lambda conn: task_queries.create_many(conn, rows))

    async def get(self, task_id: str) -> Task:
        """The task.

        Raises:
            NotFound: There is no such task.
        """
        found = await self.find(task_id)
        if found is None:
            raise NotFound(f"there is no task {task_id!r}", facts={"task_id": task_id})
        return found

    async def find(self, task_id: str) -> Task | None:
        """The task, or None."""
        row = await self._db.read(lambda conn: task_queries.find(conn, task_id))
        return None if row is None else task_of(row)

    async def update(self, task_id: str, *, if_attempt: int | None = None, **columns: Any) -> bool:
        """Change columns of a task; False when there is no such task.

        Args:
            task_id: Which task.
            if_attempt: Only if this is still its attempt: fences off a late writer.
            **columns: Fields of `Task` with their new values.

        Raises:
            Conflict: The task has ended and the change is about its outcome, or its attempt is another one.
            InvalidRequest: An unknown column, or a value that the database cannot hold.
        """
        return await self._db.run(lambda conn: task_queries.update(conn, task_id, columns, if_attempt))

    async def delete(self, task_id: str) -> bool:
        """Delete a task with its attempts; its events stay. False when there is no such task."""
        return await self._db.run(lambda conn: task_queries.delete(conn, task_id))

    async def list(self, wanted: TaskFilter | None = None) -> TaskList:
        """One page of the tasks that fit, newest first."""
        found = await self._db.read(lambda conn: task_pages.page(conn, wanted or TaskFilter()))
        return TaskList(map(task_of, found.rows), found.next_seq)

    async def list_by_status(self, status: str, limit: int = 100, before_seq: int | None = None) -> TaskList:
        """Tasks in one state, newest first."""
        return await self.list(TaskFilter(states=(status,), limit=limit, before_seq=before_seq))

    async def list_by_node(self, node_id: str, limit: int = 100, before_seq: int | None = None) -> TaskList:
        """Tasks whose current or last attempt is on one node, newest first."""
        return await self.list(TaskFilter(node=node_id, limit=limit, before_seq=before_seq))

    async def list_by_user(self, user_id: str, limit: int = 100, before_seq: int | None = None) -> TaskList:
        """Tasks of one user, newest first."""
        return await self.list(TaskFilter(user=user_id, limit=limit, before_seq=before_seq))

    async def get_pending_tasks(self, limit: int = 100) -> Tasks:
        """Waiting tasks, the most urgent first, among equals in order of submission."""
        return [task_of(row) for row in await self._db.read(lambda conn: task_queries.pending(conn, limit))]

    async def count_by_status(self) -> dict[str, int]:
        """Number of tasks in each state, zeros included."""
        return await self._db.read(task_queries.count_by_status)

    async def get_statistics(self) -> TaskStatistics:
        """Counts of all tasks, and averages over the newest ended ones."""
        return await self._db.read(task_queries.statistics)

    async def cleanup_old_tasks(self, older_than: str, limit: int = 10_000) -> int:
        """Delete up to `limit` tasks that ended before the ISO time `older_than`; live ones are never touched.

        Works in transactions of `CLEANUP_STEP`; what was deleted before an error stays deleted.
        """
        page_limit(limit, 2**31)
        total = 0
        while total < limit:
            step = min(CLEANUP_STEP, limit - total)
            deleted = await self._db.run(partial(task_queries.cleanup, older_than=older_than, limit=step))
            total += deleted
            if deleted < step:
                break
        return total

    async def attempts(self, task_id: str) -> Attempts:
        """The attempts of a task, the first first; at most a page."""
        return [attempt_of(row) for row in await self._db.read(lambda conn: task_queries.attempts(conn, task_id))]

    async def events(
        self, *, task_id: str | None = None, node_id: str | None = None, since: int = 0, limit: int = PAGE_MAX
    ) -> Events:
        """What happened to a task, or to a node itself, after event number `since`; oldest first."""
        return await self._db.read(
            lambda conn: task_queries.events(conn, task_id=task_id, node_id=node_id, since=since, limit=limit)
        )


def _row(task: Task) -> TaskRow:
    try:
        return row_of(task)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"task {task.task_id} has no JSON form: {error}") from None
