"""Fakes for the runtime: a coordinator on a real file and a virtual clock, agents by hand, scripted ports, executors.

A fake does what the test says and fails on whatever nobody expected.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from openclaw_ray.config import Settings
from openclaw_ray.core.types import Outcome
from openclaw_ray.errors import NotConnected, OpenClawError, OutcomeUnknown, Unavailable
from openclaw_ray.models.fields import iso
from openclaw_ray.models.skill import SkillManifest
from openclaw_ray.protocol import LeaseMessage, OutcomeMessage, PollReply, RegisterReply, ReportReply, StartMessage
from openclaw_ray.runtime.context import Office
from openclaw_ray.runtime.coordinator import Coordinator
from openclaw_ray.runtime.ports import ExecutorDied
from openclaw_ray.skills.marker import FILE_NAME
from tests.support.clock import VirtualClock

T = TypeVar("T")

REVISION = "a" * 64
#: Time moves in steps of this (seconds), with everything that is due carried out in between.
STEP_S = 0.5


class StallingClock(VirtualClock):
    """A clock that can pass over sleepers, as it does for a process that was stopped for a while."""

    def stall(self, seconds: float) -> None:
        self._move_to(self._mono + seconds)

    def _move_to(self, mono: float) -> None:
        super()._move_to(max(mono, self._mono))  # to a sleeper that was passed over, the clock does not go back


class Hub:
    """A coordinator on a database in a folder. Use it as a context; parked calls are ended with it."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.clock = StallingClock()
        self.home = home
        self.settings = Settings(home=home, **{"retry_jitter": 0.0, **settings})
        self.deaths = 0
        self._parked: set[asyncio.Task[Any]] = set()
        self.coordinator = self._made()

    def _made(self) -> Coordinator:
        return Coordinator(self.settings, self.clock, self._died)

    def _died(self) -> None:
        self.deaths += 1

    async def __aenter__(self) -> Self:
        await self.coordinator.initialise()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end_parked()
        await self.coordinator.stop()

    async def restart(self) -> None:
        """Stop, and start again from disk."""
        await self._end_parked()
        await self.coordinator.stop()
        self.coordinator = self._made()
        await self.coordinator.start()

    async def _end_parked(self) -> None:
        for task in self._parked:
            task.cancel()
        await asyncio.gather(*self._parked, return_exceptions=True)

    @property
    def office(self) -> Office:
        return self.coordinator.office

    async def call(self, verb: str, **body: Any) -> Any:
        """One call through the door, with a body as it would come from outside."""
        return await self.coordinator.call(verb, body)

    def park(self, verb: str, **body: Any) -> asyncio.Task[Any]:
        """A call that is expected to wait."""
        return self.spawn(self.call(verb, **body))

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._parked.add(task)
        task.add_done_callback(self._parked.discard)
        return task

    async def idle(self) -> None:
        """Whatever was due has been carried out and committed."""
        await self.clock.settle()
        with contextlib.suppress(OpenClawError):
            await self.office.commit.run(lambda turn: None)
        await self.clock.settle()

    async def advance(self, seconds: float) -> None:
        """Time passes, with everything on its way carried out."""
        while seconds > 0:
            await self.clock.advance(min(STEP_S, seconds))
            await self.idle()
            seconds -= STEP_S

    def instant(self, seconds: float) -> str:
        """The moment so many seconds from now, as people write it."""
        return iso(self.clock.now().wall + seconds)

    async def submit(self, *ids: str, skill: str = "echo", **spec: Any) -> list[list[Any]]:
        tasks = [{"id": one, "spec": {"skill": skill, **spec}} for one in ids]
        return (await self.call("submit", tasks=tasks))["tasks"]

    async def assign(self, node: str = "n1", seated: int = 1, prefill: int = 0, skill: str = "echo") -> Any:
        """Place waiting tasks of a skill as a plan would."""
        shape = next(s for s in self.office.state.shapes.values() if s.needs.runs == skill and s.waiting)
        rows = [{"shape": shape.id, "node": node, "seated": seated, "prefill": prefill}]
        return await self.call("assign", epoch=self.office.identity.epoch, cursor=0, rows=rows)

    async def state_of(self, task_id: str) -> str:
        return str((await self.call("get_task", task_id=task_id))["status"])

    async def on_disk(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds in the committed database."""
        return await self.office.store.read(lambda conn: conn.execute(sql, values).fetchall())

    async def check(self) -> None:
        """Memory equals disk, and every index its records."""
        await self.office.commit.quiet()
        self.office.state.check_invariants()
        assert (await self.call("refresh_from_database"))["differences"] == []


class HandAgent:
    """An agent that says exactly what the test says, by the protocol."""

    def __init__(self, hub: Hub, node_id: str = "n1", slots: int = 2, skills: tuple[str, ...] = ("echo",)) -> None:
        self.hub, self.node_id, self.slots, self.skills = hub, node_id, slots, skills
        self.name = f"agent-of-{node_id}"
        self.incarnation = 0
        self.n = 0
        self.revision = REVISION
        #: Version of the registry that it says it has.
        self.registry = 0

    async def register(self, holds: tuple[int, ...] = (), **more: Any) -> RegisterReply:
        body = {
            "node_id": self.node_id, "agent": self.name, "slots": self.slots, "holds": list(holds),
            "machine": {"hostname": self.node_id, "capacity": {"cpu": 4}},
            "offers": [{"name": s, "revision": self.revision} for s in self.skills], **more,
        }  # fmt: skip
        reply: RegisterReply = await self.hub.call("register", **body)
        self.incarnation, self.n = reply.incarnation, 0
        return reply

    def poll_body(self, have: tuple[int, ...] = (), n: int | None = None, timeout_s: float = 0.0) -> dict[str, Any]:
        self.n = self.n + 1 if n is None else n
        return {
            "node_id": self.node_id, "incarnation": self.incarnation, "n": self.n, "have": list(have),
            "timeout_s": timeout_s, "registry": self.registry,
        }  # fmt: skip

    async def poll(self, have: tuple[int, ...] = (), n: int | None = None, timeout_s: float = 0.0) -> PollReply:
        reply: PollReply = await self.hub.call("poll", **self.poll_body(have, n, timeout_s))
        return reply

    async def fetch(self) -> list[LeaseMessage]:
        return (await self.poll()).leases

    async def report(self, *outcomes: OutcomeMessage, starts: tuple[int, ...] = (), **more: Any) -> ReportReply:
        wall = self.hub.clock.now().wall
        body = {
            "node_id": self.node_id, "incarnation": self.incarnation, "outcomes": list(outcomes),
            "starts": [StartMessage(token=t, at=wall) for t in starts], **more,
        }  # fmt: skip
        reply: ReportReply = await self.hub.call("report", **body)
        return reply

    def outcome(self, token: int, outcome: Outcome = Outcome.COMPLETED, **more: Any) -> OutcomeMessage:
        wall = self.hub.clock.now().wall
        result = "1" if outcome is Outcome.COMPLETED else None
        error = None if outcome is Outcome.COMPLETED else {"kind": outcome.value, "message": "so it was"}
        given = {"started_at": wall, "ended_at": wall, "run_s": 0.25, "result": result, "error": error, **more}
        return OutcomeMessage(token=token, outcome=outcome, **given)

    async def run(self, *, seated: int = 1, skill: str = "echo", **more: Any) -> list[int]:
        """Place, fetch, complete; answers the tokens."""
        await self.hub.assign(self.node_id, seated, skill=skill)
        leases = await self.fetch()
        await self.report(*(self.outcome(lease.token, **more) for lease in leases))
        return [lease.token for lease in leases]


class DirectPort:
    """A way to a hub's coordinator (`runtime.ports.Coordinator`) that loses and doubles what it is told to."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.calls: Counter[str] = Counter()
        self.lose_requests: Counter[str] = Counter()
        self.lose_replies: Counter[str] = Counter()
        self.double: Counter[str] = Counter()
        #: Nothing gets through.
        self.cut = False

    async def call(self, verb: str, body: str, timeout_s: float) -> str:
        self.calls[verb] += 1
        if self.cut:
            raise NotConnected("cut off", retry_after=0.5)
        if _due(self.lose_requests, verb):
            raise OutcomeUnknown("the request was lost")
        twice = _due(self.double, verb)
        first = self._hub.spawn(self._hub.coordinator.call_json(verb, body))
        second = self._hub.spawn(self._hub.coordinator.call_json(verb, body)) if twice else first
        lost = _due(self.lose_replies, verb)
        try:
            answer = await asyncio.shield(first)
            await asyncio.shield(second)
        except asyncio.CancelledError:
            if first.cancelled() or second.cancelled():
                raise OutcomeUnknown("the coordinator went away") from None
            raise
        if lost:
            raise OutcomeUnknown("the reply was lost")
        if self.cut:
            raise NotConnected("cut off meanwhile", retry_after=0.5)
        return answer


def _due(counter: Counter[str], verb: str) -> bool:
    counter[verb] -= 1
    return counter[verb] >= 0


class ScriptedPort:
    """A coordinator that answers from a script: verb to a function of the body. A verb without one is a failure."""

    def __init__(self, **answers: Callable[[dict[str, Any]], Any]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def bodies(self, verb: str) -> list[dict[str, Any]]:
        return [body for name, body in self.calls if name == verb]

    async def call(self, verb: str, body: str, timeout_s: float) -> str:
        said = json.loads(body)
        self.calls.append((verb, said))
        assert verb in self.answers, f"nobody expected {verb}: {body}"
        try:
            answer = self.answers[verb](said)
            if isinstance(answer, asyncio.Future):
                answer = await answer
        except (NotConnected, OutcomeUnknown):
            raise
        except OpenClawError as error:
            return json.dumps({"ok": False, "error": error.to_json()})
        value = answer.model_dump_json() if isinstance(answer, BaseModel) else json.dumps(answer)
        return f'{{"ok":true,"value":{value}}}'


class FakeExecutor:
    """An executor process: what it was fed first runs, until the test says how it goes on."""

    def __init__(self, resources: dict[str, int], scratch: str) -> None:
        self.resources, self.scratch = resources, Path(scratch)
        self.fed: list[dict[str, Any]] = []
        #: Every token that was ever fed, in order.
        self.seen: list[int] = []
        self.cancelled: list[int] = []
        self.dead = self.killed = False
        self._out: list[dict[str, Any]] = []
        self._wake = asyncio.Event()

    # -- the port ---------------------------------------------------------------------------------------------------

    async def feed(self, items: list[dict[str, Any]]) -> None:
        self._check()
        self.fed += items
        self.seen += [item["token"] for item in items]

    async def collect(self, max_wait_s: float) -> list[dict[str, Any]]:
        while not self._out:
            self._check()
            self._wake.clear()
            await self._wake.wait()
        out, self._out = self._out, []
        return out

    async def withdraw(self, tokens: list[int]) -> list[int]:
        self._check()
        taken = [item["token"] for item in self.fed[1:] if item["token"] in tokens]
        self.fed = [item for item in self.fed if item["token"] not in taken]
        return taken

    async def cancel(self, token: int) -> None:
        self._check()
        self.cancelled.append(token)

    async def kill(self) -> None:
        self.killed = True
        self._stop(self.running, 0)

    def _check(self) -> None:
        if self.dead:
            raise ExecutorDied("it is gone")

    # -- the test's side --------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """The token that runs, 0 for none."""
        return self.fed[0]["token"] if self.fed else 0

    def say(self, token: int, event: str, **more: Any) -> None:
        self._out.append({"token": token, "event": event, **more})
        self._wake.set()

    def finish(self, outcome: str = "completed", **more: Any) -> int:
        """What runs comes to its end."""
        token = int(self.fed.pop(0)["token"])
        given = {"started_at": 1.0, "ended_at": 1.5, "run_s": 0.5, "result": "1", **more}
        self.say(token, "ended", outcome=outcome, **given)
        return token

    def die(self, finished: int = 0) -> None:
        """The process crashes at what it runs."""
        self._stop(self.running, finished)

    def _stop(self, running: int, finished: int) -> None:
        self.dead = True
        if self.scratch.exists():
            (self.scratch / FILE_NAME).write_bytes(struct.pack("=QQ", running, finished))
        self._wake.set()


class FakeFactory:
    """Starts fake executors, or refuses, or takes its time."""

    def __init__(self) -> None:
        self.executors: list[FakeExecutor] = []
        self.refusing = 0
        #: While set to an event, starts wait for it.
        self.gate: asyncio.Event | None = None
        self.asked = 0

    async def start(self, resources: dict[str, int], scratch: str) -> FakeExecutor:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.refusing:
            self.refusing -= 1
            raise Unavailable("other work holds the resources", retry_after=5.0)
        executor = FakeExecutor(resources, scratch)
        self.executors.append(executor)
        return executor

    @property
    def alive(self) -> list[FakeExecutor]:
        return [e for e in self.executors if not e.dead]

    def holder(self, token: int) -> FakeExecutor:
        """The living executor that has a token."""
        return next(e for e in self.alive if any(item["token"] == token for item in e.fed))


class FakeSkillset:
    """What a node offers, as the test says."""

    def __init__(self, *manifests: SkillManifest) -> None:
        self.manifests = {m.name: m for m in manifests}

    def manifest(self, name: str, revision: str | None) -> SkillManifest | None:
        found = self.manifests.get(name)
        return found if found is not None and revision in (None, found.revision) else None

    def code_path(self, manifest: SkillManifest) -> Path:
        return Path("/nowhere") / str(manifest.code)


def python_skill(name: str = "echo", **more: Any) -> SkillManifest:
    return SkillManifest(**{"name": name, "kind": "python", "revision": REVISION, "code": "c" * 64, **more})


def lease(token: int, skill: str = "echo", **more: Any) -> LeaseMessage:
    given: dict[str, Any] = {
        "task_id": f"t{token}", "attempt": 1, "revision": None, "params": "{}", "timeout_s": None, "resources": {},
        "rank": float(token), **more,
    }  # fmt: skip
    return LeaseMessage(token=token, skill=skill, **given)
