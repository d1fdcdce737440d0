"""`run.json`: what `up` started on this machine, so that `down` ends exactly that and nothing else.

A process is named by its id and its start time: an id alone may long belong to somebody else's program.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import psutil
from pydantic import Field

from openclaw_ray.client.joining import RUN_FILE
from openclaw_ray.errors import Conflict, InvalidRequest
from openclaw_ray.models.door import Document, parse

#: A start time is worked out from the boot time, which moves a little when the clock is set (seconds).
START_TOLERANCE_S = 2.0
#: Between SIGTERM and SIGKILL (seconds): our actors have stopped before, so Ray has nothing left to save.
TERM_S = 3.0
#: Without these a Ray node is dead, whatever else of it still runs.
VITAL = ("gcs_server", "raylet")


class Process(Document):
    """One process, beyond doubt."""

    pid: int
    #: Seconds since 1970.
    started: float
    name: str = ""


class Run(Document):
    """What is up."""

    #: Ray's head.
    address: str
    namespace: str
    #: Token of a Ray that `up` started; None: somebody else's Ray.
    token_path: str | None = None
    started_ray: bool
    #: Session id of what `up` started, and its processes.
    session: int = 0
    processes: list[Process] = Field(default_factory=list)
    #: This machine's node, where `up` named it.
    node_id: str | None = None
    #: Where /metrics is served.
    metrics: str | None = None
    #: Ray's dashboard, which takes jobs.
    dashboard: str | None = None

    @property
    def alive(self) -> bool:
        """Whether the processes without which nothing works still run; of somebody else's Ray nothing is known."""
        vital = [p for p in self.processes if p.name.startswith(VITAL)]
        return not self.started_ray or (len(vital) >= len(VITAL) and all(find(p) is not None for p in vital))


def read_run(home: Path) -> Run | None:
    """The record of what is up, if there is one.

    Raises:
        Conflict: it cannot be read; nothing is ended on a guess.
    """
    path = home / RUN_FILE
    try:
        return parse(Run, path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, InvalidRequest) as error:
        raise Conflict(f"{path} cannot be used: {error}", hint="move it away if nothing of it runs any more") from None


def write_run(home: Path, run: Run) -> None:
    """Replace the record in one step; only its owner may read it."""
    partial = home / f"{RUN_FILE}.{os.getpid()}"
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(run.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(home / RUN_FILE)


def forget_run(home: Path) -> None:
    """Nothing is up any more."""
    (home / RUN_FILE).unlink(missing_ok=True)


def find(process: Process) -> psutil.Process | None:
    """The living process that a record names; None when it is gone or its id belongs to another one now."""
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.started) <= START_TOLERANCE_S
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def session_processes(session: int) -> list[Process]:
    """The living processes of a session."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(one.pid) == session and one.status() != psutil.STATUS_ZOMBIE:
                found.append(Process(pid=one.pid, started=one.create_time(), name=one.name()))
    return found


def stop_run(run: Run) -> int:
    """End what `up` started, and all that came of it: SIGTERM, then SIGKILL; answers how many processes that were."""
    if not run.started_ray:
        return 0
    first = _with_children(p for p in map(find, run.processes) if p is not None)
    first |= _session(run)
    _, stubborn = _ended(first, kill=False, wait_s=TERM_S)
    # What was born meanwhile is a child of those that are left, or still in the session.
    late = _with_children(stubborn) | _session(run)
    _ended(late, kill=True, wait_s=TERM_S)
    return len(first | late)


def _with_children(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for one in processes:
        found.add(one)
        with contextlib.suppress(psutil.Error):
            found.update(one.children(recursive=True))
    return found


def _session(run: Run) -> set[psutil.Process]:
    """Members of the recorded session whose parents are gone: workers of a raylet that was killed.

    A session's number is not given out again while it has members; and they are younger than the first one recorded.
    """
    if run.session <= 0 or not run.processes:
        return set()
    began = min(p.started for p in run.processes) - START_TOLERANCE_S
    members = (p for p in session_processes(run.session) if p.started >= began)
    return {p for p in map(find, members) if p is not None}


def _ended(
    processes: set[psutil.Process], *, kill: bool, wait_s: float
) -> tuple[list[psutil.Process], list[psutil.Process]]:
    for one in processes:
        with contextlib.suppress(psutil.Error):
            one.kill() if kill else one.terminate()
    return psutil.wait_procs(list(processes), timeout=wait_s)
