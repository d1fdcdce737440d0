"""Calls from our own actors to the StateManager: by name, with a deadline, and with the errors that tell what to do."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from actors.names import STATE_MANAGER
from openclaw_ray.errors import NotConnected, OutcomeUnknown


class StateManagerPort:
    """`runtime.ports.Coordinator` over a named actor; the handle is looked up again after its process is gone."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._handle: Any = None

    async def call(self, verb: str, body: str, timeout_s: float) -> str:
        """One call; the caller repeats it."""
        handle = self._handle or await self._find()
        # In a context of its own: a call made inside an actor's method would be cancelled with it.
        submit = contextvars.Context().run
        reference = submit(handle.call_json.remote, verb, body)
        try:
            async with asyncio.timeout(timeout_s):
                return str(await reference)
        except TimeoutError:
            raise OutcomeUnknown(f"{verb} was not answered within {timeout_s:g} s", retry_after=0.5) from None
        except ActorDiedError:
            self._handle = None
            raise NotConnected("the StateManager is gone", retry_after=0.5) from None
        except ActorUnavailableError:
            raise OutcomeUnknown("the StateManager is restarting", retry_after=0.5) from None
        except RayError as error:
            raise OutcomeUnknown(f"{verb}: {type(error).__name__}", retry_after=0.5) from None

    async def _find(self) -> Any:
        try:
            self._handle = await asyncio.to_thread(ray.get_actor, STATE_MANAGER, self._namespace)
        except ValueError:
            raise NotConnected(f"no actor {STATE_MANAGER} in namespace {self._namespace}", retry_after=1.0) from None
        return self._handle
