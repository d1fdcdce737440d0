"""Agents, as the coordinator meets them: register, poll, report, offers, goodbye."""

from __future__ import annotations

from typing import Any

from openclaw_ray.core import effects as fx
from openclaw_ray.core import events as ev
from openclaw_ray.core.limits import MESSAGE_BYTES_MAX, MESSAGE_ITEMS_MAX
from openclaw_ray.core.records import LeaseRecord
from openclaw_ray.core.types import Fault, NodeStatus, Outcome
from openclaw_ray.errors import Conflict, NotFound, StateRolledBack, VersionMismatch
from openclaw_ray.models.door import dumps
from openclaw_ray.models.fields import iso, units_of
from openclaw_ray.models.skill import Offer, SkillKind
from openclaw_ray.protocol import (
    PROTOCOL_VERSION,
    LeaseMessage,
    NodeGoneRequest,
    OffersRequest,
    OutcomeMessage,
    PollReply,
    PollRequest,
    RegisterReply,
    RegisterRequest,
    ReportReply,
    ReportRequest,
    StopMessage,
)
from openclaw_ray.runtime.commit import Turn
from openclaw_ray.runtime.context import Office
from openclaw_ray.runtime.ledger import NodeDoc
from openclaw_ray.runtime.outbox import Outbox
from openclaw_ray.runtime.registry import note_found
from openclaw_ray.runtime.waiting import until
from openclaw_ray.storage import lookups


