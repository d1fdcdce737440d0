"""Machines and what they can run: nodes, skills, drain, undrain."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from openclaw_ray.cli.base import Session, common
from openclaw_ray.cli.screen import Column
from openclaw_ray.display import ago, duration, escape, number, seconds_until

if TYPE_CHECKING:
    from openclaw_ray.client.views import SkillInfo
    from openclaw_ray.models.node import NodeInfo

#: States in words where the word differs.
WORDS = {"maintenance": "draining", "error": "quarantined"}
#: Skills that a row of `nodes` names.
SKILLS_SHOWN = 4


@click.command()
@common
@click.pass_obj
def nodes(session: Session) -> None:
    """Machines, what they offer and what they do."""
    with session.connected() as cluster:
        found = [node.info for node in cluster.nodes()]
    body = {"nodes": [info.model_dump(mode="json") for info in found]}
    session.answer("nodes", body, lambda: _show_nodes(session, found))


def _show_nodes(session: Session, found: list[NodeInfo]) -> None:
    if not found:
        session.screen.note("no node has registered yet")
        return
    columns = (
        "node", "state", "slots", "cpu", "mem", "disk", Column("skills", gives_way=True),
        Column("tags", gives_way=True), "heard", "done", "failed", "mean run", Column("note", gives_way=True),
    )  # fmt: skip
    session.screen.table(columns, [_node_row(info) for info in found])


def _node_row(info: NodeInfo) -> tuple[object, ...]:
    more = len(info.available_skills) - SKILLS_SHOWN
    skills = [*info.available_skills[:SKILLS_SHOWN], *([f"+{more}"] if more > 0 else [])]
    return (
        info.node_id,
        WORDS.get(info.status.value, info.status.value),
        f"{info.running_tasks}/{info.max_concurrent_tasks}",
        f"{info.cpu_usage:.0f}%",
        f"{info.memory_usage:.0f}%",
        f"{info.disk_usage:.0f}%",
        skills,
        info.tags,
        ago(_age_s(info.last_heartbeat)),
        number(info.successful_tasks),
        number(info.failed_tasks),
        duration(info.average_execution_time) if info.total_tasks_processed else "-",
        _note(info),
    )


def _note(info: NodeInfo) -> str:
    """Why it is held or quarantined, or which skills it does not offer and why."""
    parts = []
    if info.held_reason:
        by = f" by {info.held_by}" if info.held_by else ""
        until = f", until {info.held_until[11:16]} UTC" if info.held_until else ""
        parts.append(f'"{info.held_reason}"{by}{until}')
    if info.quarantined_until:
        parts.append(f"{info.quarantine_reason}; retry in {duration(seconds_until(info.quarantined_until))}")
    if not info.agent:
        parts.append("kept by hand")
    parts += [f"no {skill}: {why}" for skill, why in info.withheld.items()]
    return "; ".join(parts)


def _age_s(moment: str | None) -> float | None:
    if moment is None:
        return None
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


@click.command()
@common
@click.pass_obj
def skills(session: Session) -> None:
    """What can be run, where, and why not elsewhere."""
    with session.connected() as cluster:
        found = cluster.skills()
        pending = session.ask(cluster, "metrics")["gauges"]["pending_tasks"]
    body = {
        "skills": [
            {
                "name": skill.name,
                "nodes": skill.nodes,
                "withheld": skill.withheld,
                "pending": int(pending.get(skill.name, 0)),
                "manifest": skill.manifest.model_dump(mode="json") if skill.manifest else None,
            }
            for skill in found
        ]
    }
    session.answer("skills", body, lambda: _show_skills(session, found, pending))


def _show_skills(session: Session, found: list[SkillInfo], pending: dict[str, float]) -> None:
    if not found:
        session.screen.note(
            "no skill is known: cluster.register(function) from Python, or openclaw-ray up --skills FOLDER"
        )
        return
    columns = (
        Column("skill", gives_way=True), "kind", Column("nodes", gives_way=True), "pending", "timeout", "revision",
        Column("description", gives_way=True), Column("not on", gives_way=True),
    )  # fmt: skip
    rows = [
        (
            skill.name,
            skill.manifest.kind.value if skill.manifest else "by hand",
            skill.nodes or "none",
            number(int(pending.get(skill.name, 0))),
            duration(skill.manifest.timeout) if skill.manifest else "-",
            skill.manifest.revision[:8] if skill.manifest else "",
            skill.manifest.description if skill.manifest else "",
            [f"{node}: {why}" for node, why in skill.withheld.items()],
        )
        for skill in found
    ]
    session.screen.table(columns, rows)


@click.command()
@common
@click.argument("node_id", metavar="NODE")
@click.option("--reason", default="drained", show_default=True, help="Why; shown to whoever wonders.")
@click.option("--deadline", metavar="DURATION", help="What still runs then goes back to the queue, uncharged: 10m.")
@click.pass_obj
def drain(session: Session, node_id: str, reason: str, deadline: str | None) -> None:
    """Take a node out of service: nothing new starts there, what runs may finish."""
    with session.connected() as cluster:
        node = cluster.node(node_id).drain(reason, deadline)
    info = node.info
    running = info.running_tasks
    what = f"{running} running {'task' if running == 1 else 'tasks'} may finish" if running else "nothing runs there"
    until = f" until {info.held_until[11:19]} UTC, then goes back to the queue" if info.held_until and running else ""
    session.answer(
        "node", {"node": info.model_dump(mode="json")},
        lambda: session.screen.out(f"{escape(node_id)} {session.screen.state('draining')} · {what}{until}"),
    )  # fmt: skip
    session.screen.note(f"give it back with: openclaw-ray undrain {escape(node_id)}")


@click.command()
@common
@click.argument("node_id", metavar="NODE")
@click.pass_obj
def undrain(session: Session, node_id: str) -> None:
    """Give a node back: ends a drain, and a quarantine before its time."""
    with session.connected() as cluster:
        info = cluster.node(node_id).undrain().info
    word = WORDS.get(info.status.value, info.status.value)
    session.answer(
        "node", {"node": info.model_dump(mode="json")},
        lambda: session.screen.out(f"{escape(node_id)} {session.screen.state(word)}"),
    )  # fmt: skip
