from __future__ import annotations

from openclaw_ray.models.skill import SkillKind, SkillManifest
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.skills import SkillRepository
from tests.storage.builders import AT


def manifest(name: str, revision: str, code: str | None = None) -> SkillManifest:
    return SkillManifest(name=name, kind=SkillKind.PYTHON, revision=revision * 64, code=code and code * 64)


async def test_the_newest_revision_is_the_one_registered_last(db: Database) -> None:
    repo = SkillRepository(db)
    for revision in "aba":
        await repo.register(manifest("echo", revision), AT, by="me")
    newest = await repo.newest("echo")
    assert newest is not None
    assert (newest.manifest.revision, newest.seq, newest.by) == ("a" * 64, 3, "me")
    assert await repo.newest("nope") is None
    old = await repo.get("echo", "b" * 64)
    assert old is not None
    assert old.manifest == manifest("echo", "b")
    assert await repo.get("echo", "c" * 64) is None


async def test_a_reader_follows_by_number(db: Database) -> None:
    repo = SkillRepository(db)
    assert [await repo.register(manifest(name, "a"), AT) for name in ("x", "y", "z")] == [1, 2, 3]
    assert [s.manifest.name for s in await repo.since(1)] == ["y", "z"]
    assert await repo.since(3) == []


async def test_code_goes_with_the_last_revision_that_names_it(db: Database) -> None:
    repo = SkillRepository(db)
    await repo.register(manifest("echo", "a", code="1"), AT, code=b"one")
    await db.run(lambda conn: conn.execute("INSERT INTO code VALUES ('stray', x'00')"))
    assert await repo.code("1" * 64) == b"one"
    assert await repo.prune_code() == 1
    assert await repo.code("stray") is None
    assert await repo.code("1" * 64) == b"one"
