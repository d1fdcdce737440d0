"""Runs of the whole: promises hold under every kind of fault, and a plan says all that a run depends on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from openclaw_ray.sim.batch import Verdict, judge, judge_seed
from openclaw_ray.sim.plan import KINDS, Fault, Plan, draw
from openclaw_ray.sim.world import run

ROOT = Path(__file__).parents[2]
#: Seconds on an idle machine, minutes where others use it as well.
pytestmark = pytest.mark.timeout(600)

#: Seeds that every change runs; `make sim` runs more.
SEEDS = range(16)

#: A short script of one node and five submits, for crashes at every point of it.
SCRIPT = Plan(seed=3, profile="middle", nodes=1, slots=2, tasks=5, faulty_s=12.0)


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    return [judge_seed(seed) for seed in SEEDS]


def test_no_seed_breaks_a_promise(verdicts: list[Verdict]) -> None:
    assert {v.plan.seed: v.violations[:3] for v in verdicts if v.violations} == {}


def test_every_kind_of_fault_and_message_occurs(verdicts: list[Verdict]) -> None:
    faults = sum((Counter(v.faults) for v in verdicts), Counter[str]())
    messages = sum((Counter(v.messages) for v in verdicts), Counter[str]())
    assert set(KINDS["everything"]) - set(faults) == set()
    assert {"lost", "cut", "late", "doubled", "died", "cancelled", "again"} - set(messages) == set()


def test_a_seed_replays_byte_for_byte_in_another_process() -> None:
    code = "from openclaw_ray.sim.batch import judge_seed; print([judge_seed(s).trace_sha256 for s in (0, 1, 12)])"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_plan_survives_json() -> None:
    plan = draw(5)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def commits_of_the_script() -> list[int]:
    """Which calls of the store are commits, until everything heals."""
    trace = [line.split() for line in run(SCRIPT, kept=None).trace]
    heals = next(i for i, words in enumerate(trace) if words[1] == "world")
    return [int(words[2]) for words in trace[:heals] if words[1] == "commit"]


def test_a_crash_at_every_call_of_the_store_breaks_nothing() -> None:
    commits = commits_of_the_script()
    points = [(call, 0) for call in range(1, commits[-1] + 1)] + [(call, 1) for call in commits]
    broken = {}
    for call, after in points:
        fault = Fault(0.0, "crash_at_call", "state", more={"call": call, "after": after})
        verdict = judge(Plan(**{**SCRIPT.to_json(), "faults": (fault,)}))
        assert verdict.messages["state"] == 3, "it started, died, and started again"
        if verdict.violations:
            broken[call, after] = verdict.violations[:2]
    assert len(points) > 60
    assert broken == {}
