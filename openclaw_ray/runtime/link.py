"""Calls to the coordinator with our own message types, repeated until they are answered or their time is over."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel

from openclaw_ray import errors
from openclaw_ray.errors import NotConnected, OpenClawError, OutcomeUnknown
from openclaw_ray.models.door import dumps, parse
from openclaw_ray.runtime.ports import Coordinator

R = TypeVar("R", bound=BaseModel)

_OK, _OK_END = '{"ok":true,"value":', "}"


class Link:
    """The coordinator's verbs with typed bodies. Every one of them is safe to repeat; callers decide how often."""

    def __init__(self, port: Coordinator) -> None:
        self._port = port

    async def ask(self, verb: str, request: BaseModel | str, reply: type[R], timeout_s: float) -> R:
        """One call with a message (or its JSON text), answered by a message.

        Raises:
            NotConnected, OutcomeUnknown: repeat it.
            OpenClawError: refused.
        """
        body = request if isinstance(request, str) else request.model_dump_json()
        text = await self._port.call(verb, body, timeout_s)
        return parse(reply, _value_text(text))

    async def plain(self, verb: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        """One call with plain arguments, answered by plain JSON."""
        text = await self._port.call(verb, dumps(arguments), timeout_s)
        return json.loads(_value_text(text))


def _value_text(text: str) -> str:
    """The value of an answer, without decoding what is decoded next anyway."""
    if text.startswith(_OK):
        return text[len(_OK) : -len(_OK_END)]
    body = json.loads(text)
    raise errors.from_json(body["error"])


def repeatable(error: OpenClawError) -> bool:
    """Whether the same call may succeed a little later."""
    return isinstance(error, NotConnected | OutcomeUnknown) or error.retry_after is not None
