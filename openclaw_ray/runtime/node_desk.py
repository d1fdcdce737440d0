"""Nodes, from their owners' side: record, change, drain, remove, ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openclaw_ray.core import events as ev
from openclaw_ray.core.limits import SUBMIT_BATCH_MAX
from openclaw_ray.core.records import NodeRecord
from openclaw_ray.core.types import NodeStatus, Now
from openclaw_ray.errors import Conflict, InvalidRequest, NotFound
from openclaw_ray.models.door import parse, quoted
from openclaw_ray.models.fields import identifier, iso, skill_name, units_of
from openclaw_ray.models.node import NodeChange, NodeSpec, Usage
from openclaw_ray.protocol import DrainRequest
from openclaw_ray.runtime.arguments import by_id, checked, one_or_many, seconds_above_zero
from openclaw_ray.runtime.commit import Turn
from openclaw_ray.runtime.context import Office
from openclaw_ray.runtime.ledger import NodeDoc
from openclaw_ray.storage.rows import node_json


class NodeDesk:
    """Serves owners of nodes, and programs that keep nodes by hand."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def add_node(self, node: Any, by: str | None = None) -> Any:
        """Record one node (a mapping) or several (a list, all or none); answers the id(s)."""
        specs, many = one_or_many(lambda one: parse(NodeSpec, one), node, "node", SUBMIT_BATCH_MAX)

        def add(turn: Turn) -> list[str]:
            for spec in specs:
                turn.apply(_added(spec, by, turn.now))
                turn.state.observe(spec.node_id, spec.cpu_usage, spec.memory_usage, spec.disk_usage, turn.now)
            return [spec.node_id for spec in specs]

        ids = await self._office.commit.run(add)
        return ids if many else ids[0]

    async def update_node(self, node_id: Any, changes: Any = None, by: str | None = None) -> Any:
        """Change slots, tags, skills (of a record by hand) or status; several as ``{id: changes}``.

        Returns:
            The version(s).
        """
        asked_of, many = by_id(node_id, changes, lambda one: parse(NodeChange, one), "node_id", "changes")

        def change(turn: Turn) -> dict[str, int]:
            for one, asked in asked_of.items():
                _change(turn, one, asked, by)
            return dict.fromkeys(asked_of, turn.state.version)

        versions = await self._office.commit.run(change)
        return versions if many else versions[node_id]

    async def remove_node(self, node_id: Any, force: bool = False, by: str | None = None) -> Any:
        """Forget a node or several; refused while leases live unless `force` (their attempts end lost)."""
        ids, many = one_or_many(identifier, node_id, "node_id")

        def remove(turn: Turn) -> list[bool]:
            return [bool(turn.apply(ev.NodeRemoved(one, bool(force), by))) for one in ids]

        removed = await self._office.commit.run(remove)
        for one in ids:
            outbox = self._office.outboxes.pop(one, None)
            if outbox is not None:
                outbox.supersede()
        return removed if many else removed[0]

    async def get_node(self, node_id: Any) -> Any:
        """One node as plain JSON, or several for a list of ids."""
        ids, many = one_or_many(identifier, node_id, "node_id")
        await self._office.commit.quiet()
        found = [self._show(_get(self._office, one)) for one in ids]
        return found if many else found[0]

    async def get_all_nodes(self) -> list[dict[str, Any]]:
        """Every node, by id."""
        return await self._listed(lambda node: True)

    async def get_online_nodes(self) -> list[dict[str, Any]]:
        """Nodes that are online; busy ones are."""
        return await self._listed(lambda node: node.status is NodeStatus.ONLINE)

    async def get_available_nodes(self) -> list[dict[str, Any]]:
        """Nodes that are online and have a free slot."""
        return await self._listed(lambda node: node.shown_status is NodeStatus.ONLINE and node.slots > 0)

    async def find_nodes_by_skill(self, skill: Any) -> Any:
        """Nodes that have the skill, whatever their status; for a list of skills a mapping skill to nodes."""
        names, many = one_or_many(skill_name, skill, "skill")
        found = {name: await self._offering(name) for name in names}
        return found if many else found[skill]

    async def _offering(self, skill: str) -> list[dict[str, Any]]:
        return await self._listed(lambda node: skill in node.offers)

    async def update_node_status(self, node_id: Any, status: Any = None, by: str | None = None) -> Any:
        """Set a status by hand; several as ``{id: status}``. With an agent only online and maintenance."""
        asked_of, many = by_id(node_id, status, _status, "node_id", "status")

        def move(turn: Turn) -> dict[str, str]:
            for one, asked in asked_of.items():
                turn.apply(ev.NodeMovedByHand(one, asked, by))
            return {one: turn.state.nodes[one].shown_status.value for one in asked_of}

        states = await self._office.commit.run(move)
        return states if many else states[node_id]

    async def update_heartbeat(self, node_id: Any, usage: Any = None) -> Any:
        """Say that a node kept by hand lives, with its usage; several as ``{id: usage}``."""
        said_of, many = by_id(node_id, usage, lambda one: parse(Usage, {} if one is None else one), "node_id", "usage")

        def beat(turn: Turn) -> dict[str, str]:
            for one in said_of:
                if _record(turn, one).agent and turn.state.nodes[one].status is NodeStatus.OFFLINE:
                    raise Conflict(f"node {one} has an agent that has to register again", field="node_id")
            for one, said in said_of.items():
                if turn.state.nodes[one].agent:
                    continue
                turn.apply(ev.NodeHeard(one, None))
                turn.state.observe(one, said.cpu_usage, said.memory_usage, said.disk_usage, turn.now)
                turn.ledger.note_observation(one)
            turn.ledger.flush_observations(turn.state, turn.now)
            return {one: turn.state.nodes[one].shown_status.value for one in said_of}

        states = await self._office.commit.run(beat)
        return states if many else states[node_id]

    async def check_stale_nodes(self, timeout: Any = None) -> list[str]:  # noqa: ASYNC109 - the verb's own word
        """Take nodes that were silent for `timeout` seconds (default: the lease time) offline; answers their ids."""
        timeout_s = self._office.ttl_s() if timeout is None else checked(seconds_above_zero, timeout, "timeout")

        def sweep(turn: Turn) -> list[str]:
            stale = [
                node.id
                for node in turn.state.nodes.values()
                if node.status is not NodeStatus.OFFLINE and self._office.silent_s(node) > timeout_s
            ]
            for node_id in stale:
                turn.apply(ev.NodeSilenced(node_id, f"silent for more than {timeout_s:g} s"))
            return stale

        return await self._office.commit.run(sweep)

    async def get_node_stats(self) -> dict[str, Any]:
        """Counts by status, slots and their use over all nodes, and ended attempts."""
        await self._office.commit.quiet()
        nodes = list(self._office.state.nodes.values())
        by_status = {s.value: 0 for s in NodeStatus}
        for node in nodes:
            by_status[node.shown_status.value] += 1
        return {
            "total": len(nodes),
            **by_status,
            "slots": sum(n.slots for n in nodes if n.status is NodeStatus.ONLINE),
            "slots_used": sum(n.seats for n in nodes),
            "total_tasks_processed": sum(n.successful + n.failed for n in nodes),
            "successful_tasks": sum(n.successful for n in nodes),
            "failed_tasks": sum(n.failed for n in nodes),
        }

    async def drain(self, request: DrainRequest) -> dict[str, Any]:
        """Take a node out of service; what it has not started comes back at once, uncharged."""

        def hold(turn: Turn) -> dict[str, Any]:
            until = turn.now.wall + request.deadline_s if request.deadline_s else 0.0
            turn.apply(ev.NodeHeld(request.node_id, request.reason, request.by, until))
            return {"node_id": request.node_id, "running": len(turn.state.nodes[request.node_id].leases)}

        return await self._office.commit.run(hold)

    async def undrain(self, node_id: Any, by: str | None = None) -> dict[str, Any]:
        """Give a node back."""
        one = checked(identifier, node_id, "node_id")

        def unhold(turn: Turn) -> dict[str, Any]:
            turn.apply(ev.NodeUnheld(one, by))
            return {"node_id": one, "status": turn.state.nodes[one].shown_status.value}

        return await self._office.commit.run(unhold)

    async def _listed(self, wanted: Callable[[NodeRecord], bool]) -> list[dict[str, Any]]:
        await self._office.commit.quiet()
        nodes = self._office.state.nodes
        return [self._show(nodes[i]) for i in sorted(nodes) if wanted(nodes[i])]

    def _show(self, node: NodeRecord) -> dict[str, Any]:
        shown = node_json(self._office.ledger.node_row(node))
        shown["status"] = node.shown_status.value
        return shown


