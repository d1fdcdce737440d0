"""Bugs planted on purpose, a flag each: what the simulator must catch, or it proves nothing.

Each patches one well-chosen function of the real program, as a careless change would. Nothing outside of the tests
knows of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from openclaw_ray.core import books, events, leases, nodes, seats, state, tasks
from openclaw_ray.core.effects import Effect
from openclaw_ray.core.types import Outcome
from openclaw_ray.metrics import Meter
from openclaw_ray.runtime import agent, attempts, commit, coordinator, restore, task_desk, workbench
from openclaw_ray.runtime.agent_desk import AgentDesk
from openclaw_ray.runtime.commit import GroupCommit
from openclaw_ray.runtime.outbox import Outbox

#: A bug's name to the patches that make it.
PLANTED: dict[str, Callable[[], list[Any]]] = {}


def plants(make: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
    """Enter a bug under the name of its function; the docstring says what went wrong."""
    PLANTED[make.__name__] = make
    return make


#: Bugs that were real, by the name of the plan in `regressions` that found them: put back, the plan must fail again.
FOUND: dict[str, Callable[[], list[Any]]] = {}


def was_real(make: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
    """Enter a bug that was found and mended."""
    FOUND[make.__name__] = make
    return make


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """The program with one bug."""
    with contextlib.ExitStack() as stack:
        for patch in (PLANTED | FOUND)[name]():
            stack.enter_context(patch)
        yield


def handled(event: type, handler: Callable[..., list[Effect]]) -> Any:
    """Another handler for one event of the core."""
    return mock.patch.object(state, "_HANDLERS", {**state._HANDLERS, event: handler})


@plants
def accepts_stale_reports() -> list[Any]:
    """A report counts whatever its node and incarnation, as long as its task lives."""

    def current(held: books.Books, event: Any) -> Any:
        lease = held.leases.get(event.token)
        if lease is None:
            gone = [x for x in held.leases.values() if x.node_id == event.node_id]
            return (gone[0], "") if gone else (None, "no such lease")
        return lease, ""

    return [mock.patch.object(tasks, "_current", current)]


@plants
def answers_before_commit() -> list[Any]:
    """Callers hear of their operation as soon as it is applied."""

    async def hasty(self: GroupCommit, batch: list[Any]) -> None:
        found = await self._look_up(batch)
        self._apply_all(batch, found)
        self._answer(batch)
        try:
            await self._commit()
        except commit.OutcomeUnknown:
            raise
        except commit.OpenClawError:
            self._undo()
        else:
            self._released()

    return [mock.patch.object(GroupCommit, "_round", hasty)]


@plants
def tokens_begin_again() -> list[Any]:
    """After a restart tokens are counted from the live leases, not from the highest ever given."""
    whole = state.ClusterState.restore

    def restored(self: Any, **given: Any) -> None:
        live = max([x.token for x in given["lease_records"]], default=0)
        whole(self, **{**given, "next_token": live + 1})

    return [mock.patch.object(state.ClusterState, "restore", restored)]


@plants
def forgets_to_undo() -> list[Any]:
    """A refused batch stays in memory."""

    def kept(self: GroupCommit) -> None:
        self._ledger.rolled_back()
        self._state.settle()

    return [mock.patch.object(GroupCommit, "_undo", kept)]


@plants
def drops_leases_at_register() -> list[Any]:
    """An agent that registers again after a restart of the StateManager loses what it runs."""
    whole = nodes.registered

    def registered(held: books.Books, event: Any, now: Any, rules: Any) -> list[Effect]:
        return whole(held, event._replace(holds=frozenset(), same_agent=False), now, rules)

    return [handled(events.NodeRegistered, registered)]


@plants
def ignores_not_before() -> list[Any]:
    """A task waits for nothing but a node."""
    whole = tasks.submitted

    def submitted(held: books.Books, event: Any, now: Any, rules: Any) -> list[Effect]:
        return whole(held, event._replace(terms=event.terms._replace(not_before=0.0)), now, rules)

    return [mock.patch.object(tasks, "submitted", submitted)]


@plants
def no_backoff() -> list[Any]:
    """A failed attempt is tried again at once."""
    return [mock.patch.object(tasks, "_backoff", return_value=0.0)]


@plants
def forgets_backoff_at_restart() -> list[Any]:
    """After a restart every pending task is ready."""
    whole = restore._task

    def task(*given: Any) -> Any:
        found = whole(*given)
        found.due, found.backing_off = 0.0, False
        return found

    return [mock.patch.object(restore, "_task", task)]


@plants
def result_after_cancel() -> list[Any]:
    """A cancel only asks the agent to stop; a result that comes first completes the task."""

    def cancel_asked(held: books.Books, event: Any, now: Any, rules: Any) -> list[Effect]:
        task = held.tasks[event.task_id]
        lease = held.leases.get(task.token) if task.state is not tasks.TaskState.PENDING else None
        if lease is None:
            return tasks.cancel_asked(held, event, now, rules)
        return tasks.ask_stop(held, lease, "cancelled")

    return [handled(events.CancelAsked, cancel_asked)]


@plants
def room_is_not_given_back() -> list[Any]:
    """The seat of a lost attempt stays taken, in memory."""
    whole = books.Books.drop_lease

    def drop_lease(self: books.Books, lease: Any) -> None:
        node = self.nodes.get(lease.node_id or "")
        used = dict(node.room.used) if node is not None else {}
        whole(self, lease)
        if node is not None and not lease.started_at:
            node.room.used = used

    return [mock.patch.object(books.Books, "drop_lease", drop_lease)]


@plants
def loses_the_spool() -> list[Any]:
    """An agent forgets an outcome as soon as it was sent, heard or not."""
    whole = agent.NodeAgent._send_next

    def send_next(self: agent.NodeAgent, under_way: Any) -> bool:
        sent = whole(self, under_way)
        if sent:
            self._settle(sorted(under_way[-1].tokens))
        return sent

    return [mock.patch.object(agent.NodeAgent, "_send_next", send_next)]


@plants
def leases_are_sent_once() -> list[Any]:
    """A lease is forgotten as soon as a reply carried it."""
    whole = AgentDesk._poll_reply

    async def poll_reply(self: AgentDesk, request: Any, outbox: Outbox, held: set[int]) -> Any:
        reply = await whole(self, request, outbox, held)
        for lease in reply.leases:
            outbox.leases.pop(lease.token, None)
        return reply

    return [mock.patch.object(AgentDesk, "_poll_reply", poll_reply)]


@plants
def runs_begin_again_at_register() -> list[Any]:
    """An agent that registers again starts once more what it runs."""
    whole = agent.NodeAgent._registered_as

    def registered_as(self: agent.NodeAgent, reply: Any) -> None:
        whole(self, reply)
        for attempt in list(self._bench.shelf.running.values()):
            self._bench.shelf.add(attempt)
        self._bench._fill()

    return [mock.patch.object(agent.NodeAgent, "_registered_as", registered_as)]


@plants
def agent_overbooks() -> list[Any]:
    """An agent starts one more than it has slots."""
    whole = workbench.Workbench.__init__

    def init(self: Any, *, slots: int, **rest: Any) -> None:
        whole(self, slots=slots + 1, **rest)

    return [
        mock.patch.object(workbench.Workbench, "__init__", init),
        mock.patch.object(seats, "unseat"),
        mock.patch.object(leases.NodeRecord, "has_seat", lambda self, needs: self.seats <= self.slots),
    ]


@plants
def starts_before_dependencies() -> list[Any]:
    """After a restart a task no longer knows what it waits for."""
    whole = restore._task

    def task(*given: Any) -> Any:
        found = whole(*given)
        found.blockers = frozenset()
        return found

    return [mock.patch.object(restore, "_task", task)]


@plants
def lost_costs_nothing() -> list[Any]:
    """A lost attempt uses no budget."""

    def lost(held: books.Books, task: Any, event: Any, now: Any, rules: Any) -> list[Effect]:
        pause = tasks._backoff(task, 1, rules)
        return tasks._wait_again(held, task, tasks.TaskCause.LOST, pause, now, event.error)

    return [mock.patch.object(tasks, "_lost", lost)]


@plants
def leases_survive_silence() -> list[Any]:
    """A node that went silent keeps its leases."""

    def silenced(held: books.Books, event: Any, now: Any, rules: Any) -> list[Effect]:
        node = held.nodes[event.node_id]
        before = node.status
        held.open_node(node)
        node.status = nodes.NodeStatus.OFFLINE
        held.watch_silence(node, 0.0)
        held.close_node(node)
        return nodes._log_move(node, before, event.reason)

    return [mock.patch.object(nodes, "silenced", silenced), handled(events.NodeSilenced, silenced)]


@plants
def counts_refused_batches() -> list[Any]:
    """A refused batch stays counted."""
    return [mock.patch.object(Meter, "rollback", Meter.commit)]


@plants
def a_restart_gives_no_time() -> list[Any]:
    """After a start, nodes count as silent since they were heard last."""

    def watch_all(self: state.ClusterState, now: Any) -> None:
        for node in self.books.nodes.values():
            if node.status is not nodes.NodeStatus.OFFLINE:
                self.books.watch_silence(node, now.mono)

    return [mock.patch.object(state.ClusterState, "watch_all", watch_all)]


@plants
def unknown_commit_counts_as_refused() -> list[Any]:
    """A commit whose outcome nobody knows is undone, and serving goes on."""
    whole = GroupCommit._commit

    async def guessed(self: GroupCommit) -> None:
        try:
            await whole(self)
        except commit.OutcomeUnknown as error:
            raise commit.Unavailable(error.message, retry_after=1.0) from None

    return [mock.patch.object(GroupCommit, "_commit", guessed)]


@plants
def key_is_not_looked_up() -> list[Any]:
    """A repeated submit is recognised by its id only."""

    def look_up(self: Any, conn: Any) -> Any:
        return task_desk.lookups.known(conn, [row.id for row in self._rows], [])

    return [mock.patch.object(task_desk._Submit, "look_up", look_up)]


@plants
def recall_of_a_run() -> list[Any]:
    """A recall hands back what runs, uncharged."""

    def stop(self: workbench.Workbench, token: int, why: str) -> None:
        attempt = self.shelf.running.get(token)
        if attempt is not None and why == "recall":
            found = attempts.simple_outcome(attempt, Outcome.RELEASED, "recall", "recalled", self._now())
            self._end(found)
            return
        whole(self, token, why)

    whole = workbench.Workbench.stop
    return [mock.patch.object(workbench.Workbench, "stop", stop)]


@was_real
def cancel_answers_for_another_end() -> list[Any]:
    """A cancel in the same commit as a task's end answered cancelled."""

    def ended_as(turn: Any, task_id: str, status: str) -> str:
        return "cancelled" if status in task_desk.LIVE_STATES else status

    return [mock.patch.object(task_desk, "_ended_as", ended_as)]


@was_real
def start_on_a_full_disk_gives_up() -> list[Any]:
    """A StateManager that was started while the disk was full refused for ever."""

    async def never(self: coordinator.Coordinator, after_s: float) -> None:
        return

    return [mock.patch.object(coordinator.Coordinator, "_start_again", never)]


@was_real
def backoff_of_a_clock_that_was_ahead() -> list[Any]:
    """A backoff given while the wall clock was far ahead lasted as long as that."""
    return [mock.patch.object(nodes, "_bound_backoffs")]


@was_real
def doubled_registration_counts_again() -> list[Any]:
    """The late copy of a registration ended the leases that its agent had been given since."""
    return [mock.patch.object(AgentDesk, "_repeated", return_value=None)]
