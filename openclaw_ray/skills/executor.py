"""Inside an executor process: runs skill calls one after another, and answers in bulk. Knows nothing of Ray.

One worker thread calls the skills; the event loop feeds it and collects what it finished. Between the two lies one
lock, taken once per call. A process runs one attempt at a time, so what it does wrong can be blamed on one task.
"""

from __future__ import annotations

import asyncio
import faulthandler
import math
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from openclaw_ray.core.limits import MESSAGE_BYTES_MAX, MESSAGE_ITEMS_MAX
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.skills import attempt
from openclaw_ray.skills.capture import Capture
from openclaw_ray.skills.code_cache import CodeCache
from openclaw_ray.skills.context import _CURRENT
from openclaw_ray.skills.marker import CRASH_FILE_NAME, FILE_NAME, Marker
from openclaw_ray.skills.outcome import failure
from openclaw_ray.skills.run import STARTED_AFTER_S, Run

#: How long an answer waits for others while work remains, seconds.
LINGER_S = 0.008

Entry = dict[str, Any]
_KEYS = {"token", "task_id", "attempt", "code", "params", "timeout_s", "takes_context"}


class ExecutorLoop:
    """Runs what it is fed, in order, and reports.

    Args:
        scratch: An existing folder of this process alone; holds the crash marker and the attempts' scratch folders.
        capture: Whether to redirect the process's output to the attempts. Off in tests, which share their process.
    """

    def __init__(self, scratch: Path, *, capture: bool = True) -> None:
        self._scratch = scratch
        self._capture = Capture()
        self._crash_file = (scratch / CRASH_FILE_NAME).open("w")
        if capture:
            faulthandler.enable(self._crash_file)  # before a segfault ends us, the Python stack is written there
            self._capture.start()
        self._marker = Marker(scratch / FILE_NAME)
        self._code = CodeCache()

        # Guarded by the lock: the worker and the loop change these.
        self._lock = threading.Lock()
        self._queue: deque[dict[str, Any]] = deque()
        self._out: deque[Entry] = deque()
        #: Wanted to stop before they started.
        self._cancelled: set[int] = set()
        self._running: Run | None = None

        #: Set by feed; the worker waits for it when the queue is empty.
        self._fed = threading.Event()
        #: What wakes the collector: nothing, any entry, or only the end of all work.
        self._wakes = _Wakes.NOTHING
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closing = False
        self._worker = threading.Thread(target=self._work, name="skill-worker", daemon=True)
        self._worker.start()

    # --- the loop's side ------------------------------------------------------------------------------------------

    def load_code(self, digest: str, path: Path | str) -> None:
        """Say where the code with this SHA-256 lies. The worker loads it within the attempt that first needs it."""
        self._code.put(digest, Path(path))

    def feed(self, items: Iterable[dict[str, Any]]) -> None:
        """Queue attempts, to be run in this order.

        Each has: token, task_id, attempt, skill, revision, code (digest), params (JSON text), timeout_s (or None),
        takes_context. One whose code was never named is answered `missing_code`; name it and feed it again.

        Raises:
            InvalidRequest: An item lacks a key; nothing was queued.
        """
        found = list(items)
        for item in found:  # here, where the caller learns of it; the worker could only fail
            if not item.keys() >= _KEYS:
                raise InvalidRequest("is missing", field=min(_KEYS - item.keys()))
        with self._lock:
            self._queue.extend(found)
        self._fed.set()
        self._wake()  # a collector that waits must now look out for starts

    def withdraw(self, tokens: Iterable[int]) -> list[int]:
        """Take back what has not started; returns the tokens that will not run."""
        wanted = set(tokens)
        with self._lock:
            found = [item["token"] for item in self._queue if item["token"] in wanted]
            if found:
                self._queue = deque(item for item in self._queue if item["token"] not in wanted)
                self._cancelled.difference_update(found)
        return found

    def cancel(self, token: int) -> bool:
        """Set the flag that `Context.cancelled` shows; False if nothing with this token runs or waits here."""
        with self._lock:
            if self._running is not None and self._running.token == token:
                self._running.context.cancel()
                return True
            if any(item["token"] == token for item in self._queue):
                self._cancelled.add(token)
                return True
        return False

    async def collect(self, max_wait_s: float) -> list[Entry]:
        """Wait for something to report; at most one caller at a time.

        Answers at once when something is there, except that up to `LINGER_S` is waited for more while work remains.
        An empty list after `max_wait_s` seconds.

        Returns:
            Entries with `token` and `event`: started (tasks still running after 20 ms), progress, ended,
            missing_code; in the order in which things happened, at most 1,000 entries or 16 MiB.
        """
        self._loop = asyncio.get_running_loop()
        end = time.monotonic() + max_wait_s
        while not self._due_entries() and (left := end - time.monotonic()) > 0:
            await self._sleep(_Wakes.ANY, min(left, self._next_due_s()))
        end = time.monotonic() + min(LINGER_S, max_wait_s)
        while 0 < len(self._out) < MESSAGE_ITEMS_MAX and not self.idle and (left := end - time.monotonic()) > 0:
            await self._sleep(_Wakes.IDLE, left)
        return self._take()

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self._running is None and not self._queue

    def close(self) -> None:
        """End the worker after the call that runs now, dropping what waits, and give the process its output back."""
        with self._lock:
            self._closing = True
            self._queue.clear()
        self._fed.set()
        self._worker.join(timeout=5)
        if faulthandler.is_enabled() and self._capture.started:
            faulthandler.disable()
        self._capture.close()
        self._crash_file.close()

    async def _sleep(self, wakes: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._wakes = wakes
        timer = loop.call_later(seconds, self._wake_up)
        # Looked at again after `_wakes` is set: the worker reads it after it wrote, so one of us sees the other.
        if (self._out and wakes == _Wakes.ANY) or (self.idle and wakes == _Wakes.IDLE):
            self._wake_up()
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._wakes, self._waiter = _Wakes.NOTHING, None

    def _wake_up(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _wake(self) -> None:
        """Wake the collector, from any thread."""
        if self._wakes != _Wakes.NOTHING and self._loop is not None:
            self._wakes = _Wakes.NOTHING  # once is enough
            try:
                self._loop.call_soon_threadsafe(self._wake_up)
            except RuntimeError:  # the loop is closed: nobody collects any more
                self._loop = None

    def _due_entries(self) -> bool:
        """Add the entries that only time brings about; True if anything is to be reported."""
        with self._lock:
            if self._running is not None:
                self._out.extend(self._running.due_entries(time.monotonic()))
            return bool(self._out)

    def _next_due_s(self) -> float:
        run = self._running
        if run is None:
            return math.inf if not self._queue else STARTED_AFTER_S
        return run.next_due_s(time.monotonic())

    def _take(self) -> list[Entry]:
        found: list[Entry] = []
        size = 0
        with self._lock:
            while self._out and len(found) < MESSAGE_ITEMS_MAX:
                size += len(self._out[0].get("result") or "") + len(self._out[0].get("log_tail") or "")
                if found and size > MESSAGE_BYTES_MAX // 4:  # characters; one may be four bytes
                    break
                found.append(self._out.popleft())
        return found

    # --- the worker's side ----------------------------------------------------------------------------------------

    def _work(self) -> None:
        entry: Entry | None = None
        while not self._closing:
            run = self._next(entry)
            entry = None
            if run is None:
                self._fed.wait()
                continue
            try:
                entry = self._run(run)
            except BaseException as error:  # noqa: BLE001 - our own mistake, or no memory left: the loop lives on
                found = failure("executor", f"the executor failed: {error!r:.500}")
                entry = {
                    "token": run.token,
                    "event": "ended",
                    "outcome": "failed",
                    "started_at": run.wall,
                    "ended_at": run.wall,
                    "run_s": 0.0,
                    "error": found,
                    "permanent": False,
                }
        self._marker.close()

    def _next(self, entry: Entry | None) -> Run | None:
        """Hand over the last answer and take the next item, in one go."""
        with self._lock:
            if entry is not None:
                self._out.append(entry)
            item = self._queue.popleft() if self._queue else None
            if item is None:
                self._running = None
                self._fed.clear()
                if self._closing:
                    self._fed.set()
                run = None
            else:
                run = self._running = Run(item, self._scratch, self._progressed, self._capture.write)
                if run.token in self._cancelled:
                    self._cancelled.discard(run.token)
                    run.context.cancel()
        if (self._wakes == _Wakes.ANY and entry is not None) or (self._wakes == _Wakes.IDLE and run is None):
            self._wake()
        return run

    def _run(self, run: Run) -> Entry:
        item, token = run.item, run.token
        code = item["code"]
        if code not in self._code:
            return {"token": token, "event": "missing_code", "code": code}
        self._marker.begin(token)
        self._capture.active = True
        mark = _CURRENT.set(run.context)
        try:
            fn = self._code.get(code)
        except BaseException as error:  # noqa: BLE001 - unpickling runs the author's code
            result, error_found, permanent = attempt.not_loadable(error)
        else:
            given = run.context if item["takes_context"] else None
            result, error_found, permanent = attempt.call(fn, item["params"], given)
        _CURRENT.reset(mark)
        run_s = time.monotonic() - run.mono
        log_tail = self._capture.take()
        self._capture.active = False
        run.context.close()
        self._marker.end(token)
        entry: Entry = {
            "token": token,
            "event": "ended",
            "outcome": "completed" if error_found is None else "failed",
            "started_at": run.wall,
            "ended_at": run.wall + run_s,
            "run_s": run_s,
            "result": result,
            "error": error_found,
            "permanent": permanent,
            "log_tail": log_tail,
            "peak_memory": _peak_memory() if run_s >= STARTED_AFTER_S else None,
        }
        if run.progress is not None:
            entry["progress"] = run.progress
        return entry

    def _progressed(self, token: int, progress: dict[str, Any]) -> None:
        """Called from the skill, perhaps from threads it left behind."""
        with self._lock:
            run = self._running
            if run is None or run.token != token:
                return
            run.progress, run.unsent = progress, True
            due = run.due_entries(time.monotonic())
            self._out.extend(due)
        if due:
            self._wake()


class _Wakes:
    NOTHING, ANY, IDLE = range(3)


def _peak_memory() -> int:
    """Bytes this process ever had resident; more than the attempt's own when an earlier one took more."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
