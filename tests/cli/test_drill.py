"""The drill: it sees what is wrong, and a short one on a real cluster finds nothing wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from openclaw_ray.cli.drill.faults import Felt
from openclaw_ray.cli.drill.verdict import BACK_WITHIN_S, judge, longest

TASKS = [("t1", "completed", "1"), ("t2", "completed", "2")]
ATTEMPTS = [(10, "t1", "lost"), (11, "t1", "completed"), (12, "t2", "completed")]
LEDGER = ["start 1 10 5", "start 1 11 5", "end 1 11 5", "start 2 12 6", "end 2 12 6"]
FELT = [Felt("kill -9 Scheduler", "Scheduler", 3.0, 1.5), Felt("kill -9 Scheduler", "Scheduler", 9.0, 2.5)]


def wrong(tasks: Any = TASKS, attempts: Any = ATTEMPTS, ledger: Any = LEDGER, felt: Any = FELT) -> list[str]:
    load: Any = SimpleNamespace(tasks={1: SimpleNamespace(id="t1"), 2: SimpleNamespace(id="t2")}, refused=[])
    return judge(load, felt, (tasks, attempts), ledger)


def test_a_lost_attempt_that_was_made_good_is_nothing_wrong() -> None:
    assert wrong() == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"tasks": TASKS[:1]}, "t2 was acknowledged and is not there"),
        ({"tasks": [TASKS[0], ("t2", "failed", None)]}, "t2 is failed"),
        ({"tasks": [TASKS[0], ("t2", "completed", "1")]}, "t2 has the result 1, not 2"),
        (
            {"attempts": [*ATTEMPTS, (13, "t1", "completed")], "ledger": [*LEDGER, "end 1 13 5"]},
            "t1 was accepted 2 times",
        ),
        ({"attempts": [*ATTEMPTS, (13, "t1", None)]}, "the attempt of token 13 never ended"),
        ({"ledger": [*LEDGER, "start 1 11 9"]}, "token 11 was run 2 times"),
        ({"ledger": [*LEDGER, "start 7 99 9"]}, "token 99 was run and is not on record"),
        ({"ledger": LEDGER[:-1]}, "token 12 was accepted, but its work never ended"),
        (
            {"felt": [Felt("kill -9 Scheduler", "it", 1.0, 5.5)]},
            "kill -9 Scheduler (it): back after 5.5 s, allowed are 5 s",
        ),
        ({"felt": [Felt("kill -9 node", "n", 1.0, None)]}, "kill -9 node (n): back after for ever, allowed are 20 s"),
    ],
)
def test_whatever_should_not_be_is_told(found: dict[str, Any], says: str) -> None:
    assert wrong(**found) == [says]


def test_of_each_fault_the_longest_recovery_counts() -> None:
    assert longest(FELT) == {"kill -9 Scheduler": {"times": 2, "longest_s": 2.5, "allowed_s": 5.0}}
    assert longest([*FELT, Felt("kill -9 node", "n", 1.0, None)])["kill -9 node"]["longest_s"] is None


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_short_drill_on_a_real_cluster_loses_nothing(no_cluster: None) -> None:
    program = [sys.executable, "-c", "from openclaw_ray.cli import main; main()"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENCLAW_", "RAY_AUTH", "RAY_ADDRESS"))}
    command = [*program, "drill", "--minutes", "0.7", "--seed", "3", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=kept)
    assert done.stdout, done.stderr[-3_000:]
    found = json.loads(done.stdout)
    # How long a recovery takes on a busy machine is the drill's question, not this test's.
    assert [text for text in found["wrong"] if "back after" not in text] == []
    assert done.returncode == (1 if found["wrong"] else 0)
    assert found["submitted"] > 100
    assert len(found["faults"]) >= 2
    assert set(found["faults"]) <= set(BACK_WITHIN_S)
