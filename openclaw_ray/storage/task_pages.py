"""Pages of tasks, newest first, for any filter.

A page walks an index that has its order, and no further than `WALK_MAX` entries in search of rows that fit; it says
where the next one begins. So a page costs milliseconds with a million tasks, whatever is asked, and needs no sort.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from openclaw_ray.core.limits import NAME_LEN_MAX, PAGE_MAX
from openclaw_ray.core.types import TaskState
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.door import quoted
from openclaw_ray.models.fields import from_iso, iso
from openclaw_ray.storage.rows import TASK_COLUMNS, TaskRow

#: Index entries that one page looks at in search of rows that fit its filter: 2 to 7 ms.
WALK_MAX = 2_000
#: Before the first page.
SEQ_MAX = 2**63 - 1
#: LIKE's own letters, escaped.
_LITERAL = str.maketrans({letter: f"\\{letter}" for letter in "\\%_"})


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a list shows; what is left out does not restrict. All conditions hold together."""

    states: Sequence[str] = ()
    skill: str | None = None
    node: str | None = None
    user: str | None = None
    group: str | None = None
    #: Part of the name, letter by letter (``%`` and ``_`` stand for themselves; ASCII case does not matter).
    name: str | None = None
    key: str | None = None
    #: ISO time with a zone: submitted then or later.
    since: str | None = None
    ids: Sequence[str] | None = None
    #: Only tasks submitted before this one: `TaskPage.next_seq` of the page before.
    before_seq: int | None = None
    limit: int = 100


class TaskPage(NamedTuple):
    """Some tasks, newest first."""

    rows: list[TaskRow]
    #: Where the next page begins; None: there is none. A page may be short, even empty, and still have a next one.
    next_seq: int | None


def page_limit(limit: int, maximum: int = PAGE_MAX) -> int:
    """Check the size of a page.

    Raises:
        InvalidRequest: Not 1 to `maximum`.
    """
    if type(limit) is not int or not 1 <= limit <= maximum:
        raise InvalidRequest(f"{quoted(limit)} is not a page size", field="limit", limit=f"1 to {maximum:,}")
    return limit


def checked_states(states: Iterable[str]) -> list[str]:
    """Distinct known states.

    Raises:
        InvalidRequest: Naming the valid ones.
    """
    found = list(dict.fromkeys(str(one) for one in states))
    if unknown := [one for one in found if one not in set(TaskState)]:
        raise InvalidRequest(f"{quoted(unknown[0])} is not a state", field="states", limit=", ".join(TaskState))
    return found


def checked_time(text: str, name: str) -> str:
    """A time in the form that the database compares.

    Raises:
        InvalidRequest: Not ISO-8601.
    """
    try:
        return iso(from_iso(text))
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest(f"{quoted(text)} is not a time", field=name, limit="ISO-8601 with a zone") from None


def page(conn: sqlite3.Connection, wanted: TaskFilter) -> TaskPage:
    """One page of tasks, newest first.

    Raises:
        InvalidRequest: A page size, state, time or name that cannot be.
    """
    limit = page_limit(wanted.limit)
    walk = _walk(wanted)
    rest, bound = _rest(wanted, walk.used)
    before = SEQ_MAX if wanted.before_seq is None else wanted.before_seq
    floor = _floor(conn, walk, before) if rest and walk.ordered else None
    arms, values = [], []
    for where, given in walk.arms:
        arms.append(f"SELECT {TASK_COLUMNS} FROM tasks WHERE {where} AND seq < ? AND seq >= ?{rest}")
        values += [*given, before, 0 if floor is None else floor, *bound]
    sql = " UNION ALL ".join(arms)
    if walk.ordered:
        found = conn.execute(f"{sql} ORDER BY seq DESC LIMIT ?", [*values, limit + 1])
    else:
        found = conn.execute(sql, values)
    rows = sorted(map(TaskRow._make, found), key=lambda row: -row.seq)  # a no-op for an ordered walk
    if len(rows) > limit:
        return TaskPage(rows[:limit], rows[limit - 1].seq)
    return TaskPage(rows, floor)


class _Walk(NamedTuple):
    """The index that a page walks: WHERE and bound values of each arm, and the filters it settles."""

    arms: list[tuple[str, list[Any]]]
    used: str
    ordered: bool = True


def _walk(wanted: TaskFilter) -> _Walk:
    """The most telling index of those the filter allows."""
    if wanted.ids is not None:
        page_limit(max(1, len(wanted.ids)))
        # At most a page of rows by primary key: fetched unsorted, and `limit` is at least their number.
        return _Walk([("task_id IN (SELECT value FROM json_each(?))", [json.dumps(list(wanted.ids))])], "ids", False)
    if wanted.key is not None:
        return _Walk([("key = ?", [wanted.key])], "key", False)
    for name, column in (("group", "group_name"), ("user", "user_id"), ("node", "assigned_node"), ("skill", "skill")):
        if (value := getattr(wanted, name)) is not None:
            return _Walk([(f"{column} = ?", [value])], name)
    if states := checked_states(wanted.states):
        return _Walk([("status = ?", [state]) for state in states], "states")
    return _Walk([("seq > ?", [-1])], "")


def _rest(wanted: TaskFilter, used: str) -> tuple[str, list[Any]]:
    """The conditions that the walked index does not settle. The + keeps SQLite from taking another index for them."""
    sql, bound = "", []
    for name, column in (
        ("group", "group_name"), ("user", "user_id"), ("node", "assigned_node"), ("skill", "skill"), ("key", "key"),
    ):  # fmt: skip
        if name != used and (value := getattr(wanted, name)) is not None:
            sql += f" AND +{column} = ?"
            bound.append(value)
    if used != "states" and (states := checked_states(wanted.states)):
        sql += f" AND +status IN ({', '.join('?' * len(states))})"
        bound += states
    if wanted.name is not None:
        if len(wanted.name) > NAME_LEN_MAX:
            raise InvalidRequest("is longer than any name", field="name", limit=f"{NAME_LEN_MAX} characters")
        sql += " AND name LIKE ? ESCAPE '\\'"
        bound.append(f"%{wanted.name.translate(_LITERAL)}%")
    if wanted.since is not None:
        sql += " AND submitted_at >= ?"
        bound.append(checked_time(wanted.since, "since"))
    return sql, bound


def _floor(conn: sqlite3.Connection, walk: _Walk, before: int) -> int | None:
    """The `seq` after `WALK_MAX` entries of the walk; None: it is shorter."""
    arms, values = [], []
    for where, given in walk.arms:
        arms.append(f"SELECT seq FROM tasks WHERE {where} AND seq < ?")
        values += [*given, before]
    row = conn.execute(
        f"{' UNION ALL '.join(arms)} ORDER BY seq DESC LIMIT 1 OFFSET ?", [*values, WALK_MAX - 1]
    ).fetchone()
    return None if row is None else int(row[0])
