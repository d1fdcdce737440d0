"""Counters against the history that they count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from openclaw_ray.sim.checker.record import TERMINAL, Record, Violation


def counters_are_history(record: Record) -> Iterator[Violation]:
    """I27: every counter is the number of what it counts, also after restarts and refused commits."""
    tables = record.evidence.tables
    counted: dict[str, Counter[str]] = {}
    for row in tables.counters:
        labels, value = json.loads(row["labels"]), json.loads(row["value"])
        counted.setdefault(row["family"], Counter())[labels[-1] if labels else ""] += round(value[0])
    ends = Counter(a["outcome"] for a in tables.attempts if a["outcome"] is not None)
    again = [str(e["reason"]).split(":", 1)[0] for e in tables.events if e["what"] == "pending"]
    wanted = {
        "tasks_submitted_total": Counter({"work": len(tables.tasks)}),
        "tasks_finished_total": Counter(t["status"] for t in tables.tasks if t["status"] in TERMINAL),
        "task_attempts_total": ends,
        "nodes_lost_total": Counter({"": sum(e["what"] == "node_offline" for e in tables.events)}),
    }
    for family, figures in wanted.items():
        if +counted.get(family, Counter()) != +figures:
            yield Violation("I27", f"{family} says {dict(counted.get(family, {}))}, the history {dict(figures)}")
    retries = sum(counted.get("task_retries_total", Counter()).values())
    if retries != sum(cause in ("retry", "lost") for cause in again):
        yield Violation("I27", f"task_retries_total says {retries}, the history {Counter(again)}")


def nodes_are_counted(record: Record) -> Iterator[Violation]:
    """I27: a node's figures are those of its attempts."""
    completed = Counter(a["node_id"] for a in record.evidence.tables.attempts if a["outcome"] == "completed")
    for node in record.evidence.tables.nodes:
        if node["successful_tasks"] != completed[node["node_id"]]:
            yield Violation(
                "I27", f"{node['node_id']} says {node['successful_tasks']} completed, there are {dict(completed)}"
            )
        if node["total_tasks_processed"] != node["successful_tasks"] + node["failed_tasks"]:
            yield Violation("I27", f"{node['node_id']}: total is not the sum of its parts")


CHECKS = (counters_are_history, nodes_are_counted)
