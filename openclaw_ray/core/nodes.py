"""What happens to nodes: added by hand, registered by an agent, heard, silent, held, edited, removed."""

from __future__ import annotations

from openclaw_ray.core import events as ev
from openclaw_ray.core import health
from openclaw_ray.core.books import Books
from openclaw_ray.core.effects import DeleteNode, Effect, Log, LoseNode, SaveNode, StopLease
from openclaw_ray.core.records import NodeRecord, Rules
from openclaw_ray.core.seats import promote, unseat
from openclaw_ray.core.tasks import ask_stop, deadline_passed, lose
from openclaw_ray.core.transitions import NodeCause, node_after
from openclaw_ray.core.types import Fault, NodeStatus, Now, Outcome
from openclaw_ray.errors import Conflict, InvalidRequest, InvalidTransition, NotFound


def added(books: Books, event: ev.NodeAdded, now: Now, rules: Rules) -> list[Effect]:
    """A record by hand: found by skill, leased nothing until an agent registers under its id."""
    if event.node_id in books.nodes:
        raise Conflict(
            f"node {event.node_id!r} exists", field="node_id", limit="a new id", hint="use update_node to change it"
        )
    _check_not_busy(event.status)
    node = NodeRecord(event.node_id, event.status, event.slots, event.capacity, event.offers, event.tags)
    node.last_heartbeat = now.wall
    if event.status is NodeStatus.MAINTENANCE:
        node.held_reason, node.held_by = "added in maintenance", event.by
    books.add_node(node)
    if event.status is not NodeStatus.OFFLINE:
        books.watch_silence(node, now.mono + rules.lease_ttl_s)
    return [SaveNode(node.id, event.doc), Log("node_added", None, None, node.id, event.by)]


def registered(books: Books, event: ev.NodeRegistered, now: Now, rules: Rules) -> list[Effect]:
    """An agent owns the id now. Runs that it holds keep their leases, every other lease of the node ends."""
    node = books.nodes.get(event.node_id)
    if node is None:
        node = NodeRecord(event.node_id, NodeStatus.OFFLINE, event.slots, event.capacity, {}, frozenset())
        books.add_node(node)
    books.open_node(node)
    before, replaced = node.status, node.agent and not event.same_agent
    node.status = _after_word(node)
    node.agent, node.incarnation = True, event.incarnation
    node.slots, node.capacity = event.slots, event.capacity
    node.offers, node.tags = event.offers, event.tags
    node.last_heartbeat = now.wall
    books.close_node(node)
    books.watch_silence(node, now.mono + rules.lease_ttl_s)
    effects: list[Effect] = [SaveNode(node.id, event.doc), Log("node_registered", None, None, node.id, None)]
    effects += _log_move(node, before, None)
    outcome = Outcome.RELEASED if event.same_agent else Outcome.LOST
    message = "never reached its agent" if event.same_agent else "its agent was replaced"
    for lease in node.by_token:
        if lease.token not in event.holds:
            # An attempt whose start was reported ran; only one that never arrived may go back uncharged.
            ran = lease.started_at > 0
            effects += lose(books, lease, Outcome.LOST if ran else outcome, message, now, rules)
        elif lease.stopping:
            effects.append(StopLease(node.id, lease.token, lease.stopping))
    effects += _seat_anew(books, node)
    if replaced and before is not NodeStatus.OFFLINE:  # nobody had noticed that the one before was gone
        effects += health.failed(books, node, Fault.AGENT, None, now, rules)
    return effects


def _after_word(node: NodeRecord) -> NodeStatus:
    """Where a node stands once it is heard of."""
    held, quarantined = node.held_reason is not None, node.quarantined_until > 0
    return node_after(node.status, NodeCause.HEARD, held=held, quarantined=quarantined)


def _seat_anew(books: Books, node: NodeRecord) -> list[Effect]:
    """Slots or capacity changed: seats follow, and what could never start here any more comes back."""
    effects: list[Effect] = []
    for lease in node.by_token:
        if not (lease.started_at or lease.stopping or lease.needs is None or node.could_seat(lease.needs)):
            effects += ask_stop(books, lease, "recall")
    unseat(books, node)
    promote(books, node)
    return effects


