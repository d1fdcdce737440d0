"""`python -m openclaw_ray.sim`: runs seeds, shows what they covered, and hunts planted bugs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from openclaw_ray.sim.batch import BUG_SEEDS_MAX, Summary, Verdict, hunt_all, judge, judge_all
from openclaw_ray.sim.plan import Plan, draw
from openclaw_ray.sim.shrink import shrink
from openclaw_ray.sim.world import run

#: Violations of one run that are shown.
_SHOWN = 5


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m openclaw_ray.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=40, help="how many (default 40)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--plan", type=Path, help="run this plan (JSON) instead of seeds")
    parser.add_argument("--trace", type=Path, help="write every line of the one run to this file")
    parser.add_argument("--shrink", type=Path, metavar="FILE", help="make the first failing plan small and keep it")
    parser.add_argument(
        "--bugs", nargs="?", const="tests.sim.planted", metavar="MODULE", help="hunt the bugs planted by a module"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Carry out the command; 0 when no promise was broken and every planted bug was caught."""
    given = _parser().parse_args(arguments)
    if given.plan is not None or given.trace is not None:
        plan = Plan.from_json(json.loads(given.plan.read_text())) if given.plan else draw(given.seed)
        return _one(plan, given.trace)
    started = time.monotonic()
    summary = Summary()
    for verdict in judge_all(range(given.seed, given.seed + given.seeds), given.jobs):
        summary.add(verdict)
        if verdict.violations:
            _say(_failure(verdict))
    _say(_table(summary, time.monotonic() - started))
    if summary.failed and given.shrink is not None:
        _keep(summary.failed[0], given.shrink)
    missed = _hunt(given.bugs, given.seed, given.jobs) if given.bugs else 0
    return 1 if summary.failed or missed else 0


def _one(plan: Plan, trace: Path | None) -> int:
    if trace is not None:
        trace.write_text("\n".join(run(plan, kept=None).trace) + "\n")
    verdict = judge(plan)
    _say(_failure(verdict) if verdict.violations else f"seed {plan.seed}: no promise was broken")
    _say(f"trace {verdict.trace_sha256}")
    return 1 if verdict.violations else 0


def _failure(verdict: Verdict) -> str:
    plan = verdict.plan
    faults = ", ".join(f"{f.at:g} {f.kind} {f.target}".strip() for f in plan.faults)
    shown = [f"  {found.promise}: {found.text}" for found in verdict.violations[:_SHOWN]]
    return "\n".join([f"seed {plan.seed} ({plan.profile}: {faults})", *shown])


def _table(summary: Summary, wall_s: float) -> str:
    said = summary.messages
    lines = [
        f"seeds run          {summary.runs}",
        f"simulated hours    {summary.seconds / 3600:.1f} in {wall_s:.0f} s",
        f"messages           {said['send'] + said['reply']:,} ({said['lost'] + said['cut']:,} lost, "
        f"{said['doubled']:,} doubled, {said['late']:,} late)",
        f"commits            {said['commit']:,}",
        f"attempts           {said['began']:,} began, {said['ended']:,} ended, {said['died']:,} died",
        "faults             " + ", ".join(f"{kind} {n}" for kind, n in sorted(summary.faults.items())),
        f"broken promises    {len(summary.failed)} seeds: {[v.plan.seed for v in summary.failed]}"
        if summary.failed
        else "broken promises    0",
    ]
    return "\n".join(lines)


def _keep(verdict: Verdict, path: Path) -> None:
    promise = verdict.violations[0].promise
    small = shrink(verdict.plan, lambda plan: any(v.promise == promise for v in judge(plan).violations))
    path.write_text(json.dumps(small.to_json(), indent=1) + "\n")
    _say(f"kept in {path}: {len(small.faults)} faults, {small.tasks} jobs, still breaks {promise}")


def _hunt(module: str, first: int, jobs: int) -> int:
    missed = 0
    _say(f"\n{'planted bug':34} {'seed':>5}  caught by")
    for catch in hunt_all(module, first, BUG_SEEDS_MAX, jobs):
        seed = "none" if catch.seed is None else str(catch.seed)
        _say(f"{catch.bug:34} {seed:>5}  {catch.promise} {catch.text[:90]}".rstrip())
        missed += catch.seed is None
    return missed


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
