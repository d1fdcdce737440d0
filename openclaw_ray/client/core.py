"""The async client: what a driver, a notebook or the command line says to a cluster. The sync one forwards to it.

It holds no truth: every handle is an id and the newest that was heard. Must not know how calls travel.
"""

# `timeout` is the word of both forms; it bounds the waiting, and ends it with `WaitTimeout`.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, Unpack, cast

from openclaw_ray.client.calls import TIMEOUT_S, Calls
from openclaw_ray.client.ends import Ends, OnError, gather, wait_s
from openclaw_ray.client.handles import AsyncNode, AsyncTask, AsyncTasks
from openclaw_ray.client.queries import Filters, query_of
from openclaw_ray.client.snapshot import Snapshot
from openclaw_ray.client.specs import (
    MapOptions,
    Row,
    SubmitOptions,
    TaskLike,
    batches,
    common_spec,
    elements,
    os_user,
    rows_of,
    spelled_out,
    task_id,
)
from openclaw_ray.client.views import (
    ClusterStatus,
    Explained,
    NodeTable,
    SkillTable,
    cluster_bundle,
    cluster_line,
    skills_of,
    snapshot_of,
)
from openclaw_ray.client.waiter import ResultsWaiter
from openclaw_ray.core.limits import PAGE_MAX, SUBMIT_BATCH_MAX
from openclaw_ray.core.types import LIVE_STATES
from openclaw_ray.errors import (
    Conflict,
    InvalidRequest,
    OpenClawError,
    OutcomeUnknown,
    VersionMismatch,
    WaitTimeout,
)
from openclaw_ray.models.door import parse, quoted
from openclaw_ray.models.skill import SkillManifest
from openclaw_ray.protocol import PROTOCOL_VERSION, CancelRequest, RegisterSkillRequest
from openclaw_ray.runtime.ports import Coordinator
from openclaw_ray.skills.function import Skill
from openclaw_ray.skills.function import skill as as_skill

#: A skill by name, or the function itself.
SkillLike = str | Callable[..., Any]
#: Submit calls of one `map` that are under way together: one travels while another is committed.
IN_FLIGHT = 2
#: A copy of a large database takes minutes (seconds).
BACKUP_S = 900.0


