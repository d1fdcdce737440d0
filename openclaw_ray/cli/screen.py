"""Where the words go: results to standard output, everything else to standard error; colour only where it is seen."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

import click

from openclaw_ray.display import escape, fit, table, width

#: Colours of states; a state is always a word as well.
_COLOURS = {
    "completed": "green", "online": "green", "yes": "green",
    "running": "cyan", "scheduled": "cyan", "busy": "cyan",
    "pending": "yellow", "draining": "yellow",
    "failed": "red", "timeout": "red", "offline": "red", "quarantined": "red", "NO": "red",
    "cancelled": "bright_black",
}  # fmt: skip
_STATE = re.compile(r"\b(" + "|".join(_COLOURS) + r")\b")
#: A column that gives way is never narrower than this.
NARROWEST = 10


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    #: Gives way when the terminal is narrow.
    gives_way: bool = False


class Screen:
    """Standard output and standard error of one command."""

    def __init__(self) -> None:
        self._out: TextIO | None = None

    @contextlib.contextmanager
    def alone(self, others: TextIO | None = None) -> Iterator[None]:
        """Whatever libraries print meanwhile (Ray does) is no result: it goes to standard error, or to `others`."""
        self._out = sys.stdout
        try:
            with contextlib.redirect_stdout(sys.stderr if others is None else others):
                yield
        finally:
            self._out = None

    @property
    def stdout(self) -> TextIO:
        """Where results go."""
        return self._out or sys.stdout

    def out(self, text: str) -> None:
        """A line of the result."""
        click.echo(text, file=self.stdout, color=_coloured(self.stdout))

    def note(self, text: str) -> None:
        """A word beside the result, for people."""
        click.echo(text, err=True, color=_coloured(sys.stderr))

    def error(self, text: str, hint: str | None = None) -> None:
        """What failed and why, then what to do."""
        self.note(click.style("error: ", fg="red", bold=True) + escape(text))
        if hint:
            self.note(click.style("  try: ", dim=True) + escape(hint))

    @property
    def asks(self) -> bool:
        """Whether somebody is there to answer a question."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def live(self) -> bool:
        """Whether progress may be drawn over and over."""
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def columns(self) -> int | None:
        """Width of the terminal; None where there is none."""
        return shutil.get_terminal_size((100, 24)).columns if self.stdout.isatty() else None

    def table(self, columns: Sequence[Column | str], rows: Sequence[Sequence[object]]) -> None:
        """Rows under their headings, made to fit the terminal."""
        named = [Column(c) if isinstance(c, str) else c for c in columns]
        cells = [[_text(value) for value in row] for row in rows]
        if self.columns is not None:
            _narrow(named, cells, self.columns)
        head, *lines = table([c.name for c in named], cells, cell_max=1_000).splitlines()
        self.out(click.style(head, dim=True))
        for line in lines:
            self.out(_STATE.sub(_paint, line, count=1))

    def state(self, word: str) -> str:
        """A state in its colour."""
        return _STATE.sub(_paint, word)


def _paint(found: re.Match[str]) -> str:
    return click.style(found[0], fg=_COLOURS[found[0]])


def _coloured(stream: object) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)()) and not os.environ.get("NO_COLOR")


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    return escape(", ".join(map(str, value)) if isinstance(value, list | tuple) else value, 400)


def _narrow(columns: Sequence[Column], cells: list[list[str]], limit: int) -> None:
    """Cut the widest of the columns that give way, until a row fits."""
    widths = [max([width(c.name), *(width(row[i]) for row in cells)]) for i, c in enumerate(columns)]
    over = sum(widths) + 2 * (len(columns) - 1) - limit
    while over > 0:
        yielding = [i for i, c in enumerate(columns) if c.gives_way and widths[i] > NARROWEST]
        if not yielding:
            break
        widest = max(yielding, key=lambda i: widths[i])
        widths[widest] -= 1
        over -= 1
    for row in cells:
        for i, column in enumerate(columns):
            if column.gives_way:
                row[i] = fit(row[i], widths[i])
