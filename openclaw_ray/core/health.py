"""Whether a node is fit to be given work: what it fails for reasons of its own is counted, and too much takes it out.

A node is quarantined after `quarantine_faults` such failures with neither a calm `quarantine_window_s` nor `GOOD_RUNS`
completed attempts between two of them: a node that does most of its work is of more use in than out. What was under
way together when it failed failed of one thing and counts once. The quarantine ends by itself; from then on the node is
on probation, where one more failure takes it out again, for twice as long. A calm `quarantine_forgive_s` forgets that.

What is not the node's fault is not counted: goodbyes, drains, what a crashing task takes with it, an edited skill
folder (the node reads it again within seconds).
"""

from __future__ import annotations

from openclaw_ray.core import events as ev
from openclaw_ray.core import tasks
from openclaw_ray.core.backoff import delay_s
from openclaw_ray.core.books import Books
from openclaw_ray.core.effects import CountQuarantine, Effect, Log, refusal
from openclaw_ray.core.records import LeaseRecord, NodeRecord, Rules
from openclaw_ray.core.transitions import NodeCause, node_after
from openclaw_ray.core.types import Fault, NodeStatus, Now, Outcome

#: Completed attempts since the last failure after which a node's failures are forgotten: it works for the most part.
GOOD_RUNS = 10

#: Error kinds with which a node says that it could not run what it had offered.
_REFUSALS = frozenset({"not_offered", "no_code", "no_executor"})
#: A lease that is refused so heals by itself: the folder is read again and the offer withdrawn.
_HEALING = frozenset({"skill_changed"})

_WORDS = {
    Fault.REFUSED: "could not run what it offers",
    Fault.EXECUTOR: "lost executors",
    Fault.AGENT: "its agent died",
    Fault.SILENT: "was silent",
    Fault.CRASHES: "tasks crash here and complete elsewhere",
}


def ended(books: Books, event: ev.AttemptEnded, now: Now, rules: Rules) -> list[Effect]:
    """How an attempt ended, and what that says of its node."""
    if event.outcome is Outcome.COMPLETED and not books.crashes:
        return tasks.ended(books, event, now, rules)  # the usual case costs nothing here
    lease = books.leases.get(event.token)
    kind = _kind(event)
    crashed = event.outcome is Outcome.FAILED and kind == "crashed" and not event.permanent
    if crashed and lease is not None and _node_crashes_it(books, lease, now, rules):
        event = event._replace(node_caused=True)  # the skill is well elsewhere: not the task's first budget
    effects = tasks.ended(books, event, now, rules)
    if lease is None or refusal(effects) is not None:
        return effects
    if event.outcome is Outcome.COMPLETED:
        return effects + _completed(books, lease, now, rules)
    if crashed:
        books.crashes.note(lease.skill, lease.task_id, event.node_id, lease.token, now.wall)
    if event.node_caused and kind not in _HEALING:
        what = Fault.CRASHES if crashed else Fault.REFUSED if kind in _REFUSALS else Fault.EXECUTOR
        detail = lease.skill if crashed else kind
        effects += failed(books, books.nodes[event.node_id], what, lease.token, now, rules, detail)
    return effects


def _kind(event: ev.AttemptEnded) -> str:
    return str(event.error.get("kind", "")) if isinstance(event.error, dict) else ""


def _node_crashes_it(books: Books, lease: LeaseRecord, now: Now, rules: Rules) -> bool:
    return books.crashes.proven(lease.skill, lease.node_id or "", now.wall, rules.quarantine_window_s)


def _completed(books: Books, lease: LeaseRecord, now: Now, rules: Rules) -> list[Effect]:
    """A task completed that may have crashed elsewhere before: that speaks against the other node."""
    window_s = rules.quarantine_window_s
    found = books.crashes.suspect(lease.skill, lease.task_id, lease.node_id or "", now.wall, window_s)
    node = books.nodes.get(found[0]) if found is not None else None
    if found is None or node is None:
        return []
    return failed(books, node, Fault.CRASHES, found[1], now, rules, lease.skill)


