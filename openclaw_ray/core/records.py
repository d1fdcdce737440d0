"""The small mutable records that decisions need. Documents (names, parameters, results) stay on disk.

Only the handlers in this package change them, through `Books`; everybody else gets frozen copies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from openclaw_ray.core.resources import NOTHING, Resources, Room
from openclaw_ray.core.types import NodeStatus, TaskState


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task asks of a node; tasks with equal needs share a shape."""

    #: Skill that runs.
    runs: str
    #: Every skill the node must offer, sorted; `runs` among them.
    skills: tuple[str, ...]
    #: Skills that raise a node's score.
    optional: tuple[str, ...] = ()
    resources: Resources = NOTHING
    #: Tags the node must have.
    tags: tuple[str, ...] = ()
    #: Tags that raise a node's score.
    affinity: tuple[str, ...] = ()
    #: Strategy of this task; None: the cluster's.
    strategy: str | None = None
    #: Exactly this revision of `runs`; None: whatever the node offers.
    revision: str | None = None
    #: Interactive: goes ahead of everything else that a node has not started.
    urgent: bool = False
    #: Worked out once: needs are the key of every look-up of a shape.
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fields = (self.runs, self.skills, self.optional, self.resources, self.tags, self.affinity)
        object.__setattr__(self, "_hash", hash((fields, self.strategy, self.revision, self.urgent)))

    def __hash__(self) -> int:
        return self._hash


class Shape:
    """All live tasks with equal needs, and the queue of those that are ready."""

    __slots__ = ("heap", "id", "live", "mean_run_s", "needs", "nodes", "tail_rank", "waiting")

    def __init__(self, shape_id: int, needs: Needs) -> None:
        self.id = shape_id
        self.needs = needs
        #: Ready tasks as (rank, seq, task id); stale entries are skipped when met.
        self.heap: list[tuple[float, int, str]] = []
        #: Ready tasks; stale heap entries not counted.
        self.waiting = 0
        #: Tasks of this shape in any live state.
        self.live = 0
        #: Largest rank since the queue was last empty, so that the planner can guess how ranks are spread.
        self.tail_rank = 0.0
        #: Moving mean of run times in seconds; None until one was measured. An observation.
        self.mean_run_s: float | None = None
        #: Nodes that offer what the needs ask, whatever their status and room.
        self.nodes: set[str] = set()

    def __repr__(self) -> str:
        return f"Shape({self.id}, {self.needs})"


@dataclass(slots=True)
class TaskRecord:
    """What decisions need to know of a live task."""

    id: str
    #: Submission order.
    seq: int
    #: None: a program of its own runs the task; it is never placed.
    shape: Shape | None
    priority: int
    state: TaskState
    #: Seconds since 1970.
    submitted_at: float
    max_retries: int
    max_lost: int
    #: Order among ready tasks, see `rank_of`; smaller is sooner.
    rank: float = 0.0
    #: Number of the newest attempt; 0 before the first.
    attempt: int = 0
    #: Token of the live or last lease; 0 before the first.
    token: int = 0
    node_id: str | None = None
    #: Attempts that failed or timed out; the first budget.
    retries: int = 0
    #: Attempts lost with their node; the second budget.
    lost: int = 0
    #: No start before this wall time (not_before or backoff); 0: at once. `backing_off` says which.
    due: float = 0.0
    backing_off: bool = False
    #: Wall time after which the task ends `timeout`; 0: none.
    deadline: float = 0.0
    #: Tasks that must complete first and have not.
    blockers: frozenset[str] = frozenset()
    #: Whether its last lease held room when it was given; later seats follow from the leases.
    seated: bool = False
    by_hand: bool = False
    daemon: bool = False
    scheduled_at: float = 0.0
    started_at: float = 0.0
    completed_at: float = 0.0
    #: State version at the last change; the shell that stores the record writes it.
    version: int = 0
    #: Since when only a node was missing, 0: since its submission. An observation, for the measured wait.
    ready_at: float = 0.0

    def copy(self) -> TaskRecord:
        """A copy for the undo journal."""
        return TaskRecord(
            self.id, self.seq, self.shape, self.priority, self.state, self.submitted_at, self.max_retries,
            self.max_lost, self.rank, self.attempt, self.token, self.node_id, self.retries, self.lost, self.due,
            self.backing_off, self.deadline, self.blockers, self.seated, self.by_hand, self.daemon,
            self.scheduled_at, self.started_at, self.completed_at, self.version, self.ready_at,
        )  # fmt: skip

    @property
    def ready(self) -> bool:
        """Whether only a node is missing."""
        return self.state is TaskState.PENDING and not self.blockers and not self.due and self.shape is not None

    @property
    def skill(self) -> str:
        """The skill that runs, for counting; empty for a task of a program of its own."""
        return self.shape.needs.runs if self.shape else ""


