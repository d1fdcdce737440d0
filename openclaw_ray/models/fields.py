"""Field types shared by the documents: ids, tags, durations, amounts. Each says in its error what is accepted."""

from __future__ import annotations

import difflib
import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, PlainSerializer
from pydantic_core import from_json

from openclaw_ray.core import limits
from openclaw_ray.core.resources import CPU, GPU, MEMORY, MILLI, Resources
from openclaw_ray.core.types import Priority, TaskState
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.door import canonical, quoted, shorten

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_SKILL = re.compile(r"[^/\\]{1,128}\Z")
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)\Z")
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)\Z")
_DURATION_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE_BYTES = {"B": 1, **{f"{p}iB": 1024 ** (i + 1) for i, p in enumerate("KMGT")},
               **{f"{p}B": 1000 ** (i + 1) for i, p in enumerate("KMGT")}}  # fmt: skip


def identifier(value: object) -> str:
    """A task, node or group id: 1 to 128 of ``A-Za-z0-9._:-`` (it stands in file names and labels)."""
    if not isinstance(value, str) or not _ID.match(value) or value in {".", ".."}:
        raise InvalidRequest(f"{quoted(value)} is not an id", limit="1-128 characters of A-Z a-z 0-9 . _ : -")
    return value


def skill_name(value: object) -> str:
    """A skill's name: any language, printable, no slashes, no blanks around it, at most 128 characters."""
    plain = isinstance(value, str) and _SKILL.match(value) and value.isprintable() and value == value.strip()
    if not isinstance(value, str) or not plain or value in {".", ".."}:
        raise InvalidRequest(f"{quoted(value)} is not a skill name", limit="1-128 printable characters, no / or \\")
    return value


def tag(value: object) -> str:
    """One tag: a word of at most 64 characters, no control characters."""
    if not isinstance(value, str) or not value.strip() or len(value) > limits.TAG_LEN_MAX or not value.isprintable():
        raise InvalidRequest(f"{quoted(value)} is not a tag", limit="1-64 printable characters")
    return value


def text_list(one: Any, maximum: int) -> BeforeValidator:
    """A list of items, each checked by `one`; a plain string is refused, since it would be a list of letters."""

    def check(value: object) -> list[str]:
        if not isinstance(value, list | tuple):
            raise InvalidRequest(f"{quoted(value)} is not a list", limit='a list, for example ["python"]')
        if len(value) > maximum:
            raise InvalidRequest(f"{len(value):,} entries", limit=f"at most {maximum:,}")
        return [_at(f"[{i}]", one, item) for i, item in enumerate(value)]

    return BeforeValidator(check)


def _at(place: str, check: Any, value: object) -> Any:
    """Check a part of a field; a refusal says which part."""
    try:
        return check(value)
    except InvalidRequest as error:
        raise type(error)(error.message, place + (error.field or ""), error.limit, error.hint) from None


_PRIORITIES = {p.name.lower(): int(p) for p in Priority}


def priority(value: object) -> int:
    """``critical``, ``high``, ``normal``, ``low`` or 0 to 3."""
    if isinstance(value, str) and value in _PRIORITIES:
        return _PRIORITIES[value]
    if isinstance(value, Priority) or (type(value) is int and 0 <= value <= max(Priority)):
        return int(value)
    raise InvalidRequest(f"{quoted(value)} is not a priority", limit="critical, high, normal, low (0 to 3)")


def seconds(value: object) -> int:
    """Whole seconds, or text such as ``30s``, ``5m``, ``2h``, ``1d``; 1 s to ten years."""
    found: int | None = None
    if type(value) is int:
        found = value
    elif isinstance(value, float) and math.isfinite(value) and value == int(value):
        found = int(value)
    elif isinstance(value, str) and (match := _DURATION.match(value)):
        found = int(match[1]) * _DURATION_S[match[2]]
    if found is None or not 1 <= found <= limits.TIMEOUT_S_MAX:
        raise InvalidRequest(
            f"{quoted(value)} is not a duration",
            limit='whole seconds from 1, or "30s", "5m", "2h", "1d"; ten years at most',
        )
    return found