class AgentDesk:
    """Serves node agents."""

    def __init__(self, office: Office) -> None:
        self._office = office
        #: Which agent process owns a node id, in this start of the coordinator.
        self._owners: dict[str, str] = {}
        #: The newest registration of each node that was answered: its agent, its number, the answer.
        self._answered: dict[str, tuple[str, int, RegisterReply]] = {}

    async def register(self, request: RegisterRequest) -> RegisterReply:
        """Take over a node id, in one transaction: spooled outcomes, live runs, the rest of its leases.

        Raises:
            Conflict: another live agent owns the id.
            StateRolledBack: the database is older than what this agent has seen acknowledged.
            VersionMismatch: the agent speaks another protocol.
        """
        self._check_terms(request)
        reply: RegisterReply = await self._office.commit.run(
            lambda turn: self._repeated(request) or self._register(turn, request)
        )
        if request.n:  # only now: a registration that the disk refused did not happen
            self._answered[request.node_id] = (request.agent, request.n, reply)
        return reply

    def _repeated(self, request: RegisterRequest) -> RegisterReply | None:
        """The answer to a registration that comes a second time: what its agent holds by now it does not know.

        Raises:
            Conflict: its agent has registered again since.
        """
        agent, n, reply = self._answered.get(request.node_id, ("", 0, None))
        if agent != request.agent or not request.n or request.n > n:
            return None
        if request.n < n:
            raise Conflict(f"registration {request.n} of {request.node_id} is older than {n}", field="n")
        return reply

    def _open_outbox(self, request: RegisterRequest, incarnation: int) -> None:
        """From this batch on the node's leases go to this agent; polls of the one before carry nothing.

        Done while the batch is applied, so that a lease granted in the very same batch finds it.
        """
        old = self._office.outboxes.get(request.node_id)
        self._office.outboxes[request.node_id] = Outbox(incarnation)
        if old is not None:
            old.supersede()
        self._owners[request.node_id] = request.agent

    def _check_terms(self, request: RegisterRequest) -> None:
        identity = self._office.identity
        if request.protocol != PROTOCOL_VERSION:
            raise VersionMismatch(f"agent speaks protocol {request.protocol}, coordinator {PROTOCOL_VERSION}")
        if request.cluster_id is not None and request.cluster_id != identity.cluster_id:
            raise Conflict(
                f"agent belongs to cluster {request.cluster_id}, this is {identity.cluster_id}", field="cluster_id"
            )
        if request.newest_version > self._office.state.version:
            raise StateRolledBack(
                f"agent {request.node_id} has seen version {request.newest_version}, the database holds "
                f"{self._office.state.version}",
                hint="restore the newest file; work that was acknowledged is missing here",
            )
        owner = self._owners.get(request.node_id)
        node = self._office.state.node(request.node_id)
        if owner is not None and owner != request.agent and node is not None and node.status is not NodeStatus.OFFLINE:
            seen_s = self._office.silent_s(node)
            if seen_s < 2 * self._office.interval_s() + 1:
                raise Conflict(
                    f"node {request.node_id} has a live agent ({owner}), heard {seen_s:.0f} s ago",
                    field="node_id",
                    hint="give this machine another node id (Ray label openclaw-node)",
                )

    def _register(self, turn: Turn, request: RegisterRequest) -> RegisterReply:
        office = self._office
        node = turn.state.node(request.node_id)
        same = self._same_agent(request)
        incarnation = node.incarnation if node is not None and same else (node.incarnation if node else 0) + 1
        note_found(office, turn, request.manifests)
        settled = [o.token for o in request.outcomes]
        if node is not None:
            for outcome in request.outcomes:
                turn.apply(_ended(outcome, request.node_id, node.incarnation))
        doc = _doc(request, turn.now.wall)
        known = office.ledger.node_docs.get(request.node_id)
        kept = node is not None and known is not None and known.declared == doc.declared
        turn.apply(
            ev.NodeRegistered(
                node_id=request.node_id,
                incarnation=incarnation,
                same_agent=same,
                slots=node.slots if kept and node is not None else request.slots,
                capacity=units_of(request.machine.capacity),
                offers=self._offered(request.offers),
                tags=node.tags if kept and node is not None else frozenset(request.tags),
                holds=frozenset(request.holds),
                doc=doc,
            )
        )
        registered = turn.state.node(request.node_id)
        assert registered is not None
        self._open_outbox(request, incarnation)
        stops = [t for t in request.holds if t not in registered.leases]
        usage = request.usage
        turn.state.observe(request.node_id, usage.cpu_usage, usage.memory_usage, usage.disk_usage, turn.now)
        return RegisterReply(
            incarnation=incarnation,
            epoch=office.identity.epoch,
            cluster_id=office.identity.cluster_id,
            version=turn.state.version,
            stops=stops,
            settled=settled,
            interval_s=office.interval_s(),
            ttl_s=office.ttl_s(),
            registry=0,
        )

    def _same_agent(self, request: RegisterRequest) -> bool:
        """Whether the process that registers is the one that registered last, also across our own restart."""
        doc = self._office.ledger.node_docs.get(request.node_id)
        return doc is not None and doc.agent_process == request.agent

    async def poll(self, request: PollRequest) -> PollReply:
        """Heartbeat up; leases and stops down as soon as there are any."""
        office = self._office
        outbox = office.outboxes.get(request.node_id)
        node = office.state.node(request.node_id)
        known = outbox is not None and node is not None and outbox.incarnation == request.incarnation
        if not known or node is None or outbox is None or node.status is NodeStatus.OFFLINE:
            return PollReply(n=request.n, epoch=office.identity.epoch, register_again=True)
        if request.n <= outbox.poll_n:
            return PollReply(n=request.n, epoch=office.identity.epoch)
        outbox.poll_n = request.n
        outbox.nudge()
        now = office.clock.now()
        usage = request.usage
        office.state.observe(request.node_id, usage.cpu_usage, usage.memory_usage, usage.disk_usage, now)
        office.ledger.note_observation(request.node_id)
        held = set(request.have)
        outbox.has(held)
        news = outbox.wait(request.n, held, request.registry < office.registry.version)
        await until(office.clock, now.mono + min(request.timeout_s, office.interval_s()), news)
        return await self._poll_reply(request, outbox, held)

    async def _poll_reply(self, request: PollRequest, outbox: Outbox, held: set[int]) -> PollReply:
        office = self._office
        reply = PollReply.model_construct(
            n=request.n,
            epoch=office.identity.epoch,
            register_again=False,
            leases=[],
            stops=[],
            registry=office.registry.version,
            interval_s=office.interval_s(),
            version=office.commit.version,
            draining=False,
        )
        if outbox.poll_n != request.n:
            return reply  # a newer poll took over: this one hands out nothing
        await self._take_back(request, outbox, held)
        # What the outbox holds is on disk, and no more of it is told: no need for quiet memory.
        node = office.state.node(request.node_id)
        if node is None:
            return PollReply(n=request.n, epoch=office.identity.epoch, register_again=True)
        leases = [node.leases[t] for t in list(outbox.leases)[:MESSAGE_ITEMS_MAX] if t in node.leases]
        messages = await self._messages(leases)
        if outbox.poll_n != request.n:
            return reply
        stops = [StopMessage(token=t, why=w) for t, w in outbox.stops.items() if t in held]
        outbox.told.update(stop.token for stop in stops)
        held_by_owner = node.held_reason is not None
        news = {"leases": messages, "stops": stops, "draining": held_by_owner, "slots": node.slots}
        return reply.model_copy(update=news)

    async def _take_back(self, request: PollRequest, outbox: Outbox, held: set[int]) -> None:
        """End leases that are to be stopped and never arrived.

        The agent answered every earlier poll's reply, or dropped it, before it said what it has; this poll's reply has
        not been sent. So what it does not have it will never have.
        """
        never = [t for t in outbox.stops if t in outbox.leases and t not in held]
        if not never:
            return
        now = self._office.clock.now().wall
        error = {"kind": "released", "message": "never reached its agent"}

        def take_back(turn: Turn) -> None:
            for token in never:
                word = OutcomeMessage(
                    token=token, outcome=Outcome.RELEASED, started_at=0.0, ended_at=now, run_s=0.0, error=error
                )
                turn.apply(_ended(word, request.node_id, request.incarnation))

        await self._office.commit.run(take_back)

    async def _messages(self, leases: list[LeaseRecord]) -> list[LeaseMessage]:
        office = self._office
        cold = [x.task_id for x in leases if office.params.get(x.task_id) is None]
        read = await office.store.read(lambda conn: lookups.payloads(conn, cold)) if cold else {}
        messages: list[LeaseMessage] = []
        size = 0
        for lease in leases:
            task = office.state.task(lease.task_id)
            node = office.state.node(lease.node_id or "")
            if task is None or node is None or lease.needs is None or task.token != lease.token:
                continue  # ended meanwhile; its stop will tell
            payload = office.params.get(lease.task_id)
            if payload is None:
                row = read.get(lease.task_id)
                payload = (row.parameters or "{}", row.timeout) if row else ("{}", None)
            size += len(payload[0])
            if messages and size > MESSAGE_BYTES_MAX:
                break
            messages.append(
                LeaseMessage(
                    token=lease.token,
                    task_id=lease.task_id,
                    attempt=lease.attempt,
                    skill=lease.needs.runs,
                    revision=lease.needs.revision or node.offers.get(lease.needs.runs),
                    params=payload[0],
                    timeout_s=None if task.daemon else payload[1],
                    deadline=task.deadline,
                    resources=lease.needs.resources.to_units(),
                    urgent=lease.needs.urgent,
                    rank=lease.rank,
                    alone=task.lost > 0,
                    mean_run_s=task.shape.mean_run_s if task.shape else None,
                )
            )
        return messages

    async def report(self, request: ReportRequest) -> ReportReply:
        """Outcomes, then starts, in one transaction; repeats are harmless."""
        office = self._office
        outbox = office.outboxes.get(request.node_id)
        if outbox is None or outbox.incarnation != request.incarnation:
            return ReportReply(register_again=True)
        now = office.clock.now()
        node = office.state.node(request.node_id)
        if node is not None and node.status is not NodeStatus.OFFLINE:
            office.state.observe(request.node_id, node.cpu_usage, node.memory_usage, node.disk_usage, now)
        self._note_progress(request)
        outbox.has([s.token for s in request.starts])
        accepted, stale = await office.commit.run(lambda turn: self._report(turn, request))
        for token in (*accepted, *stale):
            outbox.forget(token)
        return ReportReply.model_construct(
            register_again=False, accepted=accepted, stale=stale, version=office.commit.version
        )

    def _report(self, turn: Turn, request: ReportRequest) -> tuple[list[int], list[int]]:
        accepted: list[int] = []
        stale: list[int] = []
        leases = turn.state.leases
        for outcome in request.outcomes:
            lease = leases.get(outcome.token)
            effects = turn.apply(_ended(outcome, request.node_id, request.incarnation))
            if lease is None or fx.refusal(effects) is not None:
                stale.append(outcome.token)
                continue
            accepted.append(outcome.token)
            if lease.needs is not None and outcome.outcome is Outcome.COMPLETED:
                turn.state.observe_run(lease.needs, outcome.run_s)
        over = {o.token for o in request.outcomes}  # an outcome carries its own start
        for start in request.starts:
            if start.token in over:
                continue
            turn.apply(ev.AttemptStarted(start.token, request.node_id, request.incarnation, start.at))
        if accepted:
            turn.apply(ev.NodeRefilled(request.node_id))
        return accepted, stale

    def _note_progress(self, request: ReportRequest) -> None:
        for one in request.progress:
            lease = self._office.state.leases.get(one.token)
            live = lease is not None and lease.node_id == request.node_id and lease.task_id in self._office.state.tasks
            if lease is not None and live:
                self._office.progress[lease.task_id] = {"done": one.done, "total": one.total, "text": one.text}

    async def offers(self, request: OffersRequest) -> dict[str, Any]:
        """What a node can run changed."""
        office = self._office
        outbox = office.outboxes.get(request.node_id)
        if outbox is None or outbox.incarnation != request.incarnation:
            return {"register_again": True}

        def change(turn: Turn) -> None:
            note_found(office, turn, request.manifests)
            doc = office.ledger.node_docs.get(request.node_id, NodeDoc())
            offers = self._offered(request.offers)
            node = turn.state.node(request.node_id)
            withheld = _withheld(request.offers)
            if node is None or (node.offers == offers and doc.withheld == withheld):
                return
            changed = doc.with_withheld(withheld)
            turn.apply(ev.NodeEdited(request.node_id, None, None, offers, None, None, changed))

        await office.commit.run(change)
        return {"register_again": False}

    def _offered(self, offers: list[Offer]) -> dict[str, str]:
        """What a node may be leased: not the old revision of a function, which it may have said before it heard."""
        newest = self._office.registry.newest
        return {
            o.name: o.revision
            for o in offers
            if o.reason is None
            and ((m := newest.get(o.name)) is None or m.kind is not SkillKind.PYTHON or m.revision == o.revision)
        }

    async def node_gone(self, request: NodeGoneRequest) -> dict[str, Any]:
        """Ray says that a machine is dead, or its agent says goodbye: its leases end now, not at their TTL."""
        office = self._office
        node = office.state.node(request.node_id)
        if node is None:
            raise NotFound(f"no node {request.node_id!r}", field="node_id")
        if request.incarnation is not None and node.incarnation != request.incarnation:
            return {"gone": False}
        # An agent that says goodbye names its incarnation; whoever finds it gone cannot.
        blame = Fault.AGENT if request.incarnation is None else None
        await office.commit.run(lambda turn: turn.apply(ev.NodeSilenced(request.node_id, request.reason, blame)))
        self._owners.pop(request.node_id, None)
        return {"gone": True}


def _ended(said: OutcomeMessage, node_id: str, incarnation: int) -> ev.AttemptEnded:
    evidence = (said.exit_status, said.signal, said.peak_memory, said.log_tail)
    return ev.AttemptEnded(
        said.token, node_id, incarnation, said.outcome, said.started_at, said.ended_at, said.run_s, said.permanent,
        said.node_caused, said.result, said.error, evidence,
    )  # fmt: skip


def _doc(request: RegisterRequest, wall: float) -> NodeDoc:
    machine = request.machine
    return NodeDoc(
        hostname=machine.hostname,
        platform=machine.platform,
        arch=machine.arch,
        ip_address=machine.ip_address,
        tailscale_ip=machine.tailscale_ip,
        port=machine.port,
        registered_at=iso(wall),
        gpus=dumps(machine.gpus),
        withheld=_withheld(request.offers),
        agent_process=request.agent,
        declared=dumps({"slots": request.slots, "tags": sorted(request.tags)}),
    )


def _withheld(offers: list[Offer]) -> str:
    return dumps({o.name: o.reason for o in offers if o.reason is not None})
