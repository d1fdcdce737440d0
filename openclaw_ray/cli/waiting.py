"""Waiting for one task: what happens meanwhile goes to standard error, the result to standard output."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from openclaw_ray.cli.base import EXIT_FAILED, Session
from openclaw_ray.cli.status import because
from openclaw_ray.display import duration, escape
from openclaw_ray.errors import InvalidRequest, WaitTimeout

if TYPE_CHECKING:
    from openclaw_ray.client import Task

#: How often a waiting command looks how a task stands (seconds); its end is heard at once.
LOOK_S = 0.5


def follow(session: Session, task: Task, timeout: str | float | None) -> None:
    """Wait for a task's end, and say how it goes.

    Raises:
        WaitTimeout: only the waiting ended.
    """
    end = None if timeout is None else time.monotonic() + wait_s(timeout)
    said = ""
    while True:
        left = LOOK_S if end is None else min(LOOK_S, end - time.monotonic())
        try:
            task.wait(max(left, 0.001))
            return
        except WaitTimeout as over:
            if end is not None and time.monotonic() >= end:
                raise WaitTimeout(
                    f"task {task.id} has not ended within {timeout}", hint=f"openclaw-ray task wait {task.id}"
                ) from over
        now = _standing(task)
        if now != said:
            said = now
            session.screen.note(f"{task.id}  {said}")


def wait_s(timeout: str | float) -> float:
    """How long to wait, in seconds.

    Raises:
        InvalidRequest: it is no duration.
    """
    from openclaw_ray.models.fields import seconds

    if isinstance(timeout, float):
        return timeout
    try:
        return float(seconds(timeout))
    except InvalidRequest as error:
        raise InvalidRequest(error.message, field="timeout", limit=error.limit) from None


def _standing(task: Task) -> str:
    task.refresh()
    state = task.state
    if state == "pending":
        return f"pending    {escape(because(task.why().summary), 100)}"
    progress = task.progress or {}
    step = f"{progress['done']:g}" + (f"/{progress['total']:g}" if progress.get("total") else "") if progress else ""
    words = [task.node or "", f"attempt {task.attempt}" if task.attempt > 1 else "", step, progress.get("text", "")]
    return f"{state:<9}  " + "  ".join(escape(word, 80) for word in words if word)


def finish(session: Session, task: Task) -> None:
    """Print how a task ended; exit 1 unless it completed."""
    task.refresh()
    record = task.record
    assert record is not None
    session.answer("task", {"task": record.model_dump(mode="json")}, lambda: _show_end(session, task))
    if task.state != "completed":
        raise click.exceptions.Exit(EXIT_FAILED)


def _show_end(session: Session, task: Task) -> None:
    screen, record = session.screen, task.record
    assert record is not None
    head = f"{task.id}  {screen.state(task.state)}  {duration(task.run_seconds)}"
    if task.state == "completed":
        screen.out(f"{head}  {escape(json.dumps(record.result, ensure_ascii=False))}")
        return
    error = record.error
    screen.out(f"{head}  {escape(f'{error.type or error.kind}: {error.message}', 300) if error else ''}".rstrip())
    screen.note(f"next: openclaw-ray task show {task.id} · openclaw-ray retry {task.id}")
