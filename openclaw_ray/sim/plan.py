"""A run as data: the seed, the size of the cluster, the work, and every fault with its moment.

A plan is drawn from its seed and can be written down, so that one that fails can be made smaller by leaving faults out,
kept as JSON, and run again for ever.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from openclaw_ray.sim.chance import stream

#: Work and faults come in the first stretch of a run, faults not in its first seconds.
FAULTY_S, FAULTS_FROM_S = 150.0, 4.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. What `target`, `seconds` and `more` mean, the kind says; see nemesis.py."""

    at: float
    kind: str
    target: str = ""
    seconds: float = 0.0
    more: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run depends on."""

    seed: int
    #: Which faults may occur; see `KINDS`.
    profile: str
    nodes: int
    slots: int
    #: How many tasks are submitted.
    tasks: int
    faults: tuple[Fault, ...] = ()
    #: How long work and faults come in (seconds); then everything heals.
    faulty_s: float = FAULTY_S

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Plan:
        """The inverse of `to_json`."""
        return cls(**{**values, "faults": tuple(Fault(**one) for one in values["faults"])})


#: Profile to the kinds of faults that it draws from; one that is named thrice comes three times as often. What only a
#: quiet neighbourhood can show has a profile of its own: after a fault of the StateManager or the Scheduler alone
#: nothing may run twice.
KINDS: dict[str, tuple[str, ...]] = {
    "everything": (
        "crash_state", "stall_state", "crash_at_call", "crash_scheduler", "pause_scheduler", "crash_agent",
        "pause_agent", "kill_executor", "lose_machine", "cut_to", "cut_from", "noise", "noise", "noise", "disk_full",
        "disk_busy", "disk_slow", "disk_unknown", "verdict", "drain", "crash_client", "pause_client", "wall_jump",
    ),
    "middle": ("crash_state", "stall_state", "crash_at_call", "crash_scheduler", "pause_scheduler"),
    "network": ("noise", "noise", "noise", "cut_to", "cut_from", "verdict", "crash_client", "pause_client"),
    "nodes": ("crash_agent", "pause_agent", "kill_executor", "lose_machine", "drain", "verdict"),
    "disk": ("disk_full", "disk_busy", "disk_slow", "disk_unknown", "crash_at_call", "crash_state"),
    "time": ("wall_jump", "stall_state", "crash_state", "pause_agent"),
}  # fmt: skip

#: "everything" is drawn more often: most bugs need two faults that do not know of each other.
_PROFILES = ("everything", "everything", "everything", "middle", "network", "nodes", "disk", "time")


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    chance = stream(seed, "plan")
    profile = _PROFILES[seed % len(_PROFILES)]
    nodes = chance.randint(1, 3)
    slots, tasks = chance.randint(1, 3), chance.randint(12, 30)
    names = [f"node-{i + 1}" for i in range(nodes)]
    count = chance.randint(3, 12)
    moments = sorted(chance.uniform(FAULTS_FROM_S, FAULTY_S) for _ in range(count))
    faults = tuple(_fault(chance, at, chance.choice(KINDS[profile]), names) for at in moments)
    return Plan(seed, profile, nodes, slots, tasks, faults)


def _fault(chance: random.Random, at: float, kind: str, nodes: list[str]) -> Fault:
    target = chance.choice(_TARGETS.get(kind, nodes)) if kind not in _CUTS else chance.choice([*nodes, *_OTHERS])
    seconds = round(chance.uniform(*chance.choice(_LENGTHS.get(kind, (_SHORT,)))), 3)
    more = {name: one(chance) for name, one in _MORE.get(kind, {}).items()}
    if kind == "wall_jump":
        target = chance.choice([*nodes, "state"])
    return Fault(round(at, 3), kind, target, seconds, more)


#: How long a fault lasts (seconds).
_SHORT, _LONG, _LONGEST = (0.5, 8.0), (5.0, 45.0), (60.0, 120.0)
_EITHER, _ANY = (_SHORT, _LONG), (_SHORT, _LONG, _LONGEST)
_LENGTHS: dict[str, tuple[tuple[float, float], ...]] = {
    "stall_state": _EITHER, "pause_scheduler": _EITHER, "pause_client": _EITHER, "pause_agent": _EITHER,
    "drain": _EITHER, "cut_to": _ANY, "cut_from": _ANY, "lose_machine": (_LONG,), "noise": (_LONG,),
}  # fmt: skip
_CUTS = ("cut_to", "cut_from")
_OTHERS = ("scheduler", "client")
#: Whom a fault strikes, where it is no node.
_TARGETS: dict[str, tuple[str, ...]] = {
    "crash_state": ("state",),
    "stall_state": ("state",),
    "crash_at_call": ("state",),
    "disk_full": ("state",),
    "disk_busy": ("state",),
    "disk_slow": ("state",),
    "disk_unknown": ("state",),
    "crash_scheduler": ("scheduler",),
    "pause_scheduler": ("scheduler",),
    "crash_client": ("client",),
    "pause_client": ("client",),
    "noise": ("all",),
}


def _share(most: float) -> Callable[[random.Random], float]:
    return lambda chance: round(chance.uniform(0.0, most), 3)


def _coin(chance: random.Random) -> float:
    return chance.randint(0, 1)


def _jump(chance: random.Random) -> float:
    return chance.choice((-1, 1)) * round(chance.choice((2.0, 30.0, 400.0, 1e6)) * chance.random(), 3)


_MORE: dict[str, dict[str, Callable[[random.Random], float]]] = {
    "crash_at_call": {"call": lambda chance: chance.randint(1, 12), "after": _coin},
    "lose_machine": {"noticed": _coin, "spool": _coin},
    "noise": {
        "lost": _share(0.3),
        "doubled": _share(0.3),
        "late": _share(0.4),
        "late_s": lambda chance: chance.choice((0.05, 1.0, 6.0)),
    },
    "disk_slow": {"by": _share(3.0)},
    "disk_unknown": {"kept": _coin},
    "wall_jump": {"by": _jump},
}
