"""Which functions of the coordinator take the time: no-op tasks all their way through it, alone in this process.

Scheduler, agent and client are played here, call by call and in the real sizes; only what happens between a call and
its answer is counted. Waiting for the disk is left out. A profile makes calls dearer than they are, small ones most: it
tells where to look, the first line tells the time.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import home
from openclaw_ray.display import table
from openclaw_ray.runtime.coordinator import Coordinator

SKILL = "noop"
NODE = "node-1"
#: Tasks in one call, as our client and agents send them.
BATCH = 500
SLOTS = 2
#: Where the event loop waits.
_IDLE = ("<method 'poll' of", "<method 'control' of", "<built-in method select.")
SHOWN = 20
#: Folders of the coordinator's own code.
_PARTS = frozenset({"openclaw_ray", "core", "models", "runtime", "storage", "metrics"})


@dataclass
class Spent:
    """Processor seconds of one run."""

    tasks: int
    #: The coordinator's thread: event loop, rules, JSON.
    loop_s: float = 0.0
    #: All other threads: the database's.
    other_s: float = 0.0


class Play:
    """Everybody else. Each call is timed, and profiled when there is a profile."""

    def __init__(self, found: Coordinator, spent: Spent, profile: cProfile.Profile | None) -> None:
        self._found = found
        self._spent = spent
        self._profile = profile
        self._polls = 0
        self._incarnation = 0

    async def _call(self, verb: str, body: dict[str, Any]) -> Any:
        text = json.dumps(body)
        everything, own = time.process_time(), time.thread_time()
        if self._profile is not None:
            self._profile.enable()
        try:
            answer = await self._found.call_json(verb, text)
        finally:
            if self._profile is not None:
                self._profile.disable()
        loop_s = time.thread_time() - own
        self._spent.loop_s += loop_s
        self._spent.other_s += max(time.process_time() - everything - loop_s, 0.0)
        value = json.loads(answer)
        if not value["ok"]:
            raise RuntimeError(f"{verb}: {value['error']}")
        return value["value"]

    async def begin(self) -> None:
        """An agent registers, and runs enough for the coordinator to learn that these tasks are short."""
        offers = [{"name": SKILL, "revision": "0" * 64}]
        machine = {"hostname": "bench", "capacity": {"cpu": 4}}
        body = {"node_id": NODE, "agent": "agent-1", "slots": SLOTS, "machine": machine, "offers": offers}
        self._incarnation = (await self._call("register", body))["incarnation"]
        await self.batch(home.ids("first", SLOTS))

    async def batch(self, names: list[str]) -> None:
        """Some tasks, from submit to the client's knowledge of their results."""
        session = f"session-{names[0]}"
        await self._call("submit", home.bulk(names, SKILL))
        await self._call("results", {"session": session, "n": 1, "add": names, "timeout_s": 0})
        watch = await self._call("watch", {"epoch": 0, "cursor": 0, "timeout_s": 0})
        row = {"shape": watch["shapes"][0]["id"], "node": NODE, "seated": SLOTS, "prefill": len(names) - SLOTS}
        await self._call("assign", {"epoch": watch["epoch"], "cursor": watch["cursor"], "rows": [row]})
        leases = await self._poll([])
        now = time.time()
        done = {"outcome": "completed", "started_at": now, "ended_at": now, "run_s": 0.0001, "result": "null"}
        outcomes = [{"token": one["token"], **done} for one in leases]
        me = {"node_id": NODE, "incarnation": self._incarnation}
        await self._call("report", {**me, "outcomes": outcomes})
        ended = await self._call("results", {"session": session, "n": 2, "timeout_s": 5})
        if len(ended["ended"]) != len(names):
            raise RuntimeError(f"{len(ended['ended'])} of {len(names)} tasks ended")

    async def _poll(self, have: list[int]) -> list[dict[str, Any]]:
        self._polls += 1
        body = {"node_id": NODE, "incarnation": self._incarnation, "n": self._polls, "have": have, "timeout_s": 0}
        leases: list[dict[str, Any]] = (await self._call("poll", body))["leases"]
        return leases


async def run(folder: Path, tasks: int, profile: cProfile.Profile | None = None) -> Spent:
    """So many no-op tasks through a coordinator with a database of its own."""
    spent = Spent(tasks)
    async with home.coordinator(folder) as found:
        play = Play(found, spent, profile)
        await play.begin()
        for names in home.chunks(home.ids("run", tasks), BATCH):
            await play.batch(names)
    return spent


@dataclass(frozen=True, slots=True)
class Hotspot:
    """One function."""

    own_s: float
    total_s: float
    calls: int
    where: str


def hotspots(profile: cProfile.Profile) -> list[Hotspot]:
    """All functions except the one that waits."""
    return [one for one in _functions(profile) if not one.where.startswith(_IDLE)]


def _functions(profile: cProfile.Profile) -> Iterator[Hotspot]:
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (path, line, name), (_, calls, own_s, total_s, _callers) in stats.items():
        yield Hotspot(own_s, total_s, calls, _place(path, line, name))


def _place(path: str, line: int, name: str) -> str:
    """Folder and file are enough to find it."""
    if path.startswith(("~", "<")):
        return name
    return f"{'/'.join(Path(path).parts[-2:])}:{line} {name}"


def render(spent: Spent, found: Sequence[Hotspot]) -> str:
    """Cost per task without the profile; then, with it, the functions by their own time and by all that they call."""
    head = (
        f"The coordinator's share of {spent.tasks:,} no-op tasks, in calls of {BATCH}: "
        f"{_us(spent.loop_s, spent)} us of its own thread per task, "
        f"{_us(spent.other_s, spent)} us of the database's (without the profile)."
    )
    ours = [one for one in found if one.where.partition("/")[0] in _PARTS]
    by_own = _table(spent, sorted(found, key=lambda one: -one.own_s)[:SHOWN])
    by_total = _table(spent, sorted(ours, key=lambda one: -one.total_s)[:SHOWN])
    units = "us per task; calls per task"
    return f"{head}\n\nBy own time ({units}):\n{by_own}\n\nOur functions with all that they call ({units}):\n{by_total}"


def _table(spent: Spent, found: Sequence[Hotspot]) -> str:
    rows = [
        (_us(one.own_s, spent), _us(one.total_s, spent), f"{one.calls / spent.tasks:.2f}", one.where) for one in found
    ]
    return table(("own", "with calls", "calls", "function"), rows, cell_max=90)


def _us(seconds: float, spent: Spent) -> str:
    return f"{seconds / spent.tasks * 1e6:.1f}"
