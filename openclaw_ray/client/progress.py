"""A progress bar for anything that is walked through: in a terminal, in a notebook, and silent everywhere else."""

from __future__ import annotations

import operator
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from openclaw_ray.display import duration, escape, html_bar

T = TypeVar("T")

#: Redrawing more often than this (seconds) is seen by nobody.
EVERY_S = 0.1

_Show = Callable[[int], None]


def progress(iterable: Iterable[T], total: int | None = None, label: str = "") -> Iterator[T]:
    """Walk through `iterable` and show how far it is.

    Args:
        iterable: Anything; `as_completed` knows its length.
        total: How many there will be, when the iterable does not know it.
        label: What is being done.

    Returns:
        The same items, in the same order.
    """
    if total is None:
        total = operator.length_hint(iterable, 0) or None
    with _bar(total, escape(label, 60)) as show:
        yield from _walked(iterable, show)


def _walked(iterable: Iterable[T], show: _Show) -> Generator[T, None, None]:
    done, shown_at = 0, 0.0
    try:
        for one in iterable:
            yield one
            done += 1
            now = time.monotonic()
            if now - shown_at >= EVERY_S:
                shown_at = now
                show(done)
    finally:
        show(done)  # the last word stays, also after an error


@contextmanager
def _bar(total: int | None, label: str) -> Iterator[_Show]:
    notebook = _notebook()
    if notebook is not None:
        yield _notebook_bar(notebook, total, label)
    elif sys.stderr is not None and sys.stderr.isatty():
        with _terminal_bar(total, label) as show:
            yield show
    else:
        yield lambda done: None


@contextmanager
def _terminal_bar(total: int | None, label: str) -> Iterator[_Show]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


def _notebook() -> Any:
    """The notebook's shell, or None in a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if shell is not None and hasattr(shell, "kernel") else None


def _notebook_bar(shell: Any, total: int | None, label: str) -> _Show:
    from IPython import display as ipython

    began = time.monotonic()

    def form(done: int) -> Any:
        count = f"{done:,}/{total:,}" if total else f"{done:,}"
        words = " ".join(part for part in (label, count, duration(time.monotonic() - began)) if part)
        html: Any = ipython.HTML  # untyped there
        return html(html_bar(done, total, words))

    show: Any = ipython.display
    handle = show(form(0), display_id=True)
    return lambda done: handle.update(form(done))
