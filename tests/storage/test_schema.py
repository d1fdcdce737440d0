from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from openclaw_ray.errors import Conflict, Corrupt, InvalidRequest, SchemaTooNew, StorageError
from openclaw_ray.storage import schema
from openclaw_ray.storage.connection import APPLICATION_ID
from openclaw_ray.storage.database import Database
from openclaw_ray.storage.rows import ROWS
from openclaw_ray.storage.schema import Migration
from tests.storage.builders import listing, run_python

# The contract with programs that know the tables: name, type, NOT NULL, default; these come first, in this order.
NODES = """
node_id TEXT|hostname TEXT!|platform TEXT!|arch TEXT!|status TEXT!|cpu_usage REAL=0|memory_usage REAL=0
disk_usage REAL=0|available_skills TEXT|max_concurrent_tasks INTEGER=5|running_tasks INTEGER=0|ip_address TEXT
tailscale_ip TEXT|port INTEGER|total_tasks_processed INTEGER=0|successful_tasks INTEGER=0|failed_tasks INTEGER=0
average_execution_time REAL=0|registered_at TIMESTAMP|last_heartbeat TIMESTAMP|tags TEXT
"""
TASKS = """
task_id TEXT|task_type TEXT!|name TEXT!|description TEXT|required_skills TEXT|optional_skills TEXT|status TEXT!
priority INTEGER=2|assigned_node TEXT|submitted_at TIMESTAMP|scheduled_at TIMESTAMP|started_at TIMESTAMP
completed_at TIMESTAMP|parameters TEXT|timeout INTEGER|retry_count INTEGER=0|max_retries INTEGER=3|user_id TEXT
affinity_tags TEXT|result TEXT|error TEXT|metadata TEXT|created_at TIMESTAMP=CURRENT_TIMESTAMP
"""
#: The newest schema of this version, and two that might come.
KNOWN = len(schema.shipped())
NEXT = Migration(
    KNOWN + 1, "CREATE TABLE extra (a TEXT); -- a note; with a semicolon\nINSERT INTO extra VALUES ('x;y');\n"
)
BROKEN = Migration(KNOWN + 1, "CREATE TABLE extra (a TEXT);\nINSERT INTO nowhere VALUES (1);\n")


def listed(contract: str) -> list[str]:
    return contract.strip().replace("\n", "|").split("|")


def described(row: tuple[int, str, str, int, str | None, int]) -> str:
    _, name, kind, not_null, default, _ = row
    return f"{name} {kind}{'!' if not_null else ''}{'' if default is None else f'={default}'}"


def dump(path: Path) -> list[tuple[object, ...]]:
    conn = sqlite3.connect(path)
    try:
        found = conn.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").fetchall()
        return [*found, conn.execute("PRAGMA user_version").fetchone()]
    finally:
        conn.close()


async def made(path: Path, *migrations: Migration) -> Path:
    scripts = [*schema.shipped(), *migrations]
    await (await Database.open(path, create=True, cluster_id="c1", migrations=scripts)).close()
    return path


def edit(path: Path, *statements: str) -> None:
    conn = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        conn.execute(statement)
    conn.close()


async def refused(path: Path, error: type[StorageError]) -> StorageError:
    """Opening is refused, and not one byte of the folder changes."""
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    with pytest.raises(error) as caught:
        await (await Database.open(path, create=False)).close()
    assert {p.name: p.read_bytes() for p in path.parent.iterdir() if not p.name.endswith("-shm")} == before
    return caught.value


@pytest.mark.parametrize(("table", "contract"), [("nodes", NODES), ("tasks", TASKS)])
async def test_first_columns_are_the_contract(db: Database, table: str, contract: str) -> None:
    rows = await db.read(lambda conn: conn.execute(f"PRAGMA table_info({table})").fetchall())
    assert [described(row) for row in rows][: len(listed(contract))] == listed(contract)
    assert [row[1] for row in rows if row[5]] == [f"{table[:-1]}_id"]


@pytest.mark.parametrize("table", sorted(ROWS))
async def test_each_row_type_has_the_columns_of_its_table_in_order(db: Database, table: str) -> None:
    rows = await db.read(lambda conn: conn.execute(f"PRAGMA table_info({table})").fetchall())
    assert tuple(row[1] for row in rows) == ROWS[table]


async def test_a_new_database_is_private_and_says_what_it_is(tmp_path: Path) -> None:
    path = await made(tmp_path / "x.db")
    assert path.stat().st_mode & 0o777 == 0o600
    db = await Database.open(path, create=False)
    meta = await db.read(lambda conn: dict(conn.execute("SELECT name, value FROM meta").fetchall()))
    assert meta["cluster_id"] == "c1"
    assert (meta["epoch"], meta["next_token"]) == ("0", "1")
    assert await db.read(lambda conn: conn.execute("PRAGMA application_id").fetchone()) == (APPLICATION_ID,)
    await db.close()
    assert listing(tmp_path) == ["x.db"]


async def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    error = await refused(tmp_path / "x.db", StorageError)
    assert error.facts["problem"] == "missing"
    assert listing(tmp_path) == []


async def test_create_can_be_repeated_by_the_same_cluster_only(tmp_path: Path) -> None:
    path = await made(tmp_path / "x.db")
    await made(path)
    with pytest.raises(Conflict) as caught:
        await Database.open(path, create=True, cluster_id="c2")
    assert caught.value.facts["cluster_id"] == "c1"


