"""Each planted bug is caught, by the seed that was found for it; `make sim BUGS=1` hunts them all anew.

And what was found in earnest stays away: its plan passes, and fails again when the bug is put back.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openclaw_ray.sim.batch import BUG_SEEDS_MAX, judge, judge_seed
from openclaw_ray.sim.plan import Plan
from tests.sim.planted import FOUND, PLANTED, planted
from tests.sim.test_simulation import SEEDS

KEPT = sorted((Path(__file__).parent / "regressions").glob("*.json"))

#: The first seed that catches a bug.
CAUGHT_BY = {
    "accepts_stale_reports": 2,
    "answers_before_commit": 0,
    "tokens_begin_again": 0,
    "forgets_to_undo": 2,
    "drops_leases_at_register": 11,
    "ignores_not_before": 0,
    "no_backoff": 0,
    "forgets_backoff_at_restart": 1,
    "result_after_cancel": 3,
    "room_is_not_given_back": 1,
    "loses_the_spool": 3,
    "leases_are_sent_once": 12,
    "runs_begin_again_at_register": 2,
    "agent_overbooks": 0,
    "starts_before_dependencies": 3,
    "lost_costs_nothing": 2,
    "leases_survive_silence": 0,
    "counts_refused_batches": 6,
    "a_restart_gives_no_time": 3,
    "unknown_commit_counts_as_refused": 0,
    "key_is_not_looked_up": 0,
    "recall_of_a_run": 5,
}


def test_there_is_a_seed_for_every_planted_bug() -> None:
    assert set(CAUGHT_BY) == set(PLANTED)
    assert len(PLANTED) >= 12
    assert max(CAUGHT_BY.values()) < BUG_SEEDS_MAX


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught(bug: str) -> None:
    with planted(bug):
        assert judge_seed(CAUGHT_BY[bug]).violations


def test_without_the_bug_the_seed_is_clean() -> None:
    for seed in sorted(set(CAUGHT_BY.values()) - set(SEEDS)):  # those of SEEDS are, in test_simulation.py
        assert judge_seed(seed).violations == []


def test_every_kept_plan_names_its_bug() -> None:
    assert {path.stem for path in KEPT} == set(FOUND)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_was_found_once_stays_away(path: Path) -> None:
    plan = Plan.from_json(json.loads(path.read_text("utf-8")))
    assert judge(plan).violations == []
    with planted(path.stem):
        assert judge(plan).violations
