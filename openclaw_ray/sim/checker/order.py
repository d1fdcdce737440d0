"""What had to come first: dependencies, moments, a node that takes work; and that the middle alone re-runs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

from openclaw_ray.sim.checker.record import Record, Violation, seconds
from openclaw_ray.sim.clock import WALL_START


def after_dependencies(record: Record) -> Iterator[Violation]:
    """I19: no lease before every dependency completed; a task whose dependency did not complete fails by it."""
    for task_id, row in record.tasks.items():
        leased = [e["seq"] for e in record.events[task_id] if e["what"] == "scheduled"]
        for dep in json.loads(row["after"] or "[]"):
            completed = [e["seq"] for e in record.events[dep] if e["what"] == "completed"]
            if leased and (not completed or completed[0] > leased[0]):
                yield Violation("I19", f"{task_id} was leased before {dep} completed")
            upstream = record.tasks[dep]["status"]
            if upstream in ("failed", "cancelled", "timeout") and row["status"] not in (
                "failed",
                "cancelled",
                "timeout",
            ):
                yield Violation("I19", f"{task_id} is {row['status']}, {dep} {upstream}")


def within_its_times(record: Record) -> Iterator[Violation]:
    """I19: no lease before `not_before`, none after `deadline`."""
    if record.jumped:
        return
    for task_id, row in record.tasks.items():
        for event in record.events[task_id]:
            if event["what"] != "scheduled":
                continue
            at = seconds(event["at"])
            if row["not_before"] and at < seconds(row["not_before"]):
                yield Violation("I19", f"{task_id} was leased at {event['at']}, not before {row['not_before']}")
            if row["deadline"] and at > seconds(row["deadline"]):
                yield Violation("I19", f"{task_id} was leased at {event['at']}, after {row['deadline']}")


def began_in_time(record: Record) -> Iterator[Violation]:
    """I19 by the skill's own word: it did not begin before `not_before`."""
    if record.jumped:
        return
    for line in record.evidence.ledger:
        row = record.tasks.get(line.task_id)
        if line.what == "began" and row is not None and row["not_before"]:
            wall = WALL_START + line.at - record.evidence.began
            if wall < seconds(row["not_before"]) - 0.001:
                yield Violation("I19", f"{line.task_id} began at {wall}, not before {row['not_before']}")


def only_on_willing_nodes(record: Record) -> Iterator[Violation]:
    """I18: a lease is given only to a node that is online and not drained."""
    status: dict[str, str] = {}
    for event in record.evidence.tables.events:
        what, node = event["what"], event["node_id"]
        if what in ("node_online", "node_offline", "node_maintenance"):
            status[node] = what
        elif what == "scheduled" and status.get(node) != "node_online":
            yield Violation("I18", f"{event['task_id']} was leased to {node}, which is {status.get(node)}")


#: Loss that needs no help from outside: a neighbour in the same process crashed before results were collected.
_OWN_LOSS = "the result was lost with its executor"


def the_middle_reruns_nothing(record: Record) -> Iterator[Violation]:
    """I25: where only StateManager and Scheduler failed, no attempt is lost and nothing that completed ran twice."""
    if record.evidence.plan.profile != "middle":
        return
    for attempt in record.evidence.tables.attempts:
        if attempt["outcome"] != "lost":
            continue
        error = json.loads(attempt["error"] or "{}")
        if error.get("message") != _OWN_LOSS:
            yield Violation("I25", f"{attempt['task_id']}: attempt {attempt['attempt']} was lost: {error}")


CHECKS = (after_dependencies, within_its_times, began_in_time, only_on_willing_nodes, the_middle_reruns_nothing)
