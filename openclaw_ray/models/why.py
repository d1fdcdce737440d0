"""One explanation for every view: terminal, notebook, program. Made from the core's reasons, put into words here."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from openclaw_ray.core.explain import Explanation, NodeVerdict
from openclaw_ray.core.records import NodeRecord, TaskRecord
from openclaw_ray.core.resources import MEMORY, MILLI
from openclaw_ray.core.types import NodeStatus, Now, Reason, TaskState
from openclaw_ray.models.door import Document


class NodeWhy(Document):
    """What one node lacks, column by column."""

    node_id: str
    status: str
    skills: str  # ok, or what is missing
    slot: str
    resources: str
    verdict: str


class Why(Document):
    """Why a task stands where it stands."""

    task_id: str
    state: str
    #: runs, waits, never (an owner must act), starts (nothing is in its way), ended.
    verdict: str
    summary: str
    reasons: list[Reason] = Field(default_factory=list)
    nodes: list[NodeWhy] = Field(default_factory=list)
    #: The smallest changes that would start it, each a thing that somebody can do.
    changes: list[str] = Field(default_factory=list)
    #: Ready tasks of the same needs that come before it.
    ahead: int = 0
    waiting_s: float = 0.0
    #: Seconds until it may start, where that is known.
    starts_in_s: float | None = None
    strategy: str = ""

    def __str__(self) -> str:
        lines = [self.summary]
        lines += [f"  {n.node_id}: {n.verdict}" for n in self.nodes]
        lines += [f"  would start it: {change}" for change in self.changes]
        return "\n".join(lines)


_WORDS = {
    Reason.NOT_YET: "its start time has not come",
    Reason.DEPENDENCY: "it waits for other tasks",
    Reason.BACKOFF: "it waits for its next attempt",
    Reason.NO_NODE_HAS_SKILL: "no node has the skill",
    Reason.SKILL_REVISION: "no node has the wanted revision of the skill",
    Reason.EXCLUDED: "no node with the skill has the required tags",
    Reason.NODE_OFFLINE: "the nodes that could run it are offline",
    Reason.NODE_DRAINING: "the nodes that could run it are draining",
    Reason.NODE_QUARANTINED: "the nodes that could run it are quarantined",
    Reason.NO_FREE_SLOT: "no free slot",
    Reason.CPU: "not enough CPU free",
    Reason.MEMORY: "not enough memory free",
    Reason.GPU: "no GPU free",
    Reason.RESOURCE: "not enough of a resource free",
    Reason.BEHIND_PRIORITY: "others are before it",
    Reason.SCHEDULER_BEHIND: "the scheduler is not running or behind",
    Reason.STOPPING: "it is being stopped",
}


def why_of(task: TaskRecord, found: Explanation, nodes: Mapping[str, NodeRecord], now: Now, strategy: str) -> Why:
    """Put an explanation into words.

    Args:
        task: The live task.
        found: What the core says.
        nodes: All nodes.
        now: The present.
        strategy: Name of the strategy in force.
    """
    shown = [_node_why(v, nodes.get(v.node_id), now) for v in found.nodes]
    never = bool(found.nodes) and all(v.never for v in found.nodes)
    missing = bool(task.shape) and not found.nodes
    verdict = _verdict(task, found, never or missing)
    return Why(
        task_id=task.id,
        state=task.state.value,
        verdict=verdict,
        summary=_summary(task, found, verdict, now),
        reasons=list(found.reasons),
        nodes=shown,
        changes=_changes(task, found) if verdict in ("waits", "never") else [],
        ahead=found.ahead,
        waiting_s=max(0.0, now.wall - task.submitted_at),
        starts_in_s=max(0.0, found.due - now.wall) if found.due else None,
        strategy=(task.shape.needs.strategy if task.shape else None) or strategy,
    )


def _verdict(task: TaskRecord, found: Explanation, never: bool) -> str:
    if task.state is not TaskState.PENDING:
        return "runs"
    if never and not found.blockers:
        return "never"
    return "waits" if found.reasons else "starts"


def _summary(task: TaskRecord, found: Explanation, verdict: str, now: Now) -> str:
    waiting = f"waiting {max(0.0, now.wall - task.submitted_at):.0f} s"
    if task.state is TaskState.RUNNING:
        return f"{task.id} runs on {task.node_id or 'a program of its own'} (attempt {task.attempt})"
    if task.state is TaskState.SCHEDULED:
        return f"{task.id} is leased to {task.node_id} and starts when a slot is free there (attempt {task.attempt})"
    if task.shape is None:
        return f"{task.id} names no skill: a program of its own has to start it ({waiting})"
    if not found.reasons:
        return f"{task.id} is about to start ({waiting})"
    first = found.reasons[0]
    words = _WORDS[first]
    if first is Reason.NO_NODE_HAS_SKILL:
        skills = sorted({s for v in found.nodes for s in v.missing_skills}) or list(task.shape.needs.skills)
        words = f"no online node has skill {', '.join(skills)}"
    elif first is Reason.DEPENDENCY:
        words = f"it waits for {', '.join(found.blockers[:3])}" + (" …" if len(found.blockers) > 3 else "")
    elif first in (Reason.BACKOFF, Reason.NOT_YET):
        words += f" in {max(0.0, found.due - now.wall):.0f} s"
    elif first in (Reason.NO_FREE_SLOT, Reason.BEHIND_PRIORITY) and found.ahead:
        words += f", {found.ahead} before it"
    end = "; nothing running will change this" if verdict == "never" else ""
    return f"{task.id} cannot start: {words} ({waiting}{end})"


def _node_why(v: NodeVerdict, node: NodeRecord | None, now: Now) -> NodeWhy:
    skills = "ok"
    if v.missing_skills:
        skills = "missing " + ", ".join(v.missing_skills)
    elif v.wrong_revision:
        skills = f"has revision {v.wrong_revision[:8]}"
    elif v.missing_tags:
        skills = "lacks tag " + ", ".join(v.missing_tags)
    short = "; ".join(f"{n}: needs {amount(n, a)}, {amount(n, f)} of {amount(n, t)} free" for n, a, f, t in v.short)
    verdict = "fits" if not v.reasons else "never, as configured" if v.never else _not_now(v, node, now)
    return NodeWhy(
        node_id=v.node_id,
        status=v.status.value,
        skills=skills,
        slot=f"{max(v.slots_free, 0)} of {v.slots} free",
        resources=short or "ok",
        verdict=verdict,
    )


def _not_now(v: NodeVerdict, node: NodeRecord | None, now: Now) -> str:
    if node is not None and node.status is NodeStatus.ERROR and node.quarantined_until:
        left_s = max(0.0, node.quarantined_until - now.wall)
        return f"not now: quarantined for {left_s:.0f} s more, {node.quarantine_reason}"
    by_status = {
        NodeStatus.OFFLINE: "offline",
        NodeStatus.MAINTENANCE: "while draining",
        NodeStatus.ERROR: "quarantined",
    }
    return f"not now: {by_status.get(v.status) or _WORDS[v.reasons[0]]}"


def _changes(task: TaskRecord, found: Explanation) -> list[str]:
    """One clause lifted at a time: what, done alone, would start the task."""
    changes: list[tuple[int, str]] = []
    for v in found.nodes:
        steps: list[str] = []
        if v.missing_skills:
            steps.append(f"offer {', '.join(v.missing_skills)} on {v.node_id}")
        if v.wrong_revision:
            steps.append(f"bring the wanted revision to {v.node_id}")
        if v.missing_tags:
            steps.append(f"add tag {', '.join(v.missing_tags)} to {v.node_id}")
        if Reason.NODE_OFFLINE in v.reasons:
            steps.append(f"bring {v.node_id} back online")
        if Reason.NODE_DRAINING in v.reasons or Reason.NODE_QUARANTINED in v.reasons:
            steps.append(f"openclaw-ray undrain {v.node_id}")
        steps += [f"ask for {amount(n, t)} {n} instead of {amount(n, a)}" for n, a, _, t in v.short if a > t]
        if v.slots == 0:
            steps.append(f"give {v.node_id} a slot")
        if steps:
            changes.append((len(steps), " and ".join(steps)))
    if not found.nodes and task.shape is not None:
        return [f"start a node that offers {', '.join(task.shape.needs.skills)}"]
    return list(dict.fromkeys(text for _, text in sorted(changes)))[:3]


def amount(name: str, units: int) -> str:
    """Whole units as people write them."""
    if name != MEMORY:
        return f"{units / MILLI:g}"
    value = float(units)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"
