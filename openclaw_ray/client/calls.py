"""Calls to the coordinator that a client may rely on: repeated inside a deadline, answered or refused with our errors.

Every verb is safe to repeat (ids are made here, by the client), so a lost answer costs a second call and nothing else.
Must not know how a call travels; that is the port's business.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel

from openclaw_ray import errors
from openclaw_ray.core.backoff import delay_s
from openclaw_ray.core.limits import MESSAGE_BYTES_MAX
from openclaw_ray.errors import NotConnected, OpenClawError, OutcomeUnknown, Unavailable
from openclaw_ray.models.door import canonical
from openclaw_ray.runtime.link import Link
from openclaw_ray.runtime.ports import Coordinator

T = TypeVar("T")
R = TypeVar("R", bound=BaseModel)

#: How long a call is repeated, unless the caller says otherwise (seconds): longer than a restart of the coordinator.
TIMEOUT_S = 30.0
#: One attempt of an ordinary call: long for a busy disk, and short enough that a lost answer is asked for again.
ATTEMPT_S = 10.0
#: First and longest pause between two attempts (seconds).
PAUSE_S, PAUSE_MAX_S = 0.05, 2.0


def passing(error: OpenClawError) -> bool:
    """Whether the same call may succeed a little later, without anybody doing anything about it.

    A full queue or disk is the caller's to wait for; a coordinator that is starting is not.
    """
    if isinstance(error, NotConnected):
        return error.retry_after is not None
    return isinstance(error, OutcomeUnknown) or (type(error) is Unavailable and error.retry_after is not None)


def pause_s(attempt: int, salt: str) -> float:
    """Seconds before attempt number `attempt` + 1."""
    return delay_s(attempt, base_s=PAUSE_S, max_s=PAUSE_MAX_S, jitter=0.3, salt=f"{salt}:{attempt}")


class Calls:
    """The coordinator's verbs, repeated until they are answered or their time is over."""

    def __init__(self, port: Coordinator, timeout_s: float = TIMEOUT_S) -> None:
        self._port = port
        self._link = Link(port)
        self._timeout_s = timeout_s

    async def ask(
        self,
        verb: str,
        request: BaseModel,
        reply: type[R],
        *,
        timeout_s: float | None = None,
        attempt_s: float = ATTEMPT_S,
    ) -> R:
        """One message, answered by a message.

        Raises:
            OutcomeUnknown: it may have happened; repeating it is safe.
            OpenClawError: refused, or not connected.
        """
        return await self._repeat(
            verb, timeout_s, lambda left: self._link.ask(verb, request, reply, min(left, attempt_s))
        )

    async def once(self, verb: str, request: BaseModel, reply: type[R], timeout_s: float) -> R:
        """One attempt, not repeated."""
        return await self._link.ask(verb, request, reply, timeout_s)

    async def plain(
        self, verb: str, arguments: dict[str, Any], *, timeout_s: float | None = None, attempt_s: float = ATTEMPT_S
    ) -> Any:
        """Plain arguments, answered by plain JSON values."""
        body = canonical(arguments, at="", bytes_max=MESSAGE_BYTES_MAX)
        return await self.text(verb, body, timeout_s=timeout_s, attempt_s=attempt_s)

    async def text(self, verb: str, body: str, *, timeout_s: float | None = None, attempt_s: float = ATTEMPT_S) -> Any:
        """A body that is JSON text already."""

        async def once(left: float) -> Any:
            answer = json.loads(await self._port.call(verb, body, min(left, attempt_s)))
            if not answer["ok"]:
                raise errors.from_json(answer["error"])
            return answer["value"]

        return await self._repeat(verb, timeout_s, once)

    async def _repeat(self, verb: str, timeout_s: float | None, once: Callable[[float], Awaitable[T]]) -> T:
        clock = asyncio.get_running_loop().time
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        end = clock() + timeout_s
        attempt, unknown = 0, False
        while True:
            try:
                return await once(max(end - clock(), 0.001))
            except OpenClawError as error:
                if not passing(error):
                    raise
                attempt += 1
                unknown = unknown or isinstance(error, OutcomeUnknown)
                pause = max(error.retry_after or 0.0, pause_s(attempt, verb))
                if clock() + pause >= end:
                    if unknown and not isinstance(error, OutcomeUnknown):
                        raise OutcomeUnknown(f"{verb}: {error.message}", hint=error.hint) from error
                    raise
                await asyncio.sleep(pause)