class AsyncCluster:
    """A running cluster. Use it as a context, or close it.

    Args:
        port: How its coordinator is reached.
        timeout_s: How long a call is repeated before it fails.
        on_close: Run once at `close`.
    """

    def __init__(
        self, port: Coordinator, *, timeout_s: float = TIMEOUT_S, on_close: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._calls = Calls(port, timeout_s)
        self._on_close = on_close
        self.waiter = ResultsWaiter(self._calls)
        #: What `hello` said: protocol, cluster_id, epoch, started_at, namespace.
        self.identity: dict[str, Any] = {}
        #: The newest `status`, for showing.
        self.last_status: ClusterStatus | None = None
        #: Revisions that this client has registered, by skill.
        self._registered: dict[str, str] = {}
        self.closed = False

    async def __aenter__(self) -> Self:
        return self if self.identity else await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> Self:
        """Meet the coordinator.

        Raises:
            VersionMismatch: it speaks another protocol.
            NotConnected: it cannot be reached.
        """
        identity = await self.call("hello")
        if identity["protocol"] != PROTOCOL_VERSION:
            raise VersionMismatch(
                f"this client speaks protocol {PROTOCOL_VERSION}, the cluster {identity['protocol']}",
                hint="install the same version of openclaw-ray on both sides",
                facts={"client": PROTOCOL_VERSION, "cluster": identity["protocol"]},
            )
        self.identity = identity
        return self

    async def close(self) -> None:
        """Stop waiting and let go; tasks go on."""
        if self.closed:
            return
        self.closed = True
        await self.waiter.close()
        if self._on_close is not None:
            await self._on_close()

    @property
    def namespace(self) -> str:
        """Which of the clusters on one Ray."""
        return str(self.identity.get("namespace", ""))

    def __repr__(self) -> str:
        return cluster_line(self.last_status, self.namespace, self.closed)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return cluster_bundle(repr(self), self.last_status)

    async def call(self, verb: str, /, **arguments: Any) -> Any:
        """Any verb of the coordinator, with plain arguments; plain JSON values come back."""
        return await self._calls.plain(verb, arguments)

    async def message(self, verb: str, request: Any) -> Any:
        """A verb whose body is one checked message."""
        return await self._calls.text(verb, request.model_dump_json(exclude_unset=True))

    # -- tasks -----------------------------------------------------------------------------------------------------

    @spelled_out
    async def submit(self, skill: SkillLike, params: object = None, **options: Unpack[SubmitOptions]) -> AsyncTask:
        """Hand in one task. When this returns, the task is on disk.

        Args:
            skill: Its name, or a function, which is registered first.
            params: JSON values; models and dataclasses become mappings. A mapping becomes keyword arguments.
            options: See `SubmitOptions`.

        Raises:
            InvalidRequest, InvalidParams: refused before any call; the field is named.
            Conflict: the key belongs to a task with another spec.
            OutcomeUnknown: it may or may not have been accepted; ``facts["task_ids"]`` says as which task.
        """
        name = await self._skill_name(skill, [params])
        common = common_spec(name, options)
        key = common.pop("key", None)
        rows = rows_of([{} if params is None else params], None if key is None else [key], at="tasks")
        [(batch, body)] = batches(common, rows, by=os_user(), strict=options.get("strict", False))
        [snapshot] = await self._send(name, batch, body)
        return AsyncTask(self, snapshot)

    @spelled_out
    async def map(
        self,
        skill: SkillLike,
        params: Iterable[object],
        *,
        key: Callable[[Any], str | None] | None = None,
        **options: Unpack[MapOptions],
    ) -> AsyncTasks:
        """Hand in one task for each element of `params`; all of them are checked before the first is sent.

        Args:
            skill: Its name, or a function, which is registered first.
            params: The parameters of each task.
            key: From the parameters of a task to its key; see `SubmitOptions.key`.
            options: What all of them share; see `MapOptions`.

        Returns:
            The tasks, in the order of `params`.

        Raises:
            As `submit`; ``facts["accepted"]`` counts the tasks that were accepted before.
        """
        items = elements(params)
        name = await self._skill_name(skill, items)
        common = common_spec(name, options)
        keys = [key(one) for one in items] if key is not None else None
        rows: list[Row] = []
        for row in rows_of(items, keys, at="tasks"):
            rows.append(row)
            if len(rows) % 500 == 0:
                await asyncio.sleep(0)
        return AsyncTasks(
            [AsyncTask(self, s) for s in await self._send_all(name, common, rows, options.get("strict", False))]
        )

    async def _send_all(self, name: str, common: dict[str, Any], rows: list[Row], strict: bool) -> list[Snapshot]:
        sending: list[asyncio.Task[list[Snapshot]]] = []
        free = asyncio.Semaphore(IN_FLIGHT)

        async def send(batch: list[Row], body: str) -> list[Snapshot]:
            try:
                return await self._send(name, batch, body)
            finally:
                free.release()

        try:
            for batch, body in batches(common, rows, by=os_user(), strict=strict):
                await free.acquire()
                for sent in sending[-IN_FLIGHT:]:
                    if sent.done():
                        sent.result()
                sending.append(asyncio.create_task(send(batch, body), name="submit"))
            found = [snapshot for sent in sending for snapshot in await sent]
        except OpenClawError as error:
            await asyncio.gather(*sending, return_exceptions=True)
            error.facts["accepted"] = sum(len(s.result()) for s in sending if s.exception() is None)
            raise
        finally:
            for sent in sending:
                sent.cancel()
        return found

    async def _send(self, name: str, batch: list[Row], body: str) -> list[Snapshot]:
        try:
            answer = await self._calls.text("submit", body)
        except OutcomeUnknown as error:
            ids = [row.id for row in batch[:1_000]]
            hint = "look for these ids later, or submit again with the same key"
            raise OutcomeUnknown(
                f"{len(batch):,} tasks: {error.message}", hint=hint, facts={"task_ids": ids}
            ) from error
        rows = zip(batch, answer["tasks"], strict=True)
        return [Snapshot(found[0], name, row.params, str(found[1])) for row, found in rows]

    async def task(self, task: TaskLike) -> AsyncTask:
        """A task by its id, from any driver, for as long as its record exists.

        Raises:
            NotFound: there is no such task.
        """
        return AsyncTask(self, snapshot_of(await self.call("get_task", task_id=task_id(task))))

    async def tasks(self, query: str = "", *, limit: int = 50, **filters: Unpack[Filters]) -> AsyncTasks:
        """Tasks that fit a filter such as ``"state:failed group:invoices since:1h"``, newest first, at most `limit`."""
        if type(limit) is not int or limit < 1:
            raise InvalidRequest(f"{quoted(limit)} is not a number of tasks", field="limit", limit="1 or more")
        found: list[AsyncTask] = []
        before: int | None = None
        while len(found) < limit:
            page = query_of(query, filters, min(limit - len(found), PAGE_MAX), before)
            answer = await self.message("tasks", page)
            found += [AsyncTask(self, snapshot_of(one)) for one in answer["tasks"]]
            before = answer["next"]
            if before is None:
                break
        return AsyncTasks(found)

    async def cancel(self, *tasks: TaskLike, group: str | None = None, reason: str = "") -> dict[str, str]:
        """Cancel tasks, or all live ones of a group.

        Returns:
            Id to state; a state other than cancelled says that it was too late.
        """
        ids = [task_id(task) for task in tasks]
        if bool(ids) == (group is not None):
            raise InvalidRequest("name tasks or a group, not both", field="tasks")
        states: dict[str, str] = {}
        for start in range(0, max(len(ids), 1), SUBMIT_BATCH_MAX):
            some = ids[start : start + SUBMIT_BATCH_MAX]
            asked = {"ids": some, "group": group, "reason": reason, "by": os_user()}
            states |= (await self.message("cancel", parse(CancelRequest, asked)))["tasks"]
        return states

    @spelled_out
    async def retry(self, task: TaskLike, **changes: Unpack[SubmitOptions]) -> AsyncTask:
        """Submit an ended task anew, as a new task that names it as `retry_of`; the old one stays as it is.

        Its key, times and dependencies are not taken over; everything else is, unless `changes` says otherwise.

        Raises:
            Conflict: it has not ended.
        """
        old: dict[str, Any] = await self.call("get_task", task_id=task_id(task))
        if old["status"] in LIVE_STATES:
            raise Conflict(
                f"task {old['task_id']} is {old['status']}", field="task", hint="cancel it first, or let it end"
            )
        if old["skill"] is None:
            raise InvalidRequest(f"task {old['task_id']} names no skill: a program of its own ran it", field="task")
        options = cast("SubmitOptions", {**_spec_of(old), **changes, "retry_of": old["task_id"]})
        return await self.submit(old["skill"], old["parameters"], **options)

    async def why(self, task: TaskLike) -> Explained:
        """Why a task stands where it stands, and what would start it."""
        return Explained.model_validate(await self.call("why", task_id=task_id(task)))

    async def gather(
        self, tasks: Iterable[AsyncTask], on_error: OnError = "raise", timeout: float | str | None = None
    ) -> list[Any]:
        """Wait for all and return their results, in the order of `tasks`.

        Args:
            tasks: The tasks.
            on_error: "raise" the first failure as soon as it is known (the other tasks go on), "return" errors in their
                places, or "skip" them.
            timeout: How long to wait for all of them together.

        Raises:
            TaskError: with "raise".
            WaitTimeout: not all ended in time; they go on.
        """
        return await gather(self.waiter, [task._snapshot for task in tasks], on_error, timeout)

    async def as_completed(
        self, tasks: Iterable[AsyncTask], timeout: float | str | None = None
    ) -> AsyncIterator[AsyncTask]:
        """The tasks as they end, in that order, whatever their end; `timeout` is for all of them together."""
        listed = list(tasks)
        with Ends(self.waiter, [task._snapshot for task in listed], timeout) as ends:
            while found := await ends.next():
                for i in found:
                    yield listed[i]

    # -- skills ----------------------------------------------------------------------------------------------------

    async def register(self, skill: Callable[..., Any]) -> SkillManifest:
        """Make a function known under its name; tasks submitted from now on run this code. Returns after the commit.

        Raises:
            InvalidRequest: it, or something that it refers to, cannot travel; that is named.
        """
        packed = await asyncio.to_thread(_skill_of(skill).packed)
        manifest = packed.manifest
        blob = base64.b64encode(packed.blob).decode()
        request = RegisterSkillRequest(manifest=manifest, blob=blob, by=os_user())
        await self._calls.text("register_skill", request.model_dump_json())
        self._registered[manifest.name] = manifest.revision
        return manifest

    async def _skill_name(self, skill: SkillLike, params: Sequence[object]) -> str:
        if isinstance(skill, str):
            return skill
        if not callable(skill):
            raise InvalidRequest(f"a {type(skill).__name__} is no skill", field="skill", limit="a name or a function")
        function = _skill_of(skill)
        function.check(*({} if one is None else one for one in params))
        known = self._registered.get(function.name)
        if known is None or known != function.revision:
            await self.register(function)
        return function.name

    async def skills(self) -> SkillTable:
        """What the cluster knows how to run, and which nodes offer it."""
        registry, nodes = await asyncio.gather(self.call("registry", since=0), self.call("get_all_nodes"))
        return skills_of(registry["manifests"], nodes)

    async def wait_for_skill(self, name: str, timeout: float | str | None = 30.0, nodes: int = 1) -> list[str]:
        """Wait until at least `nodes` online nodes offer a skill; answers their ids.

        Raises:
            WaitTimeout: they do not; it says why nodes withhold it.
        """
        limit_s = wait_s(timeout)
        clock = asyncio.get_running_loop().time
        end = None if limit_s is None else clock() + limit_s
        pause = 0.02
        while True:
            found: list[dict[str, Any]] = await self.call("get_all_nodes")
            ready = [n["node_id"] for n in found if name in n["offers"] and n["status"] in ("online", "busy")]
            if len(ready) >= nodes:
                return ready
            if end is not None and clock() + pause > end:
                withheld = [f"{n['node_id']}: {n['withheld'][name]}" for n in found if name in n["withheld"]]
                raise WaitTimeout(
                    f"{len(ready)} of {len(found)} nodes offer skill {name!r} after {limit_s:g} s, {nodes} wanted",
                    hint="; ".join(withheld) or None,
                    facts={"skill": name, "nodes": ready},
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    # -- nodes and the whole ---------------------------------------------------------------------------------------

    async def nodes(self) -> NodeTable[AsyncNode]:
        """Every node, by id."""
        return NodeTable([AsyncNode(self, one) for one in await self.call("get_all_nodes")])

    async def node(self, node_id: str) -> AsyncNode:
        """One node.

        Raises:
            NotFound: there is no such node.
        """
        return AsyncNode(self, await self.call("get_node", node_id=node_id))

    async def status(self) -> ClusterStatus:
        """Version, counts of tasks, nodes, scheduler."""
        self.last_status = ClusterStatus(await self.call("get_state"))
        return self.last_status

    async def backup(self, to: str) -> dict[str, Any]:
        """Write a verified copy of the database to a file or folder on the coordinator's machine."""
        found = await self._calls.plain("backup", {"to": str(to)}, timeout_s=BACKUP_S, attempt_s=BACKUP_S)
        return cast("dict[str, Any]", found)


def _skill_of(skill: Callable[..., Any]) -> Skill[..., Any]:
    return skill if isinstance(skill, Skill) else as_skill(skill)


_TAKEN_OVER = (
    "name", "description", "task_type", "required_skills", "optional_skills", "priority", "timeout", "max_lost",
    "resources", "required_tags", "affinity_tags", "strategy", "user_id", "metadata", "group", "revision",
)  # fmt: skip


def _spec_of(record: dict[str, Any]) -> dict[str, Any]:
    """What a retry takes over from a record."""
    spec = {name: record[name] for name in _TAKEN_OVER if record[name] not in (None, [], {})}
    return {**spec, "retries": record["max_retries"]}


__all__ = ["AsyncCluster", "AsyncNode", "AsyncTask", "AsyncTasks", "SkillLike"]
