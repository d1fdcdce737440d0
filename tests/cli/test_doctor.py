"""`doctor`: works without a cluster, tells what is wrong with a fix beside it, fails only for what does not work."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections import namedtuple
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from openclaw_ray.cli.app import cli
from openclaw_ray.cli.base import Session
from openclaw_ray.cli.doctor import cluster, database, machine
from openclaw_ray.cli.doctor.finding import Finding, Level
from openclaw_ray.clock import SystemClock
from openclaw_ray.cluster_run import Process, Run, write_run
from openclaw_ray.models.fields import iso
from openclaw_ray.storage.lock import FileLock, holder_of
from openclaw_ray.storage.schema import Origin, create, shipped

from .conftest import Command

AT = "2026-01-01T00:00:00.000000+00:00"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENCLAW_ADDRESS", "RAY_ADDRESS", "OPENCLAW_NAMESPACE", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN",
                 "RAY_AUTH_TOKEN_PATH"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OPENCLAW_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir(mode=0o700)
    return tmp_path / "home"


def doctor(code: int = 0) -> dict[str, dict[str, Any]]:
    """The last finding of each check."""
    found = CliRunner().invoke(cli, ["doctor", "-o", "json"], obj=Session())
    assert found.exit_code == code, found.output
    said = json.loads(found.stdout)
    assert (said["fail"] > 0) is (code == 1)
    assert all(one["fix"] for one in said["checks"] if one["level"] != "ok")
    return {one["check"]: one for one in said["checks"]}


def levels(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.check, one.level.value) for one in found]


def test_an_empty_home_is_healthy_and_says_how_to_begin(home: Path) -> None:
    found = doctor()
    assert found["database"]["text"].startswith("none at")
    assert (found["cluster"]["level"], "openclaw-ray up" in found["cluster"]["fix"]) == ("warn", True)
    assert "SQLite" in found["versions"]["text"]
    assert list(home.iterdir()) == []
    out = CliRunner().invoke(cli, ["doctor"], obj=Session()).stdout
    assert out.splitlines()[0].startswith("ok    settings")
    assert " -> openclaw-ray up" in out


def test_a_misspelt_setting_is_the_first_thing_to_mend(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_SLOT", "3")
    found = doctor(1)
    assert "OPENCLAW_SLOTS" in found["settings"]["fix"]
    assert len(found) == 1


# -- this machine --------------------------------------------------------------------------------------------------


def test_a_token_that_others_can_read_fails(home: Path) -> None:
    (home / "token").write_text("secret")
    (home / "token").chmod(0o644)
    assert doctor(1)["home"]["fix"] == f"chmod 600 {home / 'token'}"


def test_a_home_that_is_a_file_fails(home: Path) -> None:
    home.rmdir()
    home.write_text("x")
    assert machine.home(home).level is Level.FAIL


@pytest.mark.parametrize(("free", "level"), [(1 << 40, "ok"), (1 << 30, "warn"), (1 << 20, "FAIL")])
def test_free_space_is_judged(home: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    usage = namedtuple("usage", "free")(free)
    monkeypatch.setattr(psutil, "disk_usage", lambda path: usage)
    assert machine.disk(home).level == level


@pytest.mark.parametrize(
    ("kind", "level"), [("ext4", "ok"), ("nfs4", "FAIL"), ("fuse.sshfs", "FAIL"), ("CIFS", "FAIL")]
)
def test_a_network_file_system_fails(home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, level: str) -> None:
    part = namedtuple("part", "mountpoint fstype")
    mounts = [part("/", "ext4"), part(str(home.resolve()), kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    assert machine.file_system(home).level == level


def test_large_logs_are_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "a.jsonl").write_text("x" * 100)
    assert doctor()["logs"]["level"] == "ok"
    monkeypatch.setattr(machine, "LOGS_WARN_BYTES", 10)
    assert doctor()["logs"]["level"] == "warn"


def test_a_token_without_token_mode_fails_and_says_what_to_export(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    found = doctor(1)
    assert "export RAY_AUTH_MODE=token" in found["token"]["fix"]
    assert "RAY_AUTH_MODE" not in os.environ


def test_a_cluster_that_is_gone_is_told_from_one_that_nobody_started(home: Path) -> None:
    gone = Process(pid=1, started=1.0, name="raylet")
    write_run(home, Run(address="127.0.0.1:1", namespace="openclaw", started_ray=True, processes=[gone]))
    found = doctor(1)
    assert "is gone" in found["cluster"]["text"]
    (home / "run.json").write_text("{")
    assert doctor(1)["run.json"]["level"] == "FAIL"


# -- the database --------------------------------------------------------------------------------------------------


def test_a_database_is_checked_and_its_last_backup_told(home: Path) -> None:
    path = home / "openclaw.db"
    create(path, shipped(), Origin("c1", AT))
    found = doctor()
    assert f"schema {len(shipped())}, not in use, checked in" in found["database"]["text"]
    assert (found["backup"]["level"], found["backup"]["text"]) == ("warn", "there has been none")
    conn = sqlite3.connect(path)
    conn.execute("INSERT INTO meta (name, value) VALUES ('last_backup', ?)", (iso(SystemClock().now().wall),))
    conn.commit()
    assert doctor()["backup"]["level"] == "ok"
    conn.execute("UPDATE meta SET value = ? WHERE name = 'last_backup'", (AT,))
    conn.execute("INSERT INTO events (seq, at, what, version) VALUES (1, '2026-02-01', 'submitted', 1)")
    conn.commit()
    assert doctor()["backup"]["level"] == "warn"
    conn.close()


def test_a_database_in_use_is_looked_at_and_left_alone(home: Path) -> None:
    path = home / "openclaw.db"
    create(path, shipped(), Origin("c1", AT))
    assert holder_of(path) is None
    with FileLock(path):
        assert holder_of(path) is not None
        assert f"held by pid {os.getpid()}" in doctor()["database"]["text"]
    assert holder_of(path) is None


def test_a_check_that_takes_too_long_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "openclaw.db"
    create(path, shipped(), Origin("c1", AT))
    conn = sqlite3.connect(path)
    rows = [(n, AT, "submitted", f"t{n}", 1) for n in range(20_000)]
    conn.executemany("INSERT INTO events (seq, at, what, task_id, version) VALUES (?, ?, ?, ?, ?)", rows)
    conn.commit()
    conn.close()
    monkeypatch.setattr(database, "CHECK_S", 0.0)
    found = doctor()["database"]
    assert (found["level"], "`backup` checks all of it" in found["text"]) == ("ok", True)


def test_damaged_foreign_and_newer_files_fail(home: Path) -> None:
    path = home / "openclaw.db"
    path.write_text("no database\n" * 1_000)
    assert "restore BACKUP --replace" in doctor(1)["database"]["fix"]
    path.unlink()
    create(path, shipped(), Origin("c1", AT))
    conn = sqlite3.connect(path)
    conn.execute(f"PRAGMA user_version = {len(shipped()) + 1}")
    conn.close()
    assert "newer version" in doctor(1)["database"]["fix"]


# -- the cluster ---------------------------------------------------------------------------------------------------


def test_nobody_answers_at_an_address(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert cluster.reachable(address)
    assert not cluster.reachable(address)
    assert cluster.reachable("auto")
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert f"nobody answers at {address}" in doctor(1)["cluster"]["text"]


def test_a_cluster_that_serves_is_told_part_by_part(run: Command) -> None:
    found = list(cluster.serving(run.session()))
    assert levels(found) == [("state manager", "ok"), ("scheduler", "ok"), ("nodes", "ok")]
    assert found[2].text == "2 of 2 online"


def node(node_id: str, status: str = "online", **values: Any) -> dict[str, Any]:
    return {
        "node_id": node_id, "status": status, "agent": True, "agent_process": "p", "offers": {},
        "last_heartbeat": AT, "quarantined_until": None, "quarantine_reason": None, **values,
    }  # fmt: skip


def test_nodes_out_of_service_and_skills_that_differ_are_told() -> None:
    until = iso(SystemClock().now().wall + 100)
    found = list(cluster.nodes([
        node("n1", offers={"ocr": "a" * 64, "same": "s"}),
        node("n2", "busy", offers={"ocr": "b" * 64, "same": "s"}),
        node("n3", "error", quarantined_until=until, quarantine_reason="3 failures of its own"),
        node("n4", "offline"),
        node("hand", "offline", agent=False, agent_process=None),
    ]))  # fmt: skip
    assert levels(found) == [("nodes", "warn"), ("nodes", "warn"), ("nodes", "ok"), ("skills", "warn")]
    assert "n3 is quarantined for" in found[0].text
    assert found[0].fix == "mend it, then openclaw-ray undrain n3"
    assert found[2].text == "2 of 4 online"
    assert found[3].text == "ocr differs: aaaaaaaa on n1; bbbbbbbb on n2"
    assert levels(list(cluster.nodes([]))) == [("nodes", "FAIL")]


def test_a_clock_that_is_off_and_another_version_are_told() -> None:
    from importlib import metadata

    mine = {"machine": {"version": metadata.version("openclaw-ray")}, "wall": 100.0}
    assert list(cluster.compared("n1", mine, 99.0, 101.0)) == []
    [late] = cluster.compared("n1", mine, 160.0, 161.0)
    assert (late.check, late.level, late.text) == ("clocks", Level.WARN, "that of n1 is 1m 00s off")
    [other] = cluster.compared("n1", {"machine": {"version": "9"}, "wall": 100.0}, 99.0, 101.0)
    assert other.level is Level.FAIL
