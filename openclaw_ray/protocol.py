"""What crosses processes between our own parts: canonical JSON of these messages, checked on receipt.

Calls may be lost, doubled, late or out of order; every one of them is safe to repeat. Times are seconds since 1970.
The message types are complete from the first day; a field that nothing uses yet says so.

What comes once per call is a document. What comes once per task is a plain dataclass: it costs a fifth of one to make,
and is checked on receipt all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from openclaw_ray.core.limits import (
    INTEGER_MAX,
    MESSAGE_ITEMS_MAX,
    OUTPUT_BYTES_MAX,
    PAGE_MAX,
    PROGRESS_LEN_MAX,
    SKILLS_PER_NODE_MAX,
    SUBMIT_BATCH_MAX,
)
from openclaw_ray.core.types import NodeStatus, Outcome, TaskState
from openclaw_ray.models.door import Document
from openclaw_ray.models.fields import (
    Count,
    Finite,
    Id,
    Instant,
    JsonText,
    Moment,
    Name,
    Seconds,
    State,
    Tags,
    Text,
    Title,
    label,
)
from openclaw_ray.models.node import Machine, Slots, Usage
from openclaw_ray.models.skill import Offer, SkillManifest
from openclaw_ray.models.task import Failure, TaskSpec

#: Both ends say it in their first call; a different one is `VersionMismatch`.
PROTOCOL_VERSION = 1

#: Ids or tokens that one message names: a page of them would be too small for a `map` of many tasks.
NAMED_MAX = 100_000
#: Longest time that a call is parked, or that a standing order holds (seconds): callers come back well before it.
PARKED_S_MAX = 60
#: Longest time that news may gather (seconds): a plan for them must not come later than a person would notice.
GATHER_S_MAX = 10
#: Later submits that may use one row of a plan.
CREDIT_MAX = 10_000

Wait = Annotated[float, Field(ge=0, le=PARKED_S_MAX, allow_inf_nan=False, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
#: The last output of an attempt with its mark of what was cut.
Output = Annotated[str, Field(strict=True), label(2 * OUTPUT_BYTES_MAX)]

# -- client and coordinator ----------------------------------------------------------------------------------------


class Submission(Document):
    """One task: the id was made by the client, so that a repeated submit is the same task."""

    id: Id
    spec: TaskSpec


#: Task id, parameters as JSON text, key.
BulkRow = tuple[
    Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$", strict=True)],
    Annotated[str, StringConstraints(strict=True)],
    Title | None,
]


class Bulk(Document):
    """Tasks that differ only in their parameters (and keys): the rest is said, checked and stored once."""

    #: Without params and key.
    spec: TaskSpec
    rows: list[BulkRow] = Field(max_length=SUBMIT_BATCH_MAX)


class SubmitRequest(Document):
    """Many tasks, one commit: all of them or none."""

    tasks: list[Submission] = Field(default_factory=list, max_length=SUBMIT_BATCH_MAX)
    bulk: Bulk | None = None
    by: Name | None = None
    #: Refuse skills that no node offers instead of letting the tasks wait.
    strict: bool = False


class ResultsRequest(Document):
    """Wait for tasks to end. `n` rises; the reply to `n` is repeated until `n + 1` asks, which acknowledges it."""

    session: Id
    n: Annotated[Count, Field(ge=1)]
    #: Task ids to wait for, added to those of earlier calls.
    add: list[Id] = Field(default_factory=list, max_length=NAMED_MAX)
    #: Task ids that nobody waits for any more.
    drop: list[Id] = Field(default_factory=list, max_length=NAMED_MAX)
    timeout_s: Wait = 15.0


@dataclass(slots=True)
class EndedTask:
    """What a waiting client wants to know; result and error as JSON text, as they are stored."""

    task_id: str
    status: str
    result: str | None = None
    error: str | None = None
    attempt: int = 0
    retries: int = 0
    lost: int = 0
    node_id: str | None = None
    submitted_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None


class ResultsReply(Document):
    """Tasks that ended. `known` False: the coordinator restarted; begin a new session with everything still awaited."""

    known: bool
    n: int
    ended: list[EndedTask] = Field(default_factory=list)
    #: Asked for, but no record of it exists.
    missing: list[str] = Field(default_factory=list)


class CancelRequest(Document):
    """Cancel tasks by id, or all live ones of a group."""

    ids: list[Id] = Field(default_factory=list, max_length=SUBMIT_BATCH_MAX)
    group: Title | None = None
    by: Name | None = None
    reason: Text = ""


class TaskQuery(Document):
    """A filter over tasks; newest first, one page."""

    states: list[State] = Field(default_factory=list, max_length=len(TaskState))
    ids: list[Id] = Field(default_factory=list, max_length=PAGE_MAX)
    skill: Name | None = None
    node: Name | None = None
    user: Name | None = None
    group: Name | None = None
    key: Name | None = None
    #: Part of the name, literally.
    name: Name | None = None
    since: Instant | None = None
    #: Of the page before: its last task's seq.
    before: Count | None = None
    limit: int = Field(default=50, ge=1, le=PAGE_MAX, strict=True)


class DrainRequest(Document):
    """Take a node out of service: what runs may finish, until the deadline if there is one."""

    node_id: Id
    reason: Text = "drained"
    deadline_s: Seconds | None = None
    by: Name | None = None


# -- scheduler and coordinator -------------------------------------------------------------------------------------


class WatchRequest(Document):
    """A bounded long poll for what changed after `cursor`; epoch 0 and cursor 0 ask for everything."""

    epoch: Count = 0
    cursor: Count = 0
    timeout_s: Wait = 10.0
    #: While no task waits for a node there is nothing to decide: news may gather for this long.
    gather_s: Annotated[Wait, Field(le=GATHER_S_MAX)] = 0.0
    #: The strategy in force, told so that `why` can name it.
    strategy: Name = ""


class NodeView(Document):
    """A node as the planner needs it, whole."""

    id: str
    status: NodeStatus
    accepts: bool
    slots: int
    seats: int
    total: dict[str, int]
    used: dict[str, int]
    offers: dict[str, str]
    tags: list[str]
    prefilled: int
    backlog_s: float
    #: Prefilled leases as (shape, count), and since when the oldest waits.
    queued: list[tuple[int, int]] = Field(default_factory=list)
    queued_since: float = 0.0
    cpu_usage: float
    memory_usage: float
    disk_usage: float
    last_heartbeat: float


class ShapeView(Document):
    """A shape as the planner needs it: its needs, and of its queue only the figures."""

    id: int
    runs: str
    skills: list[str]
    optional: list[str]
    resources: dict[str, int]
    tags: list[str]
    affinity: list[str]
    strategy: str | None
    revision: str | None
    urgent: bool
    waiting: int
    head_rank: float
    tail_rank: float
    oldest: float
    mean_run_s: float | None


class WatchReply(Document):
    """What changed, in pages: while `more`, ask again at once."""

    epoch: int
    cursor: int
    more: bool = False
    nodes: list[NodeView] = Field(default_factory=list)
    shapes: list[ShapeView] = Field(default_factory=list)
    gone_nodes: list[str] = Field(default_factory=list)
    gone_shapes: list[int] = Field(default_factory=list)
    #: Counters, histograms and gauges for /metrics, on request of time, not of change.
    totals: dict[str, Any] | None = None
    #: Changed by an operator; None: as it was.
    strategy: str | None = None


class PlanRowMessage(Document):
    """`seated` tasks of a shape on a node and `prefill` more behind its seats.

    `credit` and `expires_s` make a row a standing one as well: so many later submits may use it without a new plan.
    """

    shape: Count
    node: Id
    seated: Count
    prefill: Count = 0
    credit: Annotated[Count, Field(le=CREDIT_MAX)] = 0
    expires_s: Wait = 0.0
    #: Leases that the node is kept at while the shape has a backlog.
    level: Count = 0


class AssignRequest(Document):
    """A plan made from what was known at `cursor` of `epoch`."""

    epoch: Count
    cursor: Count
    rows: list[PlanRowMessage] = Field(max_length=NAMED_MAX)
    recalls: list[PlanRowMessage] = Field(default_factory=list, max_length=NAMED_MAX)
    #: The policy changed: earlier standing orders hold no more.
    void: bool = False


class AssignReply(Document):
    """How many were leased, and how many rows' tasks no longer held."""

    placed: int
    missed: int


