"""README's commands are those that are run, and its example runs as written."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, blocks

README = ROOT / "README.md"
CI = ROOT / ".ci" / "run"


def commands() -> list[list[str]]:
    """README's shell lines as words, the two commands of a fresh machine first; `&&` stays a word."""
    return [shlex.split(line) for block in blocks(README, "bash") for line in block.splitlines() if line]


def steps(words: list[str]) -> list[list[str]]:
    """The commands that a line joins with `&&`, without the folder of the environment."""
    found: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            found.append([])
        else:
            found[-1].append(word.removeprefix(".venv/bin/"))
    return found


def test_the_first_command_makes_an_environment_and_runs_the_demo() -> None:
    assert steps(commands()[0]) == [
        ["python3", "-m", "venv", ".venv"],
        ["pip", "install", "-q", "-c", "constraints.txt", "."],
        ["openclaw-ray", "demo"],
    ]


def test_the_second_command_is_what_ci_runs() -> None:
    if not CI.is_file():
        pytest.skip(".ci/run is not part of this archive")
    run = [shlex.split(line) for line in CI.read_text("utf-8").splitlines() if line.startswith(("pip ", "pytest"))]
    venv, install, pytest_ = steps(commands()[1])
    assert venv == ["python3", "-m", "venv", ".venv"]
    # The order of options is nobody's business, and -q says only how much is printed.
    assert sorted(install) == sorted(run[0])
    assert [w for w in pytest_ if w != "-q"] == [w for w in run[1] if w != "-q"]


def test_every_command_line_shown_is_one_that_the_command_accepts() -> None:
    import click

    from openclaw_ray.cli.app import cli

    shown = [words for words in commands() if "openclaw-ray" in words]
    assert len(shown) > 5
    for words in shown:
        rest = words[words.index("openclaw-ray") + 1 :]
        command: click.Command = cli
        context = click.Context(cli)
        while isinstance(command, click.Group):
            assert rest, f"{words}: a command is missing"
            name, rest = rest[0], rest[1:]
            found = command.get_command(context, name)
            assert found is not None, f"{words}: there is no command {name}"
            command = found
        command.make_context(command.name, rest, parent=context)  # refuses unknown options and missing arguments


@pytest.mark.ray
def test_the_example_runs_as_written(tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(blocks(README, "python")[0])
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stderr[-4_000:]
    first, words, *why = ran.stdout.splitlines()
    assert first.endswith("{'words': 4}")
    assert words == "190 words"
    assert "no_such_skill" in why[0]


def test_the_skill_shown_is_the_example() -> None:
    import yaml

    (shown,) = blocks(README, "yaml")
    real = yaml.safe_load((ROOT / "examples/skills/sha256/skill.yaml").read_text("utf-8"))
    for name, value in yaml.safe_load(shown).items():
        assert real[name] == value, name
