"""Whether everything came to an end, and whether the program noticed mistakes of its own."""

from __future__ import annotations

from collections.abc import Iterator

from openclaw_ray.sim.checker.record import TERMINAL, Record, Violation

#: How many of a kind are named.
_NAMED = 5


def everything_ended(record: Record) -> Iterator[Violation]:
    """I23: after the faults every task ends, and every lease."""
    evidence = record.evidence
    if evidence.done:
        return
    live = [f"{t['task_id']} {t['status']} attempt {t['attempt']}" for t in record.tasks.values()
            if t["status"] not in TERMINAL]  # fmt: skip
    held = [f"{a['token']} of {a['task_id']}" for a in evidence.tables.attempts if a["outcome"] is None]
    unacked = [str(job.n) for job in evidence.jobs if job.n not in evidence.history.acked]
    untold = [i for i in record.job_of if i not in evidence.history.heard]
    for what, found in (("live", live), ("leased", held), ("not handed in: job", unacked), ("not told", untold)):
        if found:
            yield Violation("I23", f"{what} after the heal: {', '.join(found[:_NAMED])} ({len(found)})")


def no_own_mistakes(record: Record) -> Iterator[Violation]:
    """I32, I5, I3: no internal error, memory equals disk, nobody was shown what a crash took back."""
    evidence = record.evidence
    yield from (Violation("I32", line) for line in evidence.alarms[:_NAMED])
    yield from (Violation("I5", line) for line in evidence.differences[:_NAMED])
    yield from (Violation("I3", f"agent refused: {line}") for line in evidence.refusals[:_NAMED])
    yield from (Violation("I32", f"client refused: {line}") for line in evidence.history.refused[:_NAMED])


CHECKS = (everything_ended, no_own_mistakes)
