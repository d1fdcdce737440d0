"""What a case is: a row of the list, a door, what is sent through it, and what must come out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openclaw_ray.errors import InvalidRequest, OpenClawError

if TYPE_CHECKING:
    from tests.guarantees.doors import Doors

#: Sends the input; the answer of an accepted one is checked by `Case.check` or inside.
Send = Callable[["Doors"], Any]


@dataclass(frozen=True)
class Case:
    """One input at one door."""

    row: str
    #: The input, in words.
    given: str
    door: str
    send: Send
    #: None: it is accepted, and `send` answers what to show.
    error: type[OpenClawError] | None = InvalidRequest
    #: Field path of the refusal.
    at: str | None = None
    #: Words of the refusal: the limit, an example, the nearest name.
    says: tuple[str, ...] = ()
    #: Exit code of the command.
    exit_code: int = 2

    @property
    def id(self) -> str:
        """Its name as a test."""
        return f"{self.row}-{self.door}-{self.given}".replace(" ", "_")


@dataclass
class Shown:
    """What came out."""

    #: Code of the error, or "accepted".
    code: str
    text: str
    at: str | None = None


CASES: list[Case] = []


def case(row: str, given: str, door: str, send: Send, **expected: Any) -> None:
    """Put a case on the list."""
    CASES.append(Case(row, given, door, send, **expected))


@dataclass(frozen=True)
class Spec:
    """A word of submit with a value that is refused at every door of a spec."""

    row: str
    given: str
    name: str
    value: Any
    #: Where inside the field, for example ``[0]``.
    inside: str = ""
    says: tuple[str, ...] = ()
    error: type[OpenClawError] = InvalidRequest
    #: Doors that would not take it so: JSON text for what has no JSON.
    without: tuple[str, ...] = ()
    #: As options of `submit`.
    typed: tuple[str, ...] = ()
    #: The field that is named, where it is another one.
    named: str | None = None
    more: dict[str, Any] = field(default_factory=dict)


def spec(row: str, given: str, name: str, value: Any, says: str | tuple[str, ...], **more: Any) -> None:
    """The same input at the client (both forms), the handle, the message, as JSON text, and at the command."""
    words = (says,) if isinstance(says, str) else says
    given = given if name in given or len(name) > 40 else f"{name} {given}"
    one = Spec(row, given, name, value, says=words, **more)
    at = (one.named or one.name) + one.inside
    expected: dict[str, Any] = {"error": one.error, "says": words}
    fields = {"skill": "later", one.name: one.value, **one.more}
    doors: dict[str, tuple[Send, str]] = {
        "client": (lambda d: d.submit(**{k: v for k, v in fields.items() if k != "skill"}), at),
        "async client": (lambda d: d.submit_async(**{k: v for k, v in fields.items() if k != "skill"}), at),
        "add_task": (lambda d: d.call("add_task", task=fields), f"task.{at}"),
        "submit": (lambda d: d.call("submit", tasks=[{"id": "bad", "spec": fields}]), f"tasks[0].spec.{at}"),
        "JSON": (lambda d: d.text("submit", {"tasks": [{"id": "bad", "spec": fields}]}), f"tasks[0].spec.{at}"),
    }
    for door, (send, path) in doors.items():
        if door not in one.without:
            case(row, given, door, send, at=path, **expected)
    if one.typed:
        case(row, given, "command", lambda d: d.type("submit", "later", *one.typed), at=at, **expected)


numbers = itertools.count(1)
