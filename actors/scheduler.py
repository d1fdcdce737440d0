"""The Scheduler actor: plans, keeps the fleet, serves /metrics. It owns nothing that a restart could lose."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import ray

from actors.fleet import Fleet
from actors.port import StateManagerPort
from openclaw_ray import logs
from openclaw_ray.clock import SystemClock
from openclaw_ray.config import Settings
from openclaw_ray.runtime.dispatcher import Dispatcher
from openclaw_ray.runtime.link import Link
from openclaw_ray.runtime.scrape import MetricsServer


@ray.remote
class Scheduler:
    """One per cluster, beside the StateManager."""

    def __init__(self, settings: dict[str, Any], nodes: dict[str, dict[str, Any]] | None = None) -> None:
        found = Settings.from_json(settings)
        logs.configure("scheduler", found.home, found.log_level, found.log_bytes_max, found.log_files_max)
        link = Link(StateManagerPort(found.namespace))
        self._dispatcher = Dispatcher(found, link, SystemClock())
        self._fleet = Fleet(found, nodes or {}, link)
        self._link = link
        self._metrics = MetricsServer(self._dispatcher, ray.__version__)
        self._metrics.serve(found.metrics_host, found.metrics_port)
        self._dispatcher.start()
        self._fleet.start()

    async def status(self) -> dict[str, Any]:
        """Strategy, what it knows, where its metrics are."""
        return {**self._dispatcher.status(), "metrics": self._metrics.address, "pid": os.getpid()}

    async def why(self, task_id: str) -> dict[str, Any]:
        """Why a task waits, as the StateManager says."""
        answer: dict[str, Any] = await self._link.plain("why", {"task_id": task_id}, 10.0)
        return answer

    async def set_strategy(self, name: str) -> str:
        """Another strategy from the next pass on; answers the one before."""
        return await self._dispatcher.change_strategy(name)

    async def metrics_text(self) -> str:
        """What /metrics shows."""
        return self._metrics.text()

    async def stop(self) -> None:
        """Stop the agents, stop planning, end for good."""
        await self._fleet.stop()
        await self._dispatcher.stop()
        await asyncio.to_thread(self._metrics.close)
        ray.actor.exit_actor()  # type: ignore[no-untyped-call]
