"""A ClusterState with a clock in the hand: what the tests of the core say in one line."""

from __future__ import annotations

from typing import Any

from openclaw_ray.core import events as ev
from openclaw_ray.core.effects import Effect, EndTask, GrantLease, InsertTask, Log, NoteStart, RefuseReport, RefuseRow
from openclaw_ray.core.placement import Candidate, Demand, Planner
from openclaw_ray.core.records import LeaseRecord, Needs, NodeRecord, Rules, TaskRecord
from openclaw_ray.core.resources import NOTHING, Resources, Room
from openclaw_ray.core.state import ClusterState
from openclaw_ray.core.types import NodeStatus, Now, Outcome, TaskState

#: Big enough that only slots matter where a test does not speak of resources.
LARGE = Resources.of(cpu=1_000_000, memory=2**50)


def needs(skill: str = "work", **fields: Any) -> Needs:
    """What a task asks; one skill unless told otherwise."""
    fields.setdefault("skills", (skill,))
    return Needs(runs=skill, **fields)


def submitted(
    task_id: str, wanted: Needs | str | None = "work", priority: int = 2, *, ended: Any = None, **terms: Any
) -> ev.TaskSubmitted:
    """A new task on the usual terms but for those that are named."""
    values = {
        "max_retries": 3, "max_lost": 3, "not_before": 0.0, "deadline": 0.0, "after": (), "daemon": False, "by": None,
        **terms,
    }  # fmt: skip
    found = needs(wanted) if isinstance(wanted, str) else wanted
    return ev.TaskSubmitted(task_id, ev.Terms(found, priority, **values), ended or {}, None)


class Cluster:
    """Applies events at a time that moves only by `wait`, and checks every invariant after each of them."""

    def __init__(self, **rules: Any) -> None:
        self.state = ClusterState(Rules(**{"retry_jitter": 0.0, **rules}))
        self.wall, self.mono = 1_000_000.0, 500.0
        #: Every effect so far.
        self.history: list[Effect] = []

    @property
    def now(self) -> Now:
        return Now(self.wall, self.mono)

    def apply(self, event: ev.Event) -> list[Effect]:
        effects = self.state.apply(event, self.now)
        self.state.check_invariants()
        self.history += effects
        return effects

    def wait(self, seconds: float, *, silent: bool = False) -> list[Effect]:
        """Time passes, then the tick comes; every node was heard meanwhile unless it is `silent`."""
        self.wall += seconds
        self.mono += seconds
        if not silent:
            self.state.watch_all(self.now)
        return self.apply(ev.Ticked())

    # -- tasks -----------------------------------------------------------------------------------------------------

    def submit(self, task_id: str, wanted: Needs | str | None = "work", priority: int = 2, **fields: Any) -> TaskRecord:
        """A new task; answers its record (the ended one when it ended at once)."""
        effects = self.apply(submitted(task_id, wanted, priority, **fields))
        return effects[0].task  # type: ignore[union-attr]

    def task(self, task_id: str) -> TaskRecord:
        return self.state.tasks[task_id]

    def lease_of(self, task_id: str) -> LeaseRecord:
        return self.state.leases[self.task(task_id).token]

    def lease(self, node_id: str, seated: int = 1, prefill: int = 0, wanted: Needs | str = "work") -> list[str]:
        """A plan of one row; answers the ids of the tasks that were leased."""
        shape = self.state.books.shape(needs(wanted) if isinstance(wanted, str) else wanted)
        return self.assign((shape.id, node_id, seated, prefill))

    def assign(self, *rows: tuple[int, str, int, int]) -> list[str]:
        effects = self.apply(ev.Assigned(tuple(ev.PlanRow(*row) for row in rows)))
        return [e.lease.task_id for e in effects if isinstance(e, GrantLease)]

    def plan(self, strategy: str = "least_tasks") -> dict[str, str]:
        """Plan by a strategy and lease; answers task id to node id."""
        planner = planner_of(self.state)
        planner.strategy = planner.named[strategy]
        effects = self.apply(ev.Assigned(tuple(planner.plan())))
        return {e.lease.task_id: str(e.lease.node_id) for e in effects if isinstance(e, GrantLease)}

    def start(self, task_id: str, at: float | None = None) -> list[Effect]:
        return self.apply(self.start_report(self.lease_of(task_id), at))

    def start_report(self, lease: LeaseRecord, at: float | None = None) -> ev.AttemptStarted:
        node = self.state.nodes[str(lease.node_id)]
        return ev.AttemptStarted(lease.token, node.id, node.incarnation, self.wall if at is None else at)

    def end(self, task_id: str, outcome: Outcome = Outcome.COMPLETED, **fields: Any) -> list[Effect]:
        return self.apply(self.end_report(self.lease_of(task_id), outcome, **fields))

    def end_report(self, lease: LeaseRecord, outcome: Outcome = Outcome.COMPLETED, **fields: Any) -> ev.AttemptEnded:
        node = self.state.nodes[str(lease.node_id)]
        values = {"started_at": self.wall, "ended_at": self.wall, "run_s": 1.0, **fields}
        return ev.AttemptEnded(lease.token, node.id, node.incarnation, outcome, **values)

    def run(
        self, task_id: str, node_id: str = "n1", outcome: Outcome = Outcome.COMPLETED, **fields: Any
    ) -> list[Effect]:
        """Lease the head of the task's shape (it must be that task), start and end it."""
        shape = self.task(task_id).shape
        assert shape is not None
        assert self.assign((shape.id, node_id, 1, 0)) == [task_id]
        self.start(task_id)
        return self.end(task_id, outcome, **fields)

    def cancel(self, task_id: str) -> list[Effect]:
        return self.apply(ev.CancelAsked(task_id, "somebody", ""))

    def by_hand(self, task_id: str, state: TaskState, node_id: str | None = None, **fields: Any) -> list[Effect]:
        values = {"result": None, "error": None, "by": None, **fields}
        return self.apply(ev.TaskMovedByHand(task_id, state, node_id, **values))

    # -- nodes -----------------------------------------------------------------------------------------------------

    def agent(self, node_id: str = "n1", slots: int = 1, **fields: Any) -> list[Effect]:
        """An agent registers; by default a new one that holds nothing and offers ``work``."""
        known = self.state.nodes.get(node_id)
        values = {
            "incarnation": known.incarnation + 1 if known else 1, "same_agent": False, "capacity": LARGE,
            "offers": {"work": "r1"}, "tags": frozenset(), "holds": frozenset(), "doc": None, **fields,
        }  # fmt: skip
        return self.apply(ev.NodeRegistered(node_id=node_id, slots=slots, **values))

    def record(self, node_id: str = "n1", status: NodeStatus = NodeStatus.ONLINE, slots: int = 5) -> list[Effect]:
        """A node by hand."""
        return self.apply(ev.NodeAdded(node_id, status, slots, NOTHING, {"work": ""}, frozenset(), None, None))

    def edit_node(self, node_id: str = "n1", **fields: Any) -> list[Effect]:
        values = {"slots": None, "tags": None, "offers": None, "capacity": None, "by": None, **fields}
        return self.apply(ev.NodeEdited(node_id, **values))

    def node(self, node_id: str = "n1") -> NodeRecord:
        return self.state.nodes[node_id]

    def measure(self, run_s: float, wanted: Needs | str = "work") -> None:
        """A run time of a shape is known, so that it may be prefilled."""
        found = needs(wanted) if isinstance(wanted, str) else wanted
        self.state.books.shape(found)
        self.state.observe_run(found, run_s)


