"""The doors through which inputs come, and what must hold behind them: nothing stored, memory equals disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openclaw_ray.client import AsyncCluster, Cluster
from openclaw_ray.client.loops import LoopThread
from openclaw_ray.errors import NotFound, OpenClawError, from_json
from openclaw_ray.runtime.coordinator import Coordinator
from tests.guarantees.case import Case, Shown, numbers
from tests.support.command import Command, Ended
from tests.support.fakes import HandAgent, Hub
from tests.support.inprocess import InProcess

#: Doors of the whole cluster; behind all others is the coordinator that is called by hand.
THERE = frozenset({"client", "async client", "command", "client and command", "notebook"})
#: A refusal is read by a person: one paragraph at most.
TEXT_MAX = 700


class Doors:
    """A coordinator that is called by hand, and a whole cluster with clients and command. Use it as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = LoopThread("doors")
        self.hub = self.run(_opened(Hub(folder / "hub")))
        self.agent = HandAgent(self.hub)
        self.run(self.agent.register())
        self.home = InProcess(folder / "home", {"boom": _boom}, nodes=1, slots=1)
        self.home.__enter__()
        self.cluster = Cluster.over(self.home.wire(), timeout_s=10)
        self.cluster.wait_for_skill("boom")
        self.asynchronous: AsyncCluster = self.run(AsyncCluster(self.home.wire(), timeout_s=10).open())
        self.command = Command(self.home)
        self._token = 0
        known = {"tasks": [{"id": "known", "spec": {"skill": "later", "key": "known"}}]}
        self.run(self.hub.coordinator.call("submit", known))
        self.home.do(self.there.call("submit", known))

    def __enter__(self) -> Doors:
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.asynchronous.close())
        self.cluster.close()
        self.home.__exit__(None, None, None)
        self.run(self.hub.__aexit__())
        self._loop.close()

    def run(self, work: Any) -> Any:
        """Wait for a coroutine."""
        return self._loop.run(work)

    # -- ways in ---------------------------------------------------------------------------------------------------

    def submit(self, *args: Any, **options: Any) -> Any:
        """The client, sync."""
        return self.cluster.submit("later", *args, **options)

    def submit_async(self, *args: Any, **options: Any) -> Any:
        """The client, async."""
        return self.run(self.asynchronous.submit("later", *args, **options))

    def call(self, verb: Any, /, **body: Any) -> Any:
        """A handle: plain values, as Ray would unpickle them."""
        return self.run(self.hub.coordinator.call(verb, body))

    def raw(self, verb: Any, body: Any) -> Any:
        """The same with any body."""
        return self.run(self.hub.coordinator.call(verb, body))

    def text(self, verb: str, body: Any) -> Any:
        """`call_json`: JSON text in and out; Python's own words for NaN and Infinity are let through."""
        said = body if isinstance(body, str) else json.dumps(body)
        answer = json.loads(self.run(self.hub.coordinator.call_json(verb, said)))
        if answer["ok"]:
            return answer["value"]
        raise from_json(answer["error"])

    def type(self, *words: str, stdin: str | bytes | None = None) -> Ended:
        """The command."""
        return self.command(*words, stdin=stdin)

    def say(self, verb: str, **fields: Any) -> Any:
        """A message of the agent of n1."""
        return self.text(verb, {"node_id": "n1", "incarnation": self.agent.incarnation, **fields})

    def report(self, **fields: Any) -> Any:
        """An outcome of the agent of n1, good but for the fields given."""
        good = {"token": self.token, "outcome": "completed", "started_at": 1.0, "ended_at": 2.0, "run_s": 1.0}
        return self.say("report", outcomes=[{**good, **fields}])

    @property
    def token(self) -> int:
        """A lease that the agent of n1 holds."""
        if self._token not in self.hub.office.state.leases:
            self._token = self.run(self._leased())
        return self._token

    async def _leased(self) -> int:
        await self.hub.submit(f"leased-{next(numbers)}")
        await self.hub.assign()
        [lease] = await self.agent.fetch()
        return int(lease.token)

    # -- what must hold --------------------------------------------------------------------------------------------

    def look(self, case: Case) -> Any:
        """Everything that a refused input might have changed behind this door."""
        run, coordinator = self._behind(case)
        return run(_figures(coordinator))

    def check(self, case: Case) -> None:
        """Memory equals disk, and the next good call works."""
        run, coordinator = self._behind(case)
        assert run(coordinator.call("refresh_from_database"))["differences"] == []
        run(_good_call(coordinator))

    def _behind(self, case: Case) -> tuple[Callable[[Any], Any], Coordinator]:
        if case.door in THERE:
            return self.home.do, self.there
        return self.run, self.hub.coordinator

    @property
    def there(self) -> Coordinator:
        """The coordinator of the whole cluster."""
        assert self.home.coordinator is not None
        return self.home.coordinator


async def _opened(hub: Hub) -> Hub:
    return await hub.__aenter__()


def _boom(text: str) -> Any:
    raise ValueError(text)


async def _figures(coordinator: Coordinator) -> Any:
    office = coordinator.office
    await office.commit.quiet()
    stats = await coordinator.call("get_task_stats")
    return stats, sorted(office.state.nodes), office.registry.version, office.commit.version


async def _good_call(coordinator: Coordinator) -> None:
    changes = {"metadata": {"text": "天气 ✓", "n": [next(numbers), 2.5, None]}}
    await coordinator.call("update_task", {"task_id": "known", "changes": changes})
    assert (await coordinator.call("get_task", {"task_id": "known"}))["metadata"] == changes["metadata"]


# -- one case ----------------------------------------------------------------------------------------------------------


def tried(doors: Doors, case: Case) -> Shown:
    """Send a case and check what came out and what was left behind."""
    if case.error is None:
        shown = str(case.send(doors))
        doors.check(case)
        return Shown("accepted", shown)
    assert doors.token  # a lease before the look, so that messages about it change nothing by themselves
    before = doors.look(case)
    shown = _typed(doors, case) if case.door == "command" else _refused(lambda: case.send(doors), case)
    assert doors.look(case) == before, "something was stored"
    doors.check(case)
    return shown


def _refused(send: Callable[[], Any], case: Case) -> Shown:
    assert case.error is not None
    with pytest.raises(OpenClawError) as refused:
        send()
    error, said = refused.value, str(refused.value)
    assert type(error) is case.error or type(error).__mro__[1] is case.error, f"{type(error).__name__}: {said}"
    assert error.field == case.at, said
    assert error.limit or error.hint or isinstance(error, NotFound), f"neither a limit nor a remedy: {said}"
    _check_text(said, case)
    return Shown(error.code, said, error.field)


def _typed(doors: Doors, case: Case) -> Shown:
    ended = case.send(doors)
    assert isinstance(ended, Ended)
    assert ended.code == case.exit_code, ended
    assert ended.out == ""
    assert "fault of openclaw-ray" not in ended.err, ended.err
    said = " ".join(line.strip() for line in ended.err.strip().split("\n"))
    if case.at is not None:
        assert f"{case.at}: " in said, said
    _check_text(said, case)
    return Shown(f"exit {ended.code}", said, case.at)


def _check_text(said: str, case: Case) -> None:
    assert len(said) <= TEXT_MAX, len(said)
    assert said.isprintable(), said
    for words in case.says:
        assert words in said, said
