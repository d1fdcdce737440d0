"""Whether a node may offer a skill, and in words why not. A pure look at facts that the agent gathered.

Reasons name variables, programs and modules, never values: they are shown to everybody.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openclaw_ray.models.fields import units_of
from openclaw_ray.models.skill import Offer, Requirements, SkillKind, SkillManifest

#: As Offer.reason has it.
REASON_LEN_MAX = 500
#: Names shown of a loop.
LOOP_SHOWN_MAX = 8


def _importable(module: str) -> bool:
    """Whether the interpreter finds a module, without importing it: only the top name is looked up."""
    top = module.partition(".")[0]
    if top == "__main__":  # the program that asks, never a module that a skill could import
        return False
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError, AttributeError):
        return False


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node has."""

    #: PATH as commands will see it.
    path: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    #: As `sys.platform` says it: linux, darwin, win32.
    platform: str = ""
    tags: frozenset[str] = frozenset()
    #: Minor version of the executors' Python, "3.11".
    python: str = ""
    #: As people write it: cpu, memory (bytes), gpu, custom ones.
    capacity: Mapping[str, float | int] = field(default_factory=dict)
    #: Names of skills it offers for other reasons than a manifest (kept by hand, or of a program).
    offered: frozenset[str] = frozenset()
    #: Whether a module can be imported; replaced in tests.
    importable: Callable[[str], bool] = _importable


def find_program(name: str, path: str) -> str | None:
    """The executable file that a bare name means on `path`; None if there is none or the name has a slash.

    Relative entries of PATH are skipped: they would mean another file in every folder.
    """
    if not name or "/" in name or "\\" in name or "\0" in name or name in {".", ".."}:
        return None
    for folder in path.split(os.pathsep):
        candidate = Path(folder) / name
        try:
            if candidate.is_absolute() and candidate.is_file() and os.access(candidate, os.X_OK):
                return str(candidate)
        except OSError:  # a name too long, a folder that may not be searched
            continue
    return None


def check(requires: Requirements, facts: NodeFacts) -> str | None:
    """The first requirement that the node lacks, in words; None if it has them all.

    Skills required of the node are looked at in `resolve_offers`, which knows them all.
    """
    for name in requires.bins:
        if find_program(name, facts.path) is None:
            return f"the program {name} is not on PATH"
    if requires.any_bins and not any(find_program(name, facts.path) for name in requires.any_bins):
        return f"none of the programs {', '.join(requires.any_bins)} is on PATH"
    for name in requires.env:
        if not facts.env.get(name, "").strip():
            return f"the environment variable {name} is not set"
    if requires.platform and facts.platform not in requires.platform:
        return f"runs on {', '.join(requires.platform)}, this is {facts.platform}"
    missing = [tag for tag in requires.tags if tag not in facts.tags]
    if missing:
        return f"the node has no tag {missing[0]}"
    for name in requires.modules:
        if not facts.importable(name):
            return f"the Python module {name} is not installed"
    return None


def check_manifest(manifest: SkillManifest, facts: NodeFacts) -> str | None:
    """`check`, and what follows from the manifest itself: the Python that can load it, and its resources."""
    if manifest.kind is SkillKind.PYTHON and manifest.python and manifest.python != facts.python:
        return f"was packed by Python {manifest.python}, this node runs {facts.python}"
    return check(manifest.requires, facts) or _too_large(manifest.resources, facts.capacity)


def _too_large(asked: Mapping[str, Any], capacity: Mapping[str, float | int]) -> str | None:
    has = units_of(dict(capacity))
    for name, units in units_of(dict(asked)):
        if units > has.get(name):
            return f"asks {asked[name]} {name}, the node has {capacity.get(name, 0)}"
    return None


def resolve_offers(manifests: Iterable[SkillManifest], facts: NodeFacts) -> list[Offer]:
    """What the node says about each revision, in the order given.

    A skill that requires skills is offered when each of those is, in any revision. Skills that require each other are
    offered by nobody, and the reason names the loop.
    """
    known = list(manifests)
    reasons = [check_manifest(one, facts) for one in known]
    missing = _settle(known, reasons, facts.offered)
    withheld = {known[i].name: reasons[i] for i in reversed(range(len(known))) if reasons[i]}
    ends = _ends({known[i].name: name for i, name in reversed(missing.items())}, withheld)
    for i, name in missing.items():
        reasons[i] = ends.get(name) or _lacks(name, withheld)
    return [
        Offer(name=one.name, revision=one.revision, reason=reason and reason[:REASON_LEN_MAX])
        for one, reason in zip(known, reasons, strict=True)
    ]


def _settle(known: Sequence[SkillManifest], reasons: Sequence[str | None], offered: Iterable[str]) -> dict[int, str]:
    """Offer what can be offered until nothing changes; returns what is left: its index and the first skill it lacks."""
    have = set(offered)
    waiting: dict[str, list[int]] = {}
    missing: dict[int, str] = {}
    todo = [i for i in range(len(known)) if reasons[i] is None]
    while todo:
        i = todo.pop()
        lacks = next((name for name in known[i].requires.skills if name not in have), None)
        if lacks is not None:
            missing[i] = lacks
            waiting.setdefault(lacks, []).append(i)
            continue
        missing.pop(i, None)
        if known[i].name not in have:
            have.add(known[i].name)
            todo += waiting.pop(known[i].name, [])
    return missing


def _ends(waits_for: Mapping[str, str], withheld: Mapping[str, str | None]) -> dict[str, str]:
    """For each skill that waits, what stands at the end of the chain: a skill with a reason of its own, or a loop."""
    ends: dict[str, str] = {}
    for start in waits_for:
        path: dict[str, None] = {}  # in order, and quick to ask
        name = start
        while name in waits_for and name not in ends and name not in path:
            path[name] = None
            name = waits_for[name]
        if name in path:
            text = _loop([*list(path)[list(path).index(name) :], name])
        else:
            text = ends.get(name) or _lacks(name, withheld)
        ends.update(dict.fromkeys(path, text))
    return ends


def _lacks(name: str, withheld: Mapping[str, str | None]) -> str:
    return f"requires the skill {name}: {withheld.get(name) or 'it is not known here'}"


def _loop(names: list[str]) -> str:
    shown = names if len(names) <= LOOP_SHOWN_MAX else [*names[: LOOP_SHOWN_MAX - 2], "…", names[-1]]
    return f"these skills require each other: {' -> '.join(shown)}"
