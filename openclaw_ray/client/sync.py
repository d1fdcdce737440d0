"""The sync client: the same words as the async one, over one background loop.

Every method here forwards to its namesake in core.py and takes signature and description from there; what comes back is
turned into the sync form. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, overload

from openclaw_ray.client import ends
from openclaw_ray.client.calls import TIMEOUT_S
from openclaw_ray.client.core import AsyncCluster, SkillLike
from openclaw_ray.client.ends import Ends, OnError
from openclaw_ray.client.handles import AsyncNode, AsyncTask, AsyncTasks
from openclaw_ray.client.loops import LoopThread
from openclaw_ray.client.snapshot import Snapshot
from openclaw_ray.client.specs import MapOptions, elements, spelled_out
from openclaw_ray.client.views import NodeFacts, NodeTable, TaskTable, TaskView, cluster_bundle, cluster_line
from openclaw_ray.errors import InvalidRequest, OpenClawError
from openclaw_ray.models.node import NodeInfo
from openclaw_ray.runtime.ports import Coordinator

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

#: A task's properties ask the cluster again when what is known is older than this (seconds) and the task may go on.
FRESH_S = 0.05
#: Showing an object never takes longer (seconds); it shows what was known before, and how old that is.
GLANCE_S = 1.0
#: Tasks of a list that are asked for again before it is shown.
GLANCE_TASKS = 1_000


@overload
def _forward(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, AsyncTask]],
) -> Callable[Concatenate[Any, P], Task]: ...
@overload
def _forward(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, AsyncTasks]],
) -> Callable[Concatenate[Any, P], Tasks]: ...
@overload
def _forward(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, AsyncNode]],
) -> Callable[Concatenate[Any, P], Node]: ...
@overload
def _forward(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, NodeTable[AsyncNode]]],
) -> Callable[Concatenate[Any, P], NodeTable[Node]]: ...
@overload
def _forward(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], R]: ...
def _forward(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """The sync form of an async method."""

    @functools.wraps(method)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        cluster: Cluster = self._cluster
        answer = cluster._loop.run(method(self._async, *map(_async_form, args), **kwargs))
        return self if answer is self._async else _sync_form(cluster, answer)

    signature = inspect.signature(method)
    returns = str(signature.return_annotation).replace("Async", "")
    forward.__signature__ = signature.replace(return_annotation=returns)  # type: ignore[attr-defined]
    return forward


def _described(method: Callable[..., Any]) -> Callable[[F], F]:
    """Take over the description of an async method."""

    def describe(fn: F) -> F:
        fn.__doc__ = method.__doc__
        return fn

    return describe


def _async_form(value: object) -> object:
    return value._async if isinstance(value, Task) else value


def _sync_form(cluster: Cluster, value: Any) -> Any:
    if isinstance(value, AsyncTask):
        return Task(cluster, value)
    if isinstance(value, AsyncTasks):
        return Tasks(cluster, [Task(cluster, one) for one in value])
    if isinstance(value, AsyncNode):
        return Node(cluster, value)
    if isinstance(value, NodeTable):
        return NodeTable([Node(cluster, one) for one in value])
    return value


class Task(TaskView):
    """One task. Its properties are at most a moment old; `result` waits for its end."""

    def __init__(self, cluster: Cluster, task: AsyncTask) -> None:
        super().__init__(task._snapshot)
        self._cluster = cluster
        self._async = task

    refresh = _forward(AsyncTask.refresh)
    wait = _forward(AsyncTask.wait)
    cancel = _forward(AsyncTask.cancel)
    why = _forward(AsyncTask.why)
    attempts = _forward(AsyncTask.attempts)
    story = _forward(AsyncTask.story)
    logs = _forward(AsyncTask.logs)
    retry = _forward(AsyncTask.retry)

    @_described(AsyncTask.result)
    def result(self, timeout: float | str | None = None) -> Any:  # noqa: D102
        try:
            return self._cluster._loop.run(self._async.result(timeout))
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(
                f"Only the waiting ended: task {self.id} goes on. cluster.task({self.id!r}) finds it again."
            )
            raise

    def _look(self) -> Snapshot:
        known = self._snapshot
        if not known.settled and time.monotonic() - known.heard_at > FRESH_S:
            self.refresh()
        return known

    def _glance(self) -> Snapshot:
        self._cluster._glance_at([self._snapshot])
        return self._snapshot

    def _record(self) -> dict[str, Any] | None:
        if self._snapshot.document is None or not self._snapshot.document["completed_at"]:
            self.refresh()
        return self._snapshot.document


class Tasks(TaskTable[Task]):
    """Tasks in order."""

    def __init__(self, cluster: Cluster, tasks: Iterable[Task]) -> None:
        super().__init__(tasks)
        self._cluster = cluster

    @property
    def _async(self) -> AsyncTasks:
        return AsyncTasks([task._async for task in self])

    cancel = _forward(AsyncTasks.cancel)
    retry = _forward(AsyncTasks.retry)
    gather = _forward(AsyncTasks.gather)

    def _glance(self) -> None:
        self._cluster._glance_at([task._snapshot for task in self])


class Node(NodeFacts):
    """One node, as it was when it was asked for, and what its owner may do with it."""

    def __init__(self, cluster: Cluster, node: AsyncNode) -> None:
        self._cluster = cluster
        self._async = node

    @property
    def info(self) -> NodeInfo:
        """Everything that is kept of it."""
        return self._async.info

    refresh = _forward(AsyncNode.refresh)
    drain = _forward(AsyncNode.drain)
    undrain = _forward(AsyncNode.undrain)
    set = _forward(AsyncNode.set)
    remove = _forward(AsyncNode.remove)


class Cluster:
    """A running cluster. Use it as a context, or close it; made by `connect` and `local`."""

    def __init__(self, loop: LoopThread, cluster: AsyncCluster) -> None:
        self._loop = loop
        self._async = cluster
        self._cluster = self

    @classmethod
    def over(
        cls,
        port: Callable[[], Coordinator] | Coordinator,
        *,
        timeout_s: float = TIMEOUT_S,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> Self:
        """A client over a given way to the coordinator.

        Args:
            port: The way, or what makes it (called in the background thread).
            timeout_s: How long a call is repeated before it fails.
            on_close: Run once at `close`, in the background loop.

        Raises:
            NotConnected, VersionMismatch: from the first call.
        """

        async def opened() -> AsyncCluster:
            made = await asyncio.to_thread(port) if callable(port) else port
            return await AsyncCluster(made, timeout_s=timeout_s, on_close=on_close).open()

        loop = LoopThread()
        try:
            return cls(loop, loop.run(opened()))
        except BaseException:
            loop.close()
            raise

    submit = _forward(AsyncCluster.submit)
    task = _forward(AsyncCluster.task)
    tasks = _forward(AsyncCluster.tasks)
    cancel = _forward(AsyncCluster.cancel)
    retry = _forward(AsyncCluster.retry)
    why = _forward(AsyncCluster.why)
    register = _forward(AsyncCluster.register)
    skills = _forward(AsyncCluster.skills)
    wait_for_skill = _forward(AsyncCluster.wait_for_skill)
    nodes = _forward(AsyncCluster.nodes)
    node = _forward(AsyncCluster.node)
    status = _forward(AsyncCluster.status)
    backup = _forward(AsyncCluster.backup)

    @_described(AsyncCluster.call)
    def call(self, verb: str, /, **arguments: Any) -> Any:  # noqa: D102
        return self._loop.run(self._async.call(verb, **arguments))

    @_described(AsyncCluster.message)
    def message(self, verb: str, request: Any) -> Any:  # noqa: D102
        return self._loop.run(self._async.message(verb, request))

    @spelled_out
    @_described(AsyncCluster.map)
    def map(  # noqa: D102
        self,
        skill: SkillLike,
        params: Iterable[object],
        *,
        key: Callable[[Any], str | None] | None = None,
        **options: Unpack[MapOptions],
    ) -> Tasks:
        items = elements(params)  # in this thread: a generator or a key function may use this very cluster
        keys = iter([key(one) for one in items]) if key is not None else None
        given = None if keys is None else lambda _: next(keys)
        tasks = self._loop.run(self._async.map(skill, items, key=given, **options))
        return Tasks(self, [Task(self, one) for one in tasks])

    def gather(
        self, tasks: Iterable[Task], on_error: OnError = "raise", timeout: float | str | None = None
    ) -> list[Any]:
        """See `gather` of this module."""
        return gather(tasks, on_error, timeout)

    def as_completed(self, tasks: Iterable[Task], timeout: float | str | None = None) -> Completed:
        """See `as_completed` of this module."""
        return as_completed(tasks, timeout)

    @property
    def identity(self) -> dict[str, Any]:
        """What `hello` said: protocol, cluster_id, epoch, started_at, namespace."""
        return self._async.identity

    @property
    def namespace(self) -> str:
        """Which of the clusters on one Ray."""
        return self._async.namespace

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._async.closed

    def close(self) -> None:
        """Stop waiting and let go; tasks go on."""
        if not self._async.closed:
            try:
                self._loop.run(self._async.close())
            finally:
                self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)
        if loop is not None:
            loop.abandon()

    def __repr__(self) -> str:
        self._glance_at_state()
        known = self._async.last_status
        age_s = time.monotonic() - known.heard_at if known is not None else None
        return cluster_line(known, self.namespace, self.closed, age_s)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return cluster_bundle(repr(self), self._async.last_status)

    def _glance_at_state(self) -> None:
        known = self._async.last_status
        if known is None or time.monotonic() - known.heard_at > GLANCE_S:
            self._glance(self._async.status())

    def _glance_at(self, snapshots: Sequence[Snapshot]) -> None:
        now = time.monotonic()
        stale = [s for s in snapshots if not s.settled and now - s.heard_at > FRESH_S][:GLANCE_TASKS]
        if stale:
            self._glance(self._read(stale))

    async def _read(self, snapshots: Sequence[Snapshot]) -> None:
        found = await self._async.call("get_task", task_id=[s.id for s in snapshots])
        for snapshot, document in zip(snapshots, found, strict=True):
            snapshot.hear_record(document)

    def _glance(self, asking: Coroutine[Any, Any, Any]) -> None:
        """Bring what is shown up to date, or do not; showing an object never fails."""

        async def bounded() -> None:
            async with asyncio.timeout(GLANCE_S):
                await asking

        try:
            self._loop.run(bounded())
        except (OpenClawError, TimeoutError):
            asking.close()


class Completed(Iterator[Task]):
    """Tasks in the order in which they end; knows how many there will be, for progress bars."""

    def __init__(self, tasks: Iterable[Task], timeout: float | str | None) -> None:
        self._tasks = list(tasks)
        self._left = len(self._tasks)
        self._found = self._walk(timeout)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Task:
        task = next(self._found)
        self._left -= 1
        return task

    def __length_hint__(self) -> int:
        return self._left

    def close(self) -> None:
        """Stop waiting; the tasks go on."""
        self._found.close()

    def _walk(self, timeout: float | str | None) -> Generator[Task, None, None]:
        cluster = _cluster_of(self._tasks)
        if cluster is None:
            return
        awaited = Ends(cluster._async.waiter, [task._snapshot for task in self._tasks], timeout)

        async def begin() -> None:
            awaited.__enter__()

        cluster._loop.run(begin())
        try:
            while found := cluster._loop.run(awaited.next()):
                for i in found:
                    yield self._tasks[i]
        finally:
            cluster._loop.call_soon(awaited.__exit__)


def gather(tasks: Iterable[Task], on_error: OnError = "raise", timeout: float | str | None = None) -> list[Any]:
    """Wait for all and return their results, in the order of `tasks`.

    Args:
        tasks: Tasks of one cluster.
        on_error: "raise" the first failure as soon as it is known (the other tasks go on), "return" errors in their
            places, or "skip" them.
        timeout: How long to wait for all of them together: seconds, or text such as "2m".

    Raises:
        TaskError: with "raise".
        WaitTimeout: not all ended in time; they go on.
    """
    listed = list(tasks)
    cluster = _cluster_of(listed)
    if cluster is None:
        return []
    waiting = ends.gather(cluster._async.waiter, [task._snapshot for task in listed], on_error, timeout)
    try:
        return cluster._loop.run(waiting)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"Only the waiting ended: {len(listed):,} tasks go on.")
        raise


def as_completed(tasks: Iterable[Task], timeout: float | str | None = None) -> Completed:
    """The tasks as they end, in that order, whatever their end; `timeout` is for all of them together.

    Raises:
        WaitTimeout: while iterating: not all ended in time; they go on.
    """
    return Completed(tasks, timeout)


def _cluster_of(tasks: Sequence[Any]) -> Cluster | None:
    if not tasks:
        return None
    for task in tasks:
        if not isinstance(task, Task):
            raise InvalidRequest(f"a {type(task).__name__} is no task of the sync client", field="tasks")
        if task._cluster is not tasks[0]._cluster:
            raise InvalidRequest(
                "tasks of two clients", field="tasks", hint="wait for each client's tasks by themselves"
            )
    found: Cluster = tasks[0]._cluster
    return found
