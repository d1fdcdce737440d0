"""From the words of `submit` to JSON that the coordinator accepts: checked here first, so a refusal costs no call.

One spec serves a whole `map`: what its tasks share is checked once, and each task adds only its parameters and key.
"""

from __future__ import annotations

import functools
import getpass
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypedDict, TypeVar, get_args, get_type_hints

from openclaw_ray.core.limits import METADATA_BYTES_MAX, SUBMIT_BYTES_MAX
from openclaw_ray.errors import InvalidRequest
from openclaw_ray.models.door import Document, dumps, parse, plain, quoted, readable, shorten, values_text
from openclaw_ray.models.fields import Title
from openclaw_ray.models.ids import new_task_id
from openclaw_ray.models.task import TaskSpec

#: Tasks of one submit call: a few milliseconds of the coordinator's time, so that others get their turn in between.
BATCH_TASKS = 500
BATCH_BYTES = SUBMIT_BYTES_MAX // 2


class HasId(Protocol):
    """A task handle of any kind."""

    @property
    def id(self) -> str:
        """The task's id."""
        ...


#: A task, or its id.
TaskLike = HasId | str
#: A moment (with its zone, or ISO text), or seconds from now.
Moment = datetime | float | str


class MapOptions(TypedDict, total=False):
    """What a submit may say beside skill and parameters; what is left out takes the default of skill or cluster."""

    #: Shown in lists; the skill's name unless said otherwise.
    name: str | None
    description: str | None
    #: interactive, batch (default), compute_intensive, io_intensive, daemon.
    task_type: str
    #: Further skills that the node must offer.
    required_skills: Sequence[str]
    #: Skills that make a node preferred.
    optional_skills: Sequence[str]
    #: critical, high, normal (default), low, or 0 to 3.
    priority: str | int
    #: How long one attempt may run: "30s", "5m", whole seconds.
    timeout: str | int | float | None
    #: Further attempts after failures and timeouts.
    retries: int | None
    #: Further attempts after lost agents and nodes.
    max_lost: int | None
    #: For example {"cpu": 2, "memory": "1GiB"}.
    resources: Mapping[str, Any]
    #: Tags that the node must have.
    required_tags: Sequence[str]
    #: Tags that make a node preferred.
    affinity_tags: Sequence[str]
    #: least_tasks, round_robin, best_fit, random, affinity, or module:function.
    strategy: str | None
    #: On whose behalf; the user of this computer unless said otherwise.
    user_id: str | None
    #: Kept with the task, as JSON.
    metadata: Mapping[str, Any]
    #: Tasks that belong together.
    group: str | None
    #: No start before this moment.
    not_before: Moment | None
    #: The task ends `timeout` when it has not completed by then.
    deadline: Moment | None
    #: Tasks that must complete first.
    after: TaskLike | Sequence[TaskLike]
    #: Exactly this revision of the skill.
    revision: str | None
    retry_of: str | None
    #: Refuse skills that no node offers instead of letting the task wait.
    strict: bool


class SubmitOptions(MapOptions, total=False):
    """The same for one task."""

    #: One task per key, for as long as its record exists: the same submit again is the same task.
    key: str | None


F = TypeVar("F", bound=Callable[..., object])


def spelled_out(method: F) -> F:
    """Show the options of ``**options: Unpack[...]`` one by one to whoever asks for the signature, as notebooks do."""
    signature = inspect.signature(method)
    *given, last = signature.parameters.values()
    options = get_args(get_type_hints(method)[last.name])[0]
    shown = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in get_type_hints(options).items()
    ]
    method.__signature__ = signature.replace(parameters=[*given, *shown])  # type: ignore[attr-defined]
    return method


class _Key(Document):
    key: Title


@functools.cache
def os_user() -> str | None:
    """Name of the user of this computer, if it has one."""
    try:
        return getpass.getuser() or None
    except (KeyError, OSError):  # a container without an entry for this uid
        return None


