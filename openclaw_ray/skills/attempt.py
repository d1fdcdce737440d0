"""One call of a Python skill, from JSON text to JSON text; whatever the skill does, an answer comes out.

Nothing of the skill's own classes gets further than here: results become JSON, exceptions become text.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from openclaw_ray.core.limits import ERROR_TEXT_MAX, RESULT_BYTES_MAX
from openclaw_ray.errors import InvalidParams
from openclaw_ray.models.door import values_text
from openclaw_ray.skills.context import Context
from openclaw_ray.skills.outcome import Failure, failure

#: Frames of these files are ours, and of no interest to the author of a skill.
_OUR_FOLDER = str(Path(__file__).parent)
#: Innermost frames kept of a traceback; a runaway recursion has thousands.
_FRAMES_MAX = 50

#: Result (JSON text), failure, and whether the failure is permanent.
Answer = tuple[str | None, Failure | None, bool]


def call(fn: Callable[..., Any], params: str, context: Context | None) -> Answer:
    """Call `fn` with parameters from JSON text.

    Args:
        fn: The loaded skill.
        params: JSON; a mapping becomes keyword arguments, anything else the one positional argument.
        context: Handed as the first argument, if any.
    """
    first = () if context is None else (context,)
    try:
        given = json.loads(params)
        value = fn(*first, **given) if isinstance(given, dict) else fn(*first, given)
    except BaseException as error:  # noqa: BLE001 - also SystemExit and KeyboardInterrupt end the attempt, not the loop
        return failed(error)
    if value is None:
        return "null", None, False
    try:
        return result_text(value), None, False
    except BaseException as error:  # noqa: BLE001 - a hostile result may raise anything while it is read
        kind = _guarded(lambda: type(value).__name__)
        text = str(error) if type(error) is InvalidParams else _describe(error)
        return None, failure("result", f"the result cannot be stored: {text}", type_name=kind), True


def result_text(value: object) -> str:
    """Canonical JSON of a result; pydantic models and dataclasses become mappings.

    Raises:
        InvalidParams: It is no JSON, or too large.
    """
    return values_text(value, at="result", bytes_max=RESULT_BYTES_MAX)


def failed(error: BaseException) -> Answer:
    """What is recorded of an exception that a skill let out."""
    inner = _without_our_frames(error.__traceback__)
    if isinstance(error, TypeError) and inner is None:  # raised by the call itself: no line of the skill has run
        return None, failure("invalid_params", _describe(error), type_name="TypeError"), True
    kind = "invalid_params" if isinstance(error, InvalidParams) else "skill_error"
    found = failure(
        kind,
        _guarded(lambda: str(error)),
        type_name=_guarded(lambda: type(error).__name__),
        traceback=_guarded(lambda: _traceback_text(error, inner)),
    )
    return None, found, kind == "invalid_params"


def not_loadable(error: BaseException) -> Answer:
    """The skill's code could not be brought to life in this process: this node's matter, not the task's."""
    _, found, _ = failed(error)
    return (
        None,
        {**(found or {}), "kind": "not_loadable", "message": f"cannot load the skill: {_describe(error)}"},
        False,
    )


def _without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OUR_FOLDER):
        trace = trace.tb_next
    return trace


def _traceback_text(error: BaseException, trace: TracebackType | None) -> str:
    found = traceback.TracebackException(type(error), error, trace, limit=-_FRAMES_MAX, compact=True)
    return "".join(found.format())[-2 * ERROR_TEXT_MAX :]


def _describe(error: BaseException) -> str:
    return f"{_guarded(lambda: type(error).__name__)}: {_guarded(lambda: str(error))}"[:1_000]


def _guarded(ask: Callable[[], str]) -> str:
    """Text from a foreign object, whose methods may raise or return anything."""
    try:
        return "".join(ask())  # a plain copy: a subclass of str may be as hostile as the rest
    except BaseException:  # noqa: BLE001 - the object is the skill's
        return "<its text cannot be had>"
