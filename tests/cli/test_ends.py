"""How a command ends when something is wrong, and what it does not load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from openclaw_ray.cli import nodes
from openclaw_ray.cli.app import SECTIONS, cli
from openclaw_ray.cli.base import Session
from tests.support.command import Command


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No cluster anywhere."""
    home = tmp_path / "home"
    monkeypatch.setenv("OPENCLAW_HOME", str(home))
    for name in ("OPENCLAW_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return home


def test_every_command_has_help(alone: Path) -> None:
    for commands in SECTIONS.values():
        for name, (_, text) in commands.items():
            found = CliRunner().invoke(cli, [name, "--help"])
            assert found.exit_code == 0, found.output
            assert text in CliRunner().invoke(cli, ["--help"]).output.replace("\n          ", " ")
    assert CliRunner().invoke(cli, ["task", "why", "--help"]).exit_code == 0


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['openclaw-ray', '--help']\nfrom openclaw_ray.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*[m for m in ('ray', 'pydantic', 'rich', 'psutil', 'asyncio') if m in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("Usage: openclaw-ray")
    assert found.stderr.strip() == ""


@pytest.mark.parametrize("args", [["status"], ["nodes"], ["tasks"], ["submit", "x"], ["task", "show", "t-1"]])
def test_without_a_cluster_it_is_exit_3_with_a_hint(alone: Path, args: list[str]) -> None:
    found = CliRunner().invoke(cli, args)
    assert found.exit_code == 3
    assert found.stdout == ""
    assert "error: no cluster is up here\n  try: start one: openclaw-ray up" in found.stderr


def test_a_cluster_that_died_is_said_at_once(alone: Path) -> None:
    from openclaw_ray.cluster_run import Process, Run, write_run

    gone = [Process(pid=2**22 + 1, started=1.0, name=name) for name in ("gcs_server", "raylet")]
    alone.mkdir()
    write_run(alone, Run(address="127.0.0.1:1", namespace="openclaw", started_ray=True, processes=gone))
    found = CliRunner().invoke(cli, ["status"])
    assert found.exit_code == 3
    assert "the cluster that was up at 127.0.0.1:1 is gone" in found.stderr


def test_down_without_a_cluster_is_done(alone: Path) -> None:
    found = CliRunner().invoke(cli, ["down"])
    assert (found.exit_code, found.stdout) == (0, "nothing is up here\n")
    assert json.loads(CliRunner().invoke(cli, ["down", "-o", "json"]).stdout)["was_up"] is False


def test_errors_are_json_where_results_are(run: Command) -> None:
    ended = run("task", "show", "t-no", "-o", "json")
    error = json.loads(ended.err)
    assert (ended.code, error["schema"], error["error"]["code"]) == (4, 1, "not_found")


def test_a_misspelt_setting_is_exit_2(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_SLOT", "3")
    found = CliRunner().invoke(cli, ["status"])
    assert found.exit_code == 2
    assert "Did you mean OPENCLAW_SLOTS?" in found.stderr


def _broken(session: Session) -> None:
    raise RuntimeError("wheel came off")


def test_a_fault_of_ours_is_a_sentence(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_show_nodes", lambda *_: _broken(Session()))
    ended = run("nodes")
    assert ended.code == 1
    assert ended.err.startswith("error: RuntimeError: wheel came off\n  try: ")
    assert "Traceback" not in ended.err


def test_debug_shows_where(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_show_nodes", lambda *_: _broken(Session()))
    monkeypatch.setenv("OPENCLAW_DEBUG", "1")
    found = CliRunner().invoke(cli, ["nodes"], obj=run.session())
    assert isinstance(found.exception, RuntimeError)


def test_version_names_everything() -> None:
    found = json.loads(CliRunner().invoke(cli, ["version", "-o", "json"]).stdout)
    assert {"openclaw-ray", "ray", "python", "database_schema"} <= set(found)
