"""What the desks of the coordinator share: the state, the writer, the store, and those who wait."""

from __future__ import annotations

from dataclasses import dataclass, field

from openclaw_ray.clock import Clock
from openclaw_ray.config import Settings
from openclaw_ray.core.records import NodeRecord
from openclaw_ray.core.state import ClusterState
from openclaw_ray.metrics import Meter
from openclaw_ray.models.skill import SkillManifest
from openclaw_ray.protocol import EndedTask
from openclaw_ray.runtime.commit import GroupCommit
from openclaw_ray.runtime.feed import Feed
from openclaw_ray.runtime.ledger import Ledger
from openclaw_ray.runtime.outbox import Outbox
from openclaw_ray.runtime.params import ParamsCache
from openclaw_ray.runtime.ports import Store
from openclaw_ray.runtime.recovery import Recovery
from openclaw_ray.runtime.sessions import Sessions
from openclaw_ray.storage.lookups import Ended


@dataclass(slots=True)
class Identity:
    """Which cluster, which start of it, and since when."""

    cluster_id: str
    #: Number of this start on this database.
    epoch: int
    started_at: float
    #: Live tasks found at the start.
    live_at_start: int = 0


@dataclass(slots=True)
class Registry:
    """The registered skills: newest revision of each name in memory, the rest on disk."""

    #: Grows with every registration.
    version: int = 0
    newest: dict[str, SkillManifest] = field(default_factory=dict)
    #: Registry version at which a name was last registered.
    changed: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Office:
    """Everything that a desk works with."""

    settings: Settings
    clock: Clock
    identity: Identity
    state: ClusterState
    store: Store
    ledger: Ledger
    commit: GroupCommit
    feed: Feed
    sessions: Sessions
    outboxes: dict[str, Outbox]
    params: ParamsCache
    registry: Registry
    meter: Meter
    #: What this start cost.
    recovery: Recovery = field(default_factory=Recovery)
    #: Wall time of the scheduler's last call, and the strategy it says is in force.
    scheduler_seen: float = 0.0
    strategy: str = ""
    #: Sizes of the database and its WAL, looked at now and then.
    file_sizes: dict[str, int] = field(default_factory=dict)
    #: Last progress of running attempts, by task id: an observation.
    progress: dict[str, dict[str, object]] = field(default_factory=dict)

    def interval_s(self) -> float:
        """How often an agent polls: together they stay near 50 calls a second."""
        return max(self.settings.heartbeat_s, len(self.state.nodes) / 50)

    def ttl_s(self) -> float:
        """How long a lease lives without a sign of its node."""
        grown = self.interval_s() > self.settings.heartbeat_s
        return max(self.settings.lease_ttl_s, 5 * self.interval_s() + 5) if grown else self.settings.lease_ttl_s

    def follow_size(self) -> None:
        """The core's lease time follows the number of nodes, as the agents' interval does."""
        if self.state.rules.lease_ttl_s != self.ttl_s():
            self.state.rules = self.state.rules._replace(lease_ttl_s=self.ttl_s())

    def silent_s(self, node: NodeRecord) -> float:
        """How long nothing was heard of a watched node, by the clock that leases use: a wall clock may jump."""
        return max(0.0, self.clock.now().mono + self.state.rules.lease_ttl_s - node.silent_at)

    def scheduler_alive(self) -> bool:
        """Whether a scheduler watches now, or did within the last seconds."""
        return self.feed.watched or self.clock.now().wall - self.scheduler_seen < 3.0


def ended_task(row: Ended) -> EndedTask:
    """An `Ended` row as the client gets it."""
    return EndedTask(
        task_id=row.task_id,
        status=row.status,
        result=row.result,
        error=row.error,
        attempt=row.attempt,
        retries=row.retry_count,
        lost=row.lost_count,
        node_id=row.assigned_node,
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
    )
