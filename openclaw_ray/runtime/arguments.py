"""Plain arguments of verbs: one value or a list, one change or a mapping of them. Each refusal names its argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from openclaw_ray.core.limits import PAGE_MAX, SUBMIT_BATCH_MAX, TIMEOUT_S_MAX
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.door import quoted
from openclaw_ray.models.fields import identifier

T = TypeVar("T")


def checked(check: Callable[[Any], T], value: Any, field: str) -> T:
    """`check` of an argument; its refusal names the argument."""
    try:
        return check(value)
    except InvalidRequest as error:
        path = f"{field}.{error.field}" if error.field else field
        raise type(error)(error.message, path, error.limit, error.hint) from None


def one_or_many(check: Callable[[Any], T], value: Any, field: str, most: int = PAGE_MAX) -> tuple[list[T], bool]:
    """The checked values, and whether a list was given."""
    if not isinstance(value, list):
        return [checked(check, value, field)], False
    at_most(most, value, field)
    return [checked(check, one, f"{field}[{i}]") for i, one in enumerate(value)], True


def at_most(most: int, given: list[Any] | Mapping[Any, Any], field: str) -> None:
    """Refuse a call that asks for more than one call may.

    Raises:
        InvalidRequest: naming the argument and the limit.
    """
    if len(given) > most:
        raise InvalidRequest(f"{len(given):,} entries", field=field, limit=f"at most {most:,} in one call")


def by_id(id_: Any, change: Any, check: Callable[[Any], T], field: str, change_field: str) -> tuple[dict[str, T], bool]:
    """Checked changes by id, and whether they came as a mapping of ids to changes."""
    if not isinstance(id_, Mapping):
        return {checked(identifier, id_, field): checked(check, change, change_field)}, False
    at_most(SUBMIT_BATCH_MAX, id_, field)
    return {checked(identifier, i, field): checked(check, one, f"{field}.{i}") for i, one in id_.items()}, True


def page_size(value: Any) -> int:
    """How many rows an answer may have."""
    if type(value) is not int or not 1 <= value <= PAGE_MAX:
        raise InvalidRequest(f"{quoted(value)} is not a page size", field="limit", limit=f"1 to {PAGE_MAX:,}")
    return value


def seconds_above_zero(value: Any) -> float:
    """A length of time, whole or not."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= TIMEOUT_S_MAX:
        raise InvalidRequest(f"{quoted(value)} is not a time", limit="seconds above 0, ten years at most")
    return float(value)
