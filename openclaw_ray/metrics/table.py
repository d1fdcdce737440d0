"""The one table of metric families: what is counted, under which labels, in which unit.

Names are without the prefix `openclaw_`. Base units only (seconds, bytes, ratios of 1); labels from closed sets, never
an id of a task, a group or a user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FAMILIES", "NODES_MAX", "OTHER", "PREFIX", "SKILLS_MAX", "Family"]

PREFIX = "openclaw_"

#: What a label says when its closed set is full.
OTHER = "other"
#: Values of the label `skill`: the first so many names seen, then `other`.
SKILLS_MAX = 20
#: Values of the label `node`, then `other`.
NODES_MAX = 250


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its label values."""

    #: Prometheus' type of it.
    kind: Literal["counter", "gauge", "histogram"]
    #: What one sample says, in a reader's words.
    help: str
    #: Names of the labels, in the order in which values are given.
    labels: tuple[str, ...] = ()
    #: Upper bounds of a histogram, ascending, without +Inf.
    buckets: tuple[float, ...] = ()
    #: How several values become one `other`: a sum of ratios or of times would mean nothing.
    fold: Literal["sum", "max", "min"] = "sum"


#: 5 ms to 1 h: a task waits for a message or for a machine to come home.
_WAIT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
#: 5 ms to 1 h in coarser steps: there is one histogram per skill and outcome.
_RUN = (0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
#: 0.5 ms to 2.5 s: beyond that a pass of the Scheduler is broken, not slow.
_PASS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
#: A call is a commit at most; there is one histogram per method.
_REQUEST = (0.001, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)
#: From a fast SSD to a NAS whose disks sleep; the alert asks for 0.25 s.
_COMMIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
#: Changes in one commit: how well batching works.
_CHANGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)

FAMILIES: dict[str, Family] = {
    # --- tasks: fed by the effects of the core, kept in the database ------------------------------------------------
    "tasks_submitted_total": Family("counter", "Tasks accepted, after their commit.", ("skill",)),
    "tasks_finished_total": Family(
        "counter", "Tasks that reached completed, failed, cancelled or timeout.", ("skill", "outcome")
    ),
    "task_attempts_total": Family(
        "counter",
        "Attempts that ended: completed, failed, timeout, cancelled, lost or released.",
        ("skill", "outcome"),
    ),
    "task_retries_total": Family("counter", "Further attempts granted.", ("skill", "reason")),
    "task_wait_seconds": Family("histogram", "From runnable to started, deliberate delay left out.", ("skill",), _WAIT),
    "task_run_seconds": Family("histogram", "Length of one attempt.", ("skill", "outcome"), _RUN),
    "tasks": Family("gauge", "Tasks in each state that is not final.", ("state",)),
    "pending_tasks": Family("gauge", "Pending tasks.", ("skill",)),
    "oldest_pending_age_seconds": Family("gauge", "Age of the oldest runnable task; 0 if there is none.", fold="max"),
    "pending_reason_tasks": Family("gauge", "Pending tasks by the first reason why they wait.", ("reason",)),
    # --- placement --------------------------------------------------------------------------------------------------
    "placements_total": Family("counter", "Placements: placed, no_fit, refused_by_agent, raced.", ("result",)),
    "scheduler_pass_seconds": Family("histogram", "One pass over what may be placed.", (), _PASS),
    "scheduler_last_pass_timestamp_seconds": Family(
        "gauge", "When the last pass ended, seconds since 1970.", fold="max"
    ),
    # --- nodes ------------------------------------------------------------------------------------------------------
    "nodes": Family("gauge", "Nodes in each state.", ("state",)),
    "node_quarantines_total": Family("counter", "Nodes taken out of service for failures of their own.", ("reason",)),
    "nodes_lost_total": Family("counter", "Nodes that went away with or without work."),
    "node_slots": Family("gauge", "Slots of a node.", ("node",)),
    "node_slots_used": Family("gauge", "Slots of a node that are leased.", ("node",)),
    "node_cpu_usage_ratio": Family("gauge", "CPU in use, of 1.", ("node",), fold="max"),
    "node_memory_usage_ratio": Family("gauge", "Memory in use, of 1.", ("node",), fold="max"),
    "node_disk_usage_ratio": Family("gauge", "Disk in use, of 1.", ("node",), fold="max"),
    "node_last_heartbeat_timestamp_seconds": Family(
        "gauge", "When a node was heard last, seconds since 1970.", ("node",), fold="min"
    ),
    "stale_reports_total": Family("counter", "Late or doubled reports refused by the fence.", ("kind",)),
    # --- StateManager -----------------------------------------------------------------------------------------------
    "requests_total": Family(
        "counter", "Calls answered by the StateManager; code ok or that of the error.", ("method", "code")
    ),
    "request_seconds": Family("histogram", "From a call's arrival to its answer.", ("method",), _REQUEST),
    "commit_seconds": Family("histogram", "One transaction, to the disk.", (), _COMMIT),
    "commit_batch_changes": Family("histogram", "Changes in one transaction.", (), _CHANGES),
    "database_size_bytes": Family("gauge", "Size of the database file."),
    "wal_size_bytes": Family("gauge", "Size of the write-ahead log."),
    "state_epoch": Family("gauge", "Starts of the StateManager on this database."),
    "build_info": Family("gauge", "1, with the versions in use.", ("version", "ray_version", "schema_version")),
}
