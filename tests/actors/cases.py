"""What a case of a verb is: the driver that calls it, and what it must do, singly and in batch, and refuse."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openclaw_ray.errors as err

numbers = itertools.count(1)


class Driver:
    """A plain driver: three handles and `ray.get`."""

    def __init__(self, manager: Any, scheduler: Any = None, agent: Any = None) -> None:
        self.manager, self.scheduler, self.agent = manager, scheduler, agent

    def get(self, reference: Any, timeout_s: float = 30.0) -> Any:
        import ray

        return ray.get(reference, timeout=timeout_s)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """A verb of the StateManager, called and waited for."""
        return lambda *args, **kwargs: self.get(getattr(self.manager, verb).remote(*args, **kwargs))

    def node(self, **fields: Any) -> str:
        """A new node kept by hand."""
        return self.add_node({"node_id": f"hand-{next(numbers)}", **fields})

    def task(self, **fields: Any) -> str:
        """A new task that a program of its own will run."""
        return self.add_task({"task_id": f"job-{next(numbers)}", **fields})

    def ended_task(self) -> str:
        """A task that was run by hand to its end."""
        task_id = self.task()
        self.update_task({task_id: {"status": "running"}})
        self.update_task(task_id, {"status": "completed", "result": {"ok": True}})
        return task_id


Check = Callable[[Driver], None]


@dataclass
class Case:
    """One verb: whose it is, what it must do singly and in batch, what it must refuse."""

    actor: str
    one: Check
    many: Check | None = None
    #: Arguments by name, the error's class, and the field it names; no arguments: an unknown one must be refused.
    bad: list[tuple[dict[str, Any], type[err.OpenClawError], str]] = field(default_factory=list)


CASES: dict[str, Case] = {}

Bad = tuple[dict[str, Any], type[err.OpenClawError], str]


def one(verb: str, *bad: Bad, actor: str = "StateManager") -> Callable[[Check], Check]:
    """The verb with one thing, and what it refuses."""

    def keep(check: Check) -> Check:
        CASES[verb] = Case(actor, check, bad=list(bad))
        return check

    return keep


def many(verb: str) -> Callable[[Check], Check]:
    """The verb with several things at once."""

    def keep(check: Check) -> Check:
        CASES[verb].many = check
        return check

    return keep


def refused(kind: type[err.OpenClawError], where: str, call: Callable[[], Any]) -> err.OpenClawError:
    """The call is refused with this class, caught as a driver catches it, and the error names the field."""
    try:
        answer = call()
    except kind as error:
        if error.field == where:
            return error
        raise
    raise AssertionError(f"accepted, with {answer!r}")
