"""Tasks, from their owners' side: submit, wait, cancel, change, remove."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any

from openclaw_ray.core import events as ev
from openclaw_ray.core.limits import SUBMIT_BATCH_MAX, WAITING_TASKS_MAX
from openclaw_ray.core.records import Needs, TaskRecord
from openclaw_ray.core.transitions import illegal_task
from openclaw_ray.core.types import LIVE_STATES, TaskState, TaskType
from openclaw_ray.errors import Conflict, InvalidRequest, NotFound, OpenClawError, UnknownSkill
from openclaw_ray.models.door import PATH_CHARS, Document, dumps, parse, quoted, shorten
from openclaw_ray.models.fields import (
    ErrorValue,
    Given,
    Id,
    Metadata,
    PriorityNumber,
    Result,
    Seconds,
    Tags,
    Text,
    Title,
    identifier,
    units_of,
)
from openclaw_ray.models.ids import new_task_id
from openclaw_ray.models.task import TaskSpec
from openclaw_ray.protocol import CancelRequest, ResultsReply, ResultsRequest, Submission, SubmitRequest
from openclaw_ray.runtime.arguments import by_id, checked, one_or_many
from openclaw_ray.runtime.commit import NotNew, Turn
from openclaw_ray.runtime.context import Office, ended_task
from openclaw_ray.runtime.intake import Intake, intakes
from openclaw_ray.runtime.sessions import Session
from openclaw_ray.runtime.waiting import until
from openclaw_ray.storage import lookups


class TaskChange(Document):
    """What may be changed on a task; a status is carried out as an operator's act."""

    priority: Annotated[PriorityNumber | None, Given] = None
    name: Annotated[Title | None, Given] = None
    description: Text | None = None
    timeout: Seconds | None = None
    required_tags: Annotated[Tags | None, Given] = None
    affinity_tags: Annotated[Tags | None, Given] = None
    metadata: Annotated[Metadata | None, Given] = None
    status: Annotated[TaskState | None, Given] = None
    assigned_node: Id | None = None
    result: Result = None
    error: ErrorValue = None


