"""`restore` needs no cluster; it asks before it gives anything up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from openclaw_ray.cli.app import cli
from openclaw_ray.cli.base import Session
from openclaw_ray.storage.lock import FileLock
from openclaw_ray.storage.schema import Origin, create, shipped


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENCLAW_HOME", str(tmp_path / "home"))
    create(tmp_path / "backup.db", shipped(), Origin("c1", "2026-01-01T00:00:00+00:00"))
    return tmp_path / "home"


def run(*args: object, code: int = 0) -> tuple[str, str]:
    found = CliRunner().invoke(cli, [str(one) for one in args], obj=Session())
    assert found.exit_code == code, found.output
    return found.stdout, found.stderr


def test_a_backup_becomes_the_database_of_an_empty_home(home: Path) -> None:
    out, err = run("restore", home.parent / "backup.db")
    assert "integrity ok" in out
    assert "tokens go on at" in out
    assert "next: openclaw-ray up" in err
    assert (home / "openclaw.db").exists()


def test_replacing_asks_and_keeps_what_was_there(home: Path) -> None:
    backup = home.parent / "backup.db"
    run("restore", backup)
    _, err = run("restore", backup, code=5)
    assert "--replace keeps it" in err
    _, err = run("restore", backup, "--replace", code=2)
    assert "say --yes" in err
    assert "What was acknowledged after that is not in it" in " ".join(err.split())
    found = json.loads(run("restore", backup, "--replace", "--yes", "-o", "json")[0])
    assert (found["kind"], found["tasks"], found["cluster_id"]) == ("restore", 0, "c1")
    assert Path(found["kept"]).exists()


def test_into_leaves_the_home_alone(home: Path) -> None:
    run("restore", home.parent / "backup.db", "--into", home.parent / "new.db")
    assert (home.parent / "new.db").exists()
    assert not home.exists()


def test_it_refuses_while_the_cluster_is_up_and_what_is_no_backup(home: Path) -> None:
    backup = home.parent / "backup.db"
    run("restore", backup)
    with FileLock(home / "openclaw.db"):
        _, err = run("restore", backup, "--replace", "--yes", code=5)
    assert "is held by the state manager with pid" in err
    (home.parent / "text.db").write_text("x" * 9_000)
    run("restore", home.parent / "text.db", "--into", home.parent / "new.db", code=1)
    _, err = run("restore", home.parent / "nowhere.db", code=1)
    assert "there is no file" in err
