"""`connect` and `connect_async`: from an address to a client that has met the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Any

from openclaw_ray.client.calls import TIMEOUT_S
from openclaw_ray.client.core import AsyncCluster
from openclaw_ray.client.joining import join
from openclaw_ray.client.sync import Cluster
from openclaw_ray.client.transport import RayTransport


def _joined(address: str | None, namespace: str | None) -> RayTransport:
    """Join Ray, in whatever thread this runs, and return the way to the coordinator."""
    from openclaw_ray.config import load_settings  # pydantic-settings takes a while, and is needed here only

    settings = load_settings()
    join(address, settings.home)
    return RayTransport(namespace or settings.namespace)


def connect(address: str | None = None, namespace: str | None = None, timeout: float = TIMEOUT_S) -> Cluster:
    """Connect to a running cluster.

    Args:
        address: Ray address; by default OPENCLAW_ADDRESS, RAY_ADDRESS, then the cluster that `openclaw-ray up` started
            on this computer. A process that is connected to Ray already uses that.
        namespace: Ray namespace of the cluster; by default OPENCLAW_NAMESPACE, else "openclaw".
        timeout: Seconds for which a call is repeated before it fails.

    Raises:
        NotConnected: no cluster is known, or none answers; it says what to do.
        AuthRequired: the cluster asks for a token.
        VersionMismatch: client and cluster speak different protocols.
    """
    # Ray is joined in the caller's thread: it installs signal handlers in the main one.
    return Cluster.over(_joined(address, namespace), timeout_s=timeout)


class Connecting:
    """A connection in the making: ``async with`` it, or await it and close the cluster yourself."""

    def __init__(self, address: str | None, namespace: str | None, timeout: float) -> None:
        self._given = (address, namespace)
        self._timeout = timeout
        self._cluster: AsyncCluster | None = None

    async def _open(self) -> AsyncCluster:
        port = await asyncio.to_thread(_joined, *self._given)
        self._cluster = await AsyncCluster(port, timeout_s=self._timeout).open()
        return self._cluster

    def __await__(self) -> Generator[Any, None, AsyncCluster]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncCluster:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._cluster is not None:
            await self._cluster.close()


def connect_async(address: str | None = None, namespace: str | None = None, timeout: float = TIMEOUT_S) -> Connecting:
    """`connect` for asyncio: ``async with oc.connect_async() as cluster:``, or await it."""
    return Connecting(address, namespace, timeout)
