"""What a Python skill prints, kept with its attempt.

Ray has one output file per process, not per task. So the process's own descriptors 1 and 2 lead into a pipe, which also
takes what C libraries and child processes write. A pipe, not a file: endless output then costs neither disk nor memory.
Text that C code still holds in its own buffer when the attempt ends is counted to the next one.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
import time

from openclaw_ray.skills.outcome import Tail

_STDOUT, _STDERR = 1, 2
_READ_BYTES = 65_536
#: The draining thread looks at most this often, seconds: a printing skill fills a pipe of 64 KiB at over 60 MB/s.
_DRAIN_PAUSE_S = 0.001


class Capture:
    """Collects the output of one attempt after the other. `start` changes the whole process; `close` undoes that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tail = Tail()
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._poll = select.poll()
        self._poll.register(self._read_fd, select.POLLIN)
        #: Whether an attempt runs. Outside of one, output goes where the process's own went.
        self.active = False
        self._saved: tuple[int, int] | None = None
        self._before = (sys.stdout, sys.stderr)
        self._files = (_text_file(_STDOUT), _text_file(_STDERR))

    def start(self) -> None:
        """Redirect descriptors 1 and 2, and `sys.stdout` and `sys.stderr`."""
        for file in self._before:
            with contextlib.suppress(ValueError, OSError, AttributeError):
                file.flush()
        self._saved = os.dup(_STDOUT), os.dup(_STDERR)
        os.dup2(self._write_fd, _STDOUT)
        os.dup2(self._write_fd, _STDERR)
        sys.stdout, sys.stderr = self._files
        threading.Thread(target=self._keep_draining, name="skill-output", daemon=True).start()

    @property
    def started(self) -> bool:
        """Whether the process's output is redirected now."""
        return self._saved is not None

    def write(self, text: str) -> None:
        """Add a line of the skill's log, after what was printed before it."""
        with self._lock:
            self._drain()
            self._tail.add(text.encode("utf-8", "replace"))

    def take(self) -> str | None:
        """What was written since the last call, or None. Undoes what the skill did to `sys.stdout` and `sys.stderr`."""
        if self._saved is not None:
            self._restore_files()
        with self._lock:
            self._drain()
            if not self._tail.total:
                return None
            found, self._tail = self._tail, Tail()
        return found.text()

    def close(self) -> None:
        """Give the process its own output back."""
        if self._saved is None:
            return
        for saved, own in zip(self._saved, (_STDOUT, _STDERR), strict=True):
            os.dup2(saved, own)
            os.close(saved)
        self._saved = None
        sys.stdout, sys.stderr = self._before
        os.close(self._write_fd)  # the draining thread sees the end of the pipe, and closes the other side

    def _restore_files(self) -> None:
        out, err = self._files
        if sys.stdout is not out or sys.stderr is not err or out.closed or err.closed:
            self._files = (_text_file(_STDOUT), _text_file(_STDERR)) if out.closed or err.closed else (out, err)
            sys.stdout, sys.stderr = self._files

    def _drain(self) -> bool:
        """Take what lies in the pipe; the caller holds the lock. False at its end."""
        while self._poll.poll(0):
            data = os.read(self._read_fd, _READ_BYTES)
            if not data:
                return False
            if self.active:
                self._tail.add(data)
            elif self._saved is not None:
                with contextlib.suppress(OSError):
                    os.write(self._saved[1], data)
        return True

    def _keep_draining(self) -> None:
        waiting = select.poll()
        waiting.register(self._read_fd, select.POLLIN)
        while True:
            waiting.poll()
            with self._lock:
                if not self._drain():
                    os.close(self._read_fd)
                    return
            time.sleep(_DRAIN_PAUSE_S)


def _text_file(fd: int) -> io.TextIOWrapper:
    """Unbuffered, so that nothing is left behind when the process dies."""
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
