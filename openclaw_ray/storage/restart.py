"""What a StateManager needs after a start, in one read on one state of the database.

A million live tasks must neither take long nor be in memory twice: they are handed over one by one, without what the
core never looks at (parameters, descriptions, metadata).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from openclaw_ray.storage.node_queries import every_node
from openclaw_ray.storage.rows import NodeRow, SkillRow
from openclaw_ray.storage.skills import find as find_skill
from openclaw_ray.storage.sql import quoted
from openclaw_ray.storage.task_queries import count_by_status


class LiveTask(NamedTuple):
    """The columns of a live task that decisions use; JSON as text."""

    task_id: str
    task_type: str
    status: str
    skill: str | None
    required_skills: str | None
    optional_skills: str | None
    required_tags: str | None
    affinity_tags: str | None
    resources: str | None
    strategy: str | None
    priority: int
    assigned_node: str | None
    submitted_at: str
    scheduled_at: str | None
    started_at: str | None
    timeout: int | None
    retry_count: int
    max_retries: int
    lost_count: int
    max_lost: int
    attempt: int
    retry_at: str | None
    not_before: str | None
    deadline: str | None
    after: str | None
    revision: str | None
    user_id: str | None
    key: str | None
    group_name: str | None
    spec_sha256: str
    version: int
    seq: int
    token: int
    seated: int
    by_hand: int


class OpenLease(NamedTuple):
    """An open attempt with what its task asks; also of a task that ended while its agent still stops it."""

    token: int
    task_id: str
    attempt: int
    node_id: str | None
    leased_at: str
    started_at: str | None
    revision: str | None
    task_type: str
    status: str
    skill: str | None
    required_skills: str | None
    optional_skills: str | None
    required_tags: str | None
    affinity_tags: str | None
    resources: str | None
    strategy: str | None
    asked_revision: str | None
    seated: int
    by_hand: int


_LIVE_ARM = f"SELECT {quoted(LiveTask._fields)} FROM tasks WHERE status = '{{}}'"
#: In order of submission: three index walks, merged.
LIVE_TASKS = f"{' UNION ALL '.join(_LIVE_ARM.format(s) for s in ('pending', 'scheduled', 'running'))} ORDER BY seq"
# As many look-ups as there are leases: the partial index lists them.
LEASES = (
    "SELECT a.token, a.task_id, a.attempt, a.node_id, a.leased_at, a.started_at, a.revision, t.task_type, t.status, "
    "t.skill, t.required_skills, t.optional_skills, t.required_tags, t.affinity_tags, t.resources, t.strategy, "
    "t.revision, t.seated, t.by_hand "
    "FROM attempts AS a INDEXED BY attempts_open CROSS JOIN tasks AS t ON t.task_id = a.task_id "
    "WHERE a.outcome IS NULL ORDER BY a.token"
)
NEWEST_SKILLS = "SELECT name, MAX(seq) FROM skills WHERE name > '' GROUP BY name"
SKILL_BY_SEQ = "SELECT revision FROM skills WHERE seq = ? AND name = ?"
LAST_TOKEN = "SELECT COALESCE(MAX(token), 0) FROM attempts"
LAST_SEQ = "SELECT COALESCE(MAX(seq), 0) FROM tasks"
LAST_EVENT = "SELECT COALESCE(MAX(seq), 0) FROM events"
LAST_SKILL = "SELECT COALESCE(MAX(seq), 0) FROM skills"
_META = "SELECT name, value FROM meta"
_COUNTERS = "SELECT family, labels, value FROM counters"


@dataclass(slots=True)
class Loaded:
    """The state of the database at one commit."""

    meta: dict[str, str]
    #: In order of submission; empty when they were handed over one by one.
    tasks: list[LiveTask]
    #: Attempts that have not ended.
    leases: list[OpenLease]
    nodes: list[NodeRow]
    #: Skill to the revision registered last.
    newest: dict[str, str]
    #: (skill, revision): the newest ones, and those that live tasks and leases name.
    skills: dict[tuple[str, str], SkillRow]
    counters: list[tuple[str, str, str]]
    #: Tasks in each state, ended ones too.
    counts: dict[str, int]
    #: The highest numbers in use, 0 for none. Tokens and sequence numbers of deleted rows are higher: see also `meta`.
    last_token: int
    last_seq: int
    last_event: int
    last_skill: int


def load(conn: sqlite3.Connection, on_task: Callable[[LiveTask], object] | None = None) -> Loaded:
    """Read everything; for `Database.read` with ``bound_s=None``.

    Args:
        conn: Inside one read.
        on_task: Is given each live task in order of submission, in the database thread; None: they are collected.
    """
    tasks: list[LiveTask] = []
    take = tasks.append if on_task is None else on_task
    newest = _newest(conn)
    wanted = set(newest.items())
    for row in conn.execute(LIVE_TASKS):
        task = LiveTask._make(row)
        take(task)
        if task.revision is not None and task.skill is not None:
            wanted.add((task.skill, task.revision))
    leases = []
    for row in conn.execute(LEASES):
        lease = OpenLease._make(row)
        leases.append(lease)
        if lease.revision is not None and lease.skill is not None:
            wanted.add((lease.skill, lease.revision))
    return Loaded(
        meta=dict(conn.execute(_META).fetchall()),
        tasks=tasks,
        leases=leases,
        nodes=every_node(conn),
        newest=newest,
        skills={key: found for key in sorted(wanted) if (found := find_skill(conn, *key)) is not None},
        counters=conn.execute(_COUNTERS).fetchall(),
        counts=count_by_status(conn),
        last_token=_one(conn, LAST_TOKEN),
        last_seq=_one(conn, LAST_SEQ),
        last_event=_one(conn, LAST_EVENT),
        last_skill=_one(conn, LAST_SKILL),
    )


def _newest(conn: sqlite3.Connection) -> dict[str, str]:
    return {
        name: conn.execute(SKILL_BY_SEQ, (seq, name)).fetchone()[0]
        for name, seq in conn.execute(NEWEST_SKILLS).fetchall()
    }


def _one(conn: sqlite3.Connection, sql: str) -> int:
    return int(conn.execute(sql).fetchone()[0])
