"""The Executor actor: one process that runs Python skills, owned by its node's agent and gone with it."""

from __future__ import annotations

import asyncio
import contextvars
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayError

from openclaw_ray.core.resources import CPU, GPU, MEMORY, MILLI
from openclaw_ray.errors import Unavailable
from openclaw_ray.runtime.ports import ExecutorDied
from openclaw_ray.skills.bundle import pack_entries, pack_orders, unpack_entries, unpack_orders
from openclaw_ray.skills.executor import ExecutorLoop
from openclaw_ray.skills.marker import FILE_NAME

#: A process that does not answer within this is taken to wait for resources that others hold (seconds).
START_S = 10.0


@ray.remote
class Executor:
    """Feeds an ExecutorLoop. Restartable for Ray's memory monitor's sake; a restarted process serves nobody."""

    def __init__(self, scratch: str) -> None:
        folder = Path(scratch)
        # The marker of the process before us tells whom to blame: it must not be written again.
        self._loop = None if (folder / FILE_NAME).exists() else ExecutorLoop(folder)

    async def ping(self) -> bool:
        """Whether it serves."""
        return self._loop is not None

    async def feed(self, items: str) -> None:
        """Queue attempts, see `bundle`."""
        loop = self._serving()
        found = unpack_orders(items)
        for code, path in {item["code"]: item["code_path"] for item in found}.items():
            loop.load_code(code, path)
        loop.feed(found)

    async def collect(self, max_wait_s: float) -> str:
        """What happened since the last call, see `bundle`."""
        return pack_entries(await self._serving().collect(max_wait_s))

    async def withdraw(self, tokens: list[int]) -> list[int]:
        """Take back what has not started."""
        return self._serving().withdraw(tokens)

    async def cancel(self, token: int) -> None:
        """Set the flag of an attempt."""
        self._serving().cancel(token)

    def _serving(self) -> ExecutorLoop:
        if self._loop is None:
            raise RuntimeError("restarted: nobody's executor")
        return self._loop


class RayExecutor:
    """`runtime.ports.Executor` over an actor. Any failed call means that the process is gone: it is killed for good."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def feed(self, items: list[dict[str, Any]]) -> None:
        """Queue attempts."""
        await self._call("feed", pack_orders(items))

    async def collect(self, max_wait_s: float) -> list[dict[str, Any]]:
        """What happened since the last call."""
        return unpack_entries(await self._call("collect", max_wait_s))

    async def withdraw(self, tokens: list[int]) -> list[int]:
        """Take back what has not started."""
        taken: list[int] = await self._call("withdraw", tokens)
        return taken

    async def cancel(self, token: int) -> None:
        """Set the flag of an attempt."""
        await self._call("cancel", token)

    async def kill(self) -> None:
        """End the process; its children go with it."""
        await asyncio.to_thread(ray.kill, self._handle, no_restart=True)
        try:
            async with asyncio.timeout(START_S):
                await _detached(self._handle.ping)
        except (RayError, TimeoutError):
            return

    async def _call(self, method: str, argument: Any) -> Any:
        try:
            return await _detached(getattr(self._handle, method), argument)
        except (ActorDiedError, ActorUnavailableError, RayError):
            await asyncio.to_thread(ray.kill, self._handle, no_restart=True)
            raise ExecutorDied(method) from None


def _detached(method: Any, *arguments: Any) -> Any:
    """Submit in a context of its own, so that it is not the child of whatever call runs here."""
    return contextvars.Context().run(method.remote, *arguments)


class RayExecutorFactory:
    """`runtime.ports.ExecutorFactory`: executors on one Ray node, asking Ray for what their skills ask."""

    def __init__(self, ray_node: str) -> None:
        self._ray_node = ray_node

    async def start(self, resources: dict[str, int], scratch: str) -> RayExecutor:
        """Start one and wait for its first answer."""
        custom = {n: units / MILLI for n, units in resources.items() if n not in (CPU, MEMORY, GPU)}
        handle = contextvars.Context().run(
            Executor.options(  # type: ignore[attr-defined]
                num_cpus=resources.get(CPU, 0) / MILLI,
                num_gpus=resources.get(GPU, 0) / MILLI,
                memory=resources.get(MEMORY) or None,
                resources=custom,
                max_restarts=-1,
                max_task_retries=0,
                max_concurrency=100,
                enable_task_events=False,
                label_selector={"ray.io/node-id": self._ray_node},
            ).remote,
            scratch,
        )
        try:
            async with asyncio.timeout(START_S):
                await _detached(handle.ping)
        except (TimeoutError, GetTimeoutError, RayError) as error:
            await asyncio.to_thread(ray.kill, handle, no_restart=True)
            raise Unavailable(
                f"no executor within {START_S:g} s: other Ray work holds its resources ({type(error).__name__})",
                retry_after=5.0,
            ) from None
        return RayExecutor(handle)