def failed(
    books: Books, node: NodeRecord, what: Fault, token: int | None, now: Now, rules: Rules, detail: str = ""
) -> list[Effect]:
    """A node failed for a reason of its own; once too often takes it out of service.

    Args:
        books: With the node's record.
        node: The node.
        what: What it failed by.
        token: The lease that failed; None: the node failed as a whole.
        now: The present.
        rules: Thresholds and times.
        detail: A word more for whoever asks why.
    """
    under_way = token is not None and token < node.fault_token
    if not rules.quarantine_faults or node.quarantined_until or under_way:
        return []
    calm_s = now.wall - node.fault_at
    books.open_node(node)
    if calm_s >= rules.quarantine_forgive_s:
        node.quarantines = 0
    if calm_s >= rules.quarantine_window_s or node.successful - node.fault_successes >= GOOD_RUNS:
        node.faults = 0
    node.faults += 1
    _mark(books, node, now)
    if node.faults < rules.quarantine_faults or node.held_reason is not None:
        return []  # a node that its owner holds is out already; giving it back forgets all this
    return _quarantine(books, node, what, now, rules, detail)


def _mark(books: Books, node: NodeRecord, now: Now) -> None:
    node.fault_at, node.fault_token, node.fault_successes = now.wall, books.next_token, node.successful


def _quarantine(books: Books, node: NodeRecord, what: Fault, now: Now, rules: Rules, detail: str) -> list[Effect]:
    """Lease it nothing for a while; what it has not started comes back at once, what runs may finish."""
    before = node.status
    node.status = node_after(before, NodeCause.QUARANTINED, held=False)
    again = node.quarantines > 0
    node.quarantines += 1
    salt = f"{node.id}:{books.next_token}"
    wait_s = delay_s(
        node.quarantines, base_s=rules.quarantine_base_s, max_s=rules.quarantine_max_s, jitter=rules.retry_jitter,
        salt=salt,
    )  # fmt: skip
    node.quarantined_until = now.wall + wait_s
    often = "failed again after its quarantine" if again else f"{node.faults} failures of its own"
    node.quarantine_reason = f"{often}, the last: {_WORDS[what]}" + (f" ({detail})" if detail else "")
    books.close_node(node)
    word = "node_quarantined" if node.status is before else f"node_{node.status.value}"  # offline it stays offline
    effects: list[Effect] = [
        Log(word, None, None, node.id, None, node.quarantine_reason), CountQuarantine(node.id, what)
    ]  # fmt: skip
    for lease in node.by_token:
        if not lease.started_at and not lease.stopping:
            effects += tasks.ask_stop(books, lease, "recall")
    return effects


def recovered(books: Books, node: NodeRecord, now: Now, rules: Rules) -> list[Effect]:
    """Its time is over: it may work again, on probation."""
    before = node.status
    books.open_node(node)
    node.status = node_after(before, NodeCause.RECOVERED, held=False)
    end_quarantine(node)
    node.faults = max(rules.quarantine_faults - 1, 0)
    _mark(books, node, now)
    books.close_node(node)
    word = "node_recovered" if node.status is before else f"node_{node.status.value}"
    return [Log(word, None, None, node.id, None, "its quarantine is over")]


def end_quarantine(node: NodeRecord) -> None:
    """It is not quarantined; between `open_node` and `close_node`."""
    node.quarantined_until, node.quarantine_reason = 0.0, None


def forgive(node: NodeRecord) -> None:
    """Its owner says that it is well: nothing counts against it; between `open_node` and `close_node`."""
    end_quarantine(node)
    node.faults = node.quarantines = 0


def lifted(books: Books, node: NodeRecord, by: str | None) -> list[Effect]:
    """Its owner ends the quarantine (or the status that somebody set by hand)."""
    before = node.status
    books.open_node(node)
    node.status = node_after(before, NodeCause.UNDRAINED, held=False)
    forgive(node)
    books.close_node(node)
    word = "node_recovered" if node.status is before else f"node_{node.status.value}"
    return [Log(word, None, None, node.id, by, "its owner ended the quarantine")]


def is_out(node: NodeRecord) -> bool:
    """Whether it is quarantined, or was put out of service by hand."""
    return node.status is NodeStatus.ERROR or node.quarantined_until > 0
