"""The cluster as a whole: up, down, backup, version."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openclaw_ray.cli.base import Session, common
from openclaw_ray.display import bytes_, escape, number

if TYPE_CHECKING:
    from openclaw_ray.cluster_up import Up


@click.command()
@common
@click.option("--slots", type=click.IntRange(1, 10_000), help="Tasks at a time per node (OPENCLAW_SLOTS, else 5).")
@click.option("--strategy", metavar="NAME", help="Placement: least_tasks, round_robin, best_fit, random, affinity.")
@click.option(
    "--skills", "skill_roots", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with command skills; may be repeated.",
)  # fmt: skip
@click.option(
    "--metrics-port", type=click.IntRange(0, 65_535), help="Port of /metrics (else 9464; 0 takes a free one)."
)
@click.option("--num-cpus", type=click.IntRange(0), help="CPUs that Ray gives out on this machine (else all).")
@click.option("--host", metavar="ADDRESS", help="Address by which other machines reach this one (else loopback only).")
@click.option("--dashboard", is_flag=True, help="Start Ray's dashboard, which takes jobs (needs openclaw-ray[jobs]).")
@click.option("--pin", type=click.Choice(["head"]), help="On a Ray without an openclaw_state resource: use its head.")
@click.pass_obj
def up(
    session: Session,
    /,
    slots: int | None,
    strategy: str | None,
    skill_roots: tuple[Path, ...],
    metrics_port: int | None,
    **wishes: Any,
) -> None:
    """Start a cluster here, or join the Ray at --address; it stays until `down`.

    Without an address Ray is started on this machine, for loopback only and with a token. Safe to repeat: a cluster
    that is up stays as it is.
    """
    from openclaw_ray.cluster_up import Wanted
    from openclaw_ray.cluster_up import up as bring_up

    settings = session.settings(
        slots=slots, strategy=strategy, skill_roots=skill_roots or None, metrics_port=metrics_port
    )
    with session.screen.alone():
        found = bring_up(settings, Wanted(**wishes), say=lambda text: session.screen.note(f"{text} ..."))
    body = {
        "already": found.already,
        **found.run.model_dump(include={"address", "namespace", "token_path", "started_ray", "metrics", "dashboard"}),
        "home": str(settings.home),
        "nodes": list(found.nodes),
        "live_tasks": found.live,
    }
    session.answer("up", body, lambda: _show_up(session, found, settings.home))
    if found.run.metrics is None:
        session.screen.note(
            f"/metrics is not served: port {settings.metrics_port} is taken; down, then up --metrics-port 0"
        )


def _show_up(session: Session, found: Up, home: Path) -> None:
    out, run = session.screen.out, found.run
    out(f"{'already up' if found.already else 'up'}: {len(found.nodes)} node{'s' * (len(found.nodes) != 1)} online")
    rows = [
        ("nodes", ", ".join(found.nodes)),
        ("tasks", f"{number(found.live)} live, taken over from the database" if found.live else "none waiting"),
        ("data", f"{home} (database, token, logs)"),
        ("Ray", f"{run.address} ({'started here, with a token' if run.started_ray else 'not ours; down leaves it'})"),
        ("metrics", f"http://{run.metrics}/metrics" if run.metrics else "not served"),
        ("jobs", run.dashboard),
    ]
    for name, value in rows:
        if value:
            out(f"  {name:<8}{escape(value)}")
    if run.dashboard:
        token = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={run.token_path}"
        session.screen.note(
            f"a job: {token} RAY_API_SERVER_ADDRESS={run.dashboard} ray job submit --working-dir . -- python JOB.py"
        )
    session.screen.note("next: openclaw-ray status · openclaw-ray skills · openclaw-ray submit SKILL key=value --wait")


@click.command()
@common
@click.pass_obj
def down(session: Session) -> None:
    """End what `up` started: agents hand back their work, then our actors end, then Ray if `up` started it.

    Database and logs stay: after the next `up` everything is still there.
    """
    from openclaw_ray.cluster_up import down as bring_down

    settings = session.settings()
    with session.screen.alone():
        found = bring_down(settings, say=lambda text: session.screen.note(f"{text} ..."))
    run = found.run
    body = {
        "was_up": run is not None,
        "stopped_ray": run is not None and run.started_ray,
        "processes": found.processes,
        "trouble": found.trouble,
        "home": str(settings.home),
    }

    def show() -> None:
        if run is None:
            session.screen.out("nothing is up here")
            return
        ray = (
            f"Ray too ({found.processes} processes)" if run.started_ray else f"the Ray at {run.address} was left alone"
        )
        session.screen.out(f"down: {ray}; tasks, results and logs stay in {settings.home}")

    session.answer("down", body, show)
    if found.trouble:
        session.screen.note(f"not in an orderly way: {escape(found.trouble)}; nothing that was acknowledged is lost")


@click.command()
@common
@click.option("--to", default=".", metavar="PATH", help="File or folder on the machine of the database (else here).")
@click.pass_obj
def backup(session: Session, to: str) -> None:
    """Write a verified copy of the database while it is in use."""
    target = str(Path(to).expanduser().absolute()) + ("/" if to.endswith("/") or Path(to).is_dir() else "")
    with session.connected() as cluster:
        found = cluster.backup(target)

    def show() -> None:
        session.screen.out(f"{escape(found['path'])}  {bytes_(found['bytes'])}")
        session.screen.out(
            f"integrity {found['integrity']} · schema {found['schema']} · {number(found['tasks'])} tasks · "
            f"sha256 {found['sha256'][:12]}…"
        )
        session.screen.note(f"restore with: openclaw-ray restore {escape(found['path'])} --into NEW.db")

    session.answer("backup", found, show)


@click.command()
@common
@click.pass_obj
def version(session: Session) -> None:
    """Versions of everything that matters."""
    from openclaw_ray.storage.schema import shipped

    found = {name: metadata.version(name) for name in ("openclaw-ray", "ray", "aiosqlite", "pydantic")}
    body = {
        **found,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "database_schema": str(len(shipped())),
    }
    session.answer("version", body, lambda: session.screen.out("\n".join(f"{k:<20}{v}" for k, v in body.items())))
