"""Values that JSON brings back equal, and the one text of each. Whatever else comes is refused, naming the path.

What is looked at was made by others: a value may hold itself, multiply without end, or have methods that raise. No walk
here goes deeper than `NESTING_MAX` or looks at more than its text could hold.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel

from openclaw_ray.core.limits import NESTING_MAX, PARAMS_BYTES_MAX
from openclaw_ray.errors import InvalidParams, InvalidRequest, OpenClawError
from openclaw_ray.models.document import Document
from openclaw_ray.models.quoting import INT_BITS_MAX, field_name, joined, quoted

__all__ = ["canonical", "check_json", "dumps", "plain", "readable", "unreadable", "values_text"]

T = TypeVar("T")

#: What needs no further look, exactly: subclasses do.
_SCALARS = frozenset({bool, type(None)})
#: Least share of the text that an item of a list or mapping takes: a letter and a comma.
_ITEM_BYTES = 2
#: And a pair: two quotes, a colon, a letter, a comma.
_PAIR_BYTES = 5


def plain(value: object, *, at: str = "params", bytes_max: int = PARAMS_BYTES_MAX, levels: int = NESTING_MAX) -> Any:
    """Turn pydantic models, dataclasses and subclasses of JSON's types inside `value` into JSON's types themselves.

    Anything else passes through. What comes back from the cluster is that mapping: values in, values out.

    Raises:
        InvalidParams: it is nested too deeply, holds itself, holds too much, or cannot be read.
    """
    try:
        return _Plain(at, bytes_max, levels).of(value, 0)
    except OpenClawError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a stranger's methods raise
        raise unreadable(error, at) from None


class _Plain:
    """One walk of `plain`, which ends when it has met more than may be."""

    def __init__(self, at: str, bytes_max: int, levels: int) -> None:
        self._at, self._bytes_max, self._levels = at, bytes_max, levels
        self._met = 0

    def of(self, value: object, depth: int) -> Any:
        """`value` at this depth. Asks the classes of JSON and not the value, whose own methods may be anything."""
        if isinstance(value, str):
            return str.__str__(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int.__index__(value)
        if isinstance(value, float):
            return float.__float__(value)
        if depth > self._levels + 1:
            raise _too_deep(self._at, self._levels)
        if isinstance(value, BaseModel):
            # Of our own documents only what was said: "not given" and "given as nothing" are two things.
            return value.model_dump(mode="json", exclude_unset=isinstance(value, Document))
        if isinstance(value, dict):
            return {key: self.of(item, depth + 1) for key, item in self._counted(dict.items(value))}
        if isinstance(value, list):
            return [self.of(item, depth + 1) for item in self._counted(list.__iter__(value))]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = self._counted(dataclasses.fields(value))
            return {f.name: self.of(getattr(value, f.name), depth + 1) for f in fields}
        return value

    def _counted(self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            self._met += _ITEM_BYTES
            if self._met > self._bytes_max:
                raise _too_large(f"more than {self._bytes_max:,}", self._at, self._bytes_max)
            yield item


def check_json(
    value: object, *, at: str = "params", bytes_max: int = PARAMS_BYTES_MAX, levels: int = NESTING_MAX
) -> None:
    """Refuse what JSON cannot bring back equal: tuples, bytes, sets, NaN, keys that are no text, loops, deep nesting.

    Raises:
        InvalidParams: naming the path of the offending value.
    """
    todo: list[tuple[object, str, int]] = [(value, at, 0)]
    size = 0  # at least so long is its text
    while todo:
        one, path, depth = todo.pop()
        if depth > levels:
            raise _too_deep(at, levels)
        size += _least_bytes(one)
        if size > bytes_max:
            break
        if not isinstance(one, dict | list):
            _check_scalar(one, path)
            continue
        for key, item in _items(one, path):
            kind = type(item)
            if kind is str:
                size += len(item)
                if not item.isascii():
                    _check_text(item, _below(path, key))
            elif kind not in _SCALARS:
                todo.append((item, _below(path, key), depth + 1))
    if size > bytes_max:
        raise _too_large(f"more than {bytes_max:,}", at, bytes_max)


def _least_bytes(one: object) -> int:
    """Of its own text, without the values in it."""
    if isinstance(one, list):
        return 1 + _ITEM_BYTES * len(one)
    if isinstance(one, dict):
        return 1 + _PAIR_BYTES * len(one)
    return len(one) if isinstance(one, str) else 0


def _items(one: dict[Any, Any] | list[Any], path: str) -> Iterable[tuple[str | int, Any]]:
    """What a mapping holds under its names, or a list under its numbers."""
    if isinstance(one, list):
        return enumerate(one)
    for key in one:
        if type(key) is not str:
            raise InvalidParams(f"the key {quoted(key)} is not text", field=path or None, limit="text keys")
        if not key.isascii():
            _check_text(key, path)
    return one.items()


def _below(path: str, key: str | int) -> str:
    return f"{path}[{key}]" if isinstance(key, int) else joined(path, field_name(key))


def _check_scalar(one: object, path: str) -> None:
    if one is None or isinstance(one, bool):
        return
    if isinstance(one, str):
        _check_text(one, path)
    elif isinstance(one, float):
        if not math.isfinite(one):
            raise InvalidParams(f"{one} has no JSON form", field=path or None, limit="finite numbers")
    elif isinstance(one, int):
        if int.bit_length(one) > INT_BITS_MAX:
            raise InvalidParams("the number is too large", field=path or None, limit=f"{INT_BITS_MAX} bits")
    else:
        raise InvalidParams(
            f"a {type(one).__name__} has no JSON form",
            field=path or None,
            limit="text, numbers, true/false, null, lists, mappings",
            hint="turn it into one of these first, so that it comes back equal",
            facts={"type": type(one).__name__},
        )


def _check_text(text: str, path: str) -> None:
    try:
        str.encode(text)
    except UnicodeEncodeError:
        message = "holds a lone surrogate, which is no text"
        raise InvalidParams(message, field=path or None, limit="Unicode text") from None


def _too_deep(at: str, levels: int) -> InvalidParams:
    return InvalidParams("is nested too deeply (or holds itself)", field=at or None, limit=f"{levels} levels")


def _too_large(size: str, at: str, bytes_max: int) -> InvalidParams:
    return InvalidParams(
        f"is {size} bytes as JSON",
        field=at or None,
        limit=f"{bytes_max:,} bytes",
        hint="pass a file or a URL instead of the data",
    )


def unreadable(error: Exception, at: str, kind: type[InvalidRequest] = InvalidParams) -> InvalidRequest:
    """The refusal of an object whose own methods raise."""
    message = f"cannot be read: its own methods raise {type(error).__name__}"
    return kind(message, field=at or None, limit="plain values")


@contextmanager
def readable(at: str) -> Iterator[None]:
    """Around a look at a stranger's object: whatever its methods raise is a refusal of that argument."""
    try:
        yield
    except OpenClawError:
        raise
    except Exception as error:  # noqa: BLE001 - it is the stranger's
        raise unreadable(error, at, InvalidRequest) from None


