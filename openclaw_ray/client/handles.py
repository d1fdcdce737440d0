"""What a client hands out: tasks and nodes, as ids with the newest that was heard of them, and the way to ask again."""

# `timeout` is the word of both forms; it bounds the waiting, and ends it with `WaitTimeout`.
# ruff: noqa: ASYNC109

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Unpack, cast

from openclaw_ray.client.ends import Ends, OnError
from openclaw_ray.client.snapshot import Snapshot
from openclaw_ray.client.specs import SubmitOptions, os_user
from openclaw_ray.client.story import Story, story_of
from openclaw_ray.client.views import Explained, NodeFacts, TaskTable, TaskView
from openclaw_ray.models.door import parse
from openclaw_ray.models.node import NodeChange
from openclaw_ray.models.task import Attempt
from openclaw_ray.protocol import DrainRequest

if TYPE_CHECKING:
    from openclaw_ray.client.core import AsyncCluster


class AsyncTask(TaskView):
    """One task. Await it for its result; its properties tell what was heard last."""

    def __init__(self, cluster: AsyncCluster, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self._cluster = cluster

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    async def refresh(self) -> AsyncTask:
        """Read the task's record."""
        self._snapshot.hear_record(await self._cluster.call("get_task", task_id=self.id))
        return self

    async def wait(self, timeout: float | str | None = None) -> AsyncTask:
        """Wait until the task has ended, however it ends.

        Raises:
            WaitTimeout: only the waiting ended; the task goes on.
        """
        with Ends(self._cluster.waiter, [self._snapshot], timeout) as ends:
            await ends.next()
        return self

    async def result(self, timeout: float | str | None = None) -> Any:
        """Wait for the result, at most `timeout` (seconds, or text such as "2m").

        Raises:
            TaskError: it ended without one (`TaskFailed`, `TaskTimeout`, `TaskCancelled`, `TaskLost`).
            WaitTimeout: only the waiting ended; the task goes on.
        """
        await self.wait(timeout)
        return self._snapshot.value()

    async def cancel(self, reason: str = "") -> str:
        """Cancel it; answers the state it is in now, which is another one when it was too late."""
        states = await self._cluster.cancel(self, reason=reason)
        return states[self.id]

    async def why(self) -> Explained:
        """Why it stands where it stands, and what would start it."""
        return await self._cluster.why(self)

    async def attempts(self) -> list[Attempt]:
        """Every try, oldest first."""
        return [Attempt.model_validate(one) for one in (await self._history())["attempts"]]

    async def story(self) -> Story:
        """What happened to it, in words."""
        found = await self._history()
        return story_of(found["events"], found["attempts"])

    async def logs(self) -> str:
        """The last output of every attempt, oldest first."""
        found = [one for one in await self.attempts() if one.log_tail]
        return "\n".join(f"-- attempt {one.attempt}, {one.node_id} --\n{one.log_tail}" for one in found)

    async def retry(self, **changes: Unpack[SubmitOptions]) -> AsyncTask:
        """Submit an ended task anew, with changes if any; the old one stays as it is."""
        return await self._cluster.retry(self, **changes)

    async def _history(self) -> dict[str, Any]:
        found = cast("dict[str, Any]", await self._cluster.call("history", task_id=self.id))
        self._snapshot.hear_record(found["task"])
        return found


class AsyncTasks(TaskTable[AsyncTask]):
    """Tasks in order."""

    async def cancel(self, reason: str = "") -> dict[str, str]:
        """Cancel those that live; answers id to state."""
        return await self[0]._cluster.cancel(*self, reason=reason) if self else {}

    async def retry(self, **changes: Unpack[SubmitOptions]) -> AsyncTasks:
        """Submit all of them anew."""
        return AsyncTasks([await task.retry(**changes) for task in self])

    async def gather(self, on_error: OnError = "raise", timeout: float | str | None = None) -> list[Any]:
        """Their results, in order; see `AsyncCluster.gather`."""
        return await self[0]._cluster.gather(self, on_error, timeout) if self else []


class AsyncNode(NodeFacts):
    """One node, as it was when it was asked for, and what its owner may do with it."""

    def __init__(self, cluster: AsyncCluster, document: dict[str, Any]) -> None:
        super().__init__(document)
        self._cluster = cluster

    async def refresh(self) -> AsyncNode:
        """Ask for it again."""
        NodeFacts.__init__(self, await self._cluster.call("get_node", node_id=self.id))
        return self

    async def drain(self, reason: str = "drained", deadline: str | float | None = None) -> AsyncNode:
        """Take it out of service: what runs may finish, until the deadline (from now: "10m") if there is one."""
        asked = {"node_id": self.id, "reason": reason, "deadline_s": deadline, "by": os_user()}
        await self._cluster.message("drain", parse(DrainRequest, asked))
        return await self.refresh()

    async def undrain(self) -> AsyncNode:
        """Give it back."""
        await self._cluster.call("undrain", node_id=self.id, by=os_user())
        return await self.refresh()

    async def set(self, *, max_concurrent_tasks: int | None = None, tags: Sequence[str] | None = None) -> AsyncNode:
        """Change its slots or tags; what is left out stays."""
        asked = {"max_concurrent_tasks": max_concurrent_tasks, "tags": tags}
        change = parse(NodeChange, {name: value for name, value in asked.items() if value is not None})
        changes = change.model_dump(mode="json", exclude_unset=True)
        await self._cluster.call("update_node", node_id=self.id, changes=changes, by=os_user())
        return await self.refresh()

    async def remove(self, force: bool = False) -> None:
        """Forget it; refused while tasks run there unless `force` (their attempts end lost)."""
        await self._cluster.call("remove_node", node_id=self.id, force=force, by=os_user())
