"""Runs command skills: a list of words, no shell, an environment of its own, JSON in and JSON out.

Whatever the program does, an `Ended` comes out, and only after its last process is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openclaw_ray.core.limits import RESULT_BYTES_MAX
from openclaw_ray.core.resources import MEMORY
from openclaw_ray.errors import Conflict, InvalidParams, InvalidRequest
from openclaw_ray.models.door import canonical
from openclaw_ray.models.skill import SkillManifest
from openclaw_ray.skills.child import Child, Program
from openclaw_ray.skills.command_line import command_line, environment, executable_of
from openclaw_ray.skills.contents import folder_revision, folder_signature
from openclaw_ray.skills.outcome import Ended, Failure, failure

#: The system says: not this time, on this machine; another try may work.
_SHORTAGE = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class _Order:
    """One attempt, as `CommandRunner.run` was asked for it."""

    manifest: SkillManifest
    params_json: str
    token: int
    timeout_s: float | None
    kill_grace_s: float
    folder: Path
    env: dict[str, str]


class CommandRunner:
    """Runs any number of commands at once, each in a thread of its own.

    Args:
        on_progress: Told a token and its progress, on the event loop.
    """

    def __init__(self, on_progress: Callable[[int, dict[str, Any]], None] | None = None) -> None:
        self._on_progress = on_progress
        #: What runs, by token; None before its program started.
        self._children: dict[int, Child | None] = {}
        self._stopped: set[int] = set()
        #: Folder to its last signature and revision.
        self._revisions: dict[str, tuple[object, str]] = {}

    async def run(
        self,
        manifest: SkillManifest,
        params_json: str,
        *,
        token: int,
        task_id: str,
        attempt: int,
        timeout_s: float | None,
        scratch: Path,
        kill_grace_s: float,
        env: Mapping[str, str],
    ) -> Ended:
        """Run one attempt. Cancelling this coroutine stops the program, and returns when it is gone.

        Args:
            manifest: Of a command skill.
            params_json: Handed to the program on standard input, and into `args`.
            token: Of the lease.
            task_id: The task.
            attempt: Which try this is.
            timeout_s: Seconds from the start; None: no limit.
            scratch: Folder in which the attempt's own folder is made, and removed afterwards.
            kill_grace_s: Seconds between SIGTERM and SIGKILL.
            env: The node's environment: PATH, LANG and what the skill has passed through are taken from it.

        Raises:
            Conflict: An attempt with this token runs already.
        """
        if token in self._children:  # its scratch folder would be taken from under it
            raise Conflict(f"the attempt with token {token} runs already")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Ended] = loop.create_future()
        self._children[token] = None
        folder = scratch / str(token)
        words = environment(manifest, env, folder, task_id, attempt, token)
        order = _Order(manifest, params_json, token, timeout_s, kill_grace_s, folder, words)

        def work() -> None:
            try:
                ended = self._attempt(order, loop)
            except BaseException as error:  # noqa: BLE001 - our own mistake must not leave the caller waiting
                ended = _failed(token, failure("executor", f"the runner failed: {error!r:.500}"), permanent=False)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_answer, done, ended)

        threading.Thread(target=work, name=f"command-{token}", daemon=True).start()
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            self.stop(token)
            await asyncio.wait([done])
            raise
        finally:
            self._children.pop(token, None)
            self._stopped.discard(token)

    def stop(self, token: int) -> bool:
        """End a run, which then returns `cancelled`; False if no such run."""
        if token not in self._children:
            return False
        self._stopped.add(token)
        child = self._children[token]
        if child is not None:
            child.stop()
        return True

    def _attempt(self, order: _Order, loop: asyncio.AbstractEventLoop) -> Ended:
        manifest, token = order.manifest, order.token
        try:
            changed = self._changed(manifest)
            if changed is not None:
                return _failed(token, changed, permanent=False)
            child = self._child(order, loop)
            if token in self._stopped:  # asked before there was a child to ask
                now = time.time()
                return Ended(token, "cancelled", now, now, 0.0, error=failure("cancelled", "was not started"))
            remove_tree(order.folder)
            order.folder.mkdir(mode=0o700)
        except InvalidParams as error:
            return _failed(token, failure("invalid_params", str(error), type_name="InvalidParams"), permanent=True)
        except InvalidRequest as error:
            return _failed(token, failure("not_runnable", str(error)), permanent=True)
        except OSError as error:
            return _failed(token, failure("node", f"the node cannot make the scratch folder: {error}"), permanent=False)
        try:
            child.run()
        except OSError as error:
            return _failed(token, *_not_started(manifest.argv[0], error))
        finally:
            remove_tree(order.folder)
        return _ended(token, child, order.timeout_s)

    def _child(self, order: _Order, loop: asyncio.AbstractEventLoop) -> Child:
        manifest = order.manifest
        executable = executable_of(manifest, order.env["PATH"])
        argv = command_line(manifest, json.loads(order.params_json))
        program = Program(
            argv=argv,
            executable=executable,
            env=order.env,
            scratch=order.folder,
            stdin=order.params_json.encode(),
            timeout_s=order.timeout_s,
            kill_grace_s=order.kill_grace_s,
            memory=manifest.resources.get(MEMORY),
        )
        child = Child(program, lambda progress: self._progressed(loop, order.token, progress))
        self._children[order.token] = child
        return child

    def _changed(self, manifest: SkillManifest) -> Failure | None:
        """A skill that was edited or removed since it was offered is not run: the node has to offer it anew."""
        if not manifest.origin:
            return None
        folder = Path(manifest.origin)
        try:
            signature = folder_signature(folder)
            known = self._revisions.get(manifest.origin)
            if known is None or known[0] != signature:
                known = self._revisions[manifest.origin] = signature, folder_revision(folder)
        except (InvalidRequest, OSError) as error:
            return failure("skill_changed", f"the skill's folder cannot be used any more: {error}")
        if known[1] != manifest.revision:
            return failure("skill_changed", f"the skill is now {known[1][:12]}, not {manifest.revision[:12]}")
        return None

    def _progressed(self, loop: asyncio.AbstractEventLoop, token: int, progress: dict[str, Any]) -> None:
        if self._on_progress is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._on_progress, token, progress)


def _answer(done: asyncio.Future[Ended], ended: Ended) -> None:
    if not done.done():
        done.set_result(ended)


def remove_tree(folder: Path) -> None:
    """Remove a folder, also where a program took its own rights away."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir() and not folder.is_symlink():
        folder.chmod(0o700)
        for inner, names, _ in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    path = Path(inner, name)
                    if not path.is_symlink():
                        path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _not_started(word: str, error: OSError) -> tuple[Failure, bool]:
    """Failure and whether it is permanent."""
    if error.errno in _SHORTAGE:
        return failure("node", f"the node could not start {word}: {error.strerror}"), False
    if error.errno == errno.E2BIG:
        text = "the parameters do not fit on a command line"
        return failure("invalid_params", f"{text}; let the program read them from its standard input"), True
    why = error.strerror or str(error)
    if error.errno == errno.ENOENT:
        why = "its interpreter (the #! line) does not exist"
    elif error.errno == errno.ENOEXEC:
        why = "it is no program and has no #! line"
    return failure("not_runnable", f"{word} cannot be run: {why}"), True


