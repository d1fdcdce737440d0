"""The one door of the coordinator: a verb and a body in, a JSON answer or a typed error out.

Every way in (raw handles, our client, agents, the scheduler) meets the same checks here; metrics of calls fall out.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from openclaw_ray import protocol
from openclaw_ray.clock import Clock
from openclaw_ray.core.limits import BODY_BYTES_MAX, ENVELOPE_LEVELS, NAME_LEN_MAX, NESTING_MAX
from openclaw_ray.errors import InvalidRequest, OpenClawError
from openclaw_ray.logs import get_logger
from openclaw_ray.metrics import Meter
from openclaw_ray.models.door import check_json, dumps, field_name, parse, plain, quoted, shorten

log = get_logger(__name__)

R = TypeVar("R", bound=BaseModel)

#: Verbs whose body is one message, checked against its type.
MESSAGES: Mapping[str, type[BaseModel]] = {
    "submit": protocol.SubmitRequest,
    "results": protocol.ResultsRequest,
    "cancel": protocol.CancelRequest,
    "tasks": protocol.TaskQuery,
    "drain": protocol.DrainRequest,
    "register_skill": protocol.RegisterSkillRequest,
    "registry": protocol.RegistryRequest,
    "watch": protocol.WatchRequest,
    "assign": protocol.AssignRequest,
    "register": protocol.RegisterRequest,
    "poll": protocol.PollRequest,
    "report": protocol.ReportRequest,
    "offers": protocol.OffersRequest,
    "node_gone": protocol.NodeGoneRequest,
}

#: Verbs of DESIGN's list and their kin: their body is a mapping of plain arguments, which they check themselves.
PLAIN = (
    "add_node", "update_node", "remove_node", "get_node", "get_all_nodes", "get_online_nodes", "get_available_nodes",
    "find_nodes_by_skill", "update_node_status", "update_heartbeat", "check_stale_nodes", "get_node_stats", "undrain",
    "add_task", "update_task", "remove_task", "get_task", "get_tasks_by_status", "get_pending_tasks", "get_task_stats",
    "history", "why", "code", "hello", "get_state", "sync_to_database", "refresh_from_database", "backup", "metrics",
    "stats",
)  # fmt: skip

#: Of a fault of our own, as its caller hears it; the log has it whole.
ERROR_CHARS = 300
#: Calls that wait on purpose: their time says nothing.
_WAITING = frozenset({"results", "watch", "poll"})


class Door:
    """Verbs to handlers."""

    def __init__(self, handlers: Mapping[str, Callable[..., Awaitable[Any]]], meter: Meter, clock: Clock) -> None:
        self._handlers = handlers
        self._meter = meter
        self._clock = clock

    async def call(self, verb: Any, body: object) -> Any:
        """Carry out one verb; plain JSON values out.

        Raises:
            OpenClawError: refused, with field, limit and hint.
        """
        started = self._clock.now().mono
        code = "ok"
        try:
            return await self._dispatch(verb, body)
        except OpenClawError as error:
            code = error.code
            raise
        except Exception as error:
            code = "internal"
            log.exception("call failed", verb=shorten(verb))
            said = shorten(str(error), ERROR_CHARS)
            raise OpenClawError(f"internal error in {shorten(verb)}: {type(error).__name__}: {said}") from None
        finally:
            method = verb if isinstance(verb, str) and verb in self._handlers else "unknown"
            self._meter.inc("requests_total", (method, code))
            if method not in _WAITING and method != "unknown":
                self._meter.observe("request_seconds", (method,), self._clock.now().mono - started)

    async def call_json(self, verb: str, body: str) -> str:
        """The same in JSON: ``{"ok": true, "value": ...}`` or ``{"ok": false, "error": ...}``."""
        try:
            answer = await self.call(verb, body)
        except OpenClawError as error:
            return dumps({"ok": False, "error": error.to_json()})
        if isinstance(answer, BaseModel):
            return '{"ok":true,"value":' + answer.model_dump_json() + "}"
        return '{"ok":true,"value":' + json.dumps(answer, ensure_ascii=False, separators=(",", ":")) + "}"

    async def _dispatch(self, verb: Any, body: object) -> Any:
        handler = self._handlers.get(verb) if isinstance(verb, str) else None
        if handler is None:
            near = difflib.get_close_matches(str(shorten(verb)), self._handlers, n=1)
            hint = f"did you mean {near[0]!r}?" if near else None
            raise InvalidRequest(
                f"unknown verb {quoted(verb)}", field="verb", limit="a verb of docs/verbs.md", hint=hint
            )
        try:
            message = MESSAGES.get(verb)
            if message is not None:
                request = parse(message, _received(body))
            else:
                arguments = _arguments(verb, _received(body))
                _check_arguments(verb, handler, arguments)
        except InvalidRequest as error:
            raise _placed(error) from None
        return await (handler(request) if message is not None else handler(**arguments))


def _placed(error: InvalidRequest) -> InvalidRequest:
    """A refusal of no field is one of the body as a whole."""
    return error if error.field else type(error)(error.message, "body", error.limit, error.hint)


def _received(body: object) -> Any:
    """What came, as text or as plain JSON values: no desk ever meets a stranger's object, a loop, or half a letter."""
    if isinstance(body, str | bytes):
        if len(body) > BODY_BYTES_MAX:
            raise InvalidRequest(f"is {len(body):,} bytes", field="body", limit=f"{BODY_BYTES_MAX:,} bytes in one call")
        return body
    if not isinstance(body, dict):
        return _plain_value("", body)
    if odd := [key for key in body if not isinstance(key, str)]:
        raise InvalidRequest(f"the key {quoted(odd[0])} is not text", field="body", limit="text keys")
    return {key: _plain_value(key, value) for key, value in dict.items(body)}


