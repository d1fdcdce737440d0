"""The registry of skills: every revision that was registered, the newest of each name, and the code of functions."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from openclaw_ray.core.limits import PAGE_MAX
from openclaw_ray.models.door import dumps, parse
from openclaw_ray.models.skill import SkillManifest
from openclaw_ray.storage.batch import INSERT_CODE, INSERT_SKILL
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.rows import SKILL_COLUMNS, SkillRow
from openclaw_ray.storage.task_pages import page_limit

GET_SKILL = f"SELECT {SKILL_COLUMNS} FROM skills WHERE name = ? AND revision = ?"
NEWEST_SKILL = f"SELECT {SKILL_COLUMNS} FROM skills WHERE name = ? ORDER BY seq DESC LIMIT 1"
SKILLS_SINCE = f"SELECT {SKILL_COLUMNS} FROM skills WHERE seq > ? ORDER BY seq LIMIT ?"
LAST_SKILL_SEQ = "SELECT COALESCE(MAX(seq), 0) FROM skills"
GET_CODE = "SELECT blob FROM code WHERE digest = ?"
# The manifest is JSON text; a revision that stays keeps its code.
PRUNE_CODE = """
DELETE FROM code WHERE digest NOT IN (
    SELECT json_extract(manifest, '$.code') FROM skills WHERE json_extract(manifest, '$.code') IS NOT NULL
)
"""


class RegisteredSkill(NamedTuple):
    """One revision in the registry."""

    manifest: SkillManifest
    registered_at: str
    by: str | None
    seq: int


def skill_row_of(manifest: SkillManifest, registered_at: str, by: str | None, seq: int) -> SkillRow:
    """The row of a manifest."""
    text = dumps(manifest.model_dump(mode="json"))
    return SkillRow(manifest.name, manifest.revision, text, registered_at, by, seq)


def skill_of(row: SkillRow) -> RegisteredSkill:
    """The manifest of a row."""
    return RegisteredSkill(parse(SkillManifest, row.manifest), row.registered_at, row.by, row.seq)


def register(
    conn: sqlite3.Connection, manifest: SkillManifest, registered_at: str, by: str | None, code: bytes | None
) -> int:
    """Make `manifest` the newest revision of its name, with its code; returns its number in the registry."""
    seq = int(conn.execute(LAST_SKILL_SEQ).fetchone()[0]) + 1
    if manifest.code is not None and code is not None:
        conn.execute(INSERT_CODE, (manifest.code, code))
    conn.execute(INSERT_SKILL, skill_row_of(manifest, registered_at, by, seq))
    return seq


def newest(conn: sqlite3.Connection, name: str) -> SkillRow | None:
    """The revision of `name` that was registered last, or None."""
    row = conn.execute(NEWEST_SKILL, (name,)).fetchone()
    return None if row is None else SkillRow._make(row)


def find(conn: sqlite3.Connection, name: str, revision: str) -> SkillRow | None:
    """One revision, or None."""
    row = conn.execute(GET_SKILL, (name, revision)).fetchone()
    return None if row is None else SkillRow._make(row)


def since(conn: sqlite3.Connection, seq: int, limit: int) -> list[SkillRow]:
    """What was registered after number `seq`, in that order."""
    return [SkillRow._make(row) for row in conn.execute(SKILLS_SINCE, (seq, page_limit(limit)))]


def code(conn: sqlite3.Connection, digest: str) -> bytes | None:
    """The blob behind a digest, or None."""
    row = conn.execute(GET_CODE, (digest,)).fetchone()
    return None if row is None else bytes(row[0])


def prune_code(conn: sqlite3.Connection) -> int:
    """Delete the code that no registered revision names; returns how many blobs."""
    return conn.execute(PRUNE_CODE).rowcount


class SkillRepository:
    """Skills by name and revision; each call is one transaction, or joins the caller's `Database.transaction()`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def register(
        self, manifest: SkillManifest, registered_at: str, *, by: str | None = None, code: bytes | None = None
    ) -> int:
        """Make `manifest` the newest revision of its name; a known revision only becomes the newest again.

        Returns:
            Its number, higher than that of every registration before.
        """
        return await self._db.run(lambda conn: register(conn, manifest, registered_at, by, code))

    async def newest(self, name: str) -> RegisteredSkill | None:
        """The revision of `name` that was registered last, or None."""
        row = await self._db.read(lambda conn: newest(conn, name))
        return None if row is None else skill_of(row)

    async def get(self, name: str, revision: str) -> RegisteredSkill | None:
        """One revision, or None."""
        row = await self._db.read(lambda conn: find(conn, name, revision))
        return None if row is None else skill_of(row)

    async def since(self, seq: int = 0, limit: int = PAGE_MAX) -> list[RegisteredSkill]:
        """What was registered after number `seq`, in that order."""
        return [skill_of(row) for row in await self._db.read(lambda conn: since(conn, seq, limit))]

    async def code(self, digest: str) -> bytes | None:
        """The blob behind a digest, or None; opaque here."""
        return await self._db.read(lambda conn: code(conn, digest))

    async def prune_code(self) -> int:
        """Delete the code that no registered revision names; returns how many blobs."""
        return await self._db.run(prune_code)
