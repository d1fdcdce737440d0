"""Rows written together read back as they were given, whatever they share."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openclaw_ray.storage import bulk
from openclaw_ray.storage.bulk import OWN_MAX, ROWS_MIN, insert_many, update_many

N = 3 * ROWS_MIN
COLUMNS = ("id", "a", "b", "c", "d")
Column = Callable[[int], Any]
#: What a column may look like over the rows of a batch.
SHAPES: dict[str, Column] = {
    "shared text": lambda i: "x",
    "shared null": lambda i: None,
    "shared number": lambda i: 7,
    "counted": lambda i: 100 + i,
    "counted by seven": lambda i: 3 + 7 * i,
    "counted down": lambda i: 500 - 2 * i,
    "own text": lambda i: f"t{i}",
    "own number": lambda i: i * i,
    "now and then null": lambda i: None if i % 3 else f"t{i}",
    "text that looks like a number": lambda i: str(i),
    "quotes and line ends": lambda i: "'\\\"\n\u2028" + str(i),
    "any language": lambda i: f"测试天气查询 \U0001f600 {i}",
    "json inside": lambda i: '{"a": "\\u0000", "n": ' + f"{i}}}",
    "a NUL": lambda i: f"a\0{i}",
    "almost counted": lambda i: i if i < N - 1 else 2**62,
    "zeros and ones": lambda i: i % 2,
}


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(":memory:", isolation_level=None)
    found.execute("CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT, b TEXT, c INTEGER, d INTEGER)")
    yield found
    found.close()


def rows_of(columns: list[Column], n: int = N) -> list[tuple[Any, ...]]:
    return [(f"r{i}", *(column(i) for column in columns)) for i in range(n)]


def by_one(conn: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    conn.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
    found = conn.execute("SELECT * FROM t ORDER BY rowid").fetchall()
    conn.execute("DELETE FROM t")
    return found


@pytest.mark.parametrize("seed", range(40))
def test_together_they_are_what_they_are_one_by_one(conn: sqlite3.Connection, seed: int) -> None:
    chance = random.Random(seed)
    rows = rows_of(chance.choices(list(SHAPES.values()), k=4), chance.choice([1, ROWS_MIN - 1, ROWS_MIN, N]))
    wanted = by_one(conn, rows)
    insert_many(conn, "t", COLUMNS, rows)
    assert conn.execute("SELECT * FROM t ORDER BY rowid").fetchall() == wanted
    changes = [(row[2], row[1], row[4], row[3], row[0]) for row in rows]
    assert update_many(conn, "t", ("a", "b", "c", "d", "id"), "t.id IS NOT NULL", changes) == len(rows)
    assert conn.execute("SELECT id, b, a, d, c FROM t ORDER BY rowid").fetchall() == wanted


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_survives_as_a_value_and_beside_another(conn: sqlite3.Connection, shape: str) -> None:
    rows = rows_of([SHAPES[shape], SHAPES["own text"], SHAPES["counted"], SHAPES["shared null"]])
    wanted = by_one(conn, rows)
    insert_many(conn, "t", COLUMNS, rows)
    assert conn.execute("SELECT * FROM t ORDER BY rowid").fetchall() == wanted


def test_an_update_counts_only_the_rows_that_its_guard_lets_through(conn: sqlite3.Connection) -> None:
    insert_many(conn, "t", COLUMNS, rows_of([SHAPES["own text"]] * 2 + [SHAPES["counted"]] * 2))
    changes = [(f"new {i}", f"r{i}") for i in range(N)] + [("lost", "nobody")]
    assert update_many(conn, "t", ("b", "id"), "c >= 103", changes) == N - 3
    assert conn.execute("SELECT b FROM t WHERE id IN ('r2', 'r3')").fetchall() == [("t2",), ("new 3",)]


def test_long_texts_travel_in_several_parts(conn: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "TEXT_MAX", 1_000)
    rows = rows_of([lambda i: f"{i}" * 200, SHAPES["shared text"], SHAPES["counted"], SHAPES["own number"]])
    insert_many(conn, "t", COLUMNS, rows)
    assert conn.execute("SELECT * FROM t ORDER BY rowid").fetchall() == rows


def test_many_rows_are_one_statement(conn: sqlite3.Connection) -> None:
    asked: list[str] = []
    conn.set_trace_callback(asked.append)
    insert_many(conn, "t", COLUMNS, rows_of([SHAPES["own text"]] * 2 + [SHAPES["counted"]] * 2))
    assert len(asked) == 1


def test_rows_that_agree_in_little_are_bound_one_by_one(conn: sqlite3.Connection) -> None:
    names = tuple(f"c{i}" for i in range(OWN_MAX + 1))
    conn.execute(f"CREATE TABLE wide ({', '.join(names)})")
    rows = [tuple(f"{i}.{name}" for name in names) for i in range(N)]
    insert_many(conn, "wide", names, rows)
    assert conn.execute("SELECT * FROM wide ORDER BY rowid").fetchall() == rows
