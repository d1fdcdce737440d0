"""The dispatcher: what the Scheduler actor holds. It watches, plans with the pure core, and proposes.

It owns nothing: all it knows comes from one snapshot and the changes after it, so killing it loses no task and assigns
none twice.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Any

from openclaw_ray.clock import Clock
from openclaw_ray.config import Settings
from openclaw_ray.core.events import PlanRow
from openclaw_ray.core.placement import STRATEGIES, Candidate, Demand, Planner, Strategy
from openclaw_ray.core.records import Needs
from openclaw_ray.core.resources import Resources, Room
from openclaw_ray.errors import InvalidRequest, OpenClawError
from openclaw_ray.logs import get_logger
from openclaw_ray.metrics import Meter
from openclaw_ray.protocol import (
    AssignReply,
    AssignRequest,
    NodeView,
    PlanRowMessage,
    ShapeView,
    WatchReply,
    WatchRequest,
)
from openclaw_ray.runtime.link import Link

log = get_logger(__name__)

#: A watch is answered at the latest after this (seconds), so that /metrics stays fresh.
WATCH_S = 5.0
#: How long news may gather while nothing waits for a node (seconds): a lone task that is leased with its submit would
#: otherwise wake the scheduler three times for nothing.
GATHER_S = 0.25
#: Pause after a call that was not answered (seconds).
RETRY_S = 0.5


def load_strategy(name: str) -> Strategy:
    """A strategy by its name, or by the import path ``module:function`` of a user's own.

    Raises:
        InvalidRequest: no such strategy.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    try:
        module, _, function = name.partition(":")
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not callable(found):
        raise InvalidRequest(
            f"unknown strategy {name!r}", field="strategy", limit=", ".join(STRATEGIES) + ", or module:function"
        )
    strategy: Strategy = found
    return strategy


