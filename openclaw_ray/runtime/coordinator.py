"""The coordinator: what the StateManager actor holds. It opens the database, puts the desks together, and keeps time.

It never raises at its start and never makes a database by itself: without one it refuses every call with the reason,
until `initialise` or a later `start` succeeds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from openclaw_ray.clock import Clock, SystemClock
from openclaw_ray.config import Settings
from openclaw_ray.core.records import Rules
from openclaw_ray.core.state import ClusterState
from openclaw_ray.errors import OpenClawError, OutcomeUnknown, Unavailable
from openclaw_ray.logs import get_logger
from openclaw_ray.metrics import Meter
from openclaw_ray.models.door import dumps
from openclaw_ray.models.ids import new_name
from openclaw_ray.runtime.admin_desk import AdminDesk
from openclaw_ray.runtime.agent_desk import AgentDesk
from openclaw_ray.runtime.commit import GroupCommit
from openclaw_ray.runtime.context import Identity, Office, Registry
from openclaw_ray.runtime.door import Door, handlers_of
from openclaw_ray.runtime.feed import Feed
from openclaw_ray.runtime.ledger import Ledger
from openclaw_ray.runtime.node_desk import NodeDesk
from openclaw_ray.runtime.params import ParamsCache
from openclaw_ray.runtime.plan_desk import PlanDesk
from openclaw_ray.runtime.ports import KeptStore, OpenStore
from openclaw_ray.runtime.query_desk import QueryDesk
from openclaw_ray.runtime.recovery import Recovery
from openclaw_ray.runtime.registry import SkillDesk
from openclaw_ray.runtime.release import release
from openclaw_ray.runtime.restore import rebuild, restore_ledger, restore_registry
from openclaw_ray.runtime.sessions import Sessions
from openclaw_ray.runtime.task_desk import TaskDesk
from openclaw_ray.runtime.ticker import Ticker
from openclaw_ray.storage.store import SqliteStore

log = get_logger(__name__)

DATABASE = "openclaw.db"


def rules_of(settings: Settings) -> Rules:
    """The settings that the core decides by."""
    return Rules(
        aging_s=settings.aging_s,
        retry_base_s=settings.retry_base_s,
        retry_max_s=settings.retry_max_s,
        retry_jitter=settings.retry_jitter,
        lease_ttl_s=settings.lease_ttl_s,
        waiting_tasks_max=settings.waiting_tasks_max,
        default_max_retries=settings.max_retries,
        default_max_lost=settings.max_lost,
        prefill_ms=settings.prefill_ms,
        quarantine_faults=settings.quarantine_faults,
        quarantine_window_s=settings.quarantine_window_s,
        quarantine_base_s=settings.quarantine_base_s,
        quarantine_max_s=settings.quarantine_max_s,
        quarantine_forgive_s=settings.quarantine_forgive_s,
    )


class Coordinator:
    """One cluster's truth. `call` and `call_json` are its only ways in."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        on_fatal: Callable[[], None] = lambda: os._exit(75),
        open_store: OpenStore | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self._on_fatal = on_fatal
        self._open_store: OpenStore = open_store or SqliteStore.open
        self._refusal: OpenClawError | None = Unavailable("the coordinator is starting", retry_after=1.0)
        self._store: KeptStore | None = None
        self._office: Office | None = None
        self._door: Door | None = None
        self._ticker: Ticker | None = None
        self._starting = asyncio.Lock()
        #: Tries again where a start failed for a reason that passes, such as a full disk.
        self._again: asyncio.Task[None] | None = None

    async def start(self, *, create_for: str | None = None) -> None:
        """Open the database and serve, or live on in a refusing state that says why."""
        async with self._starting:
            if self._refusal is None:
                return
            try:
                path = self.settings.home / DATABASE
                self._store = await self._open_store(path, create_for=create_for)
                await self._open(self._store)
                self._refusal = None
            except OpenClawError as error:
                self._refusal = error
                await self._close()
                # A cluster that `up` has not initialised yet has no database: no reason to wake anybody.
                say = log.info if error.facts.get("problem") == "missing" else log.error
                say("cannot serve", error=str(error), code=error.code)
                if isinstance(error, Unavailable) and error.retry_after is not None:
                    self._again = asyncio.create_task(self._start_again(error.retry_after), name="start-again")
            except Exception as error:  # what the file holds is not what we wrote; the reason must be heard
                log.exception("cannot serve")
                self._refusal = OpenClawError(f"cannot start: {type(error).__name__}: {error}", hint="restore a backup")
                await self._close()

    async def _start_again(self, after_s: float) -> None:
        """Nobody else would: who calls us only hears that we do not serve. A database is not made this way."""
        await self._clock.sleep_until(self._clock.now().mono + after_s)
        await self.start()

    async def _close(self) -> None:
        """End whatever a start has begun."""
        if self._ticker is not None:
            await self._ticker.stop()
        if self._office is not None:
            await self._office.commit.stop()
        if self._store is not None:
            await self._store.close()
        self._store = self._office = self._door = self._ticker = None

    async def initialise(self) -> None:
        """Make the database if this cluster has none yet; `up` sends this once.

        Raises:
            OpenClawError: why it cannot serve.
        """
        path = self.settings.home / DATABASE
        if self._refusal is not None:
            exists = await asyncio.to_thread(path.exists)
            if not exists:
                await asyncio.to_thread(os.makedirs, self.settings.home, 0o700, True)
            await self.start(create_for=None if exists else new_name("cluster"))
        if self._refusal is not None:
            raise self._refusal

    async def _open(self, store: KeptStore) -> None:
        clock = self._clock
        loaded = await store.load()
        now = clock.now()
        state = ClusterState(rules_of(self.settings))
        rebuild(state, loaded, now)
        meter = Meter()
        ledger = Ledger(meter, lambda node, skill: _revision(state, node, skill))
        restore_ledger(ledger, loaded)
        registry = Registry()
        restore_registry(registry, loaded)
        epoch = int(loaded.meta.get("epoch", "0")) + 1
        identity = Identity(loaded.meta["cluster_id"], epoch, now.wall, len(state.tasks))
        commit = GroupCommit(state, store, ledger, clock, self._committed, self._fatal)
        self._office = Office(
            settings=self.settings,
            clock=clock,
            identity=identity,
            state=state,
            store=store,
            ledger=ledger,
            commit=commit,
            feed=Feed(state),
            sessions=Sessions(),
            outboxes={},
            params=ParamsCache(),
            registry=registry,
            meter=meter,
            recovery=Recovery(state.leases.values()),
        )
        office = self._office
        desks = (
            TaskDesk(office), NodeDesk(office), QueryDesk(office), AgentDesk(office), PlanDesk(office),
            SkillDesk(office), AdminDesk(office, store),
        )  # fmt: skip
        self._door = Door(handlers_of(*desks), meter, clock)
        commit.start()
        await commit.run(lambda turn: turn.ledger.batch.meta.update(epoch=str(epoch)))
        office.feed.collect()
        self._ticker = Ticker(office)
        self._ticker.start()
        log.info("serving", epoch=epoch, live=len(state.tasks), version=state.version, nodes=len(state.nodes))

    async def stop(self) -> None:
        """Commit what waits, write a checkpoint, close the database."""
        self._refusal = Unavailable("the coordinator has stopped", retry_after=2.0)
        if self._again is not None:
            self._again.cancel()
            await asyncio.gather(self._again, return_exceptions=True)
        await self._close()

    async def call(self, verb: str, body: object = None) -> Any:
        """Carry out one verb; see `Door.call`."""
        door = self._door
        if self._refusal is not None or door is None:
            raise self._refusal or Unavailable("the coordinator is starting", retry_after=1.0)
        return await door.call(verb, body)

    async def call_json(self, verb: str, body: str) -> str:
        """Carry out one verb in JSON; see `Door.call_json`."""
        door = self._door
        if self._refusal is not None or door is None:
            refusal = self._refusal or Unavailable("the coordinator is starting", retry_after=1.0)
            return dumps({"ok": False, "error": refusal.to_json()})
        return await door.call_json(verb, body)

    @property
    def office(self) -> Office:
        """Everything inside, for tests and simulations."""
        assert self._office is not None
        return self._office

    def _fatal(self, error: OutcomeUnknown) -> None:
        log.error("the disk did not say whether it kept a batch; starting again from disk", error=str(error))
        self._refusal = error
        self._on_fatal()

    def _committed(self, ledger: Ledger) -> None:
        """A batch is on disk: carry out its effects, and look whether a deadline came nearer."""
        self.office.recovery.note(ledger.batch.end_attempts, self.office.outboxes)
        release(self.office, ledger)
        if self._ticker is not None:
            self._ticker.look_again()


def _revision(state: ClusterState, node_id: str, skill: str) -> str | None:
    node = state.node(node_id)
    return node.offers.get(skill) if node is not None else None
