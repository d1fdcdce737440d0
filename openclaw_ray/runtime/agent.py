"""The agent of one node: it registers, pulls leases, reports outcomes, and knows when to stop by itself.

Calls may be lost or doubled; every one is repeated until it is answered. The poll carries what this node has, so the
coordinator can tell what never arrived; an outcome stays here, and on this node's disk, until it was judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from openclaw_ray.clock import Clock
from openclaw_ray.config import Settings
from openclaw_ray.core.limits import MESSAGE_BYTES_MAX, MESSAGE_ITEMS_MAX
from openclaw_ray.errors import Conflict, OpenClawError, StateRolledBack, VersionMismatch
from openclaw_ray.logs import get_logger
from openclaw_ray.models.fields import units_of
from openclaw_ray.models.ids import new_name
from openclaw_ray.models.node import Machine, Usage
from openclaw_ray.protocol import (
    NodeGoneRequest,
    OffersRequest,
    OutcomeMessage,
    PollReply,
    PollRequest,
    RegisterReply,
    RegisterRequest,
    ReportReply,
    ReportRequest,
    StartMessage,
)
from openclaw_ray.runtime.attempts import Attempt
from openclaw_ray.runtime.link import Link, repeatable
from openclaw_ray.runtime.ports import ExecutorFactory
from openclaw_ray.runtime.skillset import Skillset
from openclaw_ray.runtime.spool import Spool
from openclaw_ray.runtime.workbench import Workbench
from openclaw_ray.skills.processes import leftovers

log = get_logger(__name__)

#: Deadline of a call beside its own waiting time (seconds).
CALL_S = 10.0
#: Pause before a call is repeated (seconds).
RETRY_S = 0.5
#: Outcomes of one report, and how many reports may be under way: while one is committed the next is read, and another
#: encoded. A report beside others is worth its call from `AHEAD_MIN` outcomes on.
REPORT_ITEMS, REPORTS_MAX, AHEAD_MIN = 500, 4, 200
#: How often skill folders are read again (seconds).
SCAN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Report:
    """A report under way."""

    reply: asyncio.Task[ReportReply]
    starts: list[StartMessage]
    tokens: set[int]


class _MustEnd(Exception):
    """The agent may not go on. None of our errors, so that no loop takes it for a call to be repeated."""

    def __init__(self, reason: OpenClawError) -> None:
        super().__init__(reason)
        self.reason = reason


class NodeAgent:
    """One node's agent. `run` returns when it must not go on (another agent owns the id, the cluster is another)."""

    def __init__(
        self,
        *,
        node_id: str,
        settings: Settings,
        folder: Path,
        machine: Machine,
        slots: int,
        tags: frozenset[str],
        skill_roots: tuple[Path, ...],
        link: Link,
        factory: ExecutorFactory,
        clock: Clock,
        measure: Callable[[int], Usage],
    ) -> None:
        self.node_id = node_id
        self._settings = settings
        self._folder = folder
        self._machine = machine
        self._slots = slots
        self._tags = tags
        self._link = link
        self._clock = clock
        self._measure = measure
        self._name = new_name("agent")
        self._skillset = Skillset(skill_roots, folder, tags, machine.capacity)
        self._spool = Spool(folder / "spool.jsonl")
        self._bench = Workbench(
            slots=slots,
            capacity=units_of(machine.capacity),
            skillset=self._skillset,
            factory=factory,
            folder=folder,
            clock=clock,
            kill_grace_s=settings.kill_grace_s,
            default_timeout_s=None,
            on_news=self._note_news,
        )
        self._news = asyncio.Event()
        self._registered = asyncio.Event()
        self._registering = asyncio.Lock()
        self._gone = asyncio.Event()
        self._incarnation = 0
        self._epoch = 0
        self._poll_n = 0
        self._register_n = 0
        self._cluster_id: str | None = None
        self._newest_version = 0
        self._interval_s = settings.heartbeat_s
        self._ttl_s = settings.lease_ttl_s
        self._contact = clock.now().mono
        self._cut_off = False
        self._stopping = False
        self._usage = Usage()

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until stopped, or until this agent may not go on."""
        await asyncio.to_thread(clear_scratch, self._folder / "scratch")
        await self._skillset.scan()
        loops = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("poll", self._poll_loop()),
                ("report", self._report_loop()),
                ("scan", self._scan_loop()),
                ("watch", self._watch_contact()),
            )
        ]
        try:
            await self._register()
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except _MustEnd as end:
            raise end.reason from None
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._bench.close()

    async def stop(self, reason: str) -> None:
        """Hand back what has not started, kill what runs, report, say goodbye."""
        self._stopping = True
        self._bench.stop_all("recall")
        self._bench.stop_all("stopped")
        await self._bench.close()
        try:
            await self._report_all()
            gone = NodeGoneRequest(node_id=self.node_id, reason=reason, incarnation=self._incarnation)
            await self._link.plain("node_gone", gone.model_dump(), 5.0)
        except OpenClawError as error:
            log.warning("no goodbye", error=str(error), node_id=self.node_id)
        finally:
            self._gone.set()

    def status(self) -> dict[str, Any]:
        """What it holds, as plain JSON."""
        shelf = self._bench.shelf
        return {
            "node_id": self.node_id,
            "incarnation": self._incarnation,
            "epoch": self._epoch,
            "wall": self._clock.now().wall,
            "slots": self._slots,
            "seats": self._bench.seats,
            "waiting": len(shelf.waiting),
            "running": [a.lease.task_id for a in shelf.running.values()],
            "unreported": len(shelf.ended),
            "offers": {o.name: o.revision for o in self._skillset.offers if o.reason is None},
            "withheld": {o.name: o.reason for o in self._skillset.offers if o.reason is not None},
            "rejected": self._skillset.rejected,
        }

    def usage(self) -> Usage:
        """The last measurement."""
        return self._usage

    @property
    def machine(self) -> Machine:
        """What this machine is."""
        return self._machine

    # -- registration ----------------------------------------------------------------------------------------------

    async def _register(self) -> None:
        """Take over the node id; repeated until it is answered."""
        if self._registering.locked():  # another loop is at it: its answer is ours
            async with self._registering:
                return
        async with self._registering:
            self._registered.clear()
            self._poll_n += 1  # a reply that is on its way was meant for the registration before
            self._registered_as(await self._registration_answered())

    async def _registration_answered(self) -> RegisterReply:
        while True:
            try:
                return await self._link.ask("register", self._registration(), RegisterReply, CALL_S)
            except OpenClawError as error:
                if _final(error):
                    raise _MustEnd(error) from None
                if self._stopping:
                    raise
                log.warning("not registered", error=str(error), node_id=self.node_id)
                await self._clock.sleep_until(self._clock.now().mono + RETRY_S)

    def _registered_as(self, reply: RegisterReply) -> None:
        self._heard()
        self._incarnation, self._epoch = reply.incarnation, reply.epoch
        self._cluster_id, self._interval_s, self._ttl_s = reply.cluster_id, reply.interval_s, reply.ttl_s
        self._newest_version = max(self._newest_version, reply.version)
        self._settle(reply.settled)
        for token in reply.stops:
            self._bench.stop(token, "stale")
        self._registered.set()
        self._note_news()
        log.info("registered", node_id=self.node_id, incarnation=self._incarnation, epoch=self._epoch)

    def _registration(self) -> RegisterRequest:
        unjudged = {o.token: o for o in self._spool.outcomes} | self._bench.shelf.ended
        self._register_n += 1
        return RegisterRequest(
            node_id=self.node_id,
            agent=self._name,
            n=self._register_n,
            cluster_id=self._cluster_id,
            newest_version=self._newest_version,
            slots=self._slots,
            tags=sorted(self._tags),
            machine=self._machine,
            usage=self._measured(),
            offers=self._skillset.offers,
            manifests=self._skillset.found,
            outcomes=list(unjudged.values()),
            holds=self._bench.shelf.live(),
        )

    def _measured(self) -> Usage:
        self._usage = self._measure(self._bench.seats)
        return self._usage

    def _heard(self) -> None:
        self._contact = self._clock.now().mono
        self._cut_off = False

    # -- poll ------------------------------------------------------------------------------------------------------

    async def _poll_loop(self) -> None:
        while True:
            await self._registered.wait()
            if self._stopping:  # a poll after the goodbye would register again
                await self._gone.wait()
                return
            try:
                await self._poll()
            except OpenClawError as error:
                log.debug("poll failed", error=str(error), node_id=self.node_id)
                await self._clock.sleep_until(self._clock.now().mono + RETRY_S)

    async def _poll(self) -> None:
        self._poll_n += 1
        request = PollRequest.model_construct(
            node_id=self.node_id,
            incarnation=self._incarnation,
            n=self._poll_n,
            have=self._bench.shelf.have(),
            usage=self._measured(),
            registry=self._skillset.registry,
            timeout_s=self._interval_s,
        )
        reply = await self._link.ask("poll", request, PollReply, self._interval_s + CALL_S)
        self._heard()
        if reply.register_again:
            await self._register()
            return
        if reply.n != self._poll_n or reply.epoch != self._epoch or self._stopping:
            return
        self._interval_s = reply.interval_s
        self._newest_version = max(self._newest_version, reply.version)
        if reply.registry != self._skillset.registry and await self._skillset.refresh(self._link, CALL_S):
            await self._tell_offers()
            if reply.n != self._poll_n:
                return  # registered again meanwhile
        if reply.slots is not None:
            self._slots = self._bench.slots = reply.slots
        for stop in reply.stops:
            self._bench.stop(stop.token, stop.why)
        self._bench.accept([Attempt(lease) for lease in reply.leases])
        await asyncio.sleep(0)  # what was accepted is handed to its executor before the next poll is made

    async def _tell_offers(self) -> None:
        request = OffersRequest(
            node_id=self.node_id,
            incarnation=self._incarnation,
            offers=self._skillset.offers,
            manifests=self._skillset.found,
        )
        answer = await self._link.plain("offers", request.model_dump(mode="json"), CALL_S)
        if answer.get("register_again"):
            await self._register()

    async def _scan_loop(self) -> None:
        """Folders are looked at again and again; a skill that came or went is told at once."""
        while True:
            await self._clock.sleep_until(self._clock.now().mono + SCAN_S)
            self._bench.end_idle()
            try:
                changed = await self._skillset.scan()
                changed = await self._skillset.fetch(self._link, CALL_S) or changed
                if changed and self._registered.is_set():
                    await self._tell_offers()
            except OpenClawError as error:
                log.debug("offers not told", error=str(error), node_id=self.node_id)

    async def _watch_contact(self) -> None:
        """Without contact for long, work is stopped: by then somebody else has been given it."""
        while True:
            limit_s = max(self._settings.offline_work_s, 2 * self._ttl_s)
            await self._clock.sleep_until(self._contact + limit_s)
            if self._clock.now().mono >= self._contact + limit_s and not self._cut_off:
                self._cut_off = True
                log.warning("out of contact, stopping all work", seconds=limit_s, node_id=self.node_id)
                self._bench.stop_all("out of contact")
            if self._cut_off:
                await self._clock.sleep_until(self._clock.now().mono + limit_s)

    # -- report ----------------------------------------------------------------------------------------------------

    def _note_news(self) -> None:
        self._news.set()

    async def _report_loop(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._registered.wait()
            try:
                await self._report_all()
            except OpenClawError as error:
                log.debug("report failed", error=str(error), node_id=self.node_id)
                self._news.set()
                await self._clock.sleep_until(self._clock.now().mono + RETRY_S)

    async def _report_all(self) -> None:
        """Everything that there is to say, in as few calls as its size allows, some of them under way at once."""
        under_way: deque[_Report] = deque()
        try:
            while self._send_next(under_way) or under_way:
                await asyncio.sleep(0)
                self._spool.append()
                first = under_way[0]
                if not first.reply.done() and len(under_way) < REPORTS_MAX:
                    await self._reply_or_news(first)
                    continue
                reply = await first.reply
                under_way.popleft()
                self._heard()
                if reply.register_again:
                    await self._register()
                    return
                self._newest_version = max(self._newest_version, reply.version)
                self._settle([*reply.accepted, *reply.stale])
        finally:
            for report in under_way:  # what it told is told again: nobody knows whether it was heard
                report.reply.cancel()
                self._bench.starts = report.starts + self._bench.starts
            await asyncio.gather(*(report.reply for report in under_way), return_exceptions=True)

    async def _reply_or_news(self, report: _Report) -> None:
        self._news.clear()
        news = asyncio.create_task(self._news.wait(), name="report-news")
        try:
            await asyncio.wait({report.reply, news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()

    def _send_next(self, under_way: deque[_Report]) -> bool:
        """Send a report if there is something to say and nothing speaks against another one."""
        bench = self._bench
        sent = {token for report in under_way for token in report.tokens}
        if under_way:
            # Starts must not overtake each other, nor an end its start; and a small report is not worth a call.
            starts_under_way = any(report.starts for report in under_way)
            few = len(bench.shelf.ended) - len(sent) < AHEAD_MIN
            if len(under_way) >= REPORTS_MAX or starts_under_way or few:
                return False
        elif not (bench.shelf.ended or bench.starts or bench.progress):
            return False
        outcomes = self._next_outcomes(sent)
        starts, bench.starts = bench.starts[:MESSAGE_ITEMS_MAX], bench.starts[MESSAGE_ITEMS_MAX:]
        progress, bench.progress = list(bench.progress.values())[:MESSAGE_ITEMS_MAX], {}
        rest = ReportRequest.model_construct(
            node_id=self.node_id, incarnation=self._incarnation, starts=starts, progress=progress
        )
        # The outcomes as they stand in the spool: encoded once. They are written there off the way of the report.
        texts = ",".join(self._spool.texts(outcomes))
        body = f'{rest.model_dump_json(exclude={"outcomes"})[:-1]},"outcomes":[{texts}]}}'
        asking = asyncio.create_task(self._link.ask("report", body, ReportReply, CALL_S), name="report")
        under_way.append(_Report(asking, starts, {o.token for o in outcomes}))
        return True

    def _next_outcomes(self, sent: set[int]) -> list[OutcomeMessage]:
        picked: list[OutcomeMessage] = []
        size = 0
        for outcome in self._bench.shelf.ended.values():
            if outcome.token in sent:
                continue
            size += len(outcome.result or "") + len(outcome.log_tail or "") + 400
            if picked and (len(picked) >= REPORT_ITEMS or size > MESSAGE_BYTES_MAX // 2):
                break
            picked.append(outcome)
        return picked

    def _settle(self, tokens: list[int]) -> None:
        self._spool.settle(tokens)
        for token in tokens:
            self._bench.shelf.forget(token)


def _final(error: OpenClawError) -> bool:
    """Whether a refused registration stays refused; that another agent owns the id passes when it is gone."""
    if isinstance(error, VersionMismatch | StateRolledBack):
        return True
    if isinstance(error, Conflict):
        return error.field == "cluster_id"
    return not repeatable(error)


def clear_scratch(scratch: Path) -> None:
    """End what an agent before this one left running (I31), and begin with an empty folder."""
    strays = leftovers(scratch)
    for stray in strays:
        with contextlib.suppress(psutil.Error):
            stray.kill()
    psutil.wait_procs(strays, timeout=5)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700, parents=True)
