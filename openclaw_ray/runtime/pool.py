"""Executor processes of one node: started when needed, kept while warm, fed in batches, killed when they must be.

An executor runs one attempt at a time. Very short ones are fed several at once, so that the price of a call is paid per
batch; when one of them turns out to be long, the others are taken back and go elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openclaw_ray.clock import Clock
from openclaw_ray.errors import OpenClawError, Unavailable
from openclaw_ray.logs import get_logger
from openclaw_ray.runtime.ports import Executor, ExecutorDied, ExecutorFactory
from openclaw_ray.skills.marker import CRASH_FILE_NAME, FILE_NAME, read_marker

log = get_logger(__name__)

#: A collect call is answered at the latest after this (seconds).
COLLECT_S = 10.0
#: An executor that did nothing for this long gives its resources back (seconds).
IDLE_S = 60.0

PoolKey = tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Worker:
    """One executor process and what it was fed."""

    number: int
    key: PoolKey
    scratch: Path
    #: None while the process starts.
    executor: Executor | None = None
    #: Tokens in the order in which they run.
    fed: dict[int, None] = field(default_factory=dict)
    #: Expected milliseconds of what it was fed.
    load_ms: float = 0.0
    #: Told to die by us; its death is no crash.
    doomed: bool = False
    #: Runs one attempt that lost one before, then ends.
    alone: bool = False
    idle_since: float = 0.0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def busy(self) -> bool:
        """Whether it has something to do."""
        return bool(self.fed)


@dataclass(frozen=True, slots=True)
class Death:
    """What a dead executor leaves: whom to blame, what was lost, what never started."""

    blamed: int | None
    finished: list[int]
    untouched: list[int]
    stack: str
    killed_by_us: bool


def _no_scratch(error: OSError) -> Unavailable:
    return Unavailable(f"no scratch folder: {error}", facts={"problem": "scratch"})


class Pool:
    """The executors of one node. Entries and deaths are handed to callbacks on the event loop."""

    def __init__(
        self,
        factory: ExecutorFactory,
        scratch: Path,
        clock: Clock,
        on_entries: Callable[[Worker, list[dict[str, Any]]], None],
        on_death: Callable[[Worker, Death], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._factory = factory
        self._scratch = scratch
        self._clock = clock
        self._on_entries = on_entries
        self._on_death = on_death
        self._on_ready = on_ready
        self.workers: dict[int, Worker] = {}
        #: Kills under way.
        self._ending: set[asyncio.Task[None]] = set()
        self._next = 1

    def idle(self, key: PoolKey) -> Worker | None:
        """A warm executor of a kind with nothing to do."""
        for worker in self.workers.values():
            usable = worker.executor is not None and not worker.doomed and not worker.alone
            if usable and worker.key == key and not worker.fed:
                return worker
        return None

    def starting(self, key: PoolKey) -> int:
        """Executors of a kind that are on their way."""
        return sum(w.executor is None and w.key == key and not w.alone for w in self.workers.values())

    def start(self, key: PoolKey, *, alone: bool, on_refused: Callable[[OpenClawError], None]) -> Worker:
        """Begin to start an executor; `on_ready` or `on_refused` follows. Idle ones of other kinds make room."""
        self._make_room(key)
        worker = Worker(self._next, key, self._scratch / f"executor-{self._next}", alone=alone)
        self._next += 1
        self.workers[worker.number] = worker
        self._spawn(worker, self._start(worker, on_refused), "start")
        return worker

    def _make_room(self, key: PoolKey) -> None:
        if not key:
            return
        for worker in list(self.workers.values()):
            if worker.executor is not None and not worker.fed and worker.key and worker.key != key:
                self.kill(worker)

    async def _start(self, worker: Worker, on_refused: Callable[[OpenClawError], None]) -> None:
        try:
            await asyncio.to_thread(worker.scratch.mkdir, 0o700, True, True)
            worker.executor = await self._factory.start(dict(worker.key), str(worker.scratch))
        except (OpenClawError, OSError) as error:
            self.workers.pop(worker.number, None)
            shutil.rmtree(worker.scratch, ignore_errors=True)
            on_refused(error if isinstance(error, OpenClawError) else _no_scratch(error))
            return
        if worker.doomed:
            await self._end(worker)
            return
        worker.idle_since = self._clock.now().mono
        self._spawn(worker, self._collect(worker), "collect")
        self._on_ready()

    def promise(self, worker: Worker, tokens: list[int], load_ms: float) -> None:
        """These are an executor's from now on; `feed` hands them over, once it is there."""
        worker.fed.update(dict.fromkeys(tokens))
        worker.load_ms += load_ms

    def feed(self, worker: Worker, items: list[dict[str, Any]]) -> None:
        """Hand promised attempts to an executor."""
        self._spawn(worker, self._feed(worker, items), "feed")

    async def _feed(self, worker: Worker, items: list[dict[str, Any]]) -> None:
        assert worker.executor is not None
        try:
            await worker.executor.feed(items)
        except ExecutorDied:
            self._died(worker)

    async def _collect(self, worker: Worker) -> None:
        assert worker.executor is not None
        while not worker.doomed:
            try:
                entries = await worker.executor.collect(COLLECT_S)
            except ExecutorDied:
                self._died(worker)
                return
            if entries:
                try:
                    self._on_entries(worker, entries)
                except Exception:  # what it said cannot be understood: what it holds is lost, not forgotten
                    log.exception("entries of an executor", number=worker.number)
                    self.kill(worker)

    def finished(self, worker: Worker, token: int) -> None:
        """One of its attempts has ended."""
        before = len(worker.fed)
        worker.fed.pop(token, None)
        worker.load_ms *= len(worker.fed) / max(before, 1)
        if not worker.fed:
            worker.idle_since = self._clock.now().mono

    async def withdraw(self, worker: Worker, tokens: list[int]) -> list[int]:
        """Take back what has not started there."""
        if worker.executor is None:  # it starts still: nothing was handed to it yet
            taken = [token for token in tokens if token in worker.fed]
            for token in taken:
                self.finished(worker, token)
            return taken
        try:
            taken = await worker.executor.withdraw(tokens)
        except ExecutorDied:
            self._died(worker)
            return []
        for token in taken:
            self.finished(worker, token)
        return taken

    async def ask_cancel(self, worker: Worker, token: int) -> None:
        """Set the cooperative flag of an attempt."""
        if worker.executor is not None:
            try:
                await worker.executor.cancel(token)
            except ExecutorDied:
                self._died(worker)

    def kill(self, worker: Worker) -> None:
        """End an executor; what it had is told by `on_death` when it is gone."""
        if worker.doomed:
            return
        worker.doomed = True
        if worker.executor is not None:
            task = asyncio.create_task(self._end(worker), name=f"end-executor-{worker.number}")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end(self, worker: Worker) -> None:
        if worker.executor is not None:
            with contextlib.suppress(ExecutorDied):
                await worker.executor.kill()
        self._bury(worker, killed_by_us=True)

    def _died(self, worker: Worker) -> None:
        if not worker.doomed:
            worker.doomed = True
            self._bury(worker, killed_by_us=False)

    def _bury(self, worker: Worker, *, killed_by_us: bool) -> None:
        if self.workers.pop(worker.number, None) is None:
            return
        running, finished = read_marker(worker.scratch / FILE_NAME)
        order = list(worker.fed)
        reached = max((order.index(t) for t in (running, finished) if t in worker.fed), default=-1)
        stack = ""
        with contextlib.suppress(OSError):
            stack = (worker.scratch / CRASH_FILE_NAME).read_text(errors="replace")
        current = asyncio.current_task()
        for task in worker.tasks:
            if task is not current:
                task.cancel()
        shutil.rmtree(worker.scratch, ignore_errors=True)
        self._on_death(
            worker,
            Death(
                blamed=running if running in worker.fed else None,
                finished=[t for t in order[: reached + 1] if t != running],
                untouched=order[reached + 1 :],
                stack=stack,
                killed_by_us=killed_by_us,
            ),
        )

    def end_idle(self) -> None:
        """Executors that have had nothing to do for a while give their resources back; one without any stays warm."""
        now = self._clock.now().mono
        for worker in list(self.workers.values()):
            idle = worker.executor is not None and not worker.fed and now - worker.idle_since > IDLE_S
            if idle and worker.key:
                self.kill(worker)

    async def close(self) -> None:
        """Kill every executor and wait until all are gone."""
        for worker in list(self.workers.values()):
            self.kill(worker)
        for worker in list(self.workers.values()):
            starting = [t for t in worker.tasks if not t.done()]
            if worker.executor is None and starting:
                await asyncio.wait(starting, timeout=15)
        if self._ending:
            await asyncio.wait(set(self._ending), timeout=15)

    def _spawn(self, worker: Worker, work: Any, what: str) -> None:
        task = asyncio.create_task(work, name=f"{what}-executor-{worker.number}")
        worker.tasks.add(task)
        task.add_done_callback(worker.tasks.discard)
