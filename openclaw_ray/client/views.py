"""How tasks, nodes, lists and explanations look, and what can be read from them without asking anybody."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from openclaw_ray.client.snapshot import Snapshot
from openclaw_ray.core.types import TaskState
from openclaw_ray.display import (
    ROWS_MAX,
    ago,
    bundle,
    duration,
    escape,
    html_card,
    html_table,
    seconds_until,
    table,
)
from openclaw_ray.models.fields import from_iso
from openclaw_ray.models.node import NodeInfo
from openclaw_ray.models.skill import SkillManifest
from openclaw_ray.models.task import Task as TaskRecord
from openclaw_ray.models.task import TaskFailure
from openclaw_ray.models.why import Why

#: States in words where the word differs.
_NODE_WORDS = {"maintenance": "draining", "error": "quarantined"}


class TaskView:
    """One task as this driver knows it; see `state` for how fresh that is."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def _look(self) -> Snapshot:
        """The newest there is without waiting long; the sync form asks the cluster first."""
        return self._snapshot

    def _glance(self) -> Snapshot:
        """The same for showing: never raises, never waits for more than a second."""
        return self._snapshot

    def _record(self) -> Mapping[str, Any] | None:
        return self._look().document

    @property
    def id(self) -> str:
        """The task's id, made when it was submitted."""
        return self._snapshot.id

    @property
    def state(self) -> str:
        """pending, scheduled, running, completed, failed, cancelled or timeout."""
        return self._look().state

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self._look().ended

    @property
    def skill(self) -> str | None:
        """What it runs."""
        return self._snapshot.skill or self._look().skill

    @property
    def params(self) -> Any:
        """Its parameters, a new value each time."""
        known = self._snapshot.params if self._snapshot.params is not None else self._look().params
        return json.loads(known) if known is not None else None

    @property
    def node(self) -> str | None:
        """The node that runs it or ran it last."""
        return self._look().node

    @property
    def attempt(self) -> int:
        """Number of the newest attempt; 0 before the first."""
        return self._look().attempt

    @property
    def wait_seconds(self) -> float | None:
        """From submission to the start of the last attempt; None before it."""
        return self._look().wait_seconds

    @property
    def run_seconds(self) -> float | None:
        """From the start of the last attempt to the end; None before it."""
        return self._look().run_seconds

    @property
    def error(self) -> TaskFailure | None:
        """Why it did not complete; None while it has not ended, or when it did."""
        return self._look().error

    @property
    def progress(self) -> dict[str, Any] | None:
        """What the skill last said: done, total, text."""
        return self._look().progress

    @property
    def record(self) -> TaskRecord | None:
        """The whole record as it was last read; None before `refresh` (async form)."""
        document = self._record()
        return TaskRecord.model_validate(document) if document is not None else None

    def __repr__(self) -> str:
        return f"<{_task_line(self._glance())}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        known = self._glance()
        facts: list[tuple[str, object]] = [("state", known.state)]
        facts += [("node", known.node)] if known.node else []
        facts += [("attempt", known.attempt)] if known.attempt else []
        facts += [("waited", duration(known.wait_seconds))] if known.wait_seconds is not None else []
        facts += [("ran", duration(known.run_seconds))] if known.run_seconds is not None else []
        facts += [("result", known.result)] if known.result is not None else []
        facts += _aged(known)
        error = known.error
        text = ""
        if error is not None:
            facts.append(("error", f"{error.type or error.kind}: {error.message}"))
            text = error.traceback
        return bundle(f"<{_task_line(known)}>", html_card(f"{known.skill or 'task'} {known.id}", facts, text=text))


def _task_line(known: Snapshot) -> str:
    parts = ["Task", known.id, escape(known.skill or "-", 60), known.state]
    if known.node:
        parts.append(f"on {known.node}")
    if known.run_seconds is not None:
        parts.append(f"in {duration(known.run_seconds)}")
    error = known.error
    if error is not None:
        parts.append(escape(f"{error.type or error.kind}: {error.message}", 80))
    age = _aged(known)
    return " ".join(parts) + (f" ({age[0][1]})" if age else "")


