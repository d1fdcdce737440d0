"""The door: whatever comes from outside is checked here once, and refused with the field, the limit and a remedy.

Nothing of pydantic, json or datetime gets out as it is: a caller sees only our own errors.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, TypeVar

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic_core import ErrorDetails

from openclaw_ray.core.limits import NESTING_MAX
from openclaw_ray.errors import InvalidRequest, OpenClawError
from openclaw_ray.models.document import Document
from openclaw_ray.models.json_values import canonical, check_json, dumps, plain, readable, unreadable, values_text
from openclaw_ray.models.quoting import PATH_CHARS, QUOTE_CHARS, field_name, joined, quoted, shorten

__all__ = [
    "PATH_CHARS", "Document", "canonical", "check_json", "dumps", "field_name", "joined", "parse",
    "plain", "quoted", "readable", "refusal", "shorten", "unreadable", "values_text",
]  # fmt: skip


M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], body: object, *, at: str = "") -> M:
    """Check `body` (a mapping, JSON text or bytes, or a `model`) and return the document.

    Raises:
        InvalidRequest: naming the field path, what is accepted, and the nearest name for an unknown field.
    """
    try:
        return _parsed(model, body)
    except ValidationError as error:
        details = error.errors(include_url=False)
        # A misspelt field is missing as well; what was meant helps more.
        first = next((one for one in details if one["type"] in _UNKNOWN), details[0])
        raise refusal(model, first if details[0]["type"] == "missing" else details[0], at) from None
    except RecursionError:
        raise InvalidRequest("nested too deeply", field=at or None, limit=f"{NESTING_MAX} levels") from None
    except OpenClawError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the methods of a stranger's object raise
        raise unreadable(error, joined(at, _culprit(model, body)), InvalidRequest) from None


def _parsed(model: type[M], body: object) -> M:
    if isinstance(body, model):
        return body
    if isinstance(body, str | bytes):
        return model.model_validate_json(body)
    if isinstance(body, BaseModel):
        body = body.model_dump(mode="json", exclude_unset=True)
    return model.model_validate(body)


def _culprit(model: type[BaseModel], body: object) -> str:
    """Which field cannot be read; empty when it is not one of them alone."""
    for name, value in dict.items(body) if isinstance(body, dict) else ():
        try:
            model.model_validate({name: value})
        except ValidationError:
            continue
        except Exception:  # noqa: BLE001 - it is the one
            return field_name(name)
    return ""


def refusal(model: type[BaseModel], detail: ErrorDetails, at: str) -> InvalidRequest:
    """Turn the first complaint of pydantic into our error."""
    path = at
    for part in detail["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith(("function-", "tagged-union", "lax-or-strict")):
            path = joined(path, field_name(part))
    context = detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InvalidRequest):
        return type(cause)(cause.message, joined(path, cause.field or "") or None, cause.limit, cause.hint)
    if detail["type"] in _UNKNOWN:
        name = str(detail["loc"][-1])
        known, twice = _names(model)
        if name in twice:
            return InvalidRequest("is another name of a field that is given too", field=path, hint="give one of them")
        known = known - {name}  # it is one, but of another part
        near = difflib.get_close_matches(name[:QUOTE_CHARS], known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        return InvalidRequest(f"unknown field {shorten(name)!r}", field=path, hint=hint)
    if detail["type"] == "missing":
        return InvalidRequest("is missing", field=path, hint="it has to be given")
    message = detail["msg"][0].lower() + detail["msg"][1:]
    limit = next((words.format(context[key]) for key, words in _LIMITS.items() if key in context), None)
    limit = limit or _TYPES.get(detail["type"].partition("_")[0])
    return InvalidRequest(f"{quoted(detail['input'])} is refused: {message}", field=path or None, limit=limit)


#: A field that the document, or the plain dataclass in it, does not have.
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
#: pydantic's facts about a refusal, as our limits.
_LIMITS = {
    "expected": "{}", "ge": "from {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}",
    "max_length": "at most {} items or characters", "min_length": "at least {}", "pattern": "text like {}",
}  # fmt: skip
#: What belongs where something of another type was given, by the first word of pydantic's name for the refusal.
_TYPES = {
    "int": "a whole number", "float": "a number", "finite": "a finite number", "bool": "true or false",
    "string": "text", "list": "a list", "tuple": "a list", "dict": "a mapping", "model": "a mapping",
    "dataclass": "a mapping", "json": "JSON text",
}  # fmt: skip


def _names(model: Any, seen: frozenset[Any] = frozenset()) -> tuple[set[str], set[str]]:
    """Field names of a document and of the documents in it, and those of them that have a second name.

    Good enough to find what a typing error meant.
    """
    if not issubclass(model, BaseModel):
        return set(model.__dataclass_fields__), set()
    names, twice = set(model.model_fields), set[str]()
    for info in model.model_fields.values():
        if isinstance(info.validation_alias, AliasChoices):
            twice.update(str(choice) for choice in info.validation_alias.choices)
        inner = _inner_model(info.annotation)
        if inner is not None and inner not in seen:
            found = _names(inner, seen | {model})
            names |= found[0]
            twice |= found[1]
    return names | twice, twice


def _inner_model(annotation: Any) -> Any:
    todo = [annotation]
    while todo:
        one = todo.pop()
        if isinstance(one, type) and (issubclass(one, BaseModel) or dataclasses.is_dataclass(one)):
            return one
        todo.extend(getattr(one, "__args__", ()))
    return None
