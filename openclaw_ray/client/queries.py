"""Filters over tasks as people write them: ``state:failed group:invoices since:1h``, or the same as keywords."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.door import parse, quoted, shorten
from openclaw_ray.models.fields import seconds
from openclaw_ray.protocol import TaskQuery

#: Words of a filter; `state` may be several, with commas.
_WORDS = ("state", "skill", "group", "node", "user", "key", "name", "since", "id")


class Filters(TypedDict, total=False):
    """Which tasks; all conditions hold together."""

    #: One state, or several.
    state: str | Sequence[str] | None
    skill: str | None
    group: str | None
    node: str | None
    user: str | None
    key: str | None
    #: Part of the name.
    name: str | None
    #: Submitted since then: a time with a zone, or a time ago such as "1h".
    since: str | datetime | float | None
    ids: Sequence[str] | None


def query_of(text: str, filters: Filters, page: int, before: int | None = None) -> TaskQuery:
    """A checked query for one page.

    Raises:
        InvalidRequest: an unknown word, with the nearest known one, or a value that cannot be.
    """
    if not isinstance(text, str):
        raise InvalidRequest(f"{quoted(text)} is no filter", field="query", limit='for example "state:failed since:1h"')
    fields: dict[str, Any] = dict(filters)
    for word in text.split():
        name, colon, value = word.partition(":")
        if not colon or name not in _WORDS:
            near = difflib.get_close_matches(name, _WORDS, n=1)
            hint = f"did you mean {near[0]}:?" if near else 'for example "state:failed group:invoices since:1h"'
            raise InvalidRequest(f"{shorten(word)!r} is no filter", field="query", limit=", ".join(_WORDS), hint=hint)
        fields["ids" if name == "id" else name] = value.split(",") if name in ("state", "id") else value
    state = fields.pop("state", None)
    if state is not None:
        fields["states"] = list(state) if isinstance(state, list | tuple | set | frozenset) else [state]
    if fields.get("since") is not None:
        fields["since"] = _since(fields["since"])
    given = {name: value for name, value in fields.items() if value is not None}
    return parse(TaskQuery, {**given, "limit": page, "before": before}, at="query")


def _since(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and not value[-1:].isalpha()) or value == "":
        return value
    if isinstance(value, str) and value.endswith("Z"):
        return value
    try:
        return datetime.now(UTC) - timedelta(seconds=seconds(value))
    except InvalidRequest as error:
        limit = 'a time with a zone, or a time ago such as "1h"'
        raise InvalidRequest(error.message, field="query.since", limit=limit) from None
