"""An event loop whose time is data, and processes that can be stopped or killed between any two steps.

When nothing is ready the loop jumps to the next timer, so an hour costs what happens in it. There is no selector, no
thread and no clock of the machine: the same calls in the same order give the same run.

A `Process` is a context: every task that starts inside it, and every callback of those, belongs to it. One that is
paused keeps its steps for later, as after SIGSTOP; one that is dead never takes another, as after kill -9: no `finally`
runs, nobody says goodbye.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Process:
    """What dies, stops and goes on as one."""

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self._loop = loop
        self._kept: list[asyncio.Handle] = []
        #: Steps that a dead process never took: what they belong to must not be swept up in the middle of the run.
        self._dropped: list[asyncio.Handle] = []
        self._context = Context()
        self._context.run(_PROCESS.set, self)
        loop.processes.append(self)
        #: Called when it dies, each once.
        self.on_death: list[Callable[[], object]] = []

    def spawn(self, work: Coroutine[Any, Any, T], name: str = "") -> asyncio.Task[T]:
        """Run a coroutine inside this process."""
        return self._loop.create_task(work, name=name or self.name, context=self._context)

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether a step of this process may be taken now; it is kept for later while it is paused."""
        if not self.alive:
            self._dropped.append(handle)
        elif self.paused:
            self._kept.append(handle)
        return self.alive and not self.paused

    def pause(self) -> None:
        """Take no further step until `resume`."""
        self.paused = True

    def resume(self) -> None:
        """Go on where it was stopped."""
        self.paused = False
        self._loop.make_ready(self._kept)
        self._kept = []

    def kill(self) -> None:
        """Never take another step."""
        if self.alive:
            self.alive = False
            self._dropped += self._kept
            for told in self.on_death:
                told()

    def bury(self) -> None:
        """After the run: let what was left standing be cancelled, so that nothing complains at its end."""
        self.alive, self.paused = True, False
        self.on_death.clear()


_PROCESS: ContextVar[Process] = ContextVar("openclaw_ray_sim_process")


class _Handle(asyncio.Handle):
    """A step; taken only if its process may."""

    __slots__ = ()

    def _run(self) -> None:
        process = self._context.get(_PROCESS)  # type: ignore[attr-defined]
        if process is None or process.admits(self):
            super()._run()


class _Timer(asyncio.TimerHandle):
    """A step at a moment."""

    __slots__ = ()

    def _run(self) -> None:
        process = self._context.get(_PROCESS)  # type: ignore[attr-defined]
        if process is None or process.admits(self):
            super()._run()


#: Turns of the loop at one instant after which somebody runs in circles.
_TURNS_MAX = 200_000


class NothingLeft(Exception):
    """Nothing will ever happen any more: everybody waits, or somebody runs in circles while time stands still."""


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's own loop on virtual time.

    Args:
        start: Where its time begins (seconds).
    """

    _ready: Any
    _scheduled: list[Any]
    _selector: Any

    def __init__(self, start: float = 1_000.0) -> None:
        super().__init__()
        self._now = start
        self._selector = self
        self._turns = 0
        #: Steps that belong to no process: the world's own.
        self.outside = Context()
        self.processes: list[Process] = []
        #: Tasks that raised and that nobody waited for: mistakes.
        self.unheard: list[str] = []
        self.set_exception_handler(self._note_unheard)

    def time(self) -> float:
        """The virtual instant (seconds)."""
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """Called by asyncio when it would wait for the machine: time moves on instead.

        Raises:
            NothingLeft: there is no timer to wait for, or time has not moved for too many turns.
        """
        self._turns += 1
        if timeout is None or self._turns > _TURNS_MAX:
            raise NothingLeft
        if timeout > 0:
            self._turns = 0
            self._now = max(self._now, self._scheduled[0].when())
        return []

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's; the step belongs to the process of its context."""
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's; the step belongs to the process of its context."""
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def after(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Call something of the world, whoever asks for it and whether or not that one lives then."""
        return self.call_at(self._now + delay, callback, *args, context=self.outside)

    def make_ready(self, handles: list[asyncio.Handle]) -> None:
        """Take steps that were kept."""
        self._ready.extend(handles)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """A thread's work is done here and now, and heard of with the next step."""
        future: asyncio.Future[T] = self.create_future()
        try:
            answer = func(*args)
        except Exception as error:  # noqa: BLE001  (whatever it raises is its caller's)
            self.call_soon(_fail, future, error)
        else:
            self.call_soon(_answer, future, answer)
        return future

    def _note_unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("future"), asyncio.Task) or "handle" in context:
            self.unheard.append(f"{context['message']}: {context.get('exception')!r}")

    def bury_all(self) -> None:
        """End every task that is left, of the living and of the dead."""
        for process in self.processes:
            process.bury()
        self.set_exception_handler(lambda loop, context: None)
        self._turns = 0
        left = asyncio.all_tasks(self)
        for task in left:
            task.cancel()
        with contextlib.suppress(NothingLeft):
            self.run_until_complete(asyncio.wait(left, timeout=60.0)) if left else None
        for task in asyncio.all_tasks(self):  # their last step was dropped with their process
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            for _ in range(20):
                try:
                    task.get_coro().close()
                    break
                except RuntimeError:  # it awaits in a `finally`
                    continue

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""


def _answer(future: asyncio.Future[T], answer: T) -> None:
    if not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
