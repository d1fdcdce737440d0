"""What clients were told against what is kept: acknowledged tasks, one result each, ends that stay ends."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator

from openclaw_ray.sim.checker.record import TERMINAL, Record, Violation
from openclaw_ray.sim.work import Seen, key_of

_PRIORITY = {"critical": 0, "high": 1, "normal": 2, "low": 3}


def acknowledged_exists(record: Record) -> Iterator[Violation]:
    """I1: an acknowledged task is on disk from that moment on, with the spec that was handed in."""
    for acked in record.evidence.history.acked.values():
        for task_id in acked.not_on_disk:
            yield Violation("I1", f"{task_id} was acknowledged before it was on disk")
        for task_id, params in zip(acked.ids, acked.job.rows(), strict=True):
            row = record.tasks.get(task_id)
            if row is None:
                yield Violation("I1", f"{task_id} was acknowledged and is gone")
                continue
            wanted = acked.job.options
            spec = (json.loads(row["parameters"]), row["key"], row["priority"], row["max_retries"], row["max_lost"])
            asked = (params, key_of(params), _PRIORITY[wanted["priority"]], wanted["retries"], wanted["max_lost"])
            if spec != asked:
                yield Violation("I1", f"{task_id} is kept as {spec}, asked was {asked}")


def once_or_not_at_all(record: Record) -> Iterator[Violation]:
    """I4: whatever became of a lost answer, a key has one task."""
    holders: dict[str, list[str]] = defaultdict(list)
    for row in record.tasks.values():
        holders[row["key"]].append(row["task_id"])
    for key, ids in holders.items():
        if len(ids) > 1:
            yield Violation("I4", f"{key} belongs to {', '.join(ids)}")


def one_result(record: Record) -> Iterator[Violation]:
    """I9, I2: one accepted result, of the lease that was current, and it is what the skill wrote under that token."""
    for task_id, row in record.tasks.items():
        attempts = record.attempts[task_id]
        accepted = [a for a in attempts if a["outcome"] == "completed"]
        if len(accepted) != (row["status"] == "completed"):
            tokens = [a["token"] for a in accepted]
            yield Violation("I9", f"{task_id} is {row['status']} with results accepted under {tokens}")
            continue
        if not accepted:
            continue
        token = accepted[0]["token"]
        if token != max(a["token"] for a in attempts) or token != row["token"]:
            yield Violation("I9", f"{task_id}: the result came under {token}, current was {row['token']}")
        wrote = [line.result for line in record.ledger.get(token, ()) if line.what == "ended"]
        if len(wrote) != 1 or wrote[0] is None or json.loads(wrote[0]) != json.loads(row["result"] or "null"):
            yield Violation("I2", f"{task_id}: kept is {row['result']}, the skill wrote {wrote} under {token}")


def ends_stay(record: Record) -> Iterator[Violation]:
    """I10, I3: what a client was told of an end is what is kept, and nothing it saw went backwards."""
    by_task: dict[str, list[Seen]] = defaultdict(list)
    for seen in record.evidence.history.seen:
        by_task[seen.task_id].append(seen)
    for task_id, told in by_task.items():
        row = record.tasks.get(task_id)
        for seen in told:
            if row is None or (seen.status in TERMINAL and seen.status != row["status"]):
                kept = row["status"] if row is not None else "gone"
                yield Violation("I10", f"{task_id} was {seen.status} by {seen.how} and is {kept}")
            elif seen.status == "completed" and seen.how != "cancel":
                if seen.result is None or json.loads(seen.result) != json.loads(row["result"]):
                    yield Violation("I10", f"{task_id}: told was {seen.result}, kept is {row['result']}")
                if seen.completed_at != row["completed_at"]:
                    yield Violation("I10", f"{task_id} ended at {seen.completed_at}, now {row['completed_at']}")
        yield from _backwards(task_id, [seen for seen in told if seen.how == "get_task"])


_PHASE = {"scheduled": 1, "running": 2, "pending": 3, **dict.fromkeys(TERMINAL, 4)}


def _backwards(task_id: str, told: list[Seen]) -> Iterator[Violation]:
    for i, later in enumerate(told):
        for sooner in told[:i]:
            if later.asked_at < sooner.at:
                continue
            before = (sooner.attempt, _PHASE[sooner.status])
            if (later.attempt, _PHASE[later.status]) < before or later.version < sooner.version:
                yield Violation("I3", f"{task_id} was {sooner}, later {later}")
                return


def cancelled_stays(record: Record) -> Iterator[Violation]:
    """I13: after an acknowledged cancel no result counts and no lease is given; too late tells the end it found."""
    for seen in record.evidence.history.seen:
        if seen.how != "cancel":
            continue
        row = record.tasks.get(seen.task_id)
        if seen.status not in TERMINAL or row is None or row["status"] != seen.status:
            yield Violation("I13", f"cancel of {seen.task_id} answered {seen.status}; it is {row and row['status']}")


CHECKS = (acknowledged_exists, once_or_not_at_all, one_result, ends_stay, cancelled_stays)
