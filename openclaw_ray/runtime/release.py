"""What a committed batch sets free: leases and stops for agents, ends for those who wait, news for the scheduler."""

from __future__ import annotations

from openclaw_ray.core.records import TaskRecord
from openclaw_ray.logs import get_logger
from openclaw_ray.models.fields import iso
from openclaw_ray.protocol import EndedTask
from openclaw_ray.runtime import registry
from openclaw_ray.runtime.context import Office
from openclaw_ray.runtime.ledger import Ledger, Signals

log = get_logger(__name__)


def release(office: Office, ledger: Ledger) -> None:
    """Carry out the effects of a batch that is on disk."""
    signals = ledger.signals
    _remember_params(office, signals)
    _tell_agents(office, signals)
    _tell_clients(office, signals)
    for out in signals.quarantined:
        log.warning("node quarantined", node_id=out.node_id, reason=out.fault.value)
    if signals.skills:
        registry.committed(office, ledger.batch.insert_skills)
    office.follow_size()
    office.feed.collect()


def _remember_params(office: Office, signals: Signals) -> None:
    """Tasks that were accepted just now are leased soon: their parameters need not be read then."""
    for task_id, intake in signals.accepted:
        if task_id in office.state.tasks:
            manifest = office.registry.newest.get(intake.spec.runs or "")
            timeout = intake.spec.timeout or (manifest.timeout if manifest else None)
            office.params.put(task_id, intake.params, timeout)


def _tell_agents(office: Office, signals: Signals) -> None:
    for closed in signals.closed:
        outbox = office.outboxes.get(closed.node_id or "")
        if outbox is not None:
            outbox.forget(closed.token)
    leases = office.state.leases
    for granted in signals.grants:
        outbox = office.outboxes.get(granted.node_id or "")
        if outbox is not None and granted.token in leases:
            outbox.grant(granted.token)
    for stop in signals.stops:
        outbox = office.outboxes.get(stop.node_id)
        if outbox is not None:
            outbox.stop(stop.token, stop.why)


def _tell_clients(office: Office, signals: Signals) -> None:
    for task, result, error in signals.ended:
        office.params.drop(task.id)
        office.progress.pop(task.id, None)
        if office.sessions.awaited(task.id):
            office.sessions.ended(_ended_task(task, result, error))


def _ended_task(task: TaskRecord, result: str | None, error: str | None) -> EndedTask:
    return EndedTask(
        task_id=task.id,
        status=task.state.value,
        result=result,
        error=error,
        attempt=task.attempt,
        retries=task.retries,
        lost=task.lost,
        node_id=task.node_id,
        submitted_at=iso(task.submitted_at),
        started_at=iso(task.started_at) if task.started_at else None,
        completed_at=iso(task.completed_at),
    )