def _aged(known: Snapshot) -> list[tuple[str, object]]:
    """Says so when what is shown may have changed since."""
    age_s = time.monotonic() - known.heard_at
    return [] if known.ended or age_s < 2 else [("as of", ago(age_s))]


V = TypeVar("V", bound=TaskView)

#: Rows of a list that is printed.
TEXT_ROWS_MAX = 50

TASK_COLUMNS = ("id", "skill", "state", "node", "try", "waited", "ran", "error")


class TaskTable(list[V]):
    """Tasks in order; shows itself as a table."""

    def _glance(self) -> None:
        """Bring what is shown up to date, within a second; nothing here."""

    def _rows(self, limit: int) -> list[tuple[object, ...]]:
        self._glance()
        return [_task_row(task._snapshot) for task in self[:limit]]

    def __repr__(self) -> str:
        self._glance()
        return f"<{len(self):,} tasks{_counts(task._snapshot.state for task in self)}>"

    def __str__(self) -> str:
        return _with_more(table(TASK_COLUMNS, self._rows(TEXT_ROWS_MAX)), len(self) - TEXT_ROWS_MAX)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        rows = self._rows(ROWS_MAX)
        counts = _counts(task._snapshot.state for task in self).removeprefix(": ")
        card = html_card(f"{len(self):,} tasks", [("", counts)], body=html_table(TASK_COLUMNS, rows, total=len(self)))
        return bundle(_with_more(table(TASK_COLUMNS, rows), len(self) - len(rows)), card)


def _with_more(text: str, more: int) -> str:
    return f"{text}\n… {more:,} more" if more > 0 else text


def _task_row(known: Snapshot) -> tuple[object, ...]:
    error = known.error
    said = f"{error.type or error.kind}: {error.message}" if error is not None else ""
    return (
        known.id,
        known.skill,
        known.state,
        known.node,
        known.attempt,
        duration(known.wait_seconds),
        duration(known.run_seconds),
        said,
    )