def common_spec(skill: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What all tasks of a submit share, checked, as the fields of a spec without parameters.

    Raises:
        InvalidRequest: naming the field, what is accepted, and the nearest name for an unknown one.
    """
    fields = {name: value for name, value in options.items() if value is not None and name != "strict"}
    for name in fields.keys() & _READ_AS:
        with readable(name):
            fields[name] = _READ_AS[name](fields[name], name)
    for name in ("skill", "params", "parameters"):
        if name in fields:
            raise InvalidRequest("is given twice", field=name, hint="it is an argument of its own")
    fields.setdefault("user_id", os_user())
    spec = parse(TaskSpec, {"skill": skill, **fields})
    return spec.model_dump(mode="json", exclude_defaults=True)


class Row:
    """One task about to be submitted."""

    __slots__ = ("id", "params", "text")

    def __init__(self, params: object, key: str | None, at: str) -> None:
        self.id = new_task_id()
        #: JSON text.
        self.params = values_text(params, at=at)
        checked = parse(_Key, {"key": key}, at=at).key if key is not None else None
        #: As a row of `protocol.Bulk`.
        self.text = dumps([self.id, self.params, checked])


def rows_of(params: Iterable[object], keys: Iterable[str | None] | None = None, *, at: str = "params") -> Iterator[Row]:
    """A row for each element of `params`, in its order."""
    if keys is None:
        for i, one in enumerate(params):
            yield Row(one, None, f"{at}[{i}]")
        return
    for i, (one, key) in enumerate(zip(params, keys, strict=True)):
        yield Row(one, key, f"{at}[{i}]")


def batches(
    common: Mapping[str, Any], rows: Iterable[Row], *, by: str | None, strict: bool
) -> Iterator[tuple[list[Row], str]]:
    """Rows grouped into the bodies of `submit` calls, each within what the coordinator takes at once.

    What the tasks share is said, checked and worked out once per body.
    """
    begin = f'{{"bulk":{{"spec":{dumps(dict(common))},"rows":['
    end = f']}},"by":{dumps(by)},"strict":{dumps(strict)}}}'
    group: list[Row] = []
    size = 0
    for row in rows:
        if group and (len(group) >= BATCH_TASKS or size + len(row.text) > BATCH_BYTES):
            yield group, begin + ",".join(r.text for r in group) + end
            group, size = [], 0
        group.append(row)
        size += len(row.text)
    if group:
        yield group, begin + ",".join(r.text for r in group) + end


def task_id(task: TaskLike) -> str:
    """The id of a task handle, or the id itself.

    Raises:
        InvalidRequest: It is neither.
    """
    with readable("task"):
        found = task if isinstance(task, str) else getattr(task, "id", None)
    if not isinstance(found, str):
        raise InvalidRequest(f"{quoted(task)} is no task", field="task", limit="a task, or its id")
    return found


def _moment(value: object, field: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    limit = "seconds from now, or a time with a zone"
    try:
        return datetime.now(UTC) + timedelta(seconds=value)
    except (OverflowError, ValueError):  # too far; not a number
        raise InvalidRequest(f"{shorten(value)} seconds from now is no date", field=field, limit=limit) from None


def _ids(value: Any, field: str) -> list[Any]:
    many: Sequence[Any] = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [one if isinstance(one, str) else getattr(one, "id", one) for one in many]


def _json_mapping(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{quoted(value)} is not a mapping", field=at, limit='for example {"project": "x"}')
    values_text(dict(value), at=at, bytes_max=METADATA_BYTES_MAX)
    found = plain(dict(value), at=at)
    assert isinstance(found, dict)
    return found


def _mapping(value: object, field: str) -> object:
    return dict(value) if isinstance(value, Mapping) else value


#: Words that may be said in ways that JSON does not have.
_READ_AS: Mapping[str, Callable[[Any, str], Any]] = {
    "after": _ids,
    "not_before": _moment,
    "deadline": _moment,
    "metadata": _json_mapping,
    "resources": _mapping,
}


def elements(params: Iterable[object]) -> list[object]:
    """The parameters of each task of a `map`.

    Raises:
        InvalidRequest: It is one value (a text would be a task for each letter, a mapping one for each name).
    """
    if isinstance(params, str | bytes | Mapping) or not isinstance(params, Iterable):
        limit = 'a list with the parameters of each task, for example [{"path": "a"}, {"path": "b"}]'
        raise InvalidRequest(f"{quoted(params)} is not a list", field="params", limit=limit)
    return list(params)