def bytes_of(value: object) -> int:
    """A size in bytes, as a whole number or as text such as ``2GiB``."""
    if type(value) is int and 0 <= value <= limits.RESOURCE_MAX:
        return value
    if isinstance(value, str) and (match := _SIZE.match(value)):
        found = int(float(match[1]) * _SIZE_BYTES[match[2]])
        if found <= limits.RESOURCE_MAX:
            return found
    raise InvalidRequest(f"{quoted(value)} is not a size", limit='bytes, or text such as "512MiB", "2GiB"')


def amounts(value: object) -> dict[str, float | int]:
    """Resources as people write them: ``{"cpu": 0.5, "memory": "2GiB", "gpu": 1, "licence": 1}``."""
    if isinstance(value, Resources):
        value = amounts_of(value)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{quoted(value)} is not a mapping", limit='for example {"cpu": 1, "memory": "2GiB"}')
    if len(value) > limits.RESOURCE_NAMES_MAX:
        raise InvalidRequest(f"{len(value)} resources", limit=f"at most {limits.RESOURCE_NAMES_MAX}")
    found: dict[str, float | int] = {}
    for name, amount in value.items():
        found[tag(name)] = _at(f".{name}", bytes_of if name == MEMORY else _amount, amount)
    return found


def _amount(value: object) -> float | int:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, int | float) or not number or not 0 <= value <= limits.RESOURCE_MAX // MILLI:
        raise InvalidRequest(f"{quoted(value)} is not an amount", limit="a number from 0")
    if round(value, 3) != value:
        raise InvalidRequest(f"{value} is finer than a thousandth", limit="steps of 0.001")
    return int(value) if value == int(value) else value  # one form, so that equal specs have equal text


def units_of(found: dict[str, float | int]) -> Resources:
    """Whole units of checked amounts: milli-CPU, bytes, milli-GPU, milli of any other."""
    return Resources.from_units({n: int(a) if n == MEMORY else round(a * MILLI) for n, a in found.items()})


def amounts_of(units: Resources) -> dict[str, float | int]:
    """The inverse of `units_of`: what people write."""
    shown: dict[str, float | int] = {}
    for name, n in units:
        whole = name == MEMORY or not n % MILLI
        shown[name] = n if name == MEMORY else n // MILLI if whole else n / MILLI
    return shown


def instant(value: object) -> datetime:
    """A moment with its zone, 2000 to 2200: ISO-8601 text (``2026-01-31T12:00:00+01:00``) or an aware datetime."""
    if isinstance(value, str) and len(value) <= 64:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRequest(f"{quoted(value)} is not a time", limit="ISO-8601 with a zone") from None
    if not isinstance(value, datetime) or value.tzinfo is None or not 2000 <= value.year <= 2200:
        raise InvalidRequest(f"{quoted(value)} is not a time with a zone", limit="ISO-8601 with a zone, 2000 to 2200")
    return value.astimezone(UTC)


@lru_cache(maxsize=4096)  # the tasks of one batch share their times
def iso(at_s: float) -> str:
    """Seconds since 1970 as ISO-8601 UTC text with microseconds, as it stands in the database."""
    second, micro = divmod(round(at_s * 1_000_000), 1_000_000)
    return f"{_iso_second(second)}.{micro:06d}+00:00"


@lru_cache(maxsize=1024)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def from_iso(text: str) -> float:
    """The inverse of `iso`."""
    return datetime.fromisoformat(text).timestamp()


def label(limit: int) -> AfterValidator:
    """Text of at most `limit` characters without NUL or lone surrogates; everything else is the user's business."""

    def check(value: str) -> str:
        if len(value) > limit:
            raise InvalidRequest(f"{len(value):,} characters", limit=f"at most {limit:,}")
        if "\0" in value:
            raise InvalidRequest("holds a NUL character", limit="text without NUL")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest("holds a lone surrogate, which is no text", limit="Unicode text") from None
        return value

    return AfterValidator(check)


def not_blank(value: str) -> str:
    """A name that names something."""
    if not value.strip():
        raise InvalidRequest(f"{quoted(value)} is blank", limit="at least one visible character")
    return value