def _counts(states: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    shown = [f"{counts[s.value]:,} {s.value}" for s in TaskState if s.value in counts]
    return ": " + ", ".join(shown) if shown else ""


class NodeFacts:
    """One node as it was when it was asked for."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = NodeInfo.model_validate(document)

    @property
    def info(self) -> NodeInfo:
        """Everything that is kept of it."""
        return self._document

    @property
    def id(self) -> str:
        """The node's id."""
        return self.info.node_id

    @property
    def status(self) -> str:
        """online, busy, maintenance (draining), offline or error (quarantined)."""
        return self.info.status.value

    @property
    def skills(self) -> list[str]:
        """What it offers."""
        return list(self.info.available_skills)

    def __repr__(self) -> str:
        i = self.info
        slots = f"{i.running_tasks}/{i.max_concurrent_tasks} slots"
        return f"<Node {i.node_id} {_word(i)} {slots} {len(i.available_skills)} skills>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        i = self.info
        facts: list[tuple[str, object]] = [
            ("state", _word(i)),
            ("slots", f"{i.running_tasks}/{i.max_concurrent_tasks}"),
            ("cpu", f"{i.cpu_usage:.0f} %"),
            ("memory", f"{i.memory_usage:.0f} %"),
            ("skills", ", ".join(i.available_skills) or "-"),
            ("heard", _heard(i)),
        ]
        facts += [("quarantined", _quarantine(i))] if i.quarantined_until else []
        facts += [("withheld", f"{name}: {why}") for name, why in i.withheld.items()]
        return bundle(repr(self), html_card(f"{i.node_id} ({i.hostname})", facts))


N = TypeVar("N", bound=NodeFacts)

NODE_COLUMNS = ("node", "state", "slots", "cpu", "mem", "skills", "heard", "note")


class NodeTable(list[N]):
    """Nodes by id; shows itself as a table."""

    def __repr__(self) -> str:
        online = sum(node.status in ("online", "busy") for node in self)
        return f"<{len(self)} nodes, {online} online>"

    def __str__(self) -> str:
        return table(NODE_COLUMNS, [_node_row(node.info) for node in self])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        rows = [_node_row(node.info) for node in self]
        return bundle(table(NODE_COLUMNS, rows), html_table(NODE_COLUMNS, rows))


def _word(i: NodeInfo) -> str:
    return _NODE_WORDS.get(i.status.value, i.status.value)


def _heard(i: NodeInfo) -> str:
    if i.last_heartbeat is None:
        return "never"
    return ago(max(0.0, datetime.now(UTC).timestamp() - from_iso(i.last_heartbeat)))


def _quarantine(i: NodeInfo) -> str:
    """Why it is quarantined, and for how much longer; empty when it is not."""
    if i.quarantined_until is None:
        return ""
    return f"{i.quarantine_reason}; retry in {duration(seconds_until(i.quarantined_until))}"


def _node_row(i: NodeInfo) -> tuple[object, ...]:
    skills = ", ".join(i.available_skills[:3]) + (
        f", +{len(i.available_skills) - 3}" if len(i.available_skills) > 3 else ""
    )
    note = f'"{i.held_reason}"' + (f" by {i.held_by}" if i.held_by else "") if i.held_reason else _quarantine(i)
    slots = f"{i.running_tasks}/{i.max_concurrent_tasks}"
    return (i.node_id, _word(i), slots, f"{i.cpu_usage:.0f}%", f"{i.memory_usage:.0f}%", skills, _heard(i), note)


class Explained(Why):
    """Why a task stands where it stands; prints as sentences."""

    def __str__(self) -> str:
        return "\n".join(escape(line) for line in super().__str__().splitlines())

    def __repr__(self) -> str:
        return f"<Why {self.task_id} {self.verdict}: {escape(self.summary, 120)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        rows = [(n.node_id, n.status, n.skills, n.slot, n.resources, n.verdict) for n in self.nodes]
        body = html_table(("node", "state", "skills", "slot", "resources", "verdict"), rows) if rows else ""
        facts: list[tuple[str, object]] = [("would start it", change) for change in self.changes]
        return bundle(str(self), html_card(self.summary, facts, body=body))


class SkillInfo:
    """One skill that the cluster knows, and who offers it."""

    def __init__(
        self, name: str, manifest: SkillManifest | None, nodes: Sequence[str], withheld: Mapping[str, str]
    ) -> None:
        self.name = name
        #: Its newest registration; None for a skill that a node kept by hand claims to have.
        self.manifest = manifest
        #: Nodes that offer it, whatever their state.
        self.nodes = list(nodes)
        #: Node to the reason why it does not.
        self.withheld = dict(withheld)

    def __repr__(self) -> str:
        return f"<SkillInfo {escape(self.name)} on {len(self.nodes)} nodes>"


class SkillTable(list[SkillInfo]):
    """Skills by name; shows itself as a table."""

    _COLUMNS = ("skill", "kind", "revision", "nodes", "description", "withheld")

    def _rows(self) -> list[tuple[object, ...]]:
        return [
            (
                s.name,
                s.manifest.kind.value if s.manifest else "",
                s.manifest.revision[:8] if s.manifest else "",
                s.nodes,
                s.manifest.description if s.manifest else "",
                [f"{node}: {why}" for node, why in s.withheld.items()],
            )
            for s in self
        ]

    def __repr__(self) -> str:
        return f"<{len(self)} skills>"

    def __str__(self) -> str:
        return table(self._COLUMNS, self._rows())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        rows = self._rows()
        return bundle(table(self._COLUMNS, rows), html_table(self._COLUMNS, rows))


def cluster_line(status: Mapping[str, Any] | None, namespace: str, closed: bool, age_s: float | None = None) -> str:
    """One line about a cluster, of its last known state."""
    if closed:
        return f"<Cluster {escape(namespace)} closed>"
    if status is None:
        return f"<Cluster {escape(namespace)}>"
    tasks, nodes = status["tasks"], status["node_stats"]
    online = nodes["online"] + nodes["busy"]
    old = f" (as of {ago(age_s)})" if age_s is not None and age_s >= 2 else ""
    return (
        f"<Cluster {escape(namespace)} {online} nodes, slots {nodes['slots_used']}/{nodes['slots']}, "
        f"{tasks['pending']:,} pending, {tasks['scheduled'] + tasks['running']:,} running, "
        f"{tasks['completed']:,} completed, {tasks['failed'] + tasks['timeout']:,} failed{old}>"
    )


def recovery_words(status: Mapping[str, Any]) -> str:
    """The last start in words: ``restart 4, 12s ago, 2,031 live tasks, none re-run``."""
    age_s = max(0.0, datetime.now(UTC).timestamp() - from_iso(status["started_at"]))
    if status["epoch"] <= 1:
        return f"first start, {ago(age_s)}"
    live = status["live_at_start"]
    parts = [f"restart {status['epoch'] - 1}", ago(age_s), f"{live:,} live {'task' if live == 1 else 'tasks'}"]
    parts.append(f"{status['rerun'] or 'none'} re-run")
    if status["unheard"]:
        parts.append(f"{status['unheard']:,} running on nodes not heard of yet")
    return ", ".join(parts)


def cluster_bundle(line: str, status: Mapping[str, Any] | None) -> dict[str, Any]:
    """A cluster's card: counts, nodes, scheduler."""
    if status is None:
        return bundle(line, html_card(line.strip("<>")))
    nodes = [NodeInfo.model_validate(document) for document in status["nodes"]]
    facts: list[tuple[str, object]] = [(name, f"{count:,}") for name, count in status["tasks"].items() if count]
    facts.append(("serving since", recovery_words(status)))
    scheduler = status["scheduler"]
    facts.append(("scheduler", scheduler["strategy"] or "on" if scheduler["alive"] else "silent"))
    return bundle(
        line, html_card(line.strip("<>"), facts, body=html_table(NODE_COLUMNS, [_node_row(n) for n in nodes]))
    )


class ClusterStatus(dict[str, Any]):
    """A cluster as it was when it was asked: version, tasks, node_stats, nodes, scheduler; plain JSON values."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__(document)
        #: When, on the monotonic clock.
        self.heard_at = time.monotonic()

    def __repr__(self) -> str:
        return cluster_line(self, self["namespace"], closed=False, age_s=time.monotonic() - self.heard_at)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return cluster_bundle(repr(self), self)


def skills_of(manifests: Iterable[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> SkillTable:
    """The registry, with who offers what."""
    known = {m["name"]: SkillManifest.model_validate(m) for m in manifests}
    names = sorted({*known, *(name for node in nodes for name in (*node["offers"], *node["withheld"]))})
    return SkillTable(
        SkillInfo(
            name,
            known.get(name),
            [node["node_id"] for node in nodes if name in node["offers"]],
            {node["node_id"]: node["withheld"][name] for node in nodes if name in node["withheld"]},
        )
        for name in names
    )


def snapshot_of(document: Mapping[str, Any]) -> Snapshot:
    """What a record says."""
    snapshot = Snapshot(document["task_id"])
    snapshot.hear_record(dict(document))
    return snapshot


__all__ = [
    "ClusterStatus", "Explained", "NodeFacts", "NodeTable", "SkillInfo", "SkillTable", "TaskTable", "TaskView",
    "cluster_bundle", "cluster_line", "recovery_words", "skills_of", "snapshot_of",
]  # fmt: skip