@dataclass(slots=True)
class LeaseRecord:
    """The right of one node to run one attempt. It outlives its task while the agent still stops the work."""

    token: int
    task_id: str
    attempt: int
    #: None: a program of its own runs the attempt.
    node_id: str | None
    needs: Needs | None
    #: Holds room; otherwise prefilled: in the agent's queue behind the seats.
    seated: bool
    leased_at: float
    started_at: float = 0.0
    #: Why the agent is asked to stop it: cancelled, deadline, drained, or recall (only if it has not started it);
    #: empty while it may run.
    stopping: str = ""
    #: The task's rank when it was leased, as the agent was told.
    rank: float = 0.0

    @property
    def skill(self) -> str:
        """The skill that runs, for counting; empty for an attempt of a program of its own."""
        return self.needs.runs if self.needs else ""

    def copy(self) -> LeaseRecord:
        """A copy for the undo journal."""
        return LeaseRecord(
            self.token, self.task_id, self.attempt, self.node_id, self.needs, self.seated, self.leased_at,
            self.started_at, self.stopping, self.rank,
        )  # fmt: skip


@dataclass(slots=True)
class NodeRecord:
    """What decisions need to know of a node. `room`, `seats`, `leases` and `queue` are derived from the leases."""

    id: str
    status: NodeStatus
    #: max_concurrent_tasks.
    slots: int
    capacity: Resources
    #: Skill to revision.
    offers: dict[str, str]
    tags: frozenset[str]
    #: Whether an agent owns the id now.
    agent: bool = False
    incarnation: int = 0
    #: Drained by its owner: why, by whom, until when (wall seconds, 0: open).
    held_reason: str | None = None
    held_by: str | None = None
    held_until: float = 0.0
    #: Monotonic time after which it counts as silent; 0: not watched.
    silent_at: float = 0.0
    #: Ended attempts by outcome, and the mean of their run times (seconds).
    successful: int = 0
    failed: int = 0
    mean_run_s: float = 0.0
    version: int = 0
    #: Failures of its own that count at present; see health.py, which alone changes these seven.
    faults: int = 0
    #: Wall time of the newest, or of the end of its last quarantine.
    fault_at: float = 0.0
    #: An attempt counts only from this token on: what was under way together failed of one thing.
    fault_token: int = 0
    #: Its successful attempts by then.
    fault_successes: int = 0
    #: Quarantines in a row: the next one is longer.
    quarantines: int = 0
    #: Wall time until which it is leased nothing, 0: it is not quarantined; and why.
    quarantined_until: float = 0.0
    quarantine_reason: str | None = None
    #: Observations.
    cpu_usage: float = 0.0
    memory_usage: float = 0.0
    disk_usage: float = 0.0
    last_heartbeat: float = 0.0
    #: Derived.
    leases: dict[int, LeaseRecord] = field(default_factory=dict, repr=False)
    #: Those of them that hold room; at most a slot's number, so that they can be looked through.
    seated: dict[int, LeaseRecord] = field(default_factory=dict, repr=False)
    #: Prefilled leases by what they need.
    queued: dict[Needs, int] = field(default_factory=dict, repr=False)
    #: Prefilled leases in the agent's order of starting; stale entries are skipped when met.
    queue: list[tuple[bool, float, int]] = field(default_factory=list, repr=False)
    room: Room = field(default_factory=lambda: Room(Resources()), repr=False)

    @property
    def seats(self) -> int:
        """Slots in use."""
        return len(self.seated)

    def copy(self) -> NodeRecord:
        """A copy of the stored fields for the undo journal; what is derived is derived again."""
        return NodeRecord(
            self.id, self.status, self.slots, self.capacity, self.offers, self.tags, self.agent, self.incarnation,
            self.held_reason, self.held_by, self.held_until, self.silent_at, self.successful, self.failed,
            self.mean_run_s, self.version, self.faults, self.fault_at, self.fault_token, self.fault_successes,
            self.quarantines, self.quarantined_until, self.quarantine_reason, self.cpu_usage, self.memory_usage,
            self.disk_usage, self.last_heartbeat,
        )  # fmt: skip

    def keep_observations(self, seen: NodeRecord) -> None:
        """Take over what was observed on a later copy of the record; an undo does not unsee it."""
        self.cpu_usage, self.memory_usage, self.disk_usage = seen.cpu_usage, seen.memory_usage, seen.disk_usage
        self.last_heartbeat = seen.last_heartbeat
        if self.silent_at:
            self.silent_at = max(self.silent_at, seen.silent_at)

    @property
    def accepts(self) -> bool:
        """Whether it may be leased work at all."""
        return self.agent and self.status is NodeStatus.ONLINE

    @property
    def by_token(self) -> list[LeaseRecord]:
        """Its leases, oldest first, whatever happened to them meanwhile."""
        return sorted(self.leases.values(), key=lambda lease: lease.token)

    @property
    def shown_status(self) -> NodeStatus:
        """`busy` is derived: online and no free slot."""
        full = self.status is NodeStatus.ONLINE and self.slots > 0 and self.seats >= self.slots
        return NodeStatus.BUSY if full else self.status

    def offers_all(self, needs: Needs) -> bool:
        """Whether skills, revision and tags fit, whatever the status and room."""
        offers = self.offers
        for skill in needs.skills:
            if skill not in offers:
                return False
        if needs.revision is not None and offers.get(needs.runs) != needs.revision:
            return False
        return self.tags.issuperset(needs.tags)

    def has_seat(self, needs: Needs) -> bool:
        """Whether a slot and every asked resource are free now."""
        return self.seats < self.slots and self.room.fits(needs.resources)

    def could_seat(self, needs: Needs) -> bool:
        """Whether there would be a seat if nothing else ran."""
        return self.slots > 0 and self.room.could_fit(needs.resources)

    def crowded(self, needs: Needs | None) -> bool:
        """Whether more is seated than there is of a slot or of anything that `needs` asks: after a cut, say."""
        asked = needs.resources if needs is not None else NOTHING
        return self.seats > self.slots or any(self.room.free(name) < 0 for name, _ in asked)


