"""The driver of a run: the real client on the simulated network, repeating what was not acknowledged."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from typing import Any

from openclaw_ray.client.core import AsyncCluster
from openclaw_ray.client.handles import AsyncTask
from openclaw_ray.errors import OpenClawError
from openclaw_ray.models.skill import SkillKind, SkillManifest
from openclaw_ray.protocol import RegisterSkillRequest
from openclaw_ray.sim.disk import Disk
from openclaw_ray.sim.loop import Process, VirtualLoop
from openclaw_ray.sim.network import Network
from openclaw_ray.sim.trace import Trace
from openclaw_ray.sim.work import SKILL, Acked, History, Job, Seen, key_of

#: Pause before something is tried again (seconds).
AGAIN_S = 1.0
#: A look at some task comes about so often (seconds).
LOOK_S = 6.0

_BLOB = b"simulated"


class Client:
    """One process of a driver. Another one takes over where this one was killed."""

    def __init__(
        self,
        loop: VirtualLoop,
        network: Network,
        chance: random.Random,
        trace: Trace,
        disk: Disk,
        history: History,
        jobs: list[Job],
    ) -> None:
        self.process = Process(loop, "client")
        self._loop = loop
        self._began = 0.0
        self._chance = chance
        self._trace = trace
        self._disk = disk
        self._history = history
        self._jobs = jobs
        self._cluster = AsyncCluster(network.port("client"))
        self._acked = {job.n: asyncio.Event() for job in jobs}

    def start(self, began: float) -> None:
        """Begin; `began` is when the run began."""
        self._began = began
        self.process.spawn(self._run())

    async def _run(self) -> None:
        await self._until_done(self._cluster.open)
        await self._until_done(self._register)
        for job in self._jobs:
            if job.n in self._history.acked:
                self._acked[job.n].set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            for job in self._jobs:
                group.create_task(self._carry_out(job))

    async def _register(self) -> None:
        digest = hashlib.sha256(_BLOB).hexdigest()
        manifest = SkillManifest(name=SKILL, kind=SkillKind.PYTHON, revision=digest, code=digest)
        request = RegisterSkillRequest(manifest=manifest, blob=base64.b64encode(_BLOB).decode())
        await self._cluster.message("register_skill", request)

    async def _until_done(self, attempt: Any, *arguments: Any) -> Any:
        while True:
            try:
                return await attempt(*arguments)
            except OpenClawError as error:
                self._trace.note("again", f"{attempt.__name__}: {error.code}")
                if error.retry_after is None and error.code not in _PASSING:
                    self._history.refused.append(f"{attempt.__name__}: {error.code}: {error}")
                    raise
                await asyncio.sleep(max(AGAIN_S, error.retry_after or 0.0))

    async def _carry_out(self, job: Job) -> None:
        await asyncio.sleep(max(0.0, self._began + job.at - self._loop.time()))
        if job.n not in self._history.acked:
            if job.after is not None:
                await self._acked[job.after].wait()
            await self._until_done(self._submit, job)
        self._acked[job.n].set()
        acked = self._history.acked[job.n]
        async with asyncio.TaskGroup() as group:
            if job.cancel_after_s is not None:
                group.create_task(self._cancel(acked, job.cancel_after_s))
            for task_id in acked.ids:
                if task_id not in self._history.heard:
                    group.create_task(self._until_done(self._wait, task_id))

    async def _submit(self, job: Job) -> None:
        options = dict(job.options)
        if job.after is not None:
            options["after"] = [self._history.acked[job.after].ids[0]]
        tasks = await self._cluster.map(SKILL, job.rows(), key=key_of, **options)
        ids = tuple(task.id for task in tasks)
        missing = tuple(i for i in ids if not self._disk.rows("SELECT 1 FROM tasks WHERE task_id = ?", i))
        self._history.acked[job.n] = Acked(self._loop.time(), job, ids, missing)
        self._trace.note("acked", f"job {job.n}: {len(ids)} tasks from {ids[0]}")

    async def _wait(self, task_id: str) -> None:
        task = await self._cluster.task(task_id)
        self._note("get_task", task)
        await task.wait()
        self._note("results", task)

    async def _cancel(self, acked: Acked, after_s: float) -> None:
        await asyncio.sleep(max(0.0, acked.at + after_s - self._loop.time()))
        task_id, asked_at = acked.ids[0], self._loop.time()
        states = await self._until_done(self._cluster.cancel, task_id)
        now = self._loop.time()
        self._trace.note("cancelled", f"{task_id}: {states[task_id]}")
        self._history.note(Seen(now, "cancel", task_id, states[task_id], 0, asked_at=asked_at))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(0.2, 2 * LOOK_S))
            known = [task_id for acked in self._history.acked.values() for task_id in acked.ids]
            if not known:
                continue
            asked_at = self._loop.time()
            try:
                task = await self._cluster.task(self._chance.choice(known))
            except OpenClawError:
                continue
            self._note("get_task", task, asked_at)

    def _note(self, how: str, task: AsyncTask, asked_at: float = 0.0) -> None:
        told = task._snapshot
        version = int(told.document["version"]) if told.document is not None and how == "get_task" else 0
        seen = Seen(
            self._loop.time(), how, told.id, told.state, told.attempt, told.result, told.completed_at, version, asked_at
        )
        self._trace.note("told", f"{how} {told.id}: {told.state} attempt={told.attempt}")
        self._history.note(seen)


_PASSING = frozenset({"outcome_unknown", "not_connected"})