def values_text(value: object, *, at: str = "params", bytes_max: int = PARAMS_BYTES_MAX) -> str:
    """`canonical` of a value in which pydantic models and dataclasses stand for mappings.

    Raises:
        InvalidParams: as `canonical`.
    """
    try:
        return canonical(value, at=at, bytes_max=bytes_max)
    except InvalidParams as refused:
        if "type" not in refused.facts:  # too much, too deep: no model is to blame
            raise
    return canonical(plain(value, at=at, bytes_max=bytes_max), at=at, bytes_max=bytes_max)


def canonical(value: object, *, at: str = "params", bytes_max: int = PARAMS_BYTES_MAX) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no escapes beyond JSON's own.

    Raises:
        InvalidParams: the value is not JSON, or its text is longer than `bytes_max` bytes.
    """
    try:
        check_json(value, at=at, bytes_max=bytes_max)
        text = dumps(value)
    except OpenClawError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a stranger's methods raise
        raise unreadable(error, at) from None
    size = len(text)
    if size * 4 > bytes_max or not text.isascii():
        size = len(text.encode())
        if size > bytes_max:
            raise _too_large(f"{size:,}", at, bytes_max)
    return text


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def dumps(value: object) -> str:
    """Canonical JSON of a value that is known to be JSON."""
    return _ENCODER.encode(value)
