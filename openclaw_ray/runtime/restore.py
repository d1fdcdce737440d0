"""From rows to records after a start, and the difference between two states that should be one."""

from __future__ import annotations

import json
from typing import Any

from openclaw_ray.core.records import LeaseRecord, Needs, NodeRecord, Rules, TaskRecord, rank_of
from openclaw_ray.core.state import ClusterState
from openclaw_ray.core.types import NodeStatus, Now, TaskState, TaskType
from openclaw_ray.models.fields import from_iso, units_of
from openclaw_ray.models.skill import SkillManifest
from openclaw_ray.runtime.context import Registry
from openclaw_ray.runtime.ledger import Ledger, NodeDoc
from openclaw_ray.storage.restart import LiveTask, Loaded, OpenLease
from openclaw_ray.storage.rows import NodeRow


class _NeedsReader:
    """Needs of rows; equal texts give the same value without being parsed again."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Needs | None] = {}

    def of(self, row: LiveTask | OpenLease, revision: str | None) -> Needs | None:
        key = (
            row.skill, row.required_skills, row.optional_skills, row.required_tags, row.affinity_tags, row.resources,
            row.strategy, revision, row.task_type,
        )  # fmt: skip
        if key not in self._known:
            self._known[key] = self._read(row, revision)
        return self._known[key]

    def _read(self, row: LiveTask | OpenLease, revision: str | None) -> Needs | None:
        if row.skill is None:
            return None
        return Needs(
            runs=row.skill,
            skills=tuple(sorted({*json.loads(row.required_skills or "[]"), row.skill})),
            optional=tuple(sorted(json.loads(row.optional_skills or "[]"))),
            resources=units_of(json.loads(row.resources or "{}")),
            tags=tuple(sorted(json.loads(row.required_tags or "[]"))),
            affinity=tuple(sorted(json.loads(row.affinity_tags or "[]"))),
            strategy=row.strategy,
            revision=revision,
            urgent=row.task_type == TaskType.INTERACTIVE,
        )


def rebuild(state: ClusterState, loaded: Loaded, now: Now) -> None:
    """Fill an empty state. Nodes get a full lease time to be heard; their agents have to register again first."""
    needs = _NeedsReader()
    live_ids = {row.task_id for row in loaded.tasks}
    state.restore(
        version=int(loaded.meta.get("version", "0")),
        next_seq=max(loaded.last_seq + 1, int(loaded.meta.get("next_seq", "1"))),
        next_token=max(loaded.last_token + 1, int(loaded.meta.get("next_token", "1"))),
        node_records=[_node(row, state.rules, now) for row in loaded.nodes],
        task_records=[_task(state, row, needs, live_ids, now) for row in loaded.tasks],
        lease_records=[_lease(row, needs) for row in loaded.leases],
        now=now,
    )


def _node(row: NodeRow, rules: Rules, now: Now) -> NodeRecord:
    # A clock that was set back must not hold a node longer than its quarantine could be (I26).
    latest = now.wall + rules.quarantine_max_s * (1 + rules.retry_jitter)
    return NodeRecord(
        id=row.node_id,
        status=NodeStatus(row.status),
        slots=row.max_concurrent_tasks,
        capacity=units_of(json.loads(row.resources or "{}")),
        offers=json.loads(row.offers or "{}"),
        tags=frozenset(json.loads(row.tags or "[]")),
        agent=False,
        incarnation=row.incarnation,
        held_reason=row.held_reason,
        held_by=row.held_by,
        held_until=_time(row.held_until),
        successful=row.successful_tasks,
        failed=row.failed_tasks,
        mean_run_s=row.average_execution_time,
        version=row.version,
        faults=row.faults,
        fault_at=_time(row.fault_at),
        fault_token=row.fault_token,
        fault_successes=row.fault_successes,
        quarantines=row.quarantines,
        quarantined_until=min(_time(row.quarantined_until), latest),
        quarantine_reason=row.quarantine_reason,
        cpu_usage=row.cpu_usage,
        memory_usage=row.memory_usage,
        disk_usage=row.disk_usage,
        last_heartbeat=_time(row.last_heartbeat),
    )


def _task(state: ClusterState, row: LiveTask, needs: _NeedsReader, live_ids: set[str], now: Now) -> TaskRecord:
    wanted = needs.of(row, row.revision)
    submitted = from_iso(row.submitted_at)
    retry_at, not_before = _time(row.retry_at), _time(row.not_before)
    # A clock that was set back must not hold a task longer than its backoff could be (I26).
    if retry_at > now.wall + state.rules.retry_max_s * (1 + state.rules.retry_jitter):
        retry_at = now.wall + state.rules.retry_max_s
    due = max(retry_at, not_before) if row.status == TaskState.PENDING else 0.0
    return TaskRecord(
        id=row.task_id,
        seq=row.seq,
        shape=state.books.shape(wanted) if wanted is not None else None,
        priority=row.priority,
        state=TaskState(row.status),
        submitted_at=submitted,
        max_retries=row.max_retries,
        max_lost=row.max_lost,
        rank=rank_of(max(submitted, not_before), row.priority, state.rules),
        attempt=row.attempt,
        token=row.token,
        node_id=row.assigned_node,
        retries=row.retry_count,
        lost=row.lost_count,
        due=due if due > now.wall else 0.0,
        backing_off=due > now.wall and retry_at >= not_before,
        deadline=_time(row.deadline),
        # What is not live has completed: a task whose dependency failed ended in the same transaction.
        blockers=frozenset(t for t in json.loads(row.after or "[]") if t in live_ids)
        if row.status == TaskState.PENDING
        else frozenset(),
        seated=bool(row.seated),
        by_hand=bool(row.by_hand),
        daemon=row.task_type == TaskType.DAEMON,
        scheduled_at=_time(row.scheduled_at),
        started_at=_time(row.started_at),
        version=row.version,
    )


def _lease(row: OpenLease, needs: _NeedsReader) -> LeaseRecord:
    ended = row.status not in (TaskState.SCHEDULED, TaskState.RUNNING)
    return LeaseRecord(
        token=row.token,
        task_id=row.task_id,
        attempt=row.attempt,
        node_id=row.node_id,
        needs=needs.of(row, row.asked_revision),
        seated=bool(row.seated),
        leased_at=from_iso(row.leased_at),
        started_at=_time(row.started_at),
        stopping=row.status if ended else "",
    )


def _time(text: str | None) -> float:
    return from_iso(text) if text else 0.0


def manifests_of(loaded: Loaded) -> dict[str, SkillManifest]:
    """Newest manifest of each skill."""
    return {
        name: SkillManifest.model_validate_json(loaded.skills[name, revision].manifest)
        for name, revision in loaded.newest.items()
        if (name, revision) in loaded.skills
    }


def restore_ledger(ledger: Ledger, loaded: Loaded) -> None:
    """Documents of nodes, counters, and where the numbers go on."""
    ledger.next_event = max(loaded.last_event + 1, int(loaded.meta.get("next_event", "1")))
    ledger.meter.load(loaded.counters)
    live = {s.value for s in (TaskState.PENDING, TaskState.SCHEDULED, TaskState.RUNNING)}
    ledger.finished.update({s: n for s, n in loaded.counts.items() if s not in live})
    for row in loaded.nodes:
        ledger.node_docs[row.node_id] = NodeDoc(
            hostname=row.hostname,
            platform=row.platform,
            arch=row.arch,
            ip_address=row.ip_address,
            tailscale_ip=row.tailscale_ip,
            port=row.port,
            registered_at=row.registered_at,
            gpus=row.gpus or "[]",
            withheld=row.withheld or "{}",
            agent_process=row.agent_process or "",
            declared=row.declared or "",
        )


def restore_registry(registry: Registry, loaded: Loaded) -> None:
    """The newest skills and their place in the order of registrations."""
    registry.newest = manifests_of(loaded)
    registry.version = loaded.last_skill
    for (name, revision), row in loaded.skills.items():
        if loaded.newest.get(name) == revision:
            registry.changed[name] = row.seq


def differences(live: ClusterState, fresh: ClusterState) -> list[str]:
    """What one state says that the other does not: a line each; none means that memory equals disk."""
    found = [f"version {live.version}, on disk {fresh.version}"] if live.version != fresh.version else []
    for kind, ours, theirs in (
        ("task", live.tasks, fresh.tasks),
        ("lease", live.leases, fresh.leases),
        ("node", live.nodes, fresh.nodes),
    ):
        found += [f"{kind} {i} only in memory" for i in ours if i not in theirs]
        found += [f"{kind} {i} only on disk" for i in theirs if i not in ours]
    for task_id, task in live.tasks.items():
        disk = fresh.tasks.get(task_id)
        if disk is not None and _of(task) != _of(disk):
            found.append(f"task {task_id}: {_of(task)}, on disk {_of(disk)}")
    for node_id, node in live.nodes.items():
        other = fresh.nodes.get(node_id)
        if other is not None and _fitness(node) != _fitness(other):
            found.append(f"node {node_id}: {node.status.value}, on disk {other.status.value}")
    return found[:100]


def _fitness(node: NodeRecord) -> tuple[Any, ...]:
    quarantine = (node.faults, node.fault_token, node.fault_successes, node.quarantines, node.quarantine_reason)
    return (node.status, node.slots, node.offers, node.tags, quarantine)


def _of(task: TaskRecord) -> tuple[Any, ...]:
    needs = task.shape.needs if task.shape else None
    return (task.state.value, task.priority, task.attempt, task.token, task.retries, task.lost, task.node_id, needs)
