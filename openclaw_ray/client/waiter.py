"""Waiting for tasks to end: one parked call for a client, however many tasks it awaits.

Each reply acknowledges the one before it (the session's numbers rise), so a lost reply is asked for again and no end is
missed; a coordinator that restarted does not know the session, and a new one begins with everything still awaited.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from itertools import islice

from openclaw_ray.client.calls import Calls, pause_s
from openclaw_ray.client.snapshot import Snapshot
from openclaw_ray.errors import AuthRequired, NotConnected, NotFound, OpenClawError, OutcomeUnknown, VersionMismatch
from openclaw_ray.models.ids import new_name
from openclaw_ray.protocol import ResultsReply, ResultsRequest

#: How long one call is parked (seconds), drawn anew each time, so that clients do not come back together.
POLL_MIN_S, POLL_MAX_S = 10.0, 30.0
#: Beyond the parked time, for the way there and back (seconds).
MARGIN_S = 15.0
#: Ids told in one call.
ADD_MAX = 10_000
#: Before a newer call takes over from a parked one (seconds): those who begin to wait one after another share it.
GATHER_S = 0.001
#: Without any answer for so long (seconds), those who wait are told; their tasks go on.
SILENCE_MAX_S = 180.0


class _Awaited:
    __slots__ = ("done", "snapshots", "waiting")

    def __init__(self) -> None:
        self.done: asyncio.Future[OpenClawError | None] = asyncio.get_running_loop().create_future()
        #: Every handle of this task that somebody waits with.
        self.snapshots: list[Snapshot] = []
        self.waiting = 0


class _Call:
    """One `results` call on its way or parked, with what it tells."""

    __slots__ = ("answer", "request", "troubled")

    def __init__(self, request: ResultsRequest) -> None:
        self.request = request
        #: Whether an answer to it was lost; only its repeat, or a new session, brings what that answer held.
        self.troubled = False
        self.answer: asyncio.Task[ResultsReply]


class ResultsWaiter:
    """Told once about each awaited task; stops by itself when nobody waits."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._awaited: dict[str, _Awaited] = {}
        #: Ids for which no reply has shown yet that the coordinator heard of them, in the order in which they came.
        self._untold: dict[str, None] = {}
        self._dropped: set[str] = set()
        self._session = ""
        self._n = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        #: Calls that a newer one took over from; they return at once, mostly empty.
        self._older: set[asyncio.Task[None]] = set()

    def watch(self, snapshot: Snapshot) -> asyncio.Future[OpenClawError | None]:
        """A future that is done when the task has ended and `snapshot` knows how; an error says why nobody will know.

        Each `watch` is followed by one `unwatch`.
        """
        one = self._awaited.get(snapshot.id)
        if one is None:
            one = _Awaited()
            if self._closed:
                one.done.set_result(NotConnected("this client is closed", hint="connect again"))
                return one.done
            self._awaited[snapshot.id] = one
            self._untold[snapshot.id] = None
            self._dropped.discard(snapshot.id)
            self._news.set()
            self._keep_running()
        one.waiting += 1
        if not any(known is snapshot for known in one.snapshots):
            one.snapshots.append(snapshot)
        return one.done

    def unwatch(self, snapshots: Iterable[Snapshot]) -> None:
        """These waits are over, one way or another."""
        for snapshot in snapshots:
            one = self._awaited.get(snapshot.id)
            if one is None:
                continue
            one.waiting -= 1
            if one.waiting <= 0:
                del self._awaited[snapshot.id]
                self._untold.pop(snapshot.id, None)
                self._dropped.add(snapshot.id)

    async def close(self) -> None:
        """Stop; those who still wait are told."""
        self._closed = True
        tasks = [*self._older, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._give_up(NotConnected("the client was closed while it waited"))

    def _keep_running(self) -> None:
        if self._awaited and not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="results")
            # Somebody may begin to wait while it is on its way out.
            self._task.add_done_callback(lambda _: self._keep_running())

    async def _run(self) -> None:
        call: _Call | None = None
        try:
            while self._awaited:
                if call is not None:
                    self._take_over(call)
                call = self._next_call()
                if await self._first_of_answer_and_news(call):
                    self._take(call.request, call.answer.result())
                    call = None
                else:
                    await asyncio.sleep(GATHER_S)
        except OpenClawError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001  (a bug of ours must not leave anybody waiting for ever)
            self._give_up(OpenClawError(f"waiting for results failed: {type(error).__name__}: {error}"))
        finally:
            if call is not None:
                call.answer.cancel()
                await asyncio.gather(call.answer, return_exceptions=True)

    def _next_call(self) -> _Call:
        if not self._session:
            self._session, self._n = new_name("wait"), 0
            self._untold = dict.fromkeys(self._awaited)
            self._dropped.clear()
        told = list(islice(self._untold, ADD_MAX))
        more = len(self._untold) > len(told)
        self._n += 1
        self._news.clear()
        call = _Call(
            ResultsRequest.model_construct(
                session=self._session,
                n=self._n,
                add=told,
                drop=list(islice(self._dropped, ADD_MAX)),
                timeout_s=0.0 if more else random.uniform(POLL_MIN_S, POLL_MAX_S),
            )
        )
        call.answer = asyncio.create_task(self._answered(call), name="results-call")
        return call

    async def _first_of_answer_and_news(self, call: _Call) -> bool:
        """Wait; True when the answer came, False when somebody else began to wait first."""
        news = asyncio.create_task(self._news.wait(), name="results-news")
        try:
            await asyncio.wait({call.answer, news}, return_when=asyncio.FIRST_COMPLETED)
            return call.answer.done()
        finally:
            news.cancel()
            await asyncio.gather(news, return_exceptions=True)

    def _take_over(self, call: _Call) -> None:
        """A newer call goes out while `call` is parked, which then returns at once.

        Its ids travel again with the newer one unless its reply comes first, since calls may overtake each other.
        """
        if call.troubled:
            # A newer number would acknowledge an answer that was lost: begin anew with all that is still awaited.
            call.answer.cancel()
            self._session = ""
            return
        older = asyncio.create_task(self._see_out(call), name="results-older")
        self._older.add(older)
        older.add_done_callback(self._older.discard)

    async def _see_out(self, call: _Call) -> None:
        try:
            self._take(call.request, await call.answer)
        except OpenClawError:
            self._begin_anew(call.request)

    def _begin_anew(self, request: ResultsRequest) -> None:
        if self._session == request.session:
            self._session = ""
            self._news.set()

    async def _answered(self, call: _Call) -> ResultsReply:
        """The reply to a call, asked for again under the same number until it comes."""
        request, clock = call.request, asyncio.get_running_loop().time
        attempt_s = request.timeout_s + MARGIN_S
        failed, heard_at = 0, clock()
        while True:
            try:
                return await self._calls.once("results", request, ResultsReply, attempt_s)
            except OpenClawError as error:
                call.troubled = True
                superseded = request.session == self._session and request.n < self._n
                if not _may_pass(error) or superseded or clock() - heard_at > SILENCE_MAX_S:
                    raise
                failed += 1
                await asyncio.sleep(max(error.retry_after or 0.0, pause_s(failed, request.session)))

    def _take(self, request: ResultsRequest, reply: ResultsReply) -> None:
        if not reply.known:
            self._begin_anew(request)
            return
        if request.session == self._session:
            for task_id in request.add:
                self._untold.pop(task_id, None)
            self._dropped.difference_update(request.drop)
        for task in reply.ended:
            one = self._awaited.pop(task.task_id, None)
            if one is None:
                continue
            self._untold.pop(task.task_id, None)
            for snapshot in one.snapshots:
                snapshot.hear_end(task)
            one.done.set_result(None)
        for task_id in reply.missing:
            one = self._awaited.pop(task_id, None)
            if one is not None:
                one.done.set_result(NotFound(f"no task {task_id!r}", field="task_id"))

    def _give_up(self, error: OpenClawError) -> None:
        awaited, self._awaited = self._awaited, {}
        self._session = ""
        self._untold.clear()
        self._dropped.clear()
        for one in awaited.values():
            one.done.set_result(error)


def _may_pass(error: OpenClawError) -> bool:
    if isinstance(error, AuthRequired | VersionMismatch):
        return False
    return isinstance(error, NotConnected | OutcomeUnknown) or error.retry_after is not None
