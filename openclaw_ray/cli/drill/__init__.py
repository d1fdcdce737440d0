"""`openclaw-ray drill`: a cluster under load, while its parts are killed and frozen; then everything is counted."""

from __future__ import annotations

import asyncio
import io
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from openclaw_ray.cli.base import EXIT_FAILED, Session, common
from openclaw_ray.cli.demo import RAY_HEALTH, environment

if TYPE_CHECKING:
    from openclaw_ray.cli.drill.verdict import Verdict
    from openclaw_ray.cli.screen import Screen

#: After the last fault every task must end within this (seconds).
HEAL_S = 180.0
NODES, SLOTS = 3, 2
#: Of what is wrong, the first few.
WRONG_SHOWN = 10


@click.command()
@common
@click.option("--minutes", type=click.FloatRange(0.2, 600), default=5.0, show_default=True, help="Time under faults.")
@click.option("--seed", type=click.IntRange(0), help="Which faults in which order; drawn and shown when left out.")
@click.pass_obj
def drill(session: Session, minutes: float, seed: int | None) -> None:
    """Try to break it: a throw-away cluster works while its parts are killed and frozen.

    StateManager, Scheduler, NodeAgents, executors and whole nodes, one after the other, in an order drawn by the seed.
    Then everything has time to end, and the database's rows are held against a ledger that the tasks wrote themselves.
    Exit 1 if a task is lost, a result accepted twice, or a part back too late.
    """
    seed = secrets.randbelow(10_000) if seed is None else seed
    with environment(RAY_HEALTH), session.screen.alone(io.StringIO()):
        verdict = _run(session.screen, minutes, seed)
    session.answer("drill", verdict.to_json(), lambda: _show(session.screen, verdict))
    if verdict.wrong:
        raise click.exceptions.Exit(EXIT_FAILED)


def _run(screen: Screen, minutes: float, seed: int) -> Verdict:
    from openclaw_ray.cli.drill import faults, verdict
    from openclaw_ray.cli.drill.load import Load, stint
    from openclaw_ray.cluster import local

    screen.note(f"starting a throw-away cluster of {NODES} nodes; seed {seed}, {minutes:g} minutes under faults ...")
    with local(nodes=NODES, slots=SLOTS) as cluster:
        cluster.register(stint)
        cluster.wait_for_skill("stint", timeout=60, nodes=NODES)
        home = cluster.started.settings.home  # type: ignore[attr-defined]
        load = Load(cluster, home / "ledger", seed)
        load.start()
        felt = []
        for one in faults.Faults(cluster, seed).run(time.monotonic() + 60 * minutes):
            felt.append(one)
            back = "never back" if one.recovery_s is None else f"back after {one.recovery_s:.1f} s"
            screen.note(f"{one.at_s:6.1f} s  {one.fault:<22} {one.part:<16} {back:<20} {len(load.tasks):,} submitted")
        load.stop()
        screen.note(f"no more faults: {load.under_way:,} tasks have {HEAL_S:g} s to end ...")
        _heal(cluster, load)
        ask: Any = cluster.call
        ask("sync_to_database")
        rows = asyncio.run(verdict.read_rows(home / "openclaw.db"))
        stale = sum(value[0] for _, value in ask("metrics")["counters"].get("stale_reports_total", []))
        with (home / "ledger").open() as ledger:
            wrong = verdict.judge(load, felt, rows, ledger)
    return verdict.Verdict(
        seed=seed,
        minutes=minutes,
        submitted=len(load.tasks),
        ended=dict(Counter(state for _, state, _ in rows[0])),
        attempts=dict(Counter(outcome or "open" for _, _, outcome in rows[1])),
        stale_reports=int(stale),
        unknown_submits=load.unknown,
        faults=verdict.longest(felt),
        wrong=wrong,
    )


def _heal(cluster: Any, load: Any) -> None:
    from openclaw_ray.errors import OpenClawError

    try:
        cluster.gather(list(load.tasks.values()), on_error="return", timeout=HEAL_S)
    except OpenClawError:
        return  # what has not ended is told by its state


def _show(screen: Screen, verdict: Verdict) -> None:
    screen.out(click.style(f"drill · seed {verdict.seed} · {verdict.minutes:g} minutes under faults", bold=True))
    rows = [
        (fault, found["times"], "never" if found["longest_s"] is None else f"{found['longest_s']:.1f} s",
         f"{found['allowed_s']:g} s")
        for fault, found in verdict.faults.items()
    ]  # fmt: skip
    screen.table(["fault", "times", "longest recovery", "allowed"], rows)
    screen.out("")
    lost = sum("is not there" in text for text in verdict.wrong)
    twice = sum("accepted" in text and "times" in text for text in verdict.wrong)
    ended = " · ".join(f"{n:,} {state}" for state, n in sorted(verdict.ended.items()))
    attempts = " · ".join(f"{n:,} {outcome}" for outcome, n in sorted(verdict.attempts.items()))
    screen.out(f"submitted {verdict.submitted:,} · {ended}")
    screen.out(f"attempts  {attempts}")
    screen.out(f"lost {lost} · accepted twice {twice} · stale reports refused {verdict.stale_reports:,}")
    for text in verdict.wrong[:WRONG_SHOWN]:
        screen.out(click.style("wrong: ", fg="red") + text)
    if len(verdict.wrong) > WRONG_SHOWN:
        screen.out(f"... {len(verdict.wrong) - WRONG_SHOWN:,} more")
    screen.out(
        "nothing lost, nothing accepted twice" if not verdict.wrong else f"{len(verdict.wrong):,} things are wrong"
    )
