"""A whole cluster in this process, without Ray: the real coordinator and dispatcher, and agents that call functions.

They live on a loop in a thread of their own, so clients of both forms reach it from anywhere. Between a
client and the coordinator lies a `Wire`, which can be told to lose, double and abandon calls.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import itertools
import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from openclaw_ray.client.loops import LoopThread
from openclaw_ray.clock import SystemClock
from openclaw_ray.config import Settings
from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import NotConnected, OpenClawError, OutcomeUnknown
from openclaw_ray.models.door import dumps
from openclaw_ray.models.ids import new_name
from openclaw_ray.models.node import Machine
from openclaw_ray.models.skill import Offer
from openclaw_ray.protocol import (
    LeaseMessage,
    OffersRequest,
    OutcomeMessage,
    PollReply,
    PollRequest,
    ProgressMessage,
    RegisterReply,
    RegisterRequest,
    RegistryReply,
    RegistryRequest,
    ReportReply,
    ReportRequest,
    StartMessage,
)
from openclaw_ray.runtime.coordinator import Coordinator
from openclaw_ray.runtime.dispatcher import Dispatcher
from openclaw_ray.runtime.link import Link
from openclaw_ray.skills import packing

T = TypeVar("T")
CLOCK = SystemClock()
REVISION = "0" * 64


async def pause(seconds: float) -> None:
    await CLOCK.sleep_until(CLOCK.now().mono + seconds)


class Wire:
    """A way to the coordinator (`runtime.ports.Coordinator`) that fails on demand; usable from any loop."""

    def __init__(self, cluster: InProcess) -> None:
        self._cluster = cluster
        #: Calls that reached this wire, by verb.
        self.calls: Counter[str] = Counter()
        self._losing_replies: Counter[str] = Counter()
        self._losing_requests: Counter[str] = Counter()
        self._doubling: Counter[str] = Counter()
        self._abandoning: Counter[str] = Counter()
        #: Nothing gets through.
        self.cut = False

    def lose_replies(self, verb: str, times: int = 1) -> None:
        """The next calls happen, but their answers are lost."""
        self._losing_replies[verb] += times

    def lose_requests(self, verb: str, times: int = 1) -> None:
        """The next calls never arrive."""
        self._losing_requests[verb] += times

    def double(self, verb: str, times: int = 1) -> None:
        """The next calls arrive twice."""
        self._doubling[verb] += times

    def abandon(self, verb: str, times: int = 1) -> None:
        """The next calls fail at once here, and go on there."""
        self._abandoning[verb] += times

    async def call(self, verb: str, body: str, timeout_s: float) -> str:
        self.calls[verb] += 1
        if self.cut:
            raise NotConnected("the wire is cut", retry_after=0.02)
        if _due(self._losing_requests, verb):
            raise OutcomeUnknown(f"{verb}: the request was lost")
        coordinator = self._cluster.coordinator
        if coordinator is None:
            raise NotConnected("the coordinator is away", retry_after=0.02)
        if _due(self._doubling, verb):
            self._cluster.spawn(coordinator.call_json(verb, body))
        coming = asyncio.wrap_future(self._cluster.spawn(coordinator.call_json(verb, body)))
        if _due(self._abandoning, verb):
            raise OutcomeUnknown(f"{verb}: the way back broke")
        try:
            async with asyncio.timeout(timeout_s):
                answer: str = await asyncio.shield(coming)
        except TimeoutError:
            raise OutcomeUnknown(f"{verb} was not answered within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            if coming.cancelled():
                raise OutcomeUnknown(f"{verb}: the coordinator went away") from None
            raise
        if _due(self._losing_replies, verb):
            raise OutcomeUnknown(f"{verb}: the reply was lost")
        return answer


def _due(counter: Counter[str], verb: str) -> bool:
    if counter[verb] <= 0:
        return False
    counter[verb] -= 1
    return True


class Agent:
    """An agent that speaks the protocol and calls functions, a slot each; coroutine functions may wait."""

    def __init__(
        self, link: Link, node_id: str, slots: int, functions: dict[str, Callable[..., Any]], tags: list[str]
    ) -> None:
        self._link = link
        self.node_id = node_id
        self._slots = slots
        self._functions = functions
        self._tags = tags
        self._name = new_name("agent")
        self._loaded: dict[str, tuple[str, Callable[..., Any]]] = {}
        self._registry = 0
        self._incarnation = 0
        self._waiting: asyncio.Queue[LeaseMessage] = asyncio.Queue()
        self._held: dict[int, LeaseMessage] = {}
        self._running: dict[int, asyncio.Task[Any]] = {}
        self._news: list[StartMessage | OutcomeMessage | ProgressMessage] = []
        self._wake = asyncio.Event()
        #: (task id, attempt) of everything that was started.
        self.started: list[tuple[str, int]] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._slots):
                group.create_task(self._work())
            group.create_task(self._report())
            group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            try:
                await self._register()
                for n in itertools.count(1):
                    if not await self._poll(n):
                        break
            except OpenClawError:
                await pause(0.02)

    def _offers(self) -> list[Offer]:
        offered = dict.fromkeys(self._functions, REVISION) | {n: r for n, (r, _) in self._loaded.items()}
        return [Offer(name=name, revision=revision) for name, revision in offered.items()]

    async def _register(self) -> None:
        request = RegisterRequest(
            node_id=self.node_id, agent=self._name, slots=self._slots, tags=self._tags,
            machine=Machine(hostname=self.node_id, capacity={"cpu": 4, "memory": "4GiB"}),
            offers=self._offers(), holds=list(self._held),
        )  # fmt: skip
        reply = await self._link.ask("register", request, RegisterReply, 5)
        self._incarnation = reply.incarnation
        for token in reply.stops:
            self._stop(token)
        self._wake.set()

    async def _poll(self, n: int) -> bool:
        request = PollRequest(
            node_id=self.node_id, incarnation=self._incarnation, n=n, have=list(self._held), registry=self._registry
        )
        reply = await self._link.ask("poll", request, PollReply, 10)
        if reply.register_again:
            return False
        for lease in reply.leases:
            if lease.token not in self._held:
                self._held[lease.token] = lease
                self._waiting.put_nowait(lease)
        for stop in reply.stops:
            self._stop(stop.token)
        if reply.registry > self._registry:
            await self._learn()
        return True

    async def _learn(self) -> None:
        found = await self._link.ask("registry", RegistryRequest(since=self._registry), RegistryReply, 5)
        for manifest in found.manifests:
            code = await self._link.plain("code", {"digest": manifest.code}, 5)
            self._loaded[manifest.name] = (manifest.revision, packing.load(base64.b64decode(code)))
        self._registry = found.registry
        request = OffersRequest(node_id=self.node_id, incarnation=self._incarnation, offers=self._offers())
        await self._link.plain("offers", request.model_dump(mode="json"), 5)

    async def _work(self) -> None:
        while True:
            lease = await self._waiting.get()
            if lease.token not in self._held:
                continue
            self.started.append((lease.task_id, lease.attempt))
            self._say(StartMessage(token=lease.token, at=time.time()))
            running = asyncio.create_task(self._attempt(lease))
            self._running[lease.token] = running
            await asyncio.wait({running})
            self._running.pop(lease.token)
            self._say(running.result())

    async def _attempt(self, lease: LeaseMessage) -> OutcomeMessage:
        began = time.time()
        outcome, result, error = Outcome.COMPLETED, None, None
        try:
            result = dumps(await self._called(lease))
        except asyncio.CancelledError:
            outcome, error = Outcome.CANCELLED, {"kind": "cancelled", "message": "stopped"}
        except Exception as raised:  # noqa: BLE001  (whatever a skill raises)
            text = "".join(traceback.format_exception(raised))
            outcome = Outcome.FAILED
            error = {"kind": "skill_error", "type": type(raised).__name__, "message": str(raised), "traceback": text}
        ended = time.time()
        return OutcomeMessage(
            token=lease.token, outcome=outcome, started_at=began, ended_at=ended, run_s=max(0.0, ended - began),
            result=result, error=error,
        )  # fmt: skip

    async def _called(self, lease: LeaseMessage) -> Any:
        fn = self._functions.get(lease.skill) or self._loaded[lease.skill][1]
        params = json.loads(lease.params)
        parameters = inspect.signature(fn).parameters
        first = [_Context(self, lease)] if next(iter(parameters), "") == "ctx" else []
        found = fn(*first, **params) if isinstance(params, dict) else fn(*first, params)
        return await found if inspect.isawaitable(found) else found

    def _stop(self, token: int) -> None:
        running = self._running.get(token)
        if running is not None:
            running.cancel()
        elif token in self._held:
            now = time.time()
            self._say(OutcomeMessage(token=token, outcome=Outcome.RELEASED, started_at=now, ended_at=now, run_s=0.0))

    def _say(self, news: StartMessage | OutcomeMessage | ProgressMessage) -> None:
        self._news.append(news)
        self._wake.set()

    async def _report(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            news, self._news = self._news[:1_000], self._news[1_000:]
            if not news or not self._incarnation:
                self._news = news + self._news
                continue
            request = ReportRequest(
                node_id=self.node_id,
                incarnation=self._incarnation,
                starts=[one for one in news if isinstance(one, StartMessage)],
                outcomes=[one for one in news if isinstance(one, OutcomeMessage)],
                progress=[one for one in news if isinstance(one, ProgressMessage)],
            )
            try:
                reply = await self._link.ask("report", request, ReportReply, 10)
                if reply.register_again:
                    raise NotConnected("register first")
            except OpenClawError:
                self._news = news + self._news
                await pause(0.02)
                self._wake.set()
                continue
            for token in [*reply.accepted, *reply.stale]:
                self._held.pop(token, None)
            if self._news:
                self._wake.set()


class _Context:
    def __init__(self, agent: Agent, lease: LeaseMessage) -> None:
        self._agent = agent
        self.task_id = lease.task_id
        self.attempt = lease.attempt
        self._token = lease.token

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        self._agent._say(ProgressMessage(token=self._token, done=done, total=total, text=text))


class InProcess:
    """The cluster. Use it as a context.

    Args:
        home: Its folder.
        functions: What its nodes run, by name.
        nodes: How many nodes, `node-1` and so on.
        slots: Slots of each.
        settings: Further settings of the coordinator.
    """

    def __init__(
        self,
        home: Path,
        functions: dict[str, Callable[..., Any]],
        *,
        nodes: int = 1,
        slots: int = 2,
        **settings: Any,
    ) -> None:
        chosen = {"retry_base_s": 0.02, "retry_jitter": 0.0, "heartbeat_s": 0.5, "sweep_s": 0.2, **settings}
        self._settings = Settings(home=home, **chosen)
        self._functions = functions
        self._nodes, self._slots = nodes, slots
        self._home = LoopThread("in-process-cluster")
        self._tasks: list[asyncio.Task[Any]] = []
        self._calls: set[asyncio.Task[Any]] = set()
        self.coordinator: Coordinator | None = None
        self.agents: list[Agent] = []

    def __enter__(self) -> Self:
        try:
            self._home.run(self._start())
        except BaseException:
            self._home.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._home.run(self._stop())
        finally:
            self._home.close()

    def wire(self) -> Wire:
        """A new way to the coordinator, with faults of its own."""
        return Wire(self)

    def spawn(self, work: Coroutine[Any, Any, T]) -> Any:
        """Run a coroutine on the cluster's loop; a concurrent future comes back."""
        return asyncio.run_coroutine_threadsafe(self._watched(work), self._home._loop)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The same, waited for."""
        return self._home.run(work)

    def call(self, fn: Callable[..., Any], *args: Any) -> None:
        """Run a function on the cluster's loop."""
        self._home.call_soon(fn, *args)

    def restart(self) -> None:
        """The coordinator stops and starts again from disk; calls under way are cut off."""
        self._home.run(self._restart())

    async def _watched(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            return await work
        finally:
            self._calls.discard(task)

    async def _start(self) -> None:
        await self._open()
        wire = self.wire()
        dispatcher = Dispatcher(self._settings, Link(wire), CLOCK)
        dispatcher.start()
        self._dispatcher = dispatcher
        for i in range(self._nodes):
            agent = Agent(Link(self.wire()), f"node-{i + 1}", self._slots, self._functions, [f"n{i + 1}"])
            self.agents.append(agent)
            self._tasks.append(asyncio.create_task(agent.run(), name=agent.node_id))

    async def _open(self) -> None:
        coordinator = Coordinator(self._settings, on_fatal=lambda: None)
        await coordinator.initialise()
        self.coordinator = coordinator

    async def _restart(self) -> None:
        coordinator, self.coordinator = self.coordinator, None
        assert coordinator is not None
        for call in list(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await coordinator.stop()
        await self._open()

    async def _stop(self) -> None:
        await self._dispatcher.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        coordinator, self.coordinator = self.coordinator, None
        for call in list(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        if coordinator is not None:
            await coordinator.stop()
