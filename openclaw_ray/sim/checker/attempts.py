"""Attempts and leases: their numbers, budgets and pauses, and whether skills ran as the record says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from openclaw_ray.sim.checker.record import TERMINAL, Record, Violation, seconds

#: Defaults of the project: first pause, longest pause (seconds), and how much less it may be.
BASE_S, MAX_S, SPREAD = 1.0, 300.0, 0.2

#: What may follow what in the history of a task.
_NEXT = {
    "": {"submitted"},
    "submitted": {"scheduled", "cancelled", "timeout", "failed"},
    "pending": {"scheduled", "cancelled", "timeout", "failed"},
    "scheduled": {"running", "pending", "cancelled", "timeout", "failed"},
    "running": {"completed", "failed", "timeout", "cancelled", "pending"},
    **{state: set[str]() for state in TERMINAL},
}


def history_is_legal(record: Record) -> Iterator[Violation]:
    """I10, I11: one lease at a time, nothing after the end, and the last event is the state that is kept."""
    for task_id, row in record.tasks.items():
        state = ""
        for event in record.events[task_id]:
            if event["what"] not in _NEXT.get(state, ()):
                yield Violation("I11", f"{task_id}: {event['what']} after {state or 'nothing'} (event {event['seq']})")
                break
            state = event["what"]
        else:
            if (state if state != "submitted" else "pending") != row["status"]:
                yield Violation("I10", f"{task_id}: last event {state}, kept is {row['status']}")


def numbered(record: Record) -> Iterator[Violation]:
    """I11: attempts are numbered without gaps, tokens grow with every lease."""
    token_of: dict[tuple[str, int], int] = {}
    for task_id, attempts in record.attempts.items():
        numbers = [a["attempt"] for a in attempts]
        if numbers != list(range(1, len(numbers) + 1)):
            yield Violation("I11", f"{task_id} has attempts {numbers}")
        if (row := record.tasks.get(task_id)) is not None and row["attempt"] != len(numbers):
            yield Violation("I11", f"{task_id} says attempt {row['attempt']} of {len(numbers)}")
        token_of |= {(task_id, a["attempt"]): a["token"] for a in attempts}
    newest = 0
    for event in record.evidence.tables.events:
        if event["what"] == "scheduled":
            token = token_of.get((event["task_id"], event["attempt"]))
            if token is None or token <= newest:
                yield Violation("I11", f"event {event['seq']}: token {token} was given after {newest}")
            newest = max(newest, token or 0)


def within_budget(record: Record) -> Iterator[Violation]:
    """I14: two budgets, each used up to its end before a task fails by it, and never beyond."""
    for task_id, row in record.tasks.items():
        ends = Counter(a["outcome"] for a in record.attempts[task_id])
        failed, lost = ends["failed"] + ends["timeout"], ends["lost"]
        if failed > 1 + row["max_retries"] or lost > 1 + row["max_lost"]:
            yield Violation("I14", f"{task_id}: {dict(ends)} of {row['max_retries']} and {row['max_lost']}")
        if failed + lost + ends["completed"] + ends["cancelled"] > 1 + row["max_retries"] + row["max_lost"]:
            yield Violation("I14", f"{task_id}: {dict(ends)} are more than both budgets")
        exhausted = (json.loads(row["error"]) or {}).get("exhausted") if row["error"] else None
        spent = {"retries": (failed, row["max_retries"] + 1), "lost": (lost, row["max_lost"] + 1)}
        if exhausted is not None and spent[exhausted][0] != spent[exhausted][1]:
            yield Violation("I14", f"{task_id} says {exhausted} ran out: {dict(ends)}")


def paused(record: Record) -> Iterator[Violation]:
    """I15: the next attempt waits for its backoff; a permanent failure has no next one."""
    for task_id, events in record.events.items():
        causes: Counter[str] = Counter()
        earliest = 0.0
        for event in events:
            at = seconds(event["at"])
            if event["what"] == "scheduled" and at < earliest - 0.001 and not record.jumped:
                yield Violation("I15", f"{task_id}: leased {earliest - at:.3f} s too early (event {event['seq']})")
            if event["what"] == "pending":
                cause = str(event["reason"]).split(":", 1)[0]
                causes[cause] += 1
                pause_s = min(MAX_S, BASE_S * 2 ** (causes[cause] - 1)) * (1 - SPREAD)
                earliest = at + pause_s if cause in ("retry", "lost") else 0.0
        job = record.job_of.get(task_id)
        if job is not None and job.params["fate"] == "permanent":
            failed = [a["attempt"] for a in record.attempts[task_id] if a["outcome"] == "failed"]
            if len(failed) > 1 or (failed and failed[0] != len(record.attempts[task_id])):
                yield Violation("I15", f"{task_id} failed for good and was tried again: {failed}")


def one_token_one_run(record: Record) -> Iterator[Violation]:
    """I16, F15: a skill begins at most once under a token, and only under one that is on disk."""
    for token, lines in record.ledger.items():
        began = [line for line in lines if line.what == "began"]
        if len(began) > 1:
            yield Violation("F15", f"token {token} of {began[0].task_id} began {len(began)} times")
        if any(not line.leased for line in began):
            yield Violation("I16", f"token {token} of {began[0].task_id} began before its lease was on disk")


#: Ends that say that nothing ran.
_UNSTARTED = ("recall", "released", "no_executor")


def released_did_not_run(record: Record) -> Iterator[Violation]:
    """I14: only what did not run comes back uncharged, but for a drain and a stop."""
    for attempt in record.evidence.tables.attempts:
        kind = json.loads(attempt["error"])["kind"] if attempt["error"] else ""
        if attempt["outcome"] == "released" and kind in _UNSTARTED and record.began(attempt["token"]):
            yield Violation("I14", f"{attempt['task_id']}: attempt {attempt['attempt']} ran and was released ({kind})")


def starts_are_ends(record: Record) -> Iterator[Violation]:
    """I28: every attempt that began ended, in the skill's own words and in the record."""
    if not record.evidence.done:
        return
    known = {a["token"] for a in record.evidence.tables.attempts if a["outcome"] is not None}
    for token, lines in record.ledger.items():
        words = Counter(line.what for line in lines)
        if words["began"] != words["ended"] + words["died"] or token not in known:
            yield Violation("I28", f"token {token} of {lines[0].task_id}: {dict(words)}, recorded {token in known}")


CHECKS = (
    history_is_legal, numbered, within_budget, paused, one_token_one_run, released_did_not_run, starts_are_ends,
)  # fmt: skip