def _added(spec: NodeSpec, by: str | None, now: Now) -> ev.NodeAdded:
    status = NodeStatus.ONLINE if spec.status is NodeStatus.BUSY else spec.status
    doc = NodeDoc(
        hostname=spec.hostname or spec.node_id,
        platform=spec.platform,
        arch=spec.arch,
        ip_address=spec.ip_address,
        tailscale_ip=spec.tailscale_ip,
        port=spec.port,
        registered_at=iso(now.wall),
    )
    offers = dict.fromkeys(spec.available_skills, "")
    capacity = units_of(spec.resources)
    return ev.NodeAdded(
        spec.node_id, status, spec.max_concurrent_tasks, capacity, offers, frozenset(spec.tags), by, doc
    )


def _change(turn: Turn, node_id: str, asked: NodeChange, by: str | None) -> None:
    node = _record(turn, node_id)
    offers = None
    if asked.available_skills is not None:
        if node.agent:
            raise Conflict(f"node {node_id} has an agent that says what it offers", field="changes.available_skills")
        offers = dict.fromkeys(asked.available_skills, "")
    if asked.max_concurrent_tasks is not None or asked.tags is not None or offers is not None:
        tags = frozenset(asked.tags) if asked.tags is not None else None
        turn.apply(ev.NodeEdited(node_id, asked.max_concurrent_tasks, tags, offers, None, by))
    if asked.status is not None:
        turn.apply(ev.NodeMovedByHand(node_id, asked.status, by))


def _record(turn: Turn, node_id: str) -> NodeRecord:
    node = turn.state.node(node_id)
    if node is None:
        raise NotFound(f"no node {node_id!r}", field="node_id")
    return node


def _get(office: Office, node_id: str) -> NodeRecord:
    node = office.state.node(node_id)
    if node is None:
        raise NotFound(f"no node {node_id!r}", field="node_id")
    return node


def _status(value: Any) -> NodeStatus:
    settable = (NodeStatus.ONLINE, NodeStatus.MAINTENANCE, NodeStatus.OFFLINE, NodeStatus.ERROR)
    if isinstance(value, str) and value in settable:
        return NodeStatus(value)
    raise InvalidRequest(f"{quoted(value)} is not a status to be set", limit=", ".join(settable))