def _plain_value(at: str, value: object) -> Any:
    levels = NESTING_MAX + ENVELOPE_LEVELS
    found = plain(value, at=field_name(at), bytes_max=BODY_BYTES_MAX, levels=levels)
    check_json(found, at=field_name(at), bytes_max=BODY_BYTES_MAX, levels=levels)
    return found


def _arguments(verb: str, body: object) -> dict[str, Any]:
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body) if body else {}
        except (ValueError, RecursionError):
            raise InvalidRequest(f"the body of {verb} is not JSON", field="body", limit="JSON text") from None
        check_json(body, at="", bytes_max=BODY_BYTES_MAX, levels=NESTING_MAX + ENVELOPE_LEVELS)
    if body is None:
        return {}
    if not isinstance(body, dict) or not all(isinstance(key, str) for key in body):
        raise InvalidRequest(
            f"the body of {verb} is not a mapping of arguments", field="body", limit='for example {"task_id": "t-1"}'
        )
    return body


def _check_arguments(verb: str, handler: Callable[..., Any], given: dict[str, Any]) -> None:
    """Names that the verb knows, all that it needs, and the two types of argument that several verbs share."""
    known = inspect.signature(handler).parameters
    limit = f"arguments of {verb}: {', '.join(known) or 'none'}"
    for name in given:
        if name not in known:
            raise InvalidRequest("unknown argument", field=field_name(name), limit=limit)
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given:
            raise InvalidRequest("is missing", field=name, limit=limit)
    for name in {"force", "tasks"} & given.keys():
        if not isinstance(given[name], bool):
            raise InvalidRequest(f"{quoted(given[name])} is not true or false", field=name, limit="true or false")
    by = given.get("by")
    if by is not None and (not isinstance(by, str) or len(by) > NAME_LEN_MAX or not by.isprintable()):
        limit = f"at most {NAME_LEN_MAX} printable characters"
        raise InvalidRequest(f"{quoted(by)} is not a name", field="by", limit=limit)


def handlers_of(*desks: object) -> dict[str, Callable[..., Awaitable[Any]]]:
    """Collect every verb from the desks that serve it; each must be there, and only once."""
    found: dict[str, Callable[..., Awaitable[Any]]] = {}
    for verb in (*MESSAGES, *PLAIN):
        serving = [getattr(desk, verb) for desk in desks if hasattr(type(desk), verb)]
        assert len(serving) == 1, f"{verb} is served {len(serving)} times"
        found[verb] = serving[0]
    return found
