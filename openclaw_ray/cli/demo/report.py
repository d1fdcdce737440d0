"""What the demo has shown, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from openclaw_ray.cli.demo.checks import Check, History
from openclaw_ray.cli.demo.fleet import SKILLS
from openclaw_ray.cli.demo.job import Job
from openclaw_ray.cli.nodes import WORDS
from openclaw_ray.display import bytes_, duration, escape, number

if TYPE_CHECKING:
    from openclaw_ray.cli.screen import Screen
    from openclaw_ray.models.node import NodeInfo

#: Of what is wrong with one check, the first few.
WRONG_SHOWN = 5


def summary(job: Job, history: History, nodes: list[NodeInfo]) -> dict[str, Any]:
    """Everything that the table shows, as plain values."""
    totals = Counter[str]()
    for task in job.parse.values():
        if task.state == "completed":
            totals.update(task.result(timeout=30))
    lost = Counter(a["node_id"] for a in history.attempts if a["outcome"] == "lost")
    return {
        "files": len(job.files),
        "bytes": sum(t.result(timeout=30)["bytes"] for t in job.sha.values() if t.state == "completed"),
        "counts": dict(totals),
        "tasks": dict(Counter(task["status"] for task in history.tasks)),
        "attempts": dict(Counter(a["outcome"] for a in history.attempts)),
        "retries": history.retried,
        "rescued": history.rescued,
        "killed": job.killed,
        "seconds": round(job.seconds, 3),
        "tasks_per_second": round(len(job.tasks) / job.seconds, 1) if job.seconds else 0.0,
        "nodes": [
            {
                "node": i.node_id, "state": i.status.value, "slots": i.max_concurrent_tasks, "tags": i.tags,
                "skills": i.available_skills, "completed": i.successful_tasks, "failed": i.failed_tasks,
                "lost": lost[i.node_id], "mean_run_s": round(i.average_execution_time, 4),
            }
            for i in nodes
        ],
        "why": job.why.model_dump(mode="json") if job.why is not None else None,
    }  # fmt: skip


def show(screen: Screen, found: dict[str, Any], job: Job) -> None:
    """The table."""
    counts, tasks = found["counts"], found["tasks"]
    screen.out(click.style("what came of it", bold=True))
    ended = " · ".join(f"{number(count)} {screen.state(state)}" for state, count in sorted(tasks.items()))
    for name, value in (
        ("files", f"{number(found['files'])} of the standard library, {bytes_(found['bytes'])}: "
         + ", ".join(f"{number(counts.get(what, 0))} {what}" for what in ("functions", "classes", "imports"))),
        ("tasks", ended),
        ("retries", f"{found['retries']} after failures · {found['rescued']} rescued after kill -9 of node-3"),
        ("speed", f"{found['tasks_per_second']:g} tasks per second ({duration(found['seconds'])})"),
    ):  # fmt: skip
        screen.out(f"  {name:<9}{value}")
    screen.out("")
    rows = [
        (n["node"], WORDS.get(n["state"], n["state"]), n["slots"], n["tags"], n["skills"], n["completed"], n["failed"],
         n["lost"], duration(n["mean_run_s"]))
        for n in found["nodes"]
    ]  # fmt: skip
    screen.table(("node", "state", "slots", "tags", "offers", "completed", "failed", "lost", "mean run"), rows)
    screen.out("")
    screen.out(
        click.style("why one task waits", bold=True) + f" (openclaw-ray task why {job.never.id if job.never else ''})"
    )
    for line in str(job.why).splitlines():
        screen.out(f"  {escape(line)}")


def show_checks(screen: Screen, checks: list[Check]) -> None:
    """Each question with its answer, and the first things that are wrong."""
    screen.out("")
    screen.out(click.style("checked", bold=True))
    for check in checks:
        word = click.style("ok  ", fg="green") if not check.wrong else click.style("FAIL", fg="red", bold=True)
        screen.out(f"  {word} {check.said}")
        for text in check.wrong[:WRONG_SHOWN]:
            screen.out(f"         {escape(text, 400)}")
        if len(check.wrong) > WRONG_SHOWN:
            screen.out(f"         ... {len(check.wrong) - WRONG_SHOWN} more")


def show_next(screen: Screen) -> None:
    """Three commands to try."""
    screen.out("")
    screen.out(click.style("try next", bold=True))
    for command, what in (
        (f"openclaw-ray up --skills {SKILLS}", "a cluster that stays"),
        ("openclaw-ray submit sha256 path=/etc/hosts --wait", "a task of your own"),
        ("openclaw-ray status", "how it is; `openclaw-ray down` ends it, and keeps everything"),
    ):
        screen.out(f"  {command}" + click.style(f"   # {what}", dim=True))
