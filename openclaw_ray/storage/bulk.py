"""Many rows by one statement: what they share is bound once, the rest is unfolded inside SQLite from one JSON text.

Binding a value from Python costs more than SQLite's own work with it, and rows that come together mostly agree: tasks
of one submit differ in their ids, attempts of one report in their tokens. So the columns of a batch are compared first.
A column is *shared* (bound once), *counted* (it grows by the same step from row to row: start and step are bound) or
*own* (travels as JSON). The one statement also runs without Python's lock, so the event loop goes on meanwhile.

For columns of text, whole numbers and None. Not for floats: SQLite rounds what it reads from JSON in its own way.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from openclaw_ray.storage import sql

Rows = Sequence[tuple[Any, ...]]

#: With fewer rows, or more own columns, binding one by one costs no more.
ROWS_MIN = 8
OWN_MAX = 12
#: Characters of one JSON text; SQLite keeps its parsed form in memory as well.
TEXT_MAX = 1_000_000
#: SQLite's JSON ends a text at a NUL; such rows are bound one by one.
_NUL = "\\u0000"

_SHARED, _COUNTED, _OWN = "s", "c", "o"


def insert_many(conn: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Rows) -> None:
    """Insert rows with these columns, in order."""
    for part, plan, bound in _parts(rows):
        if plan is None:
            conn.executemany(sql.insert(table, columns), map(tuple, part))
        else:
            conn.execute(_insert(table, columns, plan), bound)


def update_many(conn: sqlite3.Connection, table: str, columns: tuple[str, ...], guard: str, rows: Rows) -> int:
    """Set all but the last column where the last is equal and `guard` holds; answers how many rows were there.

    The guard names its columns with the table where `json_each` has one of that name (key, value, type, id, path).
    """
    found = 0
    for part, plan, bound in _parts(rows):
        if plan is None:
            one = f"UPDATE {table} SET {sql.sets(columns[:-1])} WHERE {columns[-1]} = ? AND {guard}"
            found += conn.executemany(one, map(tuple, part)).rowcount
        else:
            found += conn.execute(_update(table, columns, guard, plan), bound).rowcount
    return found


def _parts(rows: Rows) -> list[tuple[Rows, str | None, list[Any]]]:
    """Rows in order, each part with its plan (a letter per column; None: one by one) and what is to be bound."""
    if len(rows) < ROWS_MIN:
        return [(rows, None, [])]
    columns = list(zip(*rows, strict=True))
    plan = "".join(map(_kind, columns))
    own = [column for column, kind in zip(columns, plan, strict=True) if kind == _OWN]
    if len(own) > OWN_MAX:
        return [(rows, None, [])]
    text = json.dumps(own[0] if len(own) == 1 else list(zip(*own, strict=True)) or [0] * len(rows))
    if _NUL in text:
        return [(rows, None, [])]
    if len(text) > TEXT_MAX:
        half = len(rows) // 2
        return _parts(rows[:half]) + _parts(rows[half:])
    bound: list[Any] = [text]
    for column, kind in zip(columns, plan, strict=True):
        if kind == _SHARED:
            bound.append(column[0])
        elif kind == _COUNTED:
            bound += (column[0], column[1] - column[0])
    return [(rows, plan, bound)]


def _kind(column: tuple[Any, ...]) -> str:
    first, second = column[:2]
    if column.count(first) == len(column):
        return _SHARED
    if type(first) is int and type(second) is int and second != first:
        step = second - first
        if column == tuple(range(first, first + step * len(column), step)):
            return _COUNTED
    return _OWN


def _expressions(plan: str) -> list[str]:
    """What stands for each column; ?1 is the JSON text, the others are bound in order."""
    alone = plan.count(_OWN) == 1
    found: list[str] = []
    bound, own = 2, 0
    for kind in plan:
        if kind == _OWN:
            found.append("j.value" if alone else f"json_extract(j.value, '$[{own}]')")
            own += 1
        elif kind == _SHARED:
            found.append(f"?{bound}")
            bound += 1
        else:
            found.append(f"?{bound} + j.key * ?{bound + 1}")
            bound += 2
    return found


@lru_cache(maxsize=256)
def _insert(table: str, columns: tuple[str, ...], plan: str) -> str:
    return f"INSERT INTO {table} ({sql.quoted(columns)}) SELECT {', '.join(_expressions(plan))} FROM json_each(?1) AS j"


@lru_cache(maxsize=256)
def _update(table: str, columns: tuple[str, ...], guard: str, plan: str) -> str:
    *values, key = _expressions(plan)
    sets = ", ".join(f'"{column}" = {value}' for column, value in zip(columns[:-1], values, strict=True))
    return f"UPDATE {table} SET {sets} FROM json_each(?1) AS j WHERE {table}.{columns[-1]} = {key} AND {guard}"