async def test_create_asks_for_a_cluster_id_and_excludes_read_only(tmp_path: Path) -> None:
    for options in ({"cluster_id": ""}, {"cluster_id": "c", "read_only": True}):
        with pytest.raises(InvalidRequest):
            await Database.open(tmp_path / "x.db", create=True, **options)  # type: ignore[arg-type]


async def test_a_wal_without_its_database_stops_creation(tmp_path: Path) -> None:
    (tmp_path / "x.db-wal").write_bytes(b"something")
    with pytest.raises(StorageError, match="belongs to a database that is gone"):
        await made(tmp_path / "x.db")


async def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    await refused(tmp_path / "x.db", Corrupt)


async def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database\n" * 1000)
    await refused(tmp_path / "x.db", Corrupt)


async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    edit(tmp_path / "x.db", "CREATE TABLE t (a)")
    await refused(tmp_path / "x.db", Corrupt)


async def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = await made(tmp_path / "x.db")
    os.truncate(path, path.stat().st_size // 2)
    await refused(path, Corrupt)


@pytest.mark.parametrize(
    "damage",
    ["DROP TABLE meta", "DROP TABLE tasks", "DELETE FROM meta", "ALTER TABLE nodes RENAME COLUMN tags TO labels"],
)
async def test_a_file_that_lost_something_is_refused(tmp_path: Path, damage: str) -> None:
    path = await made(tmp_path / "x.db")
    edit(path, damage)
    await refused(path, Corrupt)


async def test_a_newer_schema_is_refused_naming_both_versions(tmp_path: Path) -> None:
    path = await made(tmp_path / "x.db", NEXT)
    error = await refused(path, SchemaTooNew)
    assert error.facts == {"found": KNOWN + 1, "known": KNOWN}


async def test_a_second_name_of_the_file_is_refused(tmp_path: Path) -> None:
    path = await made(tmp_path / "x.db")
    (tmp_path / "y.db").hardlink_to(path)
    assert (await refused(path, StorageError)).facts["problem"] == "link"


async def test_a_symbolic_link_leads_to_the_file_itself(tmp_path: Path) -> None:
    path = await made(tmp_path / "x.db")
    (tmp_path / "link.db").symlink_to(path)
    db = await Database.open(tmp_path / "link.db", create=False)
    assert db.path == path
    await db.close()


# Everything is imported before root's rights go: root may write everywhere, and others may not read root's Python.
READ_ONLY = """
import os, sys
from pathlib import Path
from openclaw_ray.errors import StorageError
from openclaw_ray.storage.schema import Origin, prepare, shipped
scripts = shipped()
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    prepare(Path(sys.argv[1]), scripts, read_only=False, origin=Origin("c1", "") if sys.argv[2] == "create" else None)
except StorageError as error:
    print(error.facts["problem"], error)
"""


@pytest.mark.parametrize("how", ["create", "open"])
async def test_a_read_only_folder_is_refused_naming_it(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir()
    if how == "open":
        (await made(folder / "x.db")).chmod(0o666)
    folder.chmod(0o555)
    for parent in folder.parents[:3]:
        parent.chmod(0o755)  # pytest's own folders, for the other user
    answer = run_python(READ_ONLY, folder / "x.db", how)
    assert answer.stdout.startswith("mode "), answer.stderr
    assert str(folder) in answer.stdout
    folder.chmod(0o755)


async def test_a_migrated_schema_equals_a_fresh_one(tmp_path: Path) -> None:
    scripts = [*schema.shipped(), NEXT]
    await (await Database.open(tmp_path / "new.db", create=True, cluster_id="c", migrations=scripts)).close()
    for number in range(1, len(scripts)):
        path = tmp_path / f"old{number}.db"
        schema.create(path, scripts[:number], schema.Origin("c", ""))
        await (await Database.open(path, create=False, migrations=scripts)).close()
        assert dump(path) == dump(tmp_path / "new.db")


async def test_an_upgrade_leaves_a_snapshot_of_what_was(tmp_path: Path) -> None:
    path = await made(tmp_path / "x.db")
    old = dump(path)
    await (await Database.open(path, create=False, migrations=[*schema.shipped(), NEXT])).close()
    kept = tmp_path / f"x.db.schema{KNOWN}-epoch0.bak"
    assert dump(kept) == old
    assert kept.stat().st_mode & 0o777 == 0o600
    assert dump(path) != old


async def test_a_failing_upgrade_changes_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    path = await made(tmp_path / "x.db")
    old = dump(path)
    for _ in range(2):
        with pytest.raises(StorageError, match=f"upgrade to schema {KNOWN + 1} failed"):
            await Database.open(path, create=False, migrations=[*schema.shipped(), BROKEN])
        assert dump(path) == old
    assert listing(tmp_path) == ["x.db", f"x.db.schema{KNOWN}-epoch0.bak"]
    await (await Database.open(path, create=False)).close()


async def test_a_reader_does_not_upgrade(tmp_path: Path) -> None:
    path = await made(tmp_path / "x.db")
    with pytest.raises(StorageError) as caught:
        await Database.open(path, create=False, read_only=True, migrations=[*schema.shipped(), NEXT])
    assert caught.value.facts["problem"] == "old"
