"""What a test left behind: named actors, processes, open ports.

Every process that a test starts, however far from it, carries a mark in its environment; so one that lost its parents
is found too, and nobody else's is ever touched.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import psutil

from tests.support.rays import Rays
from tests.support.wait import wait_until

MARK = "PYTEST_RAY_RUN"
#: How long what ends by itself may take.
SETTLE_S = 10.0


@dataclass(frozen=True)
class Leftovers:
    """A look at one moment."""

    actors: frozenset[tuple[str, str]]
    processes: frozenset[tuple[int, float, str]]
    ports: frozenset[int]

    @classmethod
    def look(cls, rays: Rays) -> Leftovers:
        """Actors by namespace and name, marked processes (without Ray's own workers), ports of both kinds."""
        found = [p for p in psutil.process_iter() if _is_ours(p) and not _is_ray_worker(p, rays)]
        ports = {port for process in [psutil.Process(), *found] for port in _ports(process)}
        return cls(_actors(rays), frozenset(map(_key, found)), frozenset(ports))

    @classmethod
    def check(cls, rays: Rays, before: Leftovers) -> None:
        """Fail if there is more now than before; end it first."""
        last: list[str] = []

        def clean() -> bool:
            last[:] = cls.look(rays)._beyond(before)
            return not last

        try:
            wait_until(clean, SETTLE_S, lambda: "left behind: " + "; ".join(last))
        finally:
            if last:
                cls.look(rays)._end(before)

    def _beyond(self, before: Leftovers) -> list[str]:
        return [
            *(f"actor {namespace}/{name}" for namespace, name in sorted(self.actors - before.actors)),
            *(f"actor {namespace}/{name} is missing" for namespace, name in sorted(before.actors - self.actors)),
            *(f"process {pid} {text}" for pid, _, text in sorted(self.processes - before.processes)),
            *(f"port {port}" for port in sorted(self.ports - before.ports)),
        ]

    def _end(self, before: Leftovers) -> None:
        import ray

        for namespace, name in self.actors - before.actors:
            with contextlib.suppress(ValueError):
                ray.kill(ray.get_actor(name, namespace))
        for pid, started, _ in self.processes - before.processes:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.create_time() == started:
                    process.kill()


def _actors(rays: Rays) -> frozenset[tuple[str, str]]:
    if rays.cluster is None:
        return frozenset()
    import ray

    return frozenset((a["namespace"], a["name"]) for a in ray.util.list_named_actors(all_namespaces=True))


def _is_ours(process: psutil.Process) -> bool:
    try:
        return (
            process.pid != os.getpid()
            and process.status() != psutil.STATUS_ZOMBIE
            and process.environ().get(MARK) == os.environ.get(MARK)
        )
    except psutil.Error:
        return False


def _is_ray_worker(process: psutil.Process, rays: Rays) -> bool:
    """Workers come and go as Ray likes; they belong to the cluster that is up now, and end with it."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return True
    of_ray = bool(command) and (command[0].startswith("ray::") or "ray/_private/workers" in " ".join(command))
    return rays.cluster is not None and of_ray


def _key(process: psutil.Process) -> tuple[int, float, str]:
    try:
        return process.pid, process.create_time(), " ".join(process.cmdline())[:120]
    except psutil.Error:
        return process.pid, 0.0, "gone"


def _ports(process: psutil.Process) -> set[int]:
    try:
        found = process.net_connections("tcp")
    except psutil.Error:
        return set()
    return {c.laddr.port for c in found if c.status == psutil.CONN_LISTEN}
