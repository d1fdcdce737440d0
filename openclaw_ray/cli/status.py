"""How the cluster is: one screen, from one look."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import click

from openclaw_ray.cli.base import Session, common
from openclaw_ray.cli.nodes import WORDS
from openclaw_ray.display import bytes_, duration, escape, number, seconds_until

if TYPE_CHECKING:
    from openclaw_ray.client import Cluster

#: Skills whose waiting tasks are explained.
EXPLAINED = 3
#: Quarantined nodes that are named.
QUARANTINED_SHOWN = 3
LIVE = ("pending", "scheduled", "running")
ENDED = ("completed", "failed", "timeout", "cancelled")
NODE_STATES = ("online", "busy", "maintenance", "error", "offline")


@click.command()
@common
@click.pass_obj
def status(session: Session) -> None:
    """How the cluster is, in a few lines."""
    with session.connected() as cluster:
        found = cluster.status()
        figures = {
            "stats": session.ask(cluster, "stats"),
            "pending_by_skill": session.ask(cluster, "metrics")["gauges"]["pending_tasks"],
        }
        waits = _waits(cluster, figures["pending_by_skill"])
    run = _run_here(session, found["namespace"])
    body = {**found, **figures, "waits": waits, "metrics": run.metrics if run else None}
    session.answer("status", body, lambda: _show_status(session, body))


def _run_here(session: Session, namespace: str) -> Any:
    from openclaw_ray.cluster_run import read_run

    settings = session.settings()
    run = read_run(settings.home)
    return run if run is not None and run.namespace == namespace and settings.address in (None, run.address) else None


def _waits(cluster: Cluster, by_skill: dict[str, float]) -> list[dict[str, Any]]:
    """Why tasks wait: one of them for each of the skills that most wait for."""
    found: list[dict[str, Any]] = []
    for skill, count in sorted(by_skill.items(), key=lambda one: -one[1])[:EXPLAINED]:
        for task in cluster.tasks(state="pending", skill=skill, limit=1):
            why = task.why()
            found.append({"skill": skill, "pending": int(count), "task_id": task.id, "verdict": why.verdict,
                          "summary": because(why.summary)})  # fmt: skip
    return found


def because(summary: str) -> str:
    """The reason alone, out of a summary such as "t-1 cannot start: no free slot (waiting 3 s)"."""
    said = summary.partition(" cannot start: ")[2] or summary.partition(" ")[2]
    return said.partition(" (waiting")[0]


def _show_status(session: Session, body: dict[str, Any]) -> None:
    from openclaw_ray.client.views import recovery_words

    out, screen = session.screen.out, session.screen
    tasks, nodes, store = body["tasks"], body["node_stats"], body["stats"]
    versions = f"v{metadata.version('openclaw-ray')} · Ray {metadata.version('ray')}"
    out(f"{escape(body['namespace'])} · {_health(body)} · {recovery_words(body)} · {versions}")
    live = [f"{number(tasks[s])} {screen.state(s)}" for s in LIVE]
    ended = [f"{number(tasks[s])} {screen.state(s)}" for s in ENDED if tasks[s]]
    out("tasks    " + " · ".join(live) + ("      " + " · ".join(ended) if ended else ""))
    shown = [f"{nodes[s]} {screen.state(WORDS.get(s, s))}" for s in NODE_STATES if nodes[s]]
    out(f"nodes    {' · '.join(shown) or 'none'}      slots {nodes['slots_used']}/{nodes['slots']}")
    for node in [one for one in body["nodes"] if one["quarantined_until"]][:QUARANTINED_SHOWN]:
        left = duration(seconds_until(node["quarantined_until"]))
        out(f"out      {escape(node['node_id'])} for {left} more: {escape(node['quarantine_reason'], 100)}")
    for wait in body["waits"]:
        out(f"waits    {number(wait['pending'])} {escape(wait['skill'], 40)}: {escape(wait['summary'], 100)}")
    strategy = escape(body["scheduler"]["strategy"] or "-")
    out(f"store    {bytes_(store['file_bytes'])} · version {number(body['version'])} · strategy {strategy}")
    if body["metrics"]:
        out(f"metrics  http://{body['metrics']}/metrics")
    if body["waits"]:
        first = next((wait for wait in body["waits"] if wait["verdict"] == "never"), body["waits"][0])
        screen.note(f"next: openclaw-ray task why {first['task_id']}")


def _health(body: dict[str, Any]) -> str:
    """The one thing to know first."""
    nodes = body["node_stats"]
    if not body["scheduler"]["alive"]:
        return click.style("the Scheduler is silent: nothing is placed", fg="red")
    if not nodes["online"] + nodes["busy"]:
        return click.style("no node is online", fg="red")
    never = any(wait["verdict"] == "never" for wait in body["waits"])
    return click.style("healthy", fg="green") + (", but tasks wait for what no node has" if never else "")