def rank_of(waits_from: float, priority: int, rules: Rules) -> float:
    """Order among ready tasks: whoever waits `aging_s` longer goes before one level more.

    Args:
        waits_from: Submission, or `not_before` where that is later: time in which it must not start is no waiting.
        priority: 0 to 3.
        rules: `aging_s` is used.
    """
    return waits_from + priority * rules.aging_s


def start_order(urgent: bool, rank: float, token: int) -> tuple[bool, float, int]:
    """Key of an agent's local queue: interactive first, then by rank, then by lease."""
    return (not urgent, rank, token)


@dataclass(slots=True)
class Order:
    """Leave to lease tasks of a shape to a node without a new plan."""

    #: How many more.
    credit: int
    #: Monotonic time after which it holds no more.
    until: float
    #: Leases that the node is kept at while tasks of the shape wait; 0: the order is for lone tasks.
    level: int = 0


class Rules(NamedTuple):
    """The settings that the core decides by; units in the names."""

    aging_s: float = 60.0
    retry_base_s: float = 1.0
    retry_max_s: float = 300.0
    retry_jitter: float = 0.2
    lease_ttl_s: float = 15.0
    waiting_tasks_max: int = 1_000_000
    default_max_retries: int = 3
    default_max_lost: int = 3
    prefill_ms: float = 200.0
    prefill_max: int = 4_000
    quarantine_faults: int = 3
    quarantine_window_s: float = 300.0
    quarantine_base_s: float = 30.0
    quarantine_max_s: float = 3_600.0
    quarantine_forgive_s: float = 600.0
