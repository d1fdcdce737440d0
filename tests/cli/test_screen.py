"""Tables that fit, colours that are only seen, results that stand alone."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from openclaw_ray.cli.screen import Column, Screen
from openclaw_ray.display import width


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard output is a terminal of 60 columns from here to the end of the test."""
    found = Terminal()
    monkeypatch.setattr(sys, "stdout", found)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return found


ROWS: Any = [("t-1", "pending", "x" * 80, "y" * 80), ("t-2", "completed", "测试天气查询" * 9, "")]


def test_a_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    Screen().table(["id", "state", Column("a", gives_way=True), Column("b", gives_way=True)], ROWS)
    lines = terminal.getvalue().splitlines()
    assert all(width(line) <= 60 for line in lines)
    assert "…" in lines[1]
    assert "t-2  completed" in lines[2]


def test_elsewhere_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().table(["id", "state", Column("a", gives_way=True), Column("b", gives_way=True)], ROWS)
    assert "x" * 80 in capsys.readouterr().out


def test_states_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    screen = Screen()
    screen.out(screen.state("failed"))
    assert "\x1b[31mfailed" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    screen.out(screen.state("completed"))
    assert terminal.getvalue().endswith("completed\n")


def test_no_colour_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.out(screen.state("failed"))
    screen.error("no", "do this")
    found = capsys.readouterr()
    assert (found.out, found.err) == ("failed\n", "error: no\n  try: do this\n")


def test_what_libraries_print_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    with screen.alone():
        sys.stdout.write("(raylet) something died\n")
        screen.out("result")
    found = capsys.readouterr()
    assert (found.out, found.err) == ("result\n", "(raylet) something died\n")
