"""The cluster as a whole: identity, state, synchronisation, backup."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from openclaw_ray import protocol
from openclaw_ray.core.limits import PAGE_MAX, PATH_LEN_MAX
from openclaw_ray.core.state import ClusterState
from openclaw_ray.core.types import LIVE_STATES
from openclaw_ray.errors import InvalidRequest, OpenClawError
from openclaw_ray.models.door import parse, quoted
from openclaw_ray.models.fields import iso
from openclaw_ray.runtime.context import Office
from openclaw_ray.runtime.node_desk import NodeDesk
from openclaw_ray.runtime.plan_desk import totals
from openclaw_ray.runtime.ports import KeptStore
from openclaw_ray.runtime.query_desk import QueryDesk
from openclaw_ray.runtime.restore import differences, rebuild


class AdminDesk:
    """Serves operators."""

    def __init__(self, office: Office, store: KeptStore) -> None:
        self._office = office
        self._store = store
        self._nodes = NodeDesk(office)
        self._queries = QueryDesk(office)

    async def hello(self) -> dict[str, Any]:
        """Which cluster this is, and which protocol it speaks; the first call of every client."""
        identity = self._office.identity
        return {
            "protocol": protocol.PROTOCOL_VERSION,
            "cluster_id": identity.cluster_id,
            "epoch": identity.epoch,
            "started_at": iso(identity.started_at),
            "live_at_start": identity.live_at_start,
            # Since this start: attempts run again because of it, and those whose node has not come back yet.
            "rerun": self._office.recovery.rerun,
            "unheard": self._office.recovery.unheard,
            "version": self._office.commit.version,
            "namespace": self._office.settings.namespace,
        }

    async def get_state(self, tasks: bool = False, before: int | None = None) -> dict[str, Any]:
        """Version, statistics, nodes and counts of live tasks; with `tasks` a page of 1,000 of them as well."""
        found = {
            **await self.hello(),
            "tasks": await self._queries.get_task_stats(),
            "node_stats": await self._nodes.get_node_stats(),
            "nodes": await self._nodes.get_all_nodes(),
            "scheduler": {"alive": self._office.scheduler_alive(), "strategy": self._office.strategy},
        }
        found["version"] = self._office.commit.version
        if tasks:
            live = [s.value for s in LIVE_STATES]
            query = parse(protocol.TaskQuery, {"states": live, "limit": PAGE_MAX, "before": before})
            page = await self._queries.tasks(query)
            found["live_tasks"], found["next"] = page["tasks"], page["next"]
        return found

    async def sync_to_database(self) -> int:
        """Wait until everything accepted is committed, empty the WAL into the file; answers the version."""
        await self._office.commit.run(lambda turn: None)
        version = self._office.commit.version
        await self._store.checkpoint()
        return version

    async def refresh_from_database(self) -> dict[str, Any]:
        """Build the state from disk beside the live one and take it over; reports what differed (nothing should)."""
        office = self._office

        async with office.commit.paused():
            loaded = await self._store.load()
            fresh = ClusterState(office.state.rules)
            rebuild(fresh, loaded, office.clock.now())
            found = differences(office.state, fresh)
            if found:
                office.state.replace(fresh)
                office.commit.version = fresh.version
                office.feed.reset()
                for outbox in office.outboxes.values():  # agents say again what they hold
                    outbox.supersede()
                office.outboxes.clear()
        return {"version": office.commit.version, "differences": found}

    async def backup(self, to: Any) -> dict[str, Any]:
        """Write a verified copy of the database to `to` (a file, or a folder that gets one named by the time)."""
        if not isinstance(to, str) or not to.strip() or "\0" in to or len(to) > PATH_LEN_MAX:
            raise InvalidRequest(
                f"{quoted(to)} is not a path", field="to", limit=f"text of 1 to {PATH_LEN_MAX:,} characters"
            )
        stamp = iso(self._office.clock.now().wall)[:19].replace(":", "-")
        named = f"{self._office.settings.namespace}-{stamp}.db"
        try:
            target = await asyncio.to_thread(_target, to, named)
        except OSError as error:
            raise InvalidRequest(
                f"{quoted(to)} cannot be used: {error.strerror}", field="to", limit="a file or a folder"
            ) from None
        info = await self._store.backup(target)
        at = iso(self._office.clock.now().wall)
        with contextlib.suppress(OpenClawError):  # the copy is there, whatever the disk says of this word about it
            await self._office.commit.run(lambda turn: turn.ledger.batch.meta.update(last_backup=at))
        return {
            "path": str(info.path),
            "bytes": info.bytes,
            "sha256": info.sha256,
            "schema": info.schema,
            "tasks": info.tasks,
            "integrity": info.integrity,
        }

    async def metrics(self) -> dict[str, Any]:
        """What /metrics shows, for those who come by handle."""
        await self._office.commit.quiet()
        return totals(self._office)

    async def stats(self) -> dict[str, Any]:
        """What this process has done: commits, calls, live tasks; for benchmarks and doctors."""
        found = await self._store.statistics()
        live = {s.value: self._office.state.count(s) for s in LIVE_STATES}
        self._office.file_sizes.update(database_size_bytes=found.file_bytes, wal_size_bytes=found.wal_bytes)
        return {
            "commits": self._office.commit.commits,
            "backlog": self._office.commit.backlog,
            "live": live,
            "shapes": len(self._office.state.shapes),
            "file_bytes": found.file_bytes,
            "wal_bytes": found.wal_bytes,
        }


def _target(to: str, named: str) -> Path:
    path = Path(to)
    found = path / named if to.endswith("/") or path.is_dir() else path
    found.exists()  # raises for a name that no file can have
    return found