# -- agent and coordinator -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class OutcomeMessage:
    """How an attempt ended, with its own start, so that both are one transaction."""

    token: Count
    outcome: Outcome
    started_at: Moment
    ended_at: Moment
    run_s: Moment
    permanent: Flag = False
    node_caused: Flag = False
    result: JsonText | None = None
    error: Failure | None = None
    exit_status: Annotated[int, Field(ge=-INTEGER_MAX, le=INTEGER_MAX, strict=True)] | None = None
    signal: Name | None = None
    peak_memory: Count | None = None
    log_tail: Output | None = None


class RegisterRequest(Document):
    """An agent takes over a node id. Spooled outcomes and live runs come with it; all is one transaction."""

    node_id: Id
    protocol: Count = PROTOCOL_VERSION
    #: A number the agent process drew at its start; the same one after a coordinator restart means the same agent.
    agent: Id
    #: Rises with every registration of that process, so that a late or doubled one is known; 0: it does not count them.
    n: int = Field(default=0, ge=0)
    #: None: any cluster (the agent is new).
    cluster_id: Name | None = None
    newest_version: Count = 0
    slots: Slots
    tags: Tags = Field(default_factory=list)
    machine: Machine
    usage: Usage = Usage()
    offers: list[Offer] = Field(default_factory=list, max_length=SKILLS_PER_NODE_MAX)
    manifests: list[SkillManifest] = Field(default_factory=list, max_length=SKILLS_PER_NODE_MAX)
    outcomes: list[OutcomeMessage] = Field(default_factory=list)
    holds: list[Count] = Field(default_factory=list, max_length=NAMED_MAX)