class Dispatcher:
    """Watch, plan, assign, again."""

    def __init__(self, settings: Settings, link: Link, clock: Clock) -> None:
        self._settings = settings
        self._link = link
        self._clock = clock
        self.strategy = settings.strategy
        self.planner = Planner(load_strategy(settings.strategy), prefill_ms=settings.prefill_ms)
        self.meter = Meter()
        self._epoch = 0
        self._cursor = 0
        #: Newest totals of the coordinator, for /metrics.
        self.totals: dict[str, Any] = {}
        #: Told when they are new.
        self.on_totals: Callable[[], None] = lambda: None
        self.last_pass_at = 0.0
        self.passes = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="dispatcher")

    async def stop(self) -> None:
        """End, and wait for the end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def set_strategy(self, name: str) -> str:
        """Use another strategy from the next pass on; answers the one before.

        Raises:
            InvalidRequest: no such strategy.
        """
        before = self.strategy
        self.planner.strategy = load_strategy(name)
        self.strategy = name
        return before

    def status(self) -> dict[str, Any]:
        """What it knows and does, as plain JSON."""
        return {
            "strategy": self.strategy,
            "epoch": self._epoch,
            "cursor": self._cursor,
            "nodes": len(self.planner.nodes),
            "shapes": len(self.planner.shapes),
            "waiting": sum(d.waiting for d in self.planner.shapes.values()),
            "passes": self.passes,
            "last_pass_at": self.last_pass_at,
        }

    async def _run(self) -> None:
        while True:
            try:
                await self.round()
            except OpenClawError as error:
                log.warning("round failed", error=str(error), code=error.code)
                self._forget()
                await self._clock.sleep_until(self._clock.now().mono + RETRY_S)
            except Exception:  # a bug in a user's strategy, say, must not end scheduling
                log.exception("round failed")
                self._forget()
                await self._clock.sleep_until(self._clock.now().mono + RETRY_S)

    def _forget(self) -> None:
        """Read everything anew: what was counted as taken by a plan that got lost is free."""
        self._epoch = self._cursor = 0

    async def round(self) -> None:
        """Hear what changed; place what can be placed."""
        request = WatchRequest(
            epoch=self._epoch, cursor=self._cursor, timeout_s=WATCH_S, gather_s=GATHER_S, strategy=self.strategy
        )
        reply = await self._link.ask("watch", request, WatchReply, WATCH_S + 10)
        self._learn(reply)
        if reply.more:
            return
        started = self._clock.now()
        recalls = self.planner.recalls(started.wall)
        rows = self.planner.plan()
        self.passes += 1
        self.last_pass_at = started.wall
        self.meter.observe("scheduler_pass_seconds", (), self._clock.now().mono - started.mono)
        if rows or recalls:
            await self._assign(rows + self.planner.standing(rows), recalls)

    async def change_strategy(self, name: str) -> str:
        """`set_strategy`, and standing orders that were given under the one before hold no more.

        Raises:
            InvalidRequest: no such strategy.
            OpenClawError: the coordinator cannot be told now; the new strategy is in force all the same.
        """
        before = self.set_strategy(name)
        await self._assign([], [], void=True)
        return before

    async def _assign(self, rows: list[PlanRow], recalls: list[PlanRow], *, void: bool = False) -> None:
        request = AssignRequest.model_construct(
            epoch=self._epoch,
            cursor=self._cursor,
            rows=_messages(rows),
            recalls=_messages(recalls),
            void=void,
        )
        await self._link.ask("assign", request, AssignReply, 30.0)

    def _learn(self, reply: WatchReply) -> None:
        planner = self.planner
        if reply.epoch != self._epoch:
            # Another start of the coordinator: its numbers mean something else.
            planner.nodes.clear()
            planner.shapes.clear()
        self._epoch, self._cursor = reply.epoch, reply.cursor
        for node_id in reply.gone_nodes:
            planner.drop_node(node_id)
        for shape_id in reply.gone_shapes:
            planner.drop_shape(shape_id)
        for node in reply.nodes:
            planner.put_node(_candidate(node))
        for shape in reply.shapes:
            self._name_strategy(shape.strategy)
            planner.put_shape(_demand(shape))
        if reply.totals is not None:
            self.totals = reply.totals
            self.on_totals()

    def _name_strategy(self, name: str | None) -> None:
        if name is None or name in self.planner.named:
            return
        try:
            self.planner.named[name] = load_strategy(name)
        except InvalidRequest as error:
            log.warning("task names an unknown strategy; the cluster's is used", error=str(error))
            self.planner.named[name] = self.planner.strategy


def _messages(rows: list[PlanRow]) -> list[PlanRowMessage]:
    return [
        PlanRowMessage.model_construct(
            shape=r.shape_id,
            node=r.node_id,
            seated=r.seated,
            prefill=r.prefill,
            credit=r.credit,
            expires_s=r.expires_s,
            level=r.level,
        )
        for r in rows
    ]


def _candidate(view: NodeView) -> Candidate:
    room = Room(Resources.from_units(view.total))
    room.used = dict(view.used)
    return Candidate(
        id=view.id,
        accepts=view.accepts,
        slots=view.slots,
        seats=view.seats,
        room=room,
        skills=frozenset(view.offers),
        tags=frozenset(view.tags),
        revisions=view.offers,
        prefilled=view.prefilled,
        backlog_s=view.backlog_s,
        queued=dict(view.queued),
        queued_since=view.queued_since,
        cpu_usage=view.cpu_usage,
        memory_usage=view.memory_usage,
    )


def _demand(view: ShapeView) -> Demand:
    needs = Needs(
        runs=view.runs,
        skills=tuple(view.skills),
        optional=tuple(view.optional),
        resources=Resources.from_units(view.resources),
        tags=tuple(view.tags),
        affinity=tuple(view.affinity),
        strategy=view.strategy,
        revision=view.revision,
        urgent=view.urgent,
    )
    return Demand(
        id=view.id,
        needs=needs,
        waiting=view.waiting,
        head_rank=view.head_rank,
        tail_rank=view.tail_rank,
        mean_run_s=view.mean_run_s,
    )