def given(value: object) -> object:
    """Nothing (null) is no value of this field; leaving the field out leaves what it is."""
    if value is None:
        raise InvalidRequest("null is no value of it", limit="a value, or leave the field out")
    return value


def json_value(bytes_max: int) -> BeforeValidator:
    """Anything JSON brings back equal, of at most `bytes_max` bytes as text."""

    def check(value: object) -> object:
        canonical(value, at="", bytes_max=bytes_max)
        return value

    return BeforeValidator(check)


def json_text(value: str) -> str:
    """A result as its agent says it: the text of one JSON value."""
    try:
        size = len(value) if value.isascii() else len(value.encode())
        if size > limits.RESULT_BYTES_MAX:
            raise InvalidRequest(f"is {size:,} bytes", limit=f"{limits.RESULT_BYTES_MAX:,} bytes")
        from_json(value, allow_inf_nan=False)
    except UnicodeEncodeError:
        raise InvalidRequest("holds a lone surrogate, which is no text", limit="Unicode text") from None
    except InvalidRequest:
        raise
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{quoted(value)} is not JSON", limit="the text of a JSON value") from None
    return value


def task_state(value: object) -> TaskState:
    """A state that a task can be in."""
    if isinstance(value, str) and value in _STATES:
        return TaskState(value)
    near = difflib.get_close_matches(str(shorten(value)), _STATES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else None
    raise InvalidRequest(f"{quoted(value)} is not a state", limit=", ".join(_STATES), hint=hint)


_STATES = tuple(state.value for state in TaskState)


Id = Annotated[str, BeforeValidator(identifier)]
SkillId = Annotated[str, BeforeValidator(skill_name)]
Tags = Annotated[list[str], text_list(tag, limits.TAGS_MAX)]
SkillIds = Annotated[list[str], text_list(skill_name, limits.SKILLS_PER_TASK_MAX)]
TaskIds = Annotated[list[str], text_list(identifier, limits.DEPENDENCIES_MAX)]
PriorityNumber = Annotated[int, BeforeValidator(priority)]
Seconds = Annotated[int, BeforeValidator(seconds)]
Amounts = Annotated[dict[str, Any], BeforeValidator(amounts)]
Instant = Annotated[datetime, BeforeValidator(instant), PlainSerializer(lambda v: iso(v.timestamp()), return_type=str)]
State = Annotated[TaskState, BeforeValidator(task_state)]
#: A whole number from 0 that SQLite can keep: a token, a version, a count. Neither text nor true is one.
Count = Annotated[int, Field(ge=0, le=limits.INTEGER_MAX, strict=True)]
#: Seconds since 1970 on somebody's clock, which may be wrong; a length of time.
Moment = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
#: The operator's own limit on parameters is looked at later: one call's worth at most.
Json = Annotated[JsonValue, json_value(limits.SUBMIT_BYTES_MAX)]
Metadata = Annotated[dict[str, JsonValue], json_value(limits.METADATA_BYTES_MAX)]
Result = Annotated[JsonValue, json_value(limits.RESULT_BYTES_MAX)]
ErrorValue = Annotated[JsonValue, json_value(limits.ERROR_BYTES_MAX)]
JsonText = Annotated[str, Field(strict=True), AfterValidator(json_text)]
Given = BeforeValidator(given)
Title = Annotated[str, Field(strict=True), label(limits.NAME_LEN_MAX), AfterValidator(not_blank)]
Name = Annotated[str, Field(strict=True), label(limits.NAME_LEN_MAX)]
Text = Annotated[str, Field(strict=True), label(limits.DESCRIPTION_LEN_MAX)]

__all__ = [
    "CPU", "GPU", "MEMORY", "Amounts", "Count", "ErrorValue", "Finite", "Given", "Id", "Instant", "Json", "JsonText",
    "Metadata", "Moment", "Name", "PriorityNumber", "Result", "Seconds", "SkillId", "SkillIds", "State", "Tags",
    "TaskIds", "Text", "Title", "amounts", "amounts_of", "bytes_of", "from_iso", "identifier", "instant", "iso",
    "json_value", "label", "priority", "seconds", "skill_name", "tag", "task_state", "text_list", "units_of",
]  # fmt: skip
