"""One program from its start to the end of its last process, in a thread of its own.

A thread that selects, rather than the event loop's subprocess support: that depends on which loop it is and which
thread it runs in, and reaps behind our back, while a process id stays ours only until it is reaped.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openclaw_ray.core.limits import PROGRESS_WORDS_MAX, RESULT_BYTES_MAX
from openclaw_ray.skills.outcome import Tail
from openclaw_ray.skills.processes import Tree

_READ_BYTES = 65_536
#: How often to look whether the tree is gone, seconds; only while it is being ended.
_LOOK_S = 0.02
#: Where the end of a process cannot be waited for like a file, seconds between two looks.
_POLL_S = 0.05
#: A longer line on standard error is no report of progress.
_LINE_BYTES_MAX = 4_096
#: ``::progress 3/10 reading``; the total and the text may be left out.
_PROGRESS = re.compile(rb"::progress (\d{1,15}(?:\.\d{1,6})?)(?:/(\d{1,15}(?:\.\d{1,6})?))?(?:[ \t]+(.*))?\Z")
#: Progress travels at most this often, seconds.
_PROGRESS_S = 0.25


@dataclass(frozen=True, slots=True)
class Program:
    """What to run."""

    argv: list[str]
    executable: str
    env: Mapping[str, str]
    #: Working folder, home and temporary folder: exists, 0700, of this attempt alone.
    scratch: Path
    stdin: bytes
    #: Seconds from the start until it is ended; None: no limit.
    timeout_s: float | None
    #: Seconds between the polite and the hard signal.
    kill_grace_s: float
    #: Bytes of private memory that each process may have; None: no limit.
    memory: int | None = None


class Child:
    """Runs one `Program`. `run` blocks; `stop` may be called from any thread at any time.

    Args:
        program: What to run.
        on_progress: Told of progress, in the thread that runs.

    Raises:
        OSError: From `run`, when the program cannot be started.
    """

    def __init__(self, program: Program, on_progress: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._program = program
        self._on_progress = on_progress
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._wake_lock = threading.Lock()
        self._stop_wanted = False
        #: Why it was ended by us: timeout, cancelled, too_large; None: it was not.
        self.reason: str | None = None
        self._kill_at = math.inf
        self._exited = False
        self.stdout = bytearray()
        self.log = Tail()
        self._line = bytearray()
        #: The last report, and when one was passed on.
        self.progress: dict[str, Any] | None = None
        self._progress_at = -math.inf
        #: As `os.waitstatus_to_exitcode` has it: the exit status, or minus the signal; None: somebody else reaped it.
        self.returncode: int | None = None
        self.peak_memory: int | None = None
        self.started_at = 0.0
        self.run_s = 0.0

    def stop(self) -> None:
        """End the program: SIGTERM to all its processes, and SIGKILL after the grace."""
        self._stop_wanted = True
        with self._wake_lock:
            if self._wake_write >= 0:
                os.write(self._wake_write, b"x")

    def run(self) -> None:
        """Start the program and return when its last process is gone."""
        try:
            self._spawn()
            try:
                self._watch()
                self._end_rest()
                self._drain()
            finally:
                self._reap()
        finally:
            self._close()

    def _close(self) -> None:
        self._selector.close()
        with self._wake_lock:  # a number that was closed may soon be another file
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_write = -1

    def _spawn(self) -> None:
        p = self._program
        self._process = subprocess.Popen(
            p.argv,
            executable=p.executable,
            env=dict(p.env),
            cwd=p.scratch,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=0o077,
            bufsize=0,
        )
        self.started_at, self._mono = time.time(), time.monotonic()
        self._tree = Tree(self._process.pid, p.scratch)
        self._limit()
        self._stdin_left = memoryview(p.stdin)
        for pipe, event, react in (
            (self._process.stdin, selectors.EVENT_WRITE, self._write_stdin),
            (self._process.stdout, selectors.EVENT_READ, self._read_stdout),
            (self._process.stderr, selectors.EVENT_READ, self._read_stderr),
        ):
            assert pipe is not None  # three times PIPE
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, event, react)
        self._selector.register(self._wake_read, selectors.EVENT_READ, lambda: os.read(self._wake_read, 100))
        self._pidfd = _pidfd(self._process.pid)
        if self._pidfd is not None:
            self._selector.register(self._pidfd, selectors.EVENT_READ, self._look_for_exit)

    def _limit(self) -> None:
        """Limits that a running process can be given; what it did in its first milliseconds is past."""
        if sys.platform != "linux":
            return
        wanted = {resource.RLIMIT_CORE: 0}
        if self._program.memory:
            wanted[resource.RLIMIT_DATA] = self._program.memory
        for what, most in wanted.items():
            with contextlib.suppress(OSError, ValueError):  # it may be over already, or have a lower limit
                resource.prlimit(self._process.pid, what, (most, most))

    def _watch(self) -> None:
        """Until the first process is over."""
        timeout_s = self._program.timeout_s
        end = math.inf if timeout_s is None else self._mono + timeout_s
        while not self._exited:
            now = time.monotonic()
            if self._stop_wanted:
                self._end("cancelled", self._program.kill_grace_s)
            if now >= end:
                self._end("timeout", self._program.kill_grace_s)
            if now >= self._kill_at:
                self._tree.signal(signal.SIGKILL)
            due = min(end if self.reason is None else math.inf, self._kill_at)
            # After SIGKILL was sent, look again soon: something may have been forked meanwhile.
            self._select(max(_LOOK_S, due - now) if due < now else due - now)
            if self._pidfd is None:
                self._look_for_exit()

    def _end(self, reason: str, grace_s: float) -> None:
        if self.reason is None:
            self.reason = reason
            self._kill_at = time.monotonic() + grace_s
            self._tree.signal(signal.SIGTERM if grace_s > 0 else signal.SIGKILL)

    def _end_rest(self) -> None:
        """What the first process left behind: it has the rest of the grace if we ended it, else its time is over."""
        self.run_s = time.monotonic() - self._mono
        while self._tree.living():
            if self.reason is None or time.monotonic() >= self._kill_at:
                self._tree.signal(signal.SIGKILL)
            self._select(_LOOK_S)

    def _select(self, seconds: float) -> None:
        if self._pidfd is None:
            seconds = min(seconds, _POLL_S)
        for key, _ in self._selector.select(None if seconds == math.inf else seconds):
            key.data()

    def _drain(self) -> None:
        """Read what still lies in the pipes; nobody is left to write more."""
        for pipe in (self._process.stdout, self._process.stderr):
            while pipe in self._selector.get_map():
                ready = [key for key, _ in self._selector.select(0) if key.fileobj is pipe]
                if not ready:
                    break
                ready[0].data()
        self._line_done(bytes(self._line))

    def _look_for_exit(self) -> None:
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return
        self._exited = True
        if self._pidfd is not None:
            self._selector.unregister(self._pidfd)

    def _reap(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        try:
            _, status, usage = os.wait4(self._process.pid, 0)
        except ChildProcessError:
            self._process.returncode = 0  # for Popen alone, which would wait for it otherwise
            return
        self.returncode = self._process.returncode = os.waitstatus_to_exitcode(status)
        # Before its exec the child counts as large as this process; a smaller peak than that cannot be told.
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if usage.ru_maxrss > ours:
            self.peak_memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def _write_stdin(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            self._stdin_left = self._stdin_left[os.write(pipe.fileno(), self._stdin_left) :]
        except BlockingIOError:
            return
        except OSError:  # the program does not want to know: fine
            self._stdin_left = self._stdin_left[:0]
        if not self._stdin_left:
            self._selector.unregister(pipe)
            pipe.close()

    def _read_stdout(self) -> None:
        data = self._read(self._process.stdout)
        if self.reason != "too_large":
            self.stdout += data
        if len(self.stdout) > RESULT_BYTES_MAX:
            self._end("too_large", 0.0)
            self.stdout = self.stdout[:200]

    def _read_stderr(self) -> None:
        data = self._read(self._process.stderr)
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._line_done(bytes(self._line + line) + b"\n")
            self._line.clear()
        self._line += rest
        if len(self._line) > _LINE_BYTES_MAX:
            self.log.add(bytes(self._line))
            self._line.clear()

    def _read(self, pipe: Any) -> bytes:
        try:
            data = os.read(pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            self._selector.unregister(pipe)
        return data

    def _line_done(self, line: bytes) -> None:
        found = _PROGRESS.match(line.rstrip(b"\r\n")) if line.startswith(b"::progress ") else None
        if found is None:
            self.log.add(line)
            return
        done, total, text = found.groups()
        words = (text or b"").decode("utf-8", "replace").replace("\0", "\ufffd")[:PROGRESS_WORDS_MAX]
        self.progress = {"done": _number(done), "total": _number(total) if total else None, "text": words}
        now = time.monotonic()
        if self._on_progress is not None and now - self._progress_at >= _PROGRESS_S:
            self._progress_at = now
            self._on_progress(self.progress)


def _number(digits: bytes) -> float:
    return float(digits) if b"." in digits else int(digits)


def _pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends, where the system has that."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            return os.pidfd_open(pid)
    return None
