"""Group commit: many callers, one transaction, answers only after it.

One writer takes whatever waits, applies it in order, commits once, then answers. What arrives while a commit is in
flight is the next batch; nothing is delayed on purpose. At most one batch is in flight, so memory is never more than
one batch ahead of the disk, and `quiet()` is all that a reader of memory has to await.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from openclaw_ray.clock import Clock
from openclaw_ray.core.effects import Effect
from openclaw_ray.core.events import Event
from openclaw_ray.core.state import ClusterState
from openclaw_ray.core.types import Now
from openclaw_ray.errors import Conflict, OpenClawError, OutcomeUnknown, Unavailable
from openclaw_ray.logs import get_logger
from openclaw_ray.runtime.ledger import Ledger
from openclaw_ray.runtime.ports import Store

log = get_logger(__name__)

T = TypeVar("T")

#: Operations of one batch; bounds how long the loop is busy and how large a transaction gets.
OPS_MAX = 2_000
#: Operations that may wait; a caller beyond them is told to come back.
MAILBOX_MAX = 20_000


class Turn:
    """What an operation may do while it is applied: apply events, and ask what it looked up before."""

    def __init__(self, state: ClusterState, ledger: Ledger, now: Now) -> None:
        self.state = state
        self.ledger = ledger
        self.now = now

    def apply(self, event: Event) -> list[Effect]:
        """Apply one event; its effects are part of this batch."""
        effects = self.state.apply(event, self.now)
        self.ledger.record(effects, self.state.version, self.now)
        return effects


class NotNew(Exception):
    """What was taken to be new is there already: look it up, and apply again."""


class Operation(Protocol):
    """One caller's change. `look_up` runs in the database thread before, `apply` on the loop without waiting."""

    #: Reads what is not in memory (ended tasks); None when nothing is needed.
    look_up: Callable[[Any], Any] | None
    #: Nothing is expected to be found. It may be applied without having looked (`found` is None), and raises `NotNew`
    #: if it sees that something is there.
    likely_new: bool

    def apply(self, turn: Turn, found: Any) -> Any:
        """Apply events and give the answer that the caller gets after the commit."""
        ...


class Simple(Generic[T]):
    """An operation that needs nothing from disk."""

    look_up = None
    likely_new = False

    def __init__(self, apply: Callable[[Turn], T]) -> None:
        self._apply = apply

    def apply(self, turn: Turn, found: Any) -> T:
        """Run the function."""
        return self._apply(turn)


class _Waiting:
    __slots__ = ("answer", "error", "future", "operation")

    def __init__(self, operation: Any, future: asyncio.Future[Any]) -> None:
        self.operation = operation
        self.future = future
        self.answer: Any = None
        self.error: Exception | None = None