def accepted(effects: list[Effect]) -> bool:
    """The verdict on a report."""
    return not any(isinstance(e, RefuseReport) for e in effects)


def why_stale(effects: list[Effect]) -> str:
    """Why a report was not accepted; then nothing else happened."""
    (verdict,) = effects
    assert isinstance(verdict, RefuseReport)
    return verdict.why


def happened(effects: list[Effect]) -> list[str]:
    """The history that effects write, in words."""
    words: list[str] = []
    for e in effects:
        if isinstance(e, Log):
            words.append(e.what)
        elif isinstance(e, InsertTask):
            words.append("submitted")
        elif isinstance(e, GrantLease):
            words.append("scheduled")
        elif isinstance(e, NoteStart) and e.runs:
            words.append("running")
        elif isinstance(e, EndTask):
            words.append(e.task.state.value)
    return words


def only(effects: list[Effect], kind: type) -> list[Any]:
    """Effects of one kind."""
    return [e for e in effects if isinstance(e, kind)]


def missed(effects: list[Effect]) -> int:
    """How many tasks of a plan could not be leased."""
    return sum(e.missed for e in effects if isinstance(e, RefuseRow))


def planner_of(state: ClusterState, **fields: Any) -> Planner:
    """A planner that knows what the state knows, as after a full watch."""
    planner = Planner(**fields)
    for node in state.nodes.values():
        room = Room(node.capacity)
        room.used = dict(node.room.used)
        planner.put_node(
            Candidate(
                node.id,
                node.accepts,
                node.slots,
                node.seats,
                room,
                frozenset(node.offers),
                node.tags,
                node.offers,
                prefilled=len(node.leases) - node.seats,
                cpu_usage=node.cpu_usage,
                memory_usage=node.memory_usage,
            )
        )
    for shape in state.shapes.values():
        head = state.books.head(shape)
        if head is not None:
            planner.put_shape(
                Demand(shape.id, shape.needs, shape.waiting, head.rank, shape.tail_rank, shape.mean_run_s)
            )
    return planner


def snapshot(state: ClusterState) -> dict[str, Any]:
    """What an undo brings back: every stored field of every record, and the numbers.

    Left out are observations (usage, heartbeats, that a wait is over) and what is derived: see `check_invariants`.
    """

    def task(t: TaskRecord) -> tuple[Any, ...]:
        return (
            t.id, t.seq, t.shape.needs if t.shape else None, t.priority, t.state, t.submitted_at, t.max_retries,
            t.max_lost, t.rank, t.attempt, t.token, t.node_id, t.retries, t.lost, t.deadline, t.blockers, t.seated,
            t.by_hand, t.daemon, t.scheduled_at, t.started_at, t.completed_at,
        )  # fmt: skip

    def node(n: NodeRecord) -> tuple[Any, ...]:
        return (
            n.id, n.status, n.slots, n.capacity, dict(n.offers), n.tags, n.agent, n.incarnation, n.held_reason,
            n.held_by, n.held_until, n.successful, n.failed, n.mean_run_s, n.seats, dict(n.room.used), n.faults,
            n.fault_at, n.fault_token, n.fault_successes, n.quarantines, n.quarantined_until, n.quarantine_reason,
        )  # fmt: skip

    books = state.books
    return {
        "tasks": {i: task(t) for i, t in books.tasks.items()},
        "leases": {i: lease.copy() for i, lease in books.leases.items()},
        "nodes": {i: node(n) for i, n in books.nodes.items()},
        "numbers": (state.version, books.next_seq, books.next_token),
    }
