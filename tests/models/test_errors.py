"""Every error survives both ways between processes with all its facts."""

from __future__ import annotations

import json
import pickle

import pytest

from openclaw_ray import errors
from openclaw_ray.errors import InvalidRequest, OpenClawError, from_json

CLASSES = sorted(
    (c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, OpenClawError)), key=lambda c: c.code
)
FACTS = ("it failed", "tasks[3].priority", "0 to 3", "use a number", 2.5, {"task_id": "t", "legal": ["a"]})


def same(one: OpenClawError, two: OpenClawError) -> None:
    assert type(one) is type(two)
    assert (str(one), one.args, one.to_json()) == (str(two), two.args, two.to_json())


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_pickle_and_json(cls: type[OpenClawError]) -> None:
    for error in (cls(*FACTS), cls("it failed")):
        same(error, pickle.loads(pickle.dumps(error)))
        same(error, from_json(json.loads(json.dumps(error.to_json()))))


def test_every_class_has_its_own_code_is_exported_and_says_how_to_exit() -> None:
    assert len({c.code for c in CLASSES}) == len(CLASSES)
    assert {c.__name__ for c in CLASSES} == set(errors.__all__)
    by_name = {c.__name__: c.exit_code for c in CLASSES}
    wanted = {
        "InvalidRequest": 2, "UnknownSkill": 2, "InvalidParams": 2, "NotFound": 4, "Conflict": 5, "StaleAttempt": 5,
        "InvalidTransition": 5, "Unavailable": 5, "QueueFull": 5, "StorageFull": 5, "StorageBusy": 5, "NotConnected": 3,
        "AuthRequired": 3, "VersionMismatch": 3, "OutcomeUnknown": 1, "StorageError": 1, "StateRolledBack": 1,
        "Corrupt": 1, "TaskError": 1, "WaitTimeout": 124,
    }  # fmt: skip
    assert {name: by_name[name] for name in wanted} == wanted


def test_the_text_names_field_limit_and_remedy() -> None:
    assert str(InvalidRequest(*FACTS)) == "tasks[3].priority: it failed (accepted: 0 to 3). use a number"
    assert isinstance(InvalidRequest("x"), ValueError)


def test_an_error_of_a_newer_peer_is_still_an_error() -> None:
    error = from_json({"code": "from_the_future", "message": "hm"})
    assert (type(error), error.message) == (OpenClawError, "hm")
