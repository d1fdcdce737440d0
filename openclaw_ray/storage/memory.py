"""A database in memory, for simulations: the shipped schema and SQL on one connection, without file, thread or await.

What was committed is what its owner keeps; a crash of the process that used it loses an open transaction and nothing
else. SQLite's own recovery of a file is not what this can show; the tests of kills do that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from openclaw_ray.storage.batch import Batch, write
from openclaw_ray.storage.connection import COMMON, STATEMENTS_KEPT, configure, snapshot, transact
from openclaw_ray.storage.restart import Loaded, load
from openclaw_ray.storage.schema import Origin, initial, shipped

T = TypeVar("T")


class MemoryDatabase:
    """One database of one cluster; every call is whole when it returns."""

    def __init__(self, cluster_id: str, created_at: str) -> None:
        self._conn = sqlite3.connect(":memory:", isolation_level=None, cached_statements=STATEMENTS_KEPT)
        configure(self._conn, *COMMON)
        transact(self._conn, lambda conn: initial(conn, shipped(), Origin(cluster_id, created_at)))

    def commit(self, batch: Batch) -> None:
        """One batch, one transaction.

        Raises:
            OpenClawError: nothing was written.
        """
        transact(self._conn, lambda conn: write(conn, batch))

    def read(self, fn: Callable[[Any], T]) -> T:
        """Run the reading `fn` on the committed state."""
        return snapshot(self._conn, fn, None)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds in the committed state."""
        return self.read(lambda conn: conn.execute(sql, values).fetchall())

    def load(self) -> Loaded:
        """Everything that a coordinator needs after a start."""
        return self.read(load)

    def close(self) -> None:
        """Forget everything."""
        self._conn.close()
