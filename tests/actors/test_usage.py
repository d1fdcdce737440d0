"""What a machine does is seen in its node's figures within two heartbeats."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import openclaw_ray as oc
from openclaw_ray.cluster import LocalRay
from openclaw_ray.skills.context import Context
from tests.actors.verbs import Driver
from tests.support.wait import wait_until

pytestmark = pytest.mark.ray

BURNS = 2
#: Percent of the machine that the burns take at least, with room for a slow one.
EXPECTED = 60 * BURNS / max(os.cpu_count() or 1, BURNS)


def burn(ctx: Context, started: str) -> None:
    """Work until told to stop."""
    Path(started).touch()
    while not ctx.cancelled:
        sum(range(10_000))


def test_a_burning_cpu_shows_within_two_heartbeats(shared: LocalRay, tmp_path: Path) -> None:
    driver = Driver(shared.state_manager)
    with shared.connect() as cluster:
        cluster.register(oc.skill(burn))
        marks = [tmp_path / f"burn-{i}" for i in range(BURNS)]
        tasks = cluster.map("burn", [{"started": str(mark)} for mark in marks], required_tags=["one"])
        try:
            wait_until(
                lambda: all(mark.exists() for mark in marks), 20, lambda: json.dumps(driver.get_state(), indent=1)
            )
            # The heartbeat under way measured the time before; the two after it see nothing else.
            heartbeats_s = 3 * shared.settings.heartbeat_s
            wait_until(lambda: driver.get_node("node-1")["cpu_usage"] >= EXPECTED, heartbeats_s + 1)
        finally:
            tasks.cancel()
        wait_until(lambda: driver.get_node("node-1")["running_tasks"] == 0, 20)
