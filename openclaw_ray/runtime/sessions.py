"""Who waits for which tasks to end: one parked call per client, whatever the number of its tasks.

A session lives in memory only. After a restart the client hears that it is unknown and begins again with what it still
awaits; what ended meanwhile is read from disk.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from openclaw_ray.protocol import EndedTask

#: Sessions whose client has not asked for this long are forgotten.
IDLE_S = 180.0
SESSIONS_MAX = 5_000
#: One reply: as many ended tasks, or results of about this size together.
REPLY_ITEMS, REPLY_BYTES = 1_000, 8 * 1024 * 1024
#: Results kept in memory for one slow client; beyond it they are read from disk again.
HELD_BYTES_MAX = 16 * 1024 * 1024


class Session:
    """What one client awaits, and what it has yet to hear."""

    def __init__(self) -> None:
        self.n = 0
        self.reply: tuple[int, list[EndedTask], list[str]] | None = None
        self.awaited: set[str] = set()
        #: Ended and not yet sent; None: read it from disk when it is sent.
        self.ended: OrderedDict[str, EndedTask | None] = OrderedDict()
        #: How large the results are that have to be read.
        self.unread: dict[str, int] = {}
        self.missing: list[str] = []
        self.held_bytes = 0
        self.seen_at = 0.0
        self._wake = asyncio.Event()
        #: Whether the call with number `n` is being answered, and the end of that.
        self.answering = False
        self.answered = asyncio.Event()

    def begin(self) -> None:
        """A call with a new number took over; one that is parked is woken."""
        self.answering = True
        self.answered.set()
        self.answered = asyncio.Event()
        self._wake.set()

    def end(self) -> None:
        """The newest call has its answer."""
        self.answering = False
        self.answered.set()

    def put(self, task: EndedTask) -> None:
        """A task that it awaits has ended."""
        size = len(task.result or "")
        if self.held_bytes + size > HELD_BYTES_MAX:
            self.put_unread(task.task_id, size)
            return
        self.held_bytes += size
        self.ended[task.task_id] = task
        self._wake.set()

    def put_unread(self, task_id: str, size: int = REPLY_BYTES) -> None:
        """One that has ended; how is read from disk when it is sent. A size that nobody knows fills a reply."""
        self.ended[task_id] = None
        self.unread[task_id] = size
        self._wake.set()

    async def wait(self, n: int) -> None:
        """Wait for something to send, or for a newer call; the caller bounds the time."""
        while self.n == n and not self.ended and not self.missing:
            self._wake.clear()
            await self._wake.wait()

    def next_items(self) -> list[str]:
        """Ids of the next reply, within its limits."""
        picked: list[str] = []
        size = 0
        for task_id, task in self.ended.items():
            size += len(task.result or "") if task is not None else self.unread[task_id]
            if picked and (len(picked) >= REPLY_ITEMS or size > REPLY_BYTES):
                break
            picked.append(task_id)
        return picked

    def take(self, task_id: str) -> EndedTask | None:
        """Remove one from what is to be sent; None: it must be read from disk."""
        task = self.ended.pop(task_id)
        self.unread.pop(task_id, None)
        if task is not None:
            self.held_bytes -= len(task.result or "")
        return task


class Sessions:
    """All sessions, and for each awaited task who awaits it."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._waiters: dict[str, set[str]] = {}

    def find(self, name: str) -> Session | None:
        """A known session."""
        return self._sessions.get(name)

    def create(self, name: str, now: float) -> Session:
        """A new session; idle ones make room."""
        self._expire(now)
        session = self._sessions[name] = Session()
        session.seen_at = now
        return session

    def touch(self, name: str, now: float) -> None:
        """Its client asked just now."""
        self._sessions[name].seen_at = now
        self._sessions.move_to_end(name)

    def await_tasks(self, name: str, task_ids: list[str]) -> None:
        """From now on the session hears when these end."""
        session = self._sessions[name]
        for task_id in task_ids:
            session.awaited.add(task_id)
            self._waiters.setdefault(task_id, set()).add(name)

    def release_tasks(self, name: str, task_ids: list[str]) -> None:
        """The session no longer cares."""
        session = self._sessions[name]
        for task_id in task_ids:
            session.awaited.discard(task_id)
            if task_id in session.ended:
                session.take(task_id)
            self._drop_waiter(task_id, name)

    def awaited(self, task_id: str) -> bool:
        """Whether anybody waits for a task."""
        return task_id in self._waiters

    def ended(self, task: EndedTask) -> None:
        """Tell all who wait."""
        for name in self._waiters.pop(task.task_id, ()):
            session = self._sessions.get(name)
            if session is not None and task.task_id in session.awaited:
                session.awaited.discard(task.task_id)
                session.put(task)

    def _expire(self, now: float) -> None:
        while self._sessions:
            name, session = next(iter(self._sessions.items()))
            if len(self._sessions) < SESSIONS_MAX and now - session.seen_at < IDLE_S:
                return
            del self._sessions[name]
            for task_id in session.awaited:
                self._drop_waiter(task_id, name)

    def _drop_waiter(self, task_id: str, name: str) -> None:
        names = self._waiters.get(task_id)
        if names is not None:
            names.discard(name)
            if not names:
                del self._waiters[task_id]
