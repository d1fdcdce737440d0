"""The door: whatever comes from outside is checked here once, and refused with the field, the limit and a remedy.

Nothing of pydantic, json or datetime gets out as it is: a caller sees only our own errors.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from typing import Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from openclaw_ray.core.limits import NESTING_MAX, PARAMS_BYTES_MAX
from openclaw_ray.errors import InvalidParams, InvalidRequest


class Document(BaseModel):
    """Base of everything that users and actors exchange: frozen, strict about unknown fields, JSON in and out."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], body: object, *, at: str = "") -> M:
    """Check `body` (a mapping, JSON text or bytes, or a `model`) and return the document.

    Raises:
        InvalidRequest: naming the field path, what is accepted, and the nearest name for an unknown field.
    """
    if isinstance(body, model):
        return body
    try:
        if isinstance(body, str | bytes):
            return model.model_validate_json(body)
        if isinstance(body, BaseModel):
            body = body.model_dump(mode="json", exclude_unset=True)
        return model.model_validate(body)
    except ValidationError as error:
        raise refusal(model, error.errors(include_url=False)[0], at) from None
    except RecursionError:
        raise InvalidRequest("nested too deeply", field=at or None, limit=f"{NESTING_MAX} levels") from None


def refusal(model: type[BaseModel], detail: ErrorDetails, at: str) -> InvalidRequest:
    """Turn the first complaint of pydantic into our error."""
    path = at
    for part in detail["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith(("function-", "tagged-union", "lax-or-strict")):
            path = _joined(path, str(shorten(part)))
    context = detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InvalidRequest):
        return type(cause)(cause.message, _joined(path, cause.field or "") or None, cause.limit, cause.hint)
    if detail["type"] == "extra_forbidden":
        name = str(detail["loc"][-1])
        if name in _names(model):
            return InvalidRequest("is another name of a field that is given too", field=path, hint="give one of them")
        near = difflib.get_close_matches(name, _names(model), n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(_names(model)))}"
        return InvalidRequest(f"unknown field {shorten(name)!r}", field=path, hint=hint)
    if detail["type"] == "missing":
        return InvalidRequest("is missing", field=path)
    message = detail["msg"][0].lower() + detail["msg"][1:]
    limit = next((words.format(context[key]) for key, words in _LIMITS.items() if key in context), None)
    return InvalidRequest(f"{quoted(detail['input'])} is refused: {message}", field=path or None, limit=limit)


#: pydantic's facts about a refusal, as our limits.
_LIMITS = {
    "expected": "{}", "ge": "from {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}",
    "max_length": "at most {} items or characters", "min_length": "at least {}", "pattern": "text like {}",
}  # fmt: skip


def _joined(path: str, part: str) -> str:
    """A path and what follows: a field's name, or ``[3].name``."""
    return path + part if not path or not part or part[0] in ".[" else f"{path}.{part}"


def _names(model: type[BaseModel], seen: frozenset[type[BaseModel]] = frozenset()) -> set[str]:
    """Field names of a document and of the documents in it: good enough to find what a typing error meant."""
    names = set(model.model_fields)
    for info in model.model_fields.values():
        if isinstance(info.validation_alias, AliasChoices):
            names.update(str(choice) for choice in info.validation_alias.choices)
        inner = _inner_model(info.annotation)
        if inner is not None and inner not in seen:
            names |= _names(inner, seen | {model})
    return names


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    todo = [annotation]
    while todo:
        one = todo.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
        todo.extend(getattr(one, "__args__", ()))
    return None


#: A whole number of more bits is no quantity of anything, and Python refuses to print one of 4,300 digits.
_INT_BITS_MAX = 1_024


def quoted(value: object, limit: int = 60) -> str:
    """A value as it is quoted in a message: short, on one line, whatever it is."""
    return repr(shorten(value, limit))


def shorten(value: object, limit: int = 60) -> object:
    """A value fit to be quoted in a message with ``!r``."""
    if isinstance(value, str):
        return str(value) if len(value) <= limit else value[: limit - 1] + "…"
    if isinstance(value, int) and value.bit_length() > _INT_BITS_MAX:
        return _Bare("a huge number")
    text = repr(value) if isinstance(value, int | float) or value is None else type(value).__name__
    return _Bare(text if len(text) <= limit else text[: limit - 1] + "…")


class _Bare(str):
    """Text that quotes as itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def plain(value: object, *, at: str = "params") -> Any:
    """Turn pydantic models and dataclasses inside `value` into mappings; anything else passes through.

    What comes back from the cluster is that mapping: values in, values out.

    Raises:
        InvalidParams: it is nested too deeply, or holds itself.
    """
    return _plain(value, at, 0)


def _plain(value: object, at: str, depth: int) -> Any:
    if depth > NESTING_MAX + 1:
        raise _too_deep(at)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), at, depth + 1) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: _plain(v, at, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v, at, depth + 1) for v in value]
    return value


def _too_deep(at: str) -> InvalidParams:
    return InvalidParams("is nested too deeply (or holds itself)", field=at or None, limit=f"{NESTING_MAX} levels")


#: What needs no further look, exactly: subclasses do.
_SCALARS = (str, bool, type(None))


def check_json(value: object, *, at: str = "params") -> None:
    """Refuse what JSON cannot bring back equal: tuples, bytes, sets, NaN, keys that are no text, loops, deep nesting.

    Raises:
        InvalidParams: naming the path of the offending value.
    """
    todo: list[tuple[object, str, int]] = [(value, at, 0)]
    while todo:
        one, path, depth = todo.pop()
        if type(one) in _SCALARS:
            continue
        if depth > NESTING_MAX:
            raise _too_deep(at)
        if isinstance(one, dict):
            for key, item in one.items():
                if type(key) is not str:
                    raise InvalidParams(f"the key {quoted(key)} is not text", field=path or None, limit="text keys")
                if type(item) not in _SCALARS:
                    todo.append((item, f"{path}.{shorten(key)}", depth + 1))
        elif isinstance(one, list):
            todo.extend((item, f"{path}[{i}]", depth + 1) for i, item in enumerate(one) if type(item) not in _SCALARS)
        else:
            _check_scalar(one, path or None)


def _check_scalar(one: object, path: str | None) -> None:
    if isinstance(one, float):
        if not math.isfinite(one):
            raise InvalidParams(f"{one} has no JSON form", field=path, limit="finite numbers")
    elif isinstance(one, int):
        if one.bit_length() > _INT_BITS_MAX:
            raise InvalidParams("the number is too large", field=path, limit=f"{_INT_BITS_MAX} bits")
    elif not isinstance(one, str):
        raise InvalidParams(
            f"a {type(one).__name__} has no JSON form",
            field=path,
            limit="text, numbers, true/false, null, lists, mappings",
            hint="turn it into one of these first, so that it comes back equal",
        )


def canonical(value: object, *, at: str = "params", bytes_max: int = PARAMS_BYTES_MAX) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no escapes beyond JSON's own.

    Raises:
        InvalidParams: the value is not JSON, or its text is longer than `bytes_max` bytes.
    """
    check_json(value, at=at)
    text = dumps(value)
    size = len(text)
    if size * 4 > bytes_max or not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise InvalidParams("holds a lone surrogate, which is no text", field=at or None) from None
        if size > bytes_max:
            raise InvalidParams(
                f"is {size:,} bytes as JSON",
                field=at or None,
                limit=f"{bytes_max:,} bytes",
                hint="pass a file or a URL instead of the data",
            )
    return text


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def dumps(value: object) -> str:
    """Canonical JSON of a value that is known to be JSON."""
    return _ENCODER.encode(value)