class TaskDesk:
    """Serves clients and programs that own tasks."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def submit(self, request: SubmitRequest) -> dict[str, Any]:
        """Accept tasks, all or none, in one commit with whatever else waits.

        Returns:
            ``{"tasks": [[id, state, created], ...]}`` in the order of the request. With a key that is in use, the id
            is that of the task which holds it.
        """
        operation = _Submit(self._office, request)
        return {"tasks": await self._office.commit.submit(operation)}

    async def results(self, request: ResultsRequest) -> ResultsReply:
        """Wait until tasks of the session end; answers at once with what has ended already."""
        office, sessions = self._office, self._office.sessions
        now = office.clock.now()
        session = sessions.find(request.session)
        if session is None:
            if request.n != 1:
                return ResultsReply(known=False, n=request.n)
            session = sessions.create(request.session, now.mono)
        sessions.touch(request.session, now.mono)
        if session.reply is not None and session.reply[0] == request.n:
            n, ended, missing = session.reply
            return ResultsReply.model_construct(known=True, n=n, ended=ended, missing=missing)
        if request.n < session.n:
            return ResultsReply(known=True, n=request.n)
        if request.n == session.n and session.answering:
            # A doubled call: both get the one answer, or one of them would acknowledge what went to the other.
            await until(office.clock, now.mono + request.timeout_s + 1, session.answered.wait())
            return await self.results(request)
        session.n, session.reply = request.n, None
        session.begin()
        try:
            sessions.release_tasks(request.session, request.drop)
            await self._add(request.session, session, request.add)
            if not session.ended and not session.missing:
                await until(office.clock, now.mono + request.timeout_s, session.wait(request.n))
            return await self._reply(session, request.n)
        finally:
            if session.n == request.n:
                session.end()

    async def _add(self, name: str, session: Session, ids: list[str]) -> None:
        if not ids:
            return
        office = self._office
        await office.commit.quiet()
        live = office.state.tasks
        absent = [t for t in ids if t not in live]
        office.sessions.await_tasks(name, [t for t in ids if t in live])
        if not absent:
            return
        found = {row.task_id: row for row in await office.store.read(lambda conn: lookups.ended(conn, absent))}
        for task_id in absent:
            if task_id not in found:
                session.missing.append(task_id)
            elif found[task_id].status not in LIVE_STATES:
                session.put(ended_task(found[task_id]))
            elif task_id in live:  # submitted while we read
                office.sessions.await_tasks(name, [task_id])
            else:
                session.put_unread(task_id)

    async def _reply(self, session: Session, n: int) -> ResultsReply:
        if session.n != n:
            return ResultsReply(known=True, n=n)  # a newer call took over: it carries everything
        items = session.next_items()
        unread = [task_id for task_id in items if session.ended[task_id] is None]
        rows = await self._office.store.read(lambda conn: lookups.ended(conn, unread)) if unread else []
        if session.n != n:
            return ResultsReply(known=True, n=n)
        # Taken only now: had the read failed, they would be told by the next call.
        ended = [task for task_id in items if (task := session.take(task_id)) is not None]
        ended += [ended_task(row) for row in rows]
        missing, session.missing = session.missing, []
        session.reply = (n, ended, missing)
        return ResultsReply.model_construct(known=True, n=n, ended=ended, missing=missing)

    async def cancel(self, request: CancelRequest) -> dict[str, Any]:
        """Cancel live tasks; for one that has ended, its state says that it was too late.

        Returns:
            ``{"tasks": {id: state}}`` after the cancel.
        """
        if bool(request.ids) == (request.group is not None):
            raise InvalidRequest("name task ids or a group, not both", field="ids")
        return {"tasks": await self._office.commit.submit(_Cancel(request))}

    async def add_task(self, task: Any, by: str | None = None) -> Any:
        """Accept one task (a mapping) or several (a list); answers the id, or the list of ids."""
        submissions, many = one_or_many(_submission, task, "task", SUBMIT_BATCH_MAX)
        try:
            reply = await self.submit(parse(SubmitRequest, {"tasks": submissions, "by": by}))
        except OpenClawError as error:
            raise _as_given(error, many) from None
        ids = [row[0] for row in reply["tasks"]]
        return ids if many else ids[0]

    async def update_task(self, task_id: Any, changes: Any = None, by: str | None = None) -> Any:
        """Change one task, or several given as ``{id: changes}``; answers the new version(s).

        Raises:
            NotFound, InvalidTransition, Conflict: nothing of the call was done.
        """
        asked_of, many = by_id(task_id, changes, lambda one: parse(TaskChange, one), "task_id", "changes")
        versions: dict[str, int] = await self._office.commit.submit(_Update(self._office, asked_of, by))
        return versions if many else versions[task_id]

    async def remove_task(self, task_id: Any, by: str | None = None) -> Any:
        """Delete the record of an ended task, or of several; a live one is `Conflict`."""
        ids, many = one_or_many(identifier, task_id, "task_id", SUBMIT_BATCH_MAX)
        removed: list[bool] = await self._office.commit.submit(_Remove(ids, by))
        return removed if many else removed[0]


def needs_of(spec: TaskSpec, manifest_resources: Mapping[str, Any]) -> Needs | None:
    """What a task asks of a node; None when a program of its own runs it."""
    runs = spec.runs
    if runs is None:
        return None
    resources = {**manifest_resources, **spec.asks}
    return Needs(
        runs=runs,
        skills=spec.all_skills,
        optional=tuple(sorted(spec.optional_skills)),
        resources=units_of(resources),
        tags=tuple(sorted(spec.required_tags)),
        affinity=tuple(sorted(spec.affinity_tags)),
        strategy=spec.strategy,
        revision=spec.revision,
        urgent=spec.task_type is TaskType.INTERACTIVE,
    )


class _Submit:
    """One submit call: ids and keys are looked up first, so a repeat is recognised."""

    def __init__(self, office: Office, request: SubmitRequest) -> None:
        self._office = office
        self._strict = request.strict
        self._rows = list(intakes(request, office.settings.params_bytes_max))
        # Ids are made by clients at random; only a repeated call brings one again.
        self.likely_new = not any(row.key or row.spec.after for row in self._rows)
        #: Per draft: worked out once for all tasks that share it.
        self._terms: dict[int, ev.Terms] = {}

    def look_up(self, conn: Any) -> list[lookups.Known]:
        ids = [row.id for row in self._rows]
        ids += [dep for row in self._rows for dep in row.spec.after]
        return lookups.known(conn, ids, [row.key for row in self._rows if row.key])

    def apply(self, turn: Turn, found: list[lookups.Known] | None) -> list[list[Any]]:
        if found is None and any(row.id in turn.ledger.fresh or turn.state.task(row.id) for row in self._rows):
            raise NotNew
        known = {row.task_id: row for row in found or ()} | turn.ledger.fresh
        keys = {row.key: row for row in known.values() if row.key}
        self._terms.clear()
        answers: list[list[Any]] = []
        for intake in self._rows:
            held = known.get(intake.id) or (keys.get(intake.key) if intake.key else None)
            if held is not None:
                _check_same(held, intake)
                live = turn.state.task(held.task_id)
                answers.append([held.task_id, (live.state if live else held.status), False])
                continue
            row = self._accept(turn, intake, known)
            known[row.task_id] = turn.ledger.fresh[row.task_id] = row
            if row.key:
                keys[row.key] = row
            answers.append([row.task_id, row.status, True])
        return answers

    def _accept(self, turn: Turn, intake: Intake, known: dict[str, lookups.Known]) -> lookups.Known:
        terms = self._terms.get(id(intake.draft))
        if terms is None:
            terms = self._terms[id(intake.draft)] = self._terms_of(turn, intake)
        ended = self._dependencies(turn, intake, known) if terms.after else _NONE_ENDED
        turn.apply(ev.TaskSubmitted(intake.id, terms, ended, intake))
        live = turn.state.task(intake.id)
        status = live.state.value if live else TaskState.FAILED.value
        return lookups.Known(intake.id, status, intake.sha256, intake.key)

    def _terms_of(self, turn: Turn, intake: Intake) -> ev.Terms:
        spec, rules = intake.spec, turn.state.rules
        manifest = self._office.registry.newest.get(spec.runs or "")
        needs = needs_of(spec, manifest.resources if manifest else {})
        if self._strict and needs is not None:
            _check_offered(turn, needs, intake.at)
        retries = spec.retries if spec.retries is not None else manifest.retries if manifest else None
        return ev.Terms(
            needs=needs,
            priority=spec.priority,
            max_retries=rules.default_max_retries if retries is None else retries,
            max_lost=rules.default_max_lost if spec.max_lost is None else spec.max_lost,
            not_before=spec.not_before.timestamp() if spec.not_before else 0.0,
            deadline=spec.deadline.timestamp() if spec.deadline else 0.0,
            after=tuple(spec.after),
            daemon=spec.task_type is TaskType.DAEMON,
            by=intake.draft.user_id,
        )

    def _dependencies(self, turn: Turn, intake: Intake, known: dict[str, lookups.Known]) -> dict[str, TaskState]:
        ended: dict[str, TaskState] = {}
        for j, dep in enumerate(intake.spec.after):
            field = f"{intake.at}.spec.after[{j}]"
            if dep == intake.id:
                raise InvalidRequest("a task cannot wait for itself", field=field, limit="ids of other tasks")
            if turn.state.task(dep) is not None:
                continue
            row = known.get(dep)
            if row is None:
                raise self._unknown_dependency(intake.id, dep, field)
            ended[dep] = TaskState(row.status)
        return ended

    def _unknown_dependency(self, task_id: str, dep: str, field: str) -> InvalidRequest:
        later = {row.id: row.spec.after for row in self._rows}
        path, seen = [task_id, dep], {task_id}
        while path[-1] in later and path[-1] not in seen:
            seen.add(path[-1])
            onward = [d for d in later[path[-1]] if d in later]
            if not onward:
                break
            path.append(onward[0])
        if path[-1] in path[:-1]:
            message = f"the tasks wait for each other: {shorten(' -> '.join(path), PATH_CHARS)}"
            return InvalidRequest(message, field=field, hint="one of them has to begin")
        if dep in later:
            message = f"{dep} comes later in this call"
            return InvalidRequest(message, field=field, hint="list a task after its dependencies")
        return InvalidRequest(f"no task {shorten(dep)!r}", field=field, limit="ids of known tasks")


_NONE_ENDED: Mapping[str, TaskState] = MappingProxyType({})


def _check_same(held: lookups.Known, intake: Intake) -> None:
    """The same id or key again is the same task only with the same spec."""
    if held.spec_sha256 == intake.sha256:
        return
    by_id = held.task_id == intake.id
    what = f"task {held.task_id} exists" if by_id else f"key {intake.key!r} belongs to task {held.task_id}"
    raise Conflict(
        f"{what} with another spec",
        field=f"{intake.at}.{'id' if by_id else 'spec.key'}",
        limit="the same spec again, or a new id and key",
        facts={"task_id": held.task_id, "spec_sha256": held.spec_sha256, "asked_sha256": intake.sha256},
    )


def _check_offered(turn: Turn, needs: Needs, at: str) -> None:
    for skill in needs.skills:
        if not any(skill in node.offers for node in turn.state.nodes.values()):
            raise UnknownSkill(
                f"no node offers skill {skill!r}",
                field=f"{at}.spec.skill",
                hint="register it, or submit without strict to let the task wait",
            )


class _Cancel:
    likely_new = False

    def __init__(self, request: CancelRequest) -> None:
        self._request = request

    def look_up(self, conn: Any) -> list[lookups.Known]:
        ids = list(self._request.ids)
        if self._request.group is not None:
            ids = lookups.live_ids_of_group(conn, self._request.group, WAITING_TASKS_MAX)
        return lookups.known(conn, ids, [])

    def apply(self, turn: Turn, found: list[lookups.Known]) -> dict[str, str]:
        kept = {row.task_id: row.status for row in found}
        ids = self._request.ids or list(kept)
        for i, task_id in enumerate(ids):
            if turn.state.task(task_id) is None and task_id not in kept:
                raise NotFound(f"no task {task_id!r}", field=f"ids[{i}]")
        states: dict[str, str] = {}
        for task_id in ids:
            if turn.state.task(task_id) is not None:
                turn.apply(ev.CancelAsked(task_id, self._request.by, self._request.reason))
                states[task_id] = TaskState.CANCELLED.value
            else:
                states[task_id] = states.get(task_id) or _ended_as(turn, task_id, kept[task_id])
        return states


class _Update:
    likely_new = False

    def __init__(self, office: Office, changes: dict[str, TaskChange], by: str | None) -> None:
        self._office = office
        self._changes = changes
        self._by = by

    def look_up(self, conn: Any) -> list[lookups.Known]:
        return lookups.known(conn, self._changes, [])

    def apply(self, turn: Turn, found: list[lookups.Known]) -> dict[str, int]:
        kept = {row.task_id: row for row in found}
        for task_id, change in self._changes.items():
            task = turn.state.task(task_id)
            if task is None:
                self._refuse_ended(kept.get(task_id), task_id, change)
            else:
                self._change(turn, task, change)
        return dict.fromkeys(self._changes, turn.state.version)

    def _refuse_ended(self, row: lookups.Known | None, task_id: str, change: TaskChange) -> None:
        if row is None:
            raise NotFound(f"no task {task_id!r}", field="task_id")
        state = TaskState(row.status)
        if change.status is not None and change.status is not state:
            raise illegal_task(state, change.status.value)
        raise Conflict(f"task {task_id} has ended ({state.value}); its record is final", field="task_id")

    def _change(self, turn: Turn, task: TaskRecord, change: TaskChange) -> None:
        given = change.model_fields_set
        if change.status is task.state and change.assigned_node not in (None, task.node_id):
            # Saying the same again is harmless; two programs that both start a task are not.
            raise Conflict(
                f"task {task.id} is {task.state.value} on {task.node_id} already",
                field="assigned_node",
                hint="only the first may run it",
                facts={"assigned_node": task.node_id},
            )
        columns: dict[str, Any] = {
            name: getattr(change, name)
            for name in ("name", "description", "timeout", "required_tags", "affinity_tags", "metadata")
            if name in given
        }
        needs = self._needs(task, change) if {"required_tags", "affinity_tags"} & given else None
        if columns or change.priority is not None:
            turn.apply(ev.TaskEdited(task.id, change.priority, needs, columns, self._by))
            self._office.params.drop(task.id)
        if change.status is not None and change.status is not task.state:
            result = dumps(change.result) if "result" in given else None
            error = _error_of(change)
            turn.apply(ev.TaskMovedByHand(task.id, change.status, change.assigned_node, result, error, self._by))

    def _needs(self, task: TaskRecord, change: TaskChange) -> Needs | None:
        if task.shape is None:
            return None
        needs = task.shape.needs
        if change.required_tags is not None:
            needs = replace(needs, tags=tuple(sorted(change.required_tags)))
        if change.affinity_tags is not None:
            needs = replace(needs, affinity=tuple(sorted(change.affinity_tags)))
        return needs


def _error_of(change: TaskChange) -> dict[str, Any] | None:
    if change.error is None:
        return None if change.status is TaskState.COMPLETED else {"kind": "by_hand", "message": ""}
    if isinstance(change.error, dict):
        return {"kind": "by_hand", "message": dumps(change.error)}
    return {"kind": "by_hand", "message": str(change.error)}


class _Remove:
    likely_new = False

    def __init__(self, ids: list[str], by: str | None) -> None:
        self._ids = ids
        self._by = by

    def look_up(self, conn: Any) -> list[lookups.Known]:
        return lookups.known(conn, self._ids, [])

    def apply(self, turn: Turn, found: list[lookups.Known]) -> list[bool]:
        kept = {row.task_id: row.status for row in found}
        gone = set(turn.ledger.batch.delete_tasks)  # by another call in this very batch
        answers = []
        for task_id in self._ids:
            exists = (task_id in kept or turn.state.task(task_id) is not None) and task_id not in gone
            if exists:
                turn.apply(ev.TaskRemoved(task_id, self._by))
                turn.ledger.finished[_ended_as(turn, task_id, kept[task_id])] -= 1
                gone.add(task_id)
            answers.append(exists)
        return answers


def _ended_as(turn: Turn, task_id: str, status: str) -> str:
    """The final state of a task that `status` says was live on disk: it ended in this very batch."""
    if status not in LIVE_STATES:
        return status
    return next(end.status for end in turn.ledger.batch.end_tasks if end.task_id == task_id)


def _as_given(error: OpenClawError, many: bool) -> OpenClawError:
    """A refusal of submit in the words of add_task, where id and spec are one mapping."""
    field = (error.field or "").replace("tasks", "task", 1).replace(".spec", "", 1)
    field = field if many else field.replace("task[0]", "task", 1)
    return type(error)(error.message, field or None, error.limit, error.hint, error.retry_after, error.facts)


def _submission(value: Any) -> Submission:
    """A task as programs that use the handles give it: id and spec in one mapping."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidRequest("is not JSON", limit='for example {"skill": "ocr"}') from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{quoted(value)} is not a mapping", limit="a mapping of task fields")
    fields = dict(value)
    named = next((name for name in ("task_id", "id") if fields.get(name) is not None), None)
    task_id = new_task_id() if named is None else checked(identifier, fields.pop(named), named)
    for name in ("task_id", "id"):
        if name in fields and fields[name] is None:
            del fields[name]
    return Submission(id=task_id, spec=parse(TaskSpec, fields))