class RegisterReply(Document):
    """The agent's number, the terms, and the runs that it must stop."""

    incarnation: int
    epoch: int
    cluster_id: str
    version: int
    stops: list[int] = Field(default_factory=list)
    #: Outcomes that were judged (accepted or stale) and can be forgotten.
    settled: list[int] = Field(default_factory=list)
    interval_s: float
    ttl_s: float
    registry: int


@dataclass(slots=True, kw_only=True)
class LeaseMessage:
    """The right to run one attempt, with all that it takes to run it."""

    token: int
    task_id: str
    attempt: int
    skill: str
    revision: str | None
    params: str  # JSON text, as it is stored
    timeout_s: int | None
    deadline: float = 0.0
    resources: dict[str, int]
    urgent: bool = False
    rank: float = 0.0
    #: Lost an attempt before: runs in a fresh process of its own, so that blame is right.
    alone: bool = False
    mean_run_s: float | None = None


@dataclass(slots=True)
class StopMessage:
    """Stop an attempt (`cancelled`, `deadline`, `stale`) or hand it back if it has not started (`recall`)."""

    token: int
    why: str


class PollRequest(Document):
    """Heartbeat up, leases and stops down. `n` rises within an incarnation; an old `n` is answered with nothing."""

    node_id: Id
    incarnation: Count
    n: Annotated[Count, Field(ge=1)]
    have: list[Count] = Field(default_factory=list, max_length=NAMED_MAX)
    usage: Usage = Usage()
    registry: Count = 0
    timeout_s: Wait = 2.0


class PollReply(Document):
    """`register` True: the coordinator does not know this incarnation; register again."""

    n: int
    epoch: int = 0
    register_again: bool = False
    leases: list[LeaseMessage] = Field(default_factory=list)
    stops: list[StopMessage] = Field(default_factory=list)
    registry: int = 0
    interval_s: float = 2.0
    version: int = 0
    draining: bool = False
    #: The node's slots, as its owner has set them.
    slots: int | None = None


@dataclass(slots=True)
class StartMessage:
    """An attempt runs since."""

    token: Count
    at: Moment


@dataclass(slots=True)
class ProgressMessage:
    """What a skill said of its progress."""

    token: Count
    done: Finite
    total: Finite | None = None
    text: Annotated[str, Field(strict=True), label(PROGRESS_LEN_MAX)] = ""


class ReportRequest(Document):
    """Outcomes, starts and progress up; may be repeated until answered."""

    node_id: Id
    incarnation: Count
    starts: list[StartMessage] = Field(default_factory=list, max_length=MESSAGE_ITEMS_MAX)
    outcomes: list[OutcomeMessage] = Field(default_factory=list, max_length=MESSAGE_ITEMS_MAX)
    progress: list[ProgressMessage] = Field(default_factory=list, max_length=MESSAGE_ITEMS_MAX)


class ReportReply(Document):
    """Tokens whose outcome was accepted, and those that came too late; the agent forgets both."""

    register_again: bool = False
    accepted: list[int] = Field(default_factory=list)
    stale: list[int] = Field(default_factory=list)
    version: int = 0


class OffersRequest(Document):
    """What a node can run changed; command skills it found bring their manifests."""

    node_id: Id
    incarnation: Count
    offers: list[Offer] = Field(max_length=SKILLS_PER_NODE_MAX)
    manifests: list[SkillManifest] = Field(default_factory=list, max_length=SKILLS_PER_NODE_MAX)


class RegistryRequest(Document):
    """Skills registered after `since`."""

    since: Count = 0


class RegistryReply(Document):
    """Manifests, newest of each name, and the registry's version."""

    registry: int
    manifests: list[SkillManifest]


class RegisterSkillRequest(Document):
    """A driver registers a function: manifest, and the code as base64 of an opaque blob."""

    manifest: SkillManifest
    blob: str = ""
    by: Name | None = None


class NodeGoneRequest(Document):
    """Ray says that the machine of this node is dead, or its agent says goodbye."""

    node_id: Id
    reason: Text = "ray says it is dead"
    incarnation: Count | None = None
