"""Checked submissions on their way to the database. What tasks share is worked out once, whatever their number."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from openclaw_ray.core.limits import NESTING_MAX, PARAMS_BYTES_MAX, SUBMIT_BYTES_MAX
from openclaw_ray.core.records import TaskRecord
from openclaw_ray.errors import InvalidParams, InvalidRequest
from openclaw_ray.models.door import canonical, dumps
from openclaw_ray.models.fields import amounts_of, iso
from openclaw_ray.models.task import TaskSpec
from openclaw_ray.protocol import SubmitRequest
from openclaw_ray.storage.rows import TaskRow

_NO_PARAMS = "{}"
#: Shorter text holds no number that is too large: 1,024 bits are 309 digits.
PLAIN_CHARS = 309

#: Columns in which the tasks of one draft differ, in the order of `Draft.row`.
_OWN_COLUMNS = (
    "task_id", "name", "status", "assigned_node", "submitted_at", "scheduled_at", "parameters", "created_at", "key",
    "spec_sha256", "attempt", "version", "seq", "token", "seated",
)  # fmt: skip
_OWN_AT = tuple(TaskRow._fields.index(column) for column in _OWN_COLUMNS)


class Draft:
    """One spec, and everything of its rows that does not depend on parameters, key or id."""

    def __init__(self, spec: TaskSpec, user_id: str | None) -> None:
        self.spec = spec
        self.user_id = user_id
        body = spec.model_dump(mode="json", exclude_defaults=True)
        body.pop("params", None)
        body.pop("key", None)
        items = sorted((name, f"{dumps(name)}:{dumps(value)}") for name, value in body.items())
        # Canonical JSON sorts by name: "key" and "params" have their places between the others.
        self._before_key = [text for name, text in items if name < "key"]
        self._between = [text for name, text in items if "key" < name < "params"]
        self._after_params = [text for name, text in items if name > "params"]
        self._plain_sha256 = self._digest(_NO_PARAMS, None)
        #: The row of one of its tasks; the others differ from it in `_OWN_COLUMNS`.
        self._model: TaskRow | None = None

    def row(self, task: TaskRecord, intake: Intake) -> TaskRow:
        """The row of a new task, which may have been leased in the same breath."""
        if self._model is None:
            self._model = self._model_of(task)
        submitted = iso(task.submitted_at)
        own = (
            task.id,
            self._model.name or task.id,
            task.state.value,
            task.node_id,
            submitted,
            iso(task.scheduled_at) if task.scheduled_at else None,
            intake.params,
            submitted,
            intake.key,
            intake.sha256,
            task.attempt,
            task.version,
            task.seq,
            task.token,
            int(task.seated),
        )
        values = list(self._model)
        for at, value in zip(_OWN_AT, own, strict=True):
            values[at] = value
        return TaskRow._make(values)

    def _model_of(self, task: TaskRecord) -> TaskRow:
        spec = self.spec
        # What the task asks, with what its type and skill imply at this moment: a restart reads it as it is.
        asks = amounts_of(task.shape.needs.resources) if task.shape else spec.resources
        shared = {
            "task_type": spec.task_type.value,
            "name": spec.name or spec.runs or "",
            "description": spec.description,
            "required_skills": dumps(spec.required_skills),
            "optional_skills": dumps(spec.optional_skills),
            "priority": task.priority,
            "timeout": spec.timeout,
            "retry_count": 0,
            "max_retries": task.max_retries,
            "user_id": self.user_id,
            "affinity_tags": dumps(spec.affinity_tags),
            "metadata": dumps(spec.metadata),
            "skill": spec.runs,
            "group_name": spec.group,
            "not_before": iso(spec.not_before.timestamp()) if spec.not_before else None,
            "deadline": iso(spec.deadline.timestamp()) if spec.deadline else None,
            "lost_count": 0,
            "max_lost": task.max_lost,
            "retry_of": spec.retry_of,
            "required_tags": dumps(spec.required_tags),
            "strategy": spec.strategy,
            "resources": dumps(asks),
            "after": dumps(spec.after),
            "revision": spec.revision,
            "by_hand": 0,
        }
        return TaskRow._make(shared.get(column) for column in TaskRow._fields)

    def sha256(self, params: str, key: str | None) -> str:
        """Digest of the canonical spec with these parameters and this key; equals `digest(spec.canonical())`."""
        return self._plain_sha256 if key is None and params == _NO_PARAMS else self._digest(params, key)

    def _digest(self, params: str, key: str | None) -> str:
        parts = list(self._before_key)
        if key is not None:
            parts.append(f'"key":{dumps(key)}')
        parts += self._between
        if params != _NO_PARAMS:
            parts.append(f'"params":{params}')
        parts += self._after_params
        return hashlib.sha256(("{" + ",".join(parts) + "}").encode()).hexdigest()


class Intake(NamedTuple):
    """A checked submission: the document that the core carries through unseen."""

    id: str
    draft: Draft
    params: str  # canonical JSON text
    key: str | None
    sha256: str
    at: str  # where it stood in the request, for errors

    @property
    def spec(self) -> TaskSpec:
        """The spec that it shares with others; its params and key may differ."""
        return self.draft.spec


def intakes(request: SubmitRequest, bytes_max: int) -> Iterator[Intake]:
    """Check a request, task by task.

    Raises:
        InvalidRequest: naming the task and field.
    """
    size = 0
    for i, one in enumerate(request.tasks):
        draft = Draft(one.spec, one.spec.user_id or request.by)
        params = canonical(one.spec.params, at=f"tasks[{i}].spec.params", bytes_max=bytes_max)
        size = _within(size + len(params), "tasks")
        yield Intake(one.id, draft, params, one.spec.key, draft.sha256(params, one.spec.key), f"tasks[{i}]")
    bulk = request.bulk
    if bulk is None:
        return
    if bulk.spec.key is not None or bulk.spec.params != {}:
        raise InvalidRequest("comes with each row", field="bulk.spec.key" if bulk.spec.key else "bulk.spec.params")
    draft = Draft(bulk.spec, bulk.spec.user_id or request.by)
    for i, (task_id, params, key) in enumerate(bulk.rows):
        at = f"bulk.rows[{i}]"
        text = checked_text(params, f"{at}[1]", bytes_max)
        size = _within(size + len(text), "bulk.rows")
        yield Intake(task_id, draft, text, key, draft.sha256(text, key), at)


def _within(size: int, field: str) -> int:
    """The size of a call's parameters so far, in letters: one call is one transaction, for which all others wait."""
    if size > SUBMIT_BYTES_MAX:
        message = "the parameters together are too large for one call"
        raise InvalidRequest(message, field=field, limit=f"{SUBMIT_BYTES_MAX:,} bytes", hint="submit them in parts")
    return size


def checked_text(text: str, at: str, bytes_max: int = PARAMS_BYTES_MAX) -> str:
    """Parameters that came as JSON text, in canonical form; mostly they are in it already.

    Raises:
        InvalidParams: not JSON, too large, too deep.
    """
    if len(text) > bytes_max:
        raise InvalidParams(f"is {len(text):,} characters as JSON", field=at, limit=f"{bytes_max:,} bytes")
    if text == _NO_PARAMS:
        return text
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except InvalidParams as error:
        raise InvalidParams(error.message, field=at, limit=error.limit) from None
    except (ValueError, RecursionError):
        raise InvalidParams("is not JSON", field=at, limit="JSON text") from None
    plain = len(text) < PLAIN_CHARS and text.isascii() and "\\" not in text
    if plain and text.count("[") + text.count("{") <= NESTING_MAX:
        with contextlib.suppress(ValueError):  # 1e999 is infinite
            return dumps(value)
    return canonical(value, at=at, bytes_max=bytes_max)


def _refuse_constant(word: str) -> NoReturn:
    raise InvalidParams(f"{word} has no JSON form", limit="finite numbers")
