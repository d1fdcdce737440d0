"""Put a backup in the place of the database. Needs no cluster, and refuses while one is at the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from openclaw_ray.cli.base import Session, common
from openclaw_ray.display import ago, bytes_, escape, number, seconds_since

if TYPE_CHECKING:
    from openclaw_ray.storage.restoring import Candidate, Restored


@click.command()
@common
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--into",
    metavar="NEW.db",
    type=click.Path(path_type=Path),
    help="Write here and change nothing else (else the database in OPENCLAW_HOME).",
)
@click.option("--replace", is_flag=True, help="A database that is there is kept under another name.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore(session: Session, file: Path, into: Path | None, replace: bool, yes: bool) -> None:  # fmt: skip
    """Put a verified copy of a backup where the database belongs.

    Stop the cluster first (`down`). What happened after the backup is not in it: such tasks are gone, results that came
    later are gone, and what was waiting or running then runs again, so its effects may happen twice.
    """
    from openclaw_ray.clock import SystemClock
    from openclaw_ray.models.fields import iso
    from openclaw_ray.runtime.coordinator import DATABASE
    from openclaw_ray.storage import restoring

    home = session.settings().home
    candidate = restoring.examine(file)
    target = into if into is not None else home / DATABASE
    if into is None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if replace and target.exists() and not yes:
        _confirm(session, candidate, target)
    found = restoring.restore(file, target, iso(SystemClock().now().wall), replace=replace)
    body = {
        "path": str(found.path),
        "kept": str(found.kept) if found.kept else None,
        "tasks": found.tasks,
        "bytes": found.bytes,
        "sha256": found.sha256,
        "schema": candidate.schema,
        "cluster_id": candidate.cluster_id,
        "newest_change": candidate.newest_change,
        "live_tasks": candidate.live_tasks,
        "open_attempts": candidate.open_attempts,
        "next_token": found.next_token,
        "epoch": found.epoch,
    }
    session.answer("restore", body, lambda: _show(session, candidate, found, home=into is None))


def _newest(candidate: Candidate) -> str:
    if candidate.newest_change is None:
        return "nothing ever happened in it"
    age = ago(seconds_since(candidate.newest_change))
    return f"its newest change is of {candidate.newest_change[:19].replace('T', ' ')} UTC, {age}"


def _confirm(session: Session, candidate: Candidate, target: Path) -> None:
    """What was acknowledged after the backup is given up: somebody must say so."""
    said = (
        f"{escape(candidate.path)}: {_newest(candidate)}. What was acknowledged after that is not in it; "
        f"{number(candidate.live_tasks)} tasks that waited or ran then will run again"
    )
    if not session.screen.asks:
        raise click.UsageError(f"{said}; say --yes.")
    session.screen.note(said)
    click.confirm(f"replace {escape(target)} (it is kept under another name)?", abort=True, err=True)


def _show(session: Session, candidate: Candidate, found: Restored, *, home: bool) -> None:
    screen = session.screen
    screen.out(f"{escape(found.path)}  {bytes_(found.bytes)}")
    tasks = f"{number(found.tasks)} tasks, {number(candidate.live_tasks)} of them live"
    screen.out(f"integrity ok · schema {candidate.schema} · {tasks} · {_newest(candidate)}")
    screen.out(f"tokens go on at {number(found.next_token)}: reports of work leased since the backup will be refused")
    if found.kept is not None:
        screen.out(f"what was there is kept: {escape(found.kept)}")
    if candidate.open_attempts:
        ran = candidate.open_attempts
        screen.note(
            f"{number(ran)} {'attempt' if ran == 1 else 'attempts'} of then may run again: effects may come twice"
        )
    screen.note("next: openclaw-ray up" if home else f"look at it with: sqlite3 -readonly {escape(found.path)}")