def _failed(token: int, error: Failure, permanent: bool) -> Ended:
    now = time.time()
    return Ended(token, "failed", now, now, 0.0, error=error, permanent=permanent)


def _ended(token: int, child: Child, timeout_s: float | None) -> Ended:
    code = child.returncode
    outcome, result, error, permanent = _verdict(child, timeout_s)
    return Ended(
        token=token,
        outcome=outcome,
        started_at=child.started_at,
        ended_at=child.started_at + child.run_s,
        run_s=child.run_s,
        result=result,
        error=error,
        permanent=permanent,
        exit_status=code if code is not None and code >= 0 else None,
        signal=_signal_name(-code) if code is not None and code < 0 else None,
        peak_memory=child.peak_memory,
        log_tail=child.log.text(),
        progress=child.progress,
    )


def _verdict(child: Child, timeout_s: float | None) -> tuple[str, str | None, Failure | None, bool]:
    """Outcome, result, failure, permanent. What we ended counts as that, whatever its last words were."""
    if child.reason == "timeout":
        return "timeout", None, failure("timeout", f"ran longer than its timeout of {timeout_s:g} s"), False
    if child.reason == "cancelled":
        return "cancelled", None, failure("cancelled", "was stopped"), False
    if child.reason == "too_large":
        text = f"the result is too large (accepted: {RESULT_BYTES_MAX:,} bytes). Write it to a file instead"
        return "failed", None, failure("result", text), True
    if child.returncode == 0:
        return _result(bytes(child.stdout))
    if child.returncode is None:
        return "failed", None, failure("crashed", "nobody knows how it ended"), False
    if child.returncode < 0:
        return "failed", None, failure("crashed", f"was killed by {_signal_name(-child.returncode)}"), False
    last = (child.log.text() or "").strip().rpartition("\n")[2][:500]
    text = f"exit status {child.returncode}" + (f": {last}" if last else "")
    return "failed", None, failure("skill_error", text), False


def _result(stdout: bytes) -> tuple[str, str | None, Failure | None, bool]:
    """JSON on standard output; a program that says nothing has the result null."""
    text = stdout.decode("utf-8", "replace").strip()
    if not text:
        return "completed", "null", None, False
    try:
        value = json.loads(stdout, parse_constant=_refuse_constant)
        return "completed", canonical(value, at="result", bytes_max=RESULT_BYTES_MAX), None, False
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, InvalidRequest) else "standard output is not JSON"
        return "failed", None, failure("result", f"{why}: {text[:200]!r}"), True


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
