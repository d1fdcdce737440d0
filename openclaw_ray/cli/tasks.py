"""Many tasks: list, cancel, retry."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import click

from openclaw_ray.cli.base import EXIT_FAILED, Session, common
from openclaw_ray.cli.screen import Column
from openclaw_ray.cli.status import because
from openclaw_ray.display import duration, escape, number

if TYPE_CHECKING:
    from openclaw_ray.client import Cluster
    from openclaw_ray.client.queries import Filters

#: Waiting tasks of a list whose reason is asked for: a call each.
EXPLAINED = 10
#: More than this many are cancelled only after a question.
MANY = 10
#: Tasks that one command takes up.
AT_ONCE = 10_000
LIVE = ("pending", "scheduled", "running")
PRIORITIES = ("critical", "high", "normal", "low")


@click.command()
@common
@click.argument("query", nargs=-1, metavar="[FILTER]...")
@click.option("--state", "states", multiple=True, help="pending, running, failed ...; may be repeated.")
@click.option("--skill", help="What they run.")
@click.option("--node", help="Where they run or ran.")
@click.option("--group", help="Their group.")
@click.option("--user", help="On whose behalf.")
@click.option("--name", help="Part of their name.")
@click.option("--since", metavar="DURATION|TIME", help="Submitted since: 1h, 2026-01-31T12:00:00Z.")
@click.option("--limit", type=click.IntRange(1, AT_ONCE), default=50, show_default=True, help="At most so many.")
@click.pass_obj
def tasks(session: Session, /, query: tuple[str, ...], states: tuple[str, ...], limit: int, **filters: Any) -> None:
    """List tasks, newest first.

    FILTERs are words such as state:failed, group:docs, since:1h; options say the same.
    """
    if states:
        filters["state"] = [one for word in states for one in word.split(",")]
    with session.connected() as cluster:
        found = _documents(cluster, limit + 1, " ".join(query), **filters)
        shown, more = found[:limit], len(found) > limit
        reasons = {} if session.json else _reasons(cluster, shown)
    session.answer("tasks", {"tasks": shown, "more": more}, lambda: _show_tasks(session, shown, reasons))
    if more and not session.json:
        session.screen.note(f"... more: use --limit (now {limit}) or a filter")


def _documents(cluster: Cluster, limit: int, query: str = "", **filters: Any) -> list[dict[str, Any]]:
    """Records of tasks as they stand now, newest first."""
    from openclaw_ray.client.queries import query_of
    from openclaw_ray.core.limits import PAGE_MAX

    found: list[dict[str, Any]] = []
    before: int | None = None
    send: Any = cluster.message
    while len(found) < limit:
        page = send("tasks", query_of(query, cast("Filters", filters), min(limit - len(found), PAGE_MAX), before))
        found += page["tasks"]
        before = page["next"]
        if before is None:
            break
    return found


def _reasons(cluster: Cluster, shown: list[dict[str, Any]]) -> dict[str, str]:
    """Why the first few of them wait."""
    waiting = [task["task_id"] for task in shown if task["status"] == "pending"][:EXPLAINED]
    return {task_id: because(cluster.why(task_id).summary) for task_id in waiting}


def _show_tasks(session: Session, shown: list[dict[str, Any]], reasons: dict[str, str]) -> None:
    if not shown:
        session.screen.note("no such tasks")
        return
    columns = (
        "id", "state", Column("skill", gives_way=True), "pri", "age", "node", "try", "ran",
        Column("name", gives_way=True), Column("group", gives_way=True), Column("why", gives_way=True),
    )  # fmt: skip
    now = datetime.now(UTC).timestamp()
    session.screen.table(columns, [_task_row(task, reasons.get(task["task_id"]), now) for task in shown])


def _task_row(task: dict[str, Any], reason: str | None, now: float) -> tuple[object, ...]:
    error = task["error"]
    return (
        task["task_id"],
        task["status"],
        task["skill"],
        PRIORITIES[task["priority"]],
        duration(max(0.0, now - from_iso(task["submitted_at"]))),
        task["assigned_node"],
        task["attempt"] or "-",
        duration(ran_s(task["started_at"], task["completed_at"])),
        task["name"] if task["name"] != task["skill"] else "",
        task["group"],
        reason or (f"{error['type'] or error['kind']}: {error['message']}" if error else ""),
    )


def ran_s(start: str | None, end: str | None) -> float | None:
    """From one moment to another; None while one of them has not come."""
    return max(0.0, from_iso(end) - from_iso(start)) if start and end else None


def from_iso(moment: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


@click.command()
@common
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--group", help="All live tasks of a group.")
@click.option("--reason", default="", help="Why; kept with the tasks.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def cancel(session: Session, ids: tuple[str, ...], group: str | None, reason: str, yes: bool) -> None:
    """Cancel tasks by id, or all live ones of a group. Exit 1 if one of them had ended before."""
    if bool(ids) == (group is not None):
        raise click.UsageError("Name task ids, or --group.")
    with session.connected() as cluster:
        if not yes:
            _ask(session, cluster, ids, group)
        states = cluster.cancel(*ids, reason=reason) if ids else cluster.cancel(group=group, reason=reason)
    late = {task_id: state for task_id, state in states.items() if state != "cancelled"}

    def show() -> None:
        session.screen.out(f"{number(len(states) - len(late))} cancelled")
        for task_id, state in late.items():
            session.screen.note(f"{escape(task_id)}: too late, it is {session.screen.state(state)}")

    session.answer("cancelled", {"tasks": states}, show)
    if late and ids:
        raise click.exceptions.Exit(EXIT_FAILED)


def _ask(session: Session, cluster: Cluster, ids: tuple[str, ...], group: str | None) -> None:
    """A question before many tasks go; without a terminal nobody could answer it."""
    if ids:
        count, what = len(ids), f"{len(ids)} tasks"
    else:
        found = _documents(cluster, AT_ONCE, group=group, state=LIVE)
        count = len(found)
        states = Counter(task["status"] for task in found)
        more = "at least " if count == AT_ONCE else ""
        what = more + " and ".join(f"{number(states[s])} {s}" for s in LIVE if states[s]) + " tasks"
    if count <= MANY:
        return
    if not session.screen.asks:
        raise click.UsageError(f"That would cancel {what}; say --yes.")
    click.confirm(f"cancel {what}?", abort=True, err=True)


@click.command()
@common
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--group", help="All tasks of a group that failed, timed out or were cancelled.")
@click.option("--state", "states", multiple=True, help="Only these, with --group.")
@click.option("--timeout", metavar="DURATION", help="Another limit for one attempt.")
@click.option("--retries", type=click.IntRange(0), help="Another number of further attempts.")
@click.option("--priority", metavar="WORD", help="Another priority.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def retry(
    session: Session, /, ids: tuple[str, ...], group: str | None, states: tuple[str, ...], yes: bool, **changes: Any
) -> None:
    """Submit ended tasks anew, as new tasks; the old ones stay as they are."""
    if bool(ids) == (group is not None):
        raise click.UsageError("Name task ids, or --group.")
    given = {name: value for name, value in changes.items() if value is not None}
    with session.connected() as cluster:
        wanted = list(ids)
        if group is not None:
            ended = list(states) or ["failed", "timeout", "cancelled"]
            wanted = [task["task_id"] for task in _documents(cluster, AT_ONCE, group=group, state=ended)]
        if len(wanted) > MANY and not yes:
            if not session.screen.asks:
                raise click.UsageError(f"That would submit {number(len(wanted))} tasks anew; say --yes.")
            click.confirm(f"submit {number(len(wanted))} tasks anew?", abort=True, err=True)
        new = {old: cluster.retry(old, **given).id for old in wanted}

    def show() -> None:
        for old, task_id in new.items():
            session.screen.out(f"{task_id}  instead of {escape(old)}")
        if not new:
            session.screen.note("no such tasks")

    session.answer("retried", {"tasks": new}, show)
