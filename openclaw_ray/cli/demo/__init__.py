"""`openclaw-ray demo`: the main job on real input, with everything that can go wrong, checked at the end."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from openclaw_ray.cli.base import EXIT_FAILED, Session, common
from openclaw_ray.cli.screen import Screen

#: More files take longer than anybody watches.
FILES = 600
#: Ray says after this that a killed node is dead (milliseconds, misses): not after its usual minute.
RAY_HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
#: Without a terminal, progress is a line now and then (seconds).
LINE_EVERY_S = 5.0
#: Ended processes are gone at the latest after this (seconds).
GONE_S = 10.0


@dataclass
class _Traces:
    """What the demo makes on this machine, and must take away again."""

    #: Where /metrics is served.
    metrics: str
    home: Path
    #: Ray's folder, where it is ours.
    scratch: Path | None
    processes: set[Any] = field(default_factory=set)

    @classmethod
    def of(cls, cluster: Any) -> _Traces:
        """Of a cluster that has just started."""
        import ray

        started = cluster.started
        metrics = str(ray.get(started.scheduler.status.remote(), timeout=30)["metrics"])
        found = cls(metrics, Path(started.settings.home), started.scratch)
        found.look()
        return found

    def look(self) -> None:
        """Note the processes that there are now."""
        import psutil

        self.processes |= set(psutil.Process().children(recursive=True))


@click.command()
@common
@click.option("--files", type=click.IntRange(20, 100_000), default=FILES, show_default=True, help="At most so many.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep database and logs in this folder.")
@click.pass_obj
def demo(session: Session, files: int, keep: Path | None) -> None:
    """See it work: a throw-away cluster of three unlike nodes indexes the Python standard library.

    One skill parses files, another takes their SHA-256 with the system's own tool, each only where it is offered; one
    fails the first time; one node is killed in the middle; one task nobody can run. At the end everything is checked.
    Exit 1 if anything differs.
    """
    from openclaw_ray.cli.demo import report

    screen = session.screen
    # Ray reports the death of the node that is killed on standard output, at length.
    with environment(RAY_HEALTH), screen.alone(io.StringIO()):
        found, checks, job, traces = _run(screen, files, keep)
    checks.append(_left_behind(traces, keep))
    wrong = [text for check in checks for text in check.wrong]
    body = {**found, "checks": [{"said": c.said, "wrong": c.wrong} for c in checks], "ok": not wrong}

    def show() -> None:
        report.show(screen, found, job)
        report.show_checks(screen, checks)
        if keep:
            screen.out(f"\nkept in {keep}: openclaw.db and logs")
        report.show_next(screen)

    session.answer("demo", body, show)
    if wrong:
        raise click.exceptions.Exit(EXIT_FAILED)


def _run(screen: Screen, files: int, keep: Path | None) -> tuple[dict[str, Any], list[Any], Any, _Traces]:
    from openclaw_ray.cli.demo import checks, fleet, job, report
    from openclaw_ray.cluster import local

    root, names = fleet.sources(files)
    screen.note("starting a throw-away cluster of three nodes on this machine ...")
    with local(nodes=fleet.nodes(), home=keep, heartbeat_s=1.0, retry_base_s=0.5) as cluster:
        traces = _Traces.of(cluster)
        asked = job.Job(root, names, traces.home)
        job.register(cluster)
        job.submit(cluster, asked)
        traces.look()
        screen.note(f"{len(asked.tasks) + 1:,} tasks about {len(names):,} files in {root}")
        with _progress(screen) as (show, say):
            job.run(cluster, asked, traces.metrics, show, say)
        job.close(cluster, asked)
        screen.note("checking ...")
        history = checks.read_history(cluster, asked)
        made = [
            checks.digests(asked),
            checks.counts(asked),
            checks.events(asked, history),
            checks.metrics(traces.metrics, asked, history),
            checks.node_rows(cluster, history),
            checks.log_lines(traces.home),
        ]
        found = report.summary(asked, history, [node.info for node in cluster.nodes()])
        traces.look()
    return found, made, asked, traces


@contextlib.contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """What Ray reads when it starts, unless it says otherwise already; as it was afterwards."""
    kept = {name: os.environ.get(name) for name in wanted}
    os.environ.update({name: value for name, value in wanted.items() if kept[name] is None})
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)


@contextlib.contextmanager
def _progress(screen: Screen) -> Iterator[tuple[Callable[[int, int, str], None], Callable[[str], None]]]:
    """Shows how far it is, and says a word between: a bar on a terminal, a line now and then elsewhere."""
    if not screen.live:
        yield _lines(screen), screen.note
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    # What Ray prints is caught before rich would see it.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False) as bar:
        shown = bar.add_task("")

        def draw(done: int, total: int, text: str) -> None:
            bar.update(shown, completed=done, total=total, description=text)

        yield draw, lambda text: bar.console.print(text, markup=False, highlight=False)


def _lines(screen: Screen) -> Callable[[int, int, str], None]:
    said_at, said = time.monotonic(), ""

    def line(done: int, total: int, text: str) -> None:
        nonlocal said_at, said
        now = f"{done:,} of {total:,} done" + (f" · {text}" if text else "")
        if now != said and (time.monotonic() - said_at >= LINE_EVERY_S or done == total):
            said_at, said = time.monotonic(), now
            screen.note(now)

    return line


def _left_behind(traces: _Traces, keep: Path | None) -> Any:
    """No process, no port, no file."""
    import psutil

    from openclaw_ray.cli.demo.checks import Check

    check = Check("nothing was left behind: no process, no port, no file")
    _, alive = psutil.wait_procs(list(traces.processes), timeout=GONE_S)
    check.expect(not alive, f"still running: {', '.join(map(str, alive))}")
    host, _, port = traces.metrics.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(2)
        check.expect(probe.connect_ex((host, int(port))) != 0, f"{traces.metrics} still answers")
    for folder in (None if keep else traces.home, traces.scratch):
        check.expect(folder is None or not folder.exists(), f"{folder} is still there")
    return check
