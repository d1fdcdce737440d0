"""Questions: one task, lists, statistics, history, and why a task waits. Lists read committed rows, in pages."""

from __future__ import annotations

import json
from typing import Any

from openclaw_ray.core.explain import explain
from openclaw_ray.core.types import LIVE_STATES, TERMINAL_STATES, TaskState
from openclaw_ray.errors import NotFound
from openclaw_ray.models.fields import identifier, iso, task_state
from openclaw_ray.models.why import Why, why_of
from openclaw_ray.protocol import TaskQuery
from openclaw_ray.runtime.arguments import checked, one_or_many, page_size
from openclaw_ray.runtime.context import Office
from openclaw_ray.storage import late_reports, task_pages, task_queries
from openclaw_ray.storage.rows import LateRow, attempt_json, late_json, task_json


class QueryDesk:
    """Answers, and changes nothing."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def get_task(self, task_id: Any) -> Any:
        """One task as plain JSON, or several for a list of ids."""
        ids, many = one_or_many(identifier, task_id, "task_id")
        rows = await self._office.store.read(lambda conn: [task_queries.find(conn, one) for one in ids])
        found = []
        for i, row in zip(ids, rows, strict=True):
            if row is None:
                raise NotFound(f"no task {i!r}", field="task_id")
            shown = task_json(row)
            shown["progress"] = self._office.progress.get(i)
            found.append(shown)
        return found if many else found[0]

    async def get_tasks_by_status(self, status: Any, limit: Any = 100) -> Any:
        """Tasks of a state, newest first; for a list of states a mapping state to tasks."""
        states, many = one_or_many(task_state, status, "status", len(TaskState))
        n = page_size(limit)
        found = {state.value: (await self.tasks(TaskQuery(states=[state], limit=n)))["tasks"] for state in states}
        return found if many else found[states[0].value]

    async def get_pending_tasks(self, limit: Any = 100) -> list[dict[str, Any]]:
        """Pending tasks in the order of priority and submission."""
        n = page_size(limit)
        rows = await self._office.store.read(lambda conn: task_queries.pending(conn, n))
        return [task_json(row) for row in rows]

    async def tasks(self, query: TaskQuery) -> dict[str, Any]:
        """One page of tasks, newest first.

        Returns:
            ``{"tasks": [...], "next": before of the next page or None}``.
        """
        wanted = task_pages.TaskFilter(
            states=tuple(query.states),
            skill=query.skill,
            node=query.node,
            user=query.user,
            group=query.group,
            name=query.name,
            key=query.key,
            since=iso(query.since.timestamp()) if query.since else None,
            ids=tuple(query.ids) if "ids" in query.model_fields_set else None,
            before_seq=query.before,
            limit=query.limit,
        )
        page = await self._office.store.read(lambda conn: task_pages.page(conn, wanted))
        return {"tasks": [task_json(row) for row in page.rows], "next": page.next_seq}

    async def history(self, task_id: Any) -> dict[str, Any]:
        """One task with its attempts (and what was said of them too late) and events."""
        one = checked(identifier, task_id, "task_id")

        def read(conn: Any) -> Any:
            row = task_queries.find(conn, one)
            return (
                row, task_queries.attempts(conn, one), late_reports.of_task(conn, one),
                task_queries.events(conn, task_id=one),
            )  # fmt: skip

        row, attempts, late, events = await self._office.store.read(read)
        if row is None:
            raise NotFound(f"no task {one!r}", field="task_id")
        shown = task_json(row)
        shown["progress"] = self._office.progress.get(one)
        return {
            "task": shown,
            "attempts": _with_late([attempt_json(a) for a in attempts], late, row.result),
            "events": [e._asdict() for e in events],
        }

    async def get_task_stats(self) -> dict[str, Any]:
        """Counts of all kept tasks by state, from memory."""
        await self._office.commit.quiet()
        live = {s.value: self._office.state.count(s) for s in LIVE_STATES}
        ended = {s.value: self._office.ledger.finished[s.value] for s in TERMINAL_STATES}
        return {"total": sum(live.values()) + sum(ended.values()), **live, **ended}

    async def why(self, task_id: Any) -> dict[str, Any]:
        """Why a task stands where it stands: reasons, nodes, and what would start it."""
        one = checked(identifier, task_id, "task_id")
        office = self._office
        await office.commit.quiet()
        now = office.clock.now()
        task = office.state.task(one)
        if task is not None:
            found = explain(office.state.books, task, now, scheduler_alive=office.scheduler_alive())
            why = why_of(task, found, office.state.nodes, now, office.strategy)
            return why.model_dump(mode="json")
        row = await office.store.read(lambda conn: task_queries.find(conn, one))
        if row is None:
            raise NotFound(f"no task {one!r}", field="task_id")
        error = json.loads(row.error) if row.error else {}
        how = f": {error.get('message') or error.get('kind')}" if error else ""
        return Why(
            task_id=one,
            state=row.status,
            verdict="ended",
            summary=f"{one} has ended: {row.status}{how}",
        ).model_dump(mode="json")


def _with_late(attempts: list[dict[str, Any]], late: list[LateRow], result: str | None) -> list[dict[str, Any]]:
    """Attempts with the reports that were refused, compared with the result that was accepted."""
    accepted = late_reports.digest(result)
    for attempt in attempts:
        attempt["late"] = [late_json(row, accepted) for row in late if row.token == attempt["token"]]
    return attempts
