"""What can happen: the only inputs of `ClusterState.apply`. Names are in the past tense; values are checked before.

`Doc` stands for what the core carries through without looking inside (rows for the database, results as JSON text).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from openclaw_ray.core.records import Needs
from openclaw_ray.core.resources import Resources
from openclaw_ray.core.types import Fault, NodeStatus, Outcome, TaskState

Doc = Any


class Terms(NamedTuple):
    """What a task is submitted on; tasks of one call share them."""

    needs: Needs | None
    priority: int
    max_retries: int
    max_lost: int
    not_before: float
    deadline: float
    after: tuple[str, ...]
    daemon: bool
    by: str | None


class TaskSubmitted(NamedTuple):
    """A new task was asked for; its id is not in use and its key is free."""

    task_id: str
    terms: Terms
    #: Final states of those in `terms.after` that have ended already.
    ended: Mapping[str, TaskState]
    doc: Doc


class PlanRow(NamedTuple):
    """A proposal: `seated` tasks of a shape on a node, and `prefill` more behind its seats."""

    shape_id: int
    node_id: str
    seated: int
    prefill: int = 0
    #: Standing order: how many more may be leased without a new plan, and for how long (seconds).
    credit: int = 0
    expires_s: float = 0.0
    #: Leases that the node is kept at while the shape has a backlog.
    level: int = 0


class Assigned(NamedTuple):
    """The scheduler proposed a plan; what no longer holds is left out."""

    rows: tuple[PlanRow, ...]


class NodeRefilled(NamedTuple):
    """A node reported; what it gave back may be taken by standing orders at once."""

    node_id: str


class AttemptStarted(NamedTuple):
    """An agent says that an attempt runs."""

    token: int
    node_id: str
    incarnation: int
    at: float


class AttemptEnded(NamedTuple):
    """An agent says how an attempt ended. Repeats and late reports are judged, never obeyed."""

    token: int
    node_id: str
    incarnation: int
    outcome: Outcome
    started_at: float
    ended_at: float
    run_s: float
    #: Trying again cannot help.
    permanent: bool = False
    #: The node's fault, not the task's: charged to the second budget.
    node_caused: bool = False
    result: Doc = None
    error: Doc = None
    #: Exit status, signal, peak memory in bytes, last output.
    evidence: Doc = None


class CancelAsked(NamedTuple):
    """Somebody wants the task not to complete."""

    task_id: str
    by: str | None
    reason: str


class TaskEdited(NamedTuple):
    """Somebody changed what a user may change; None leaves a field as it is."""

    task_id: str
    priority: int | None
    needs: Needs | None
    #: Columns of the document that change.
    columns: Mapping[str, Doc]
    by: str | None


class TaskMovedByHand(NamedTuple):
    """A program that runs its own tasks, or an operator, says where a task stands now."""

    task_id: str
    state: TaskState
    node_id: str | None
    result: Doc
    error: Doc
    by: str | None


class TaskRemoved(NamedTuple):
    """Somebody removed the record of an ended task (the core knows only live ones)."""

    task_id: str
    by: str | None


class Ticked(NamedTuple):
    """Time passed: due tasks become ready, deadlines pass, silent nodes go offline, drains run out."""

    #: The wall clock was set back since the last one.
    set_back: bool = False


class NodeAdded(NamedTuple):
    """A node was recorded by hand."""

    node_id: str
    status: NodeStatus
    slots: int
    capacity: Resources
    offers: dict[str, str]
    tags: frozenset[str]
    by: str | None
    doc: Doc


class NodeRegistered(NamedTuple):
    """An agent took over a node id and said what it holds; leases it does not hold end."""

    node_id: str
    incarnation: int
    #: Whether it is the same agent process as before (the coordinator restarted, not the agent).
    same_agent: bool
    slots: int
    capacity: Resources
    offers: dict[str, str]
    tags: frozenset[str]
    #: Tokens of the runs it holds.
    holds: frozenset[int]
    doc: Doc


class NodeHeard(NamedTuple):
    """Something was heard of a node: it lives. An observation unless it was offline."""

    node_id: str
    #: Of the agent that spoke; None: a heartbeat reported by hand.
    incarnation: int | None


class NodeSilenced(NamedTuple):
    """Ray says the node is dead, or its agent said goodbye."""

    node_id: str
    reason: str
    #: What it failed by; None: nobody is to blame (a goodbye, an owner's word).
    blame: Fault | None = None


class NodeHeld(NamedTuple):
    """The owner drains a node: nothing new; what is not started comes back at once, what runs at `until` (0: never)."""

    node_id: str
    reason: str
    by: str | None
    until: float


class NodeUnheld(NamedTuple):
    """The owner gives a node back."""

    node_id: str
    by: str | None


class NodeEdited(NamedTuple):
    """The owner changed slots or tags, or an agent its offers; None leaves a field as it is."""

    node_id: str
    slots: int | None
    tags: frozenset[str] | None
    offers: dict[str, str] | None
    capacity: Resources | None
    by: str | None
    doc: Doc = None


class NodeMovedByHand(NamedTuple):
    """Somebody set the status of a record without an agent."""

    node_id: str
    status: NodeStatus
    by: str | None


class NodeRemoved(NamedTuple):
    """The owner removed a node; with `force` its live leases end `lost`."""

    node_id: str
    force: bool
    by: str | None


class Recalled(NamedTuple):
    """Leases that a node has not started are asked back, because another node is free or something urgent came."""

    node_id: str
    shape_id: int
    at_most: int


Event = (
    TaskSubmitted | Assigned | NodeRefilled | AttemptStarted | AttemptEnded | CancelAsked | TaskEdited
    | TaskMovedByHand | TaskRemoved | Ticked | NodeAdded | NodeRegistered | NodeHeard | NodeSilenced | NodeHeld
    | NodeUnheld | NodeEdited | NodeMovedByHand | NodeRemoved | Recalled
)  # fmt: skip
