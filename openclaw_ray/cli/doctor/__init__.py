"""`openclaw-ray doctor`: what is wrong here, and what to do about it. Works without a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import click

from openclaw_ray.cli.base import EXIT_FAILED, Session, common
from openclaw_ray.cli.doctor.finding import Finding, Level, fail, ok
from openclaw_ray.display import escape
from openclaw_ray.errors import OpenClawError

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command()
@common
@click.pass_obj
def doctor(session: Session) -> None:
    """Check this machine, the database and the cluster: each line ok, warn or FAIL, with the fix beside it.

    Exit 1 if anything FAILs.
    """
    found: list[Finding] = []
    for finding in examine(session):
        found.append(finding)
        if not session.json:
            _show(session, finding)
    counts = {level: sum(one.level is level for one in found) for level in Level}
    body = {
        "checks": [one.to_json() for one in found],
        "ok": counts[Level.OK],
        "warn": counts[Level.WARN],
        "fail": counts[Level.FAIL],
    }
    session.answer("doctor", body, lambda: None)
    if counts[Level.FAIL]:
        raise click.exceptions.Exit(EXIT_FAILED)


def examine(session: Session) -> Iterator[Finding]:
    """Every check; each as soon as it is known, so that a slow one is seen to be."""
    from openclaw_ray.cli.doctor import cluster, database, machine
    from openclaw_ray.cluster_run import read_run
    from openclaw_ray.runtime.coordinator import DATABASE

    try:
        settings = session.settings()
    except OpenClawError as error:
        yield fail("settings", f"{error.field}: {error.message}", error.hint or "")
        return
    yield ok("settings", f"home {settings.home}, namespace {escape(settings.namespace)}")
    run = None
    try:
        run = read_run(settings.home)
    except OpenClawError as error:
        yield fail("run.json", error.message, error.hint or "")
    yield from machine.check(settings, run)
    yield from database.check(settings.home / DATABASE)
    yield from cluster.check(session, settings, run)


def _show(session: Session, found: Finding) -> None:
    level = click.style(f"{found.level.value:<5}", fg=_COLOURS[found.level], bold=found.level is Level.FAIL)
    session.screen.out(f"{level} {found.check:<14} {escape(found.text, 300)}")
    if found.fix:
        session.screen.out(f"{'':<20} -> {escape(found.fix, 300)}")
