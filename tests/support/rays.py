"""Clusters for tests: one at a time in this process, started when the first test asks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from openclaw_ray.cluster import LocalRay
from openclaw_ray.config import Settings

#: Three nodes that differ in room and tags.
SHARED_NODES: dict[str, dict[str, Any]] = {
    "node-1": {"slots": 2, "tags": ["one"]},
    "node-2": {"slots": 2, "tags": ["two", "spare"]},
    "node-3": {"slots": 1, "tags": ["three", "spare"]},
}
#: Command skills of the tests.
SKILLS = Path(__file__).parents[1] / "actors" / "skills"
#: Everything quick, so that a test of a lost node takes seconds.
QUICK: dict[str, Any] = {
    "heartbeat_s": 0.5,
    "lease_ttl_s": 3.0,
    "sweep_s": 0.5,
    "retry_base_s": 0.1,
    "retry_jitter": 0.0,
    "kill_grace_s": 1.0,
    "metrics_port": 0,
}


class Rays:
    """The cluster that this process is connected to, if any."""

    def __init__(self) -> None:
        self.cluster: LocalRay | None = None
        self._is_shared = False
        self._home: Path | None = None

    def shared(self) -> LocalRay:
        """The shared cluster; started if another one, or none, is there."""
        if self.cluster is None or not self._is_shared:
            self.start(SHARED_NODES)
            self._is_shared = True
        assert self.cluster is not None
        return self.cluster

    def start(self, nodes: dict[str, dict[str, Any]], **settings: Any) -> LocalRay:
        """A new cluster; the one before is stopped."""
        self.stop()
        self._home = Path(tempfile.mkdtemp(prefix="och", dir="/tmp"))
        chosen = Settings(**{**QUICK, "home": self._home, "skill_roots": (SKILLS,), **settings})
        self.cluster = LocalRay(chosen, {node_id: dict(options) for node_id, options in nodes.items()})
        try:
            self.cluster.start()
        except BaseException:
            self.stop()
            raise
        return self.cluster

    def stop(self) -> None:
        """End the cluster, if there is one, and remove its folder."""
        cluster, self.cluster = self.cluster, None
        self._is_shared = False
        try:
            if cluster is not None:
                cluster.stop()
        finally:
            if self._home is not None:
                shutil.rmtree(self._home, ignore_errors=True)
                self._home = None