def heard(books: Books, event: ev.NodeHeard, now: Now, rules: Rules) -> list[Effect]:
    """It lives. An offline node is back; its leases ended when it went. Only its own agent can speak for a node."""
    node = _get(books, event.node_id)
    if node.agent and event.incarnation != node.incarnation:
        return []
    before = node.status
    if before is NodeStatus.OFFLINE:
        books.open_node(node)
        node.status = _after_word(node)
        books.close_node(node)
    node.last_heartbeat = now.wall
    books.watch_silence(node, now.mono + rules.lease_ttl_s)
    return _log_move(node, before, None)


def silenced(books: Books, event: ev.NodeSilenced, now: Now, rules: Rules) -> list[Effect]:
    """Nothing is heard of it any more: its leases end, and an agent that wakes must register again."""
    node = _get(books, event.node_id)
    if node.status is NodeStatus.OFFLINE:
        return []
    before = node.status
    books.open_node(node)
    node.status = node_after(node.status, NodeCause.SILENT, held=False)
    books.watch_silence(node, 0.0)
    books.close_node(node)
    effects = [*_log_move(node, before, event.reason), LoseNode(node.id)]
    for lease in node.by_token:
        effects += lose(books, lease, Outcome.LOST, f"node {node.id}: {event.reason}", now, rules)
    if event.blame is not None and node.agent:
        effects += health.failed(books, node, event.blame, None, now, rules)
    return effects


def held(books: Books, event: ev.NodeHeld, now: Now, rules: Rules) -> list[Effect]:
    """Drain: nothing new starts there, what was leased ahead comes back, what runs may finish (until `until`)."""
    node = _get(books, event.node_id)
    after = node_after(node.status, NodeCause.DRAINED, held=True)
    before = node.status
    books.open_node(node)
    node.status = after
    node.held_reason, node.held_by, node.held_until = event.reason, event.by, event.until
    health.end_quarantine(node)  # the owner's word takes its place
    books.close_node(node)
    effects = _log_move(node, before, event.reason, event.by) or [
        Log("node_held", None, None, node.id, event.by, event.reason)
    ]
    for lease in node.by_token:
        if not lease.started_at and not lease.stopping:
            effects += ask_stop(books, lease, "recall")
    return effects


def hold_over(books: Books, node: NodeRecord) -> list[Effect]:
    """What ran on a drained node had its time: it goes back to the queue, uncharged."""
    effects: list[Effect] = []
    for lease in node.by_token:
        if lease.stopping in ("", "recall"):
            effects += ask_stop(books, lease, "drained")
    return effects


def unheld(books: Books, event: ev.NodeUnheld, now: Now, rules: Rules) -> list[Effect]:
    """The owner gives it back, from a drain or from quarantine: nothing that happened before counts any more."""
    node = _get(books, event.node_id)
    if node.held_reason is None:
        return health.lifted(books, node, event.by) if health.is_out(node) else []
    after = node_after(node.status, NodeCause.UNDRAINED, held=False)
    before = node.status
    books.open_node(node)
    node.status = after
    node.held_reason, node.held_by, node.held_until = None, None, 0.0
    health.forgive(node)
    books.close_node(node)
    return _log_move(node, before, None, event.by) or [Log("node_unheld", None, None, node.id, event.by)]


def edited(books: Books, event: ev.NodeEdited, now: Now, rules: Rules) -> list[Effect]:
    """Slots, tags, offers or capacity changed. What runs beyond a smaller capacity finishes; nothing new starts."""
    node = _get(books, event.node_id)
    books.open_node(node)
    if event.slots is not None:
        node.slots = event.slots
    if event.tags is not None:
        node.tags = event.tags
    if event.offers is not None:
        node.offers = event.offers
    if event.capacity is not None:
        node.capacity = event.capacity
    books.close_node(node)
    effects: list[Effect] = [Log("node_changed", None, None, node.id, event.by), *_seat_anew(books, node)]
    if event.doc is not None:
        effects.append(SaveNode(node.id, event.doc))
    return effects


