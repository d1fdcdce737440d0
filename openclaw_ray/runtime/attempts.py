"""One attempt on its way through a node: waiting in the local queue, running, ended and not yet judged."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, replace

from openclaw_ray.core.resources import NOTHING, Resources
from openclaw_ray.core.seats import start_order
from openclaw_ray.core.types import Outcome
from openclaw_ray.protocol import LeaseMessage, OutcomeMessage
from openclaw_ray.runtime.pool import Death
from openclaw_ray.skills.outcome import Ended

#: Ended tokens that are remembered, so that a doubled reply starts nothing again.
REMEMBERED = 20_000


@dataclass(slots=True)
class Attempt:
    """A lease that this node holds."""

    lease: LeaseMessage
    #: Wall time of its start; 0 while it waits.
    started_at: float = 0.0
    #: Why it is being stopped; empty while it may run.
    stopping: str = ""
    #: Seconds it may run, decided when it is handed over; None: no limit.
    limit_s: int | None = None
    #: Monotonic time since which nothing is before it in its executor; 0 while something is.
    since: float = 0.0
    resources: Resources = NOTHING

    def __post_init__(self) -> None:
        if self.lease.resources:
            self.resources = Resources.from_units(self.lease.resources)

    @property
    def token(self) -> int:
        """Its lease."""
        return self.lease.token


def simple_outcome(
    attempt: Attempt, outcome: Outcome, kind: str, message: str, now: float, *, node_caused: bool = False
) -> OutcomeMessage:
    """An outcome that the agent itself gives."""
    run_s = max(0.0, now - attempt.started_at) if attempt.started_at else 0.0
    return OutcomeMessage(
        token=attempt.token,
        outcome=outcome,
        started_at=attempt.started_at or now,
        ended_at=now,
        run_s=run_s,
        permanent=False,
        node_caused=node_caused,
        result=None,
        error={"kind": kind, "message": message, "attempt": attempt.lease.attempt},
        exit_status=None,
        signal=None,
        peak_memory=None,
        log_tail=None,
    )


#: What a stopped attempt ends as: handed back uncharged, unless somebody wanted it not to complete.
_RELEASING = frozenset({"recall", "stopped", "drained", "out of contact"})


def stopped_as(why: str) -> Outcome:
    """The outcome of an attempt that was stopped for `why`."""
    if why == "timeout":
        return Outcome.TIMEOUT
    return Outcome.RELEASED if why in _RELEASING else Outcome.CANCELLED


def word_of(attempt: Attempt, said: str) -> Outcome:
    """How a run that came to its end is reported: one to be handed back that completed in time has completed."""
    outcome = Outcome(said)
    if not attempt.stopping or (outcome is Outcome.COMPLETED and attempt.stopping in _RELEASING):
        return outcome
    return stopped_as(attempt.stopping)


def outcome_of(attempt: Attempt, ended: Ended, outcome: Outcome) -> OutcomeMessage:
    """What an executor or a command said of an attempt, as it is reported."""
    error = None
    if ended.error is not None:
        error = {**ended.error, "attempt": attempt.lease.attempt}
    elif outcome is Outcome.CANCELLED:
        error = {"kind": attempt.stopping or "cancelled", "message": "stopped", "attempt": attempt.lease.attempt}
    # A command's own start is a little later than the one that was told: one start stands in all records.
    told = bool(attempt.started_at) and attempt.started_at < ended.started_at
    return OutcomeMessage(
        token=attempt.token,
        outcome=outcome,
        started_at=attempt.started_at if told else ended.started_at,
        ended_at=ended.ended_at,
        run_s=max(0.0, ended.ended_at - attempt.started_at) if told else ended.run_s,
        permanent=ended.permanent,
        node_caused=False,
        result=ended.result if outcome is Outcome.COMPLETED else None,
        error=error,
        exit_status=ended.exit_status,
        signal=ended.signal,
        peak_memory=ended.peak_memory,
        log_tail=ended.log_tail,
    )


def epitaph(attempt: Attempt, death: Death, now: float) -> OutcomeMessage:
    """The outcome of the attempt that an executor was running when it died."""
    if attempt.stopping == "timeout":
        message = f"overran its timeout of {attempt.limit_s} s"
        return simple_outcome(attempt, Outcome.TIMEOUT, "timeout", message, now)
    if attempt.stopping:
        return simple_outcome(attempt, stopped_as(attempt.stopping), attempt.stopping, "stopped", now)
    if death.killed_by_us:
        return simple_outcome(attempt, Outcome.LOST, "lost", "its executor was ended", now, node_caused=True)
    found = simple_outcome(attempt, Outcome.FAILED, "crashed", "the process that ran it died", now)
    return replace(found, log_tail=death.stack or None, error={**(found.error or {}), "type": "SkillCrashed"})


class Shelf:
    """All attempts of a node by token, and the queue of those that wait for room."""

    def __init__(self) -> None:
        self.waiting: dict[int, Attempt] = {}
        self.running: dict[int, Attempt] = {}
        #: Ended, not yet judged by the coordinator.
        self.ended: dict[int, OutcomeMessage] = {}
        self._heap: list[tuple[tuple[bool, float, int], int]] = []
        self._gone: OrderedDict[int, None] = OrderedDict()

    def knows(self, token: int) -> bool:
        """Whether a lease has been here."""
        return token in self.waiting or token in self.running or token in self.ended or token in self._gone

    def have(self) -> list[int]:
        """What the coordinator must not send again."""
        return [*self.waiting, *self.running, *self.ended]

    def live(self) -> list[int]:
        """What keeps its lease at a registration."""
        return [*self.waiting, *self.running]

    def add(self, attempt: Attempt) -> None:
        """A new lease, or one that an executor did not get to."""
        self.waiting[attempt.token] = attempt
        lease = attempt.lease
        heapq.heappush(self._heap, (start_order(lease.urgent, lease.rank, lease.token), lease.token))

    def next(self) -> Attempt | None:
        """The attempt to be started next, still waiting."""
        while self._heap:
            attempt = self.waiting.get(self._heap[0][1])
            if attempt is not None:
                return attempt
            heapq.heappop(self._heap)
        return None

    def in_order(self, limit: int) -> list[Attempt]:
        """The first attempts in the order of their start, at most `limit`."""
        found = []
        for _, token in heapq.nsmallest(limit, self._heap):
            attempt = self.waiting.get(token)
            if attempt is not None and attempt not in found:
                found.append(attempt)
        return found

    def start(self, attempt: Attempt) -> None:
        """It leaves the queue."""
        self.waiting.pop(attempt.token, None)
        self.running[attempt.token] = attempt

    def put_back(self, attempt: Attempt) -> None:
        """It was handed to an executor that did not start it."""
        self.running.pop(attempt.token, None)
        attempt.started_at = attempt.since = 0.0
        self.add(attempt)

    def end(self, outcome: OutcomeMessage) -> bool:
        """It is over; False when that was known."""
        token = outcome.token
        known = self.waiting.pop(token, None) or self.running.pop(token, None)
        if known is None:
            return False
        self.ended[token] = outcome
        return True

    def forget(self, token: int) -> None:
        """The coordinator has judged it, or does not know it."""
        for kept in (self.waiting, self.running, self.ended):
            kept.pop(token, None)
        self._gone[token] = None
        while len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)