class GroupCommit:
    """The one writer of a ClusterState.

    A call of `submit` that returned is durable. One that raised one of our errors changed nothing, except
    `OutcomeUnknown`: then the batch may or may not be on disk, this writer stops, and the process must start again.
    """

    def __init__(
        self,
        state: ClusterState,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        on_committed: Callable[[Ledger], None],
        on_fatal: Callable[[OutcomeUnknown], None],
    ) -> None:
        self._state = state
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._on_committed = on_committed
        self._on_fatal = on_fatal
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._stopped: OpenClawError | None = None
        #: Commits so far, for statistics.
        self.commits = 0
        #: State version of the newest commit: what may be told to others, since no crash can take it back.
        self.version = state.version

    def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.create_task(self._serve(), name="group-commit")

    async def stop(self) -> None:
        """Commit what waits, then stop; later callers are refused."""
        self._stopped = self._stopped or Unavailable("the coordinator is stopping", retry_after=2.0)
        self._wake.set()
        if self._task is not None:
            await self._task

    async def submit(self, operation: Any) -> Any:
        """Apply and commit an operation together with whatever else waits; returns its answer after the commit.

        Raises:
            Unavailable: too many operations wait, or the coordinator stops.
            OpenClawError: what the operation itself, or the disk, refused.
        """
        if self._stopped is not None:
            raise self._stopped
        if len(self._waiting) >= MAILBOX_MAX:
            raise Unavailable(f"{MAILBOX_MAX:,} calls wait for the disk", retry_after=1.0)
        waiting = _Waiting(operation, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        return await waiting.future

    async def run(self, apply: Callable[[Turn], T]) -> T:
        """`submit` for an operation that needs nothing from disk."""
        answer: T = await self.submit(Simple(apply))
        return answer

    async def quiet(self) -> None:
        """Wait until memory equals disk. Read at once after it, without awaiting anything in between."""
        while not self._quiet.is_set():
            await self._quiet.wait()
        if isinstance(self._stopped, OutcomeUnknown):
            raise self._stopped  # memory holds what the disk may not

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing is applied or committed inside: for comparing memory with the disk."""
        async with self._turn:
            yield

    @property
    def backlog(self) -> int:
        """Operations that wait."""
        return len(self._waiting)

    async def _serve(self) -> None:
        while self._stopped is None or self._waiting:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), OPS_MAX))]
            try:
                async with self._turn:
                    self._quiet.clear()
                    await self._round(batch)
            except OutcomeUnknown as error:
                self._fail(batch, error)
                return
            finally:
                self._quiet.set()
            await asyncio.sleep(0)  # those who waited for the quiet come first, however much waits to be applied

    async def _round(self, batch: list[_Waiting]) -> None:
        try:
            await self._write(batch)
        except OutcomeUnknown:
            raise
        except OpenClawError as error:
            self._undo()
            for waiting in batch:
                waiting.error = waiting.error or error
        except Exception as error:  # a bug of ours must not stop the writer: nothing was committed
            log.exception("batch failed", ops=len(batch))
            self._undo()
            for waiting in batch:
                waiting.error = waiting.error or OpenClawError(f"internal error: {type(error).__name__}: {error}")
        else:
            self._released()
        self._answer(batch)

    def _released(self) -> None:
        """Carry out the effects. They are on disk by now: a bug here is logged, never undone."""
        try:
            self._on_committed(self._ledger)
        except Exception:
            log.exception("effects of a committed batch")

    async def _write(self, batch: list[_Waiting]) -> None:
        """Look up, apply, commit. What is most likely new is not looked up: the disk refuses a second of its kind."""
        asking = [w.operation.look_up for w in batch]
        guessing = any(asking) and all(w.operation.likely_new for w in batch if w.operation.look_up is not None)
        if guessing or not any(asking):
            try:
                self._apply_all(batch, [None] * len(batch))
                await self._commit()
                return
            except (NotNew, Conflict):
                if not guessing:
                    raise
                self._undo()
        for waiting in batch:
            waiting.answer = waiting.error = None
        self._apply_all(batch, await self._store.look_up(asking))
        await self._commit()

    def _apply_all(self, batch: list[_Waiting], found: list[Any]) -> None:
        """Apply in order. An operation that is refused after it had changed something is left out of a second try."""
        now = self._clock.now()
        while not self._apply_each(batch, found, now):
            self._undo()

    def _apply_each(self, batch: list[_Waiting], found: list[Any], now: Now) -> bool:
        self._ledger.begin()
        for waiting, answer in zip(batch, found, strict=True):
            if waiting.error is not None or waiting.future.cancelled():
                continue
            before = self._state.version
            try:
                waiting.answer = waiting.operation.apply(Turn(self._state, self._ledger, now), answer)
            except OpenClawError as error:
                waiting.error = error
                if self._state.version != before:
                    return False
        return True

    async def _commit(self) -> None:
        if self._ledger.write_needed(self._state):
            started = self._clock.now().mono
            await self._store.commit(self._ledger.batch)
            self.commits += 1
            self._ledger.committed(self._clock.now().mono - started)
        else:
            self._ledger.committed(None)
        self._state.settle()
        self.version = self._state.version

    def _undo(self) -> None:
        self._state.undo()
        self._ledger.rolled_back()

    def _answer(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            if waiting.future.done():
                continue
            if waiting.error is not None:
                waiting.future.set_exception(waiting.error)
            else:
                waiting.future.set_result(waiting.answer)

    def _fail(self, batch: list[_Waiting], error: OutcomeUnknown) -> None:
        """The disk did not say whether it kept the batch: nobody may be answered from this memory any more."""
        self._stopped = error
        for waiting in [*batch, *self._waiting]:
            if not waiting.future.done():
                waiting.future.set_exception(OutcomeUnknown(error.message, hint=error.hint))
        self._waiting.clear()
        self._on_fatal(error)