def moved_by_hand(books: Books, event: ev.NodeMovedByHand, now: Now, rules: Rules) -> list[Effect]:
    """The status of a record without an agent is what its owner says; an agent's node can be held and given back."""
    node = _get(books, event.node_id)
    _check_not_busy(event.status)
    if node.agent and event.status not in (NodeStatus.ONLINE, NodeStatus.MAINTENANCE):
        raise Conflict(
            f"node {node.id} has an agent: it says itself whether it is {event.status.value}",
            field="status",
            limit="online, maintenance",
            hint="drain or undrain it",
        )
    unheard = node.agent and node.status is NodeStatus.OFFLINE and node.held_reason is None
    if unheard and event.status is NodeStatus.ONLINE:
        raise InvalidTransition(
            f"node {node.id} is offline: its agent is not heard",
            field="status",
            limit="from offline: maintenance",
            hint="start its agent",
            facts={"state": "offline", "asked": "online", "legal": ["maintenance"]},
        )
    if event.status is NodeStatus.MAINTENANCE:
        return held(books, ev.NodeHeld(node.id, "by hand", event.by, 0.0), now, rules)
    effects: list[Effect] = []
    if node.held_reason is not None or node.quarantined_until:
        effects = unheld(books, ev.NodeUnheld(node.id, event.by), now, rules)
    if node.agent or node.status is event.status:
        return effects
    if event.status is NodeStatus.OFFLINE:
        return effects + silenced(books, ev.NodeSilenced(node.id, "by hand"), now, rules)
    before = node.status
    books.open_node(node)
    node.status = event.status
    books.close_node(node)
    books.watch_silence(node, now.mono + rules.lease_ttl_s)
    return effects + _log_move(node, before, "by hand", event.by)


def removed(books: Books, event: ev.NodeRemoved, now: Now, rules: Rules) -> list[Effect]:
    """Forget a node; refused while leases live, unless forced: then they end lost."""
    node = _get(books, event.node_id)
    if node.leases and not event.force:
        raise Conflict(
            f"node {node.id} still holds {len(node.leases)} leases",
            field="node_id",
            limit="a node without leases",
            hint="drain it and wait, or use force (its attempts end lost)",
        )
    effects: list[Effect] = []
    for lease in node.by_token:
        effects += lose(books, lease, Outcome.LOST, f"node {node.id} was removed", now, rules)
    books.drop_node(node)
    return [*effects, DeleteNode(node.id), Log("node_removed", None, None, node.id, event.by)]


def ticked(books: Books, event: ev.Ticked, now: Now, rules: Rules) -> list[Effect]:
    """Time passed: whatever was waiting for this moment happens."""
    effects: list[Effect] = []
    if event.set_back:
        _bound_backoffs(books, now, rules)
    while (task_id := books.due.pop(now.wall)) is not None:
        books.rouse_task(books.tasks[task_id])
    while (task_id := books.deadlines.pop(now.wall)) is not None:
        effects += deadline_passed(books, books.tasks[task_id], now)
    while (node_id := books.holds.pop(now.wall)) is not None:
        effects += hold_over(books, books.nodes[node_id])
    while (node_id := books.quarantines.pop(now.wall)) is not None:
        effects += health.recovered(books, books.nodes[node_id], now, rules)
    while (node_id := books.silences.pop(now.mono)) is not None:
        silent_s = round(now.wall - books.nodes[node_id].last_heartbeat)
        word = ev.NodeSilenced(node_id, f"silent for {max(silent_s, 0)} s", Fault.SILENT)
        effects += silenced(books, word, now, rules)
    return effects


def _bound_backoffs(books: Books, now: Now, rules: Rules) -> None:
    """No backoff ends later than the longest one from now: it was given while the clock was ahead (I26)."""
    longest_s = rules.retry_max_s * (1 + rules.retry_jitter)
    for task in list(books.tasks.values()):
        if task.backing_off and task.due > now.wall + longest_s:
            books.open_task(task)
            task.due = task.ready_at = now.wall + rules.retry_max_s
            books.close_task(task)


def _check_not_busy(status: NodeStatus) -> None:
    if status is NodeStatus.BUSY:
        raise InvalidRequest(
            "busy is not set: it follows from the slots", field="status", limit="online, maintenance, offline, error"
        )


def _get(books: Books, node_id: str) -> NodeRecord:
    node = books.nodes.get(node_id)
    if node is None:
        raise NotFound(f"no node {node_id!r}", field="node_id")
    return node


def _log_move(node: NodeRecord, before: NodeStatus, reason: str | None, by: str | None = None) -> list[Effect]:
    if node.status is before:
        return []
    return [Log(f"node_{node.status.value}", None, None, node.id, by, reason)]
