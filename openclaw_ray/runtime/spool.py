"""An agent's outcomes on its own disk until the coordinator has judged them: one append per batch, not synced.

It survives the agent, not the machine; a machine that goes down loses the attempt's outcome and nothing else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter

from openclaw_ray.protocol import OutcomeMessage

#: Lines beyond twice those of open outcomes, after which the file is written anew: it would grow for ever under load.
LINES_MAX = 2_000

_OUTCOME = TypeAdapter(OutcomeMessage)


class Spool:
    """Unjudged outcomes of one node, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: Each as the line that stands in the file.
        self._open: dict[int, str] = {}
        #: Those that are not in the file yet.
        self._unwritten: dict[int, str] = {}
        #: Lines in the file; what was judged is among them until it is written anew.
        self._lines = 0
        self._read()
        self._write_anew()

    def _read(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # Not splitlines: a result may hold U+2028, which is no end of a line here.
            for line in self._path.read_text(encoding="utf-8", errors="replace").split("\n"):
                # Whatever cannot be read is the last line of a process that was killed while writing.
                with contextlib.suppress(ValueError):
                    if line.startswith("-"):
                        self._open.pop(int(line[1:]), None)
                    elif line:
                        self._open[_OUTCOME.validate_json(line).token] = line

    @property
    def outcomes(self) -> list[OutcomeMessage]:
        """What has not been judged."""
        return [_OUTCOME.validate_json(line) for line in self._open.values()]

    def texts(self, outcomes: list[OutcomeMessage]) -> list[str]:
        """Each outcome as JSON text, encoded once; those that are new are kept by the next `append`."""
        for outcome in outcomes:
            if outcome.token not in self._open:
                self._open[outcome.token] = self._unwritten[outcome.token] = text_of(outcome)
        return [self._open[o.token] for o in outcomes]

    def append(self) -> None:
        """Keep what is new, if it has not been judged meanwhile."""
        if self._unwritten:
            self._write(_lines(self._unwritten.values()), len(self._unwritten))
            self._unwritten.clear()

    def settle(self, tokens: list[int]) -> None:
        """These were judged: accepted or stale. An empty spool is an empty file again."""
        gone = [t for t in tokens if self._open.pop(t, None) is not None and self._unwritten.pop(t, None) is None]
        if not self._open:
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)
            self._lines = 0
        elif self._lines > LINES_MAX + 2 * len(self._open):
            self._write_anew()
        elif gone:
            self._write("".join(f"-{t}\n" for t in gone), len(gone))

    def _write(self, text: str, lines: int) -> None:
        # A full disk must not stop the report: the spool is the second line of defence.
        with contextlib.suppress(OSError):
            _append(self._path, text)
            self._lines += lines

    def _write_anew(self) -> None:
        """Only what is open: also after a start, since a line that was cut off would swallow the next one."""
        fresh = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
            if self._open or self._path.exists():
                _append(fresh, _lines(self._open.values()))
                fresh.replace(self._path)
                self._lines = len(self._open)


def text_of(outcome: OutcomeMessage) -> str:
    """An outcome as JSON text without line ends, in the form of `OutcomeMessage`."""
    return _OUTCOME.dump_json(outcome, exclude_defaults=True).decode()


def _lines(texts: Iterable[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _append(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
