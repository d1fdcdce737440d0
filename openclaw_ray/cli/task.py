"""One task: what it is, why it stands where it stands, its end, its output."""

from __future__ import annotations

import json
from typing import Any

import click

from openclaw_ray.cli.base import EXIT_CANNOT_BE_PLACED, Session, common
from openclaw_ray.cli.screen import Column
from openclaw_ray.cli.tasks import PRIORITIES, ran_s
from openclaw_ray.cli.waiting import finish, follow
from openclaw_ray.display import bytes_, duration, escape

#: A value on the screen, not a page.
VALUE_MAX = 300
#: Of a traceback, the last lines: they say where.
TRACEBACK_LINES = 12


@click.group()
@common
def task() -> None:
    """One task: show, why, wait, logs."""


@task.command()
@common
@click.argument("task_id", metavar="ID")
@click.pass_obj
def show(session: Session, task_id: str) -> None:
    """What it is, what happened to it, every attempt."""
    with session.connected() as cluster:
        found = session.ask(cluster, "history", task_id=task_id)
    session.answer("history", found, lambda: _show(session, found))


def _show(session: Session, found: dict[str, Any]) -> None:
    from openclaw_ray.client.story import story_of

    screen, task = session.screen, found["task"]
    screen.out(_headline(session, task, found["attempts"]))
    screen.out(f"params  {escape(json.dumps(task['parameters'], ensure_ascii=False), VALUE_MAX)}")
    if task["status"] == "completed":
        screen.out(f"result  {escape(json.dumps(task['result'], ensure_ascii=False), VALUE_MAX)}")
    if task["progress"]:
        said = task["progress"]
        of = f"/{said['total']:g}" if said["total"] else ""
        screen.out(f"at      {said['done']:g}{of} {escape(said['text'], 100)}")
    if task["error"]:
        _show_error(session, task["error"])
    screen.out("")
    for line in story_of(found["events"], found["attempts"]):
        screen.out(f"  {screen.state(line)}")
    if found["attempts"]:
        screen.out("")
        _show_attempts(session, found["attempts"])
    if task["status"] == "pending":
        screen.note(f"next: openclaw-ray task why {task['task_id']}")


def _headline(session: Session, task: dict[str, Any], attempts: list[dict[str, Any]]) -> str:
    ran = ran_s(task["started_at"], task["completed_at"])
    state = session.screen.state(task["status"]) + (f" in {duration(ran)}" if ran is not None else "")
    parts = [escape(task["skill"] or "a program of its own", 60), state]
    if task["name"] not in (None, task["skill"]):
        parts.append(escape(task["name"], 60))
    if attempts:
        parts.append(f"attempt {task['attempt']} of at most {1 + task['max_retries'] + task['lost_count']}")
    parts += [escape(task["assigned_node"])] if task["assigned_node"] else []
    parts.append(f"priority {PRIORITIES[task['priority']]}")
    parts += [f"{word} {escape(task[word], 60)}" for word in ("group", "key", "retry_of") if task[word]]
    return " · ".join(parts)


def _show_error(session: Session, error: dict[str, Any]) -> None:
    said = ": ".join(part for part in (error["type"] or error["kind"], error["message"]) if part)
    session.screen.out(f"error   {escape(said, VALUE_MAX)}")
    for line in error["traceback"].splitlines()[-TRACEBACK_LINES:]:
        session.screen.out(f"        {escape(line, 200)}")


def _show_attempts(session: Session, attempts: list[dict[str, Any]]) -> None:
    columns = ("attempt", "outcome", "node", "ran", "exit", "peak", Column("error", gives_way=True))
    rows = []
    for one in attempts:
        error = one["error"] or {}
        said = ": ".join(part for part in (error.get("type") or error.get("kind"), error.get("message")) if part)
        rows.append((
            one["attempt"], one["outcome"] or "running", one["node_id"],
            duration(ran_s(one["started_at"], one["ended_at"])),
            one["signal"] or one["exit_status"], bytes_(one["peak_memory"]), said,
        ))  # fmt: skip
    session.screen.table(columns, rows)


@task.command()
@common
@click.argument("task_id", metavar="ID")
@click.pass_obj
def why(session: Session, task_id: str) -> None:
    """Why it stands where it stands, node by node, and what would start it.

    Exit 6 if it can never be placed as things are configured.
    """
    with session.connected() as cluster:
        found = cluster.why(task_id)
    session.answer("why", {"why": found.model_dump(mode="json")}, lambda: _show_why(session, found))
    if found.verdict == "never":
        raise click.exceptions.Exit(EXIT_CANNOT_BE_PLACED)


def _show_why(session: Session, found: Any) -> None:
    screen = session.screen
    screen.out(escape(found.summary))
    if found.nodes:
        columns = ("node", "state", Column("skills", gives_way=True), "slot", Column("resources", gives_way=True),
                   Column("verdict", gives_way=True))  # fmt: skip
        words = {"maintenance": "draining", "error": "quarantined"}
        rows = [
            (n.node_id, words.get(n.status, n.status), n.skills, n.slot, n.resources, n.verdict) for n in found.nodes
        ]
        screen.table(columns, rows)
    if found.changes:
        screen.out("what would start it, the smallest change first:")
        for number, change in enumerate(found.changes, 1):
            screen.out(f"  {number}. {escape(change)}")


@task.command()
@common
@click.argument("task_id", metavar="ID")
@click.option("--timeout", metavar="DURATION", help="Wait no longer than this (exit 124); the task goes on.")
@click.pass_obj
def wait(session: Session, task_id: str, timeout: str | None) -> None:
    """Wait for its end and print the result; exit 1 if it ended without one."""
    with session.connected() as cluster:
        found = cluster.task(task_id)
        follow(session, found, timeout)
        finish(session, found)


@task.command()
@common
@click.argument("task_id", metavar="ID")
@click.pass_obj
def logs(session: Session, task_id: str) -> None:
    """The last output of every attempt, oldest first."""
    with session.connected() as cluster:
        attempts = cluster.task(task_id).attempts()
    said = [one for one in attempts if one.log_tail]

    def show_logs() -> None:
        for one in said:
            session.screen.out(click.style(f"-- attempt {one.attempt} · {one.node_id} --", dim=True))
            for line in (one.log_tail or "").splitlines():
                session.screen.out(escape(line))
        if not said:
            session.screen.note("it has not printed anything" if attempts else "it has not run yet")

    body = {"logs": [{"attempt": one.attempt, "node_id": one.node_id, "text": one.log_tail} for one in said]}
    session.answer("logs", body, show_logs)
