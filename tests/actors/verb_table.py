"""Writes docs/verbs.md from the cases of the tests: ``python -m tests.actors.verb_table``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from tests.actors.verbs import CASES, Case

PATH = Path(__file__).parents[2] / "docs" / "verbs.md"

_HEAD = """# Verbs by handle

What a driver may call on our actors, and the test that shows it. Written by `python -m tests.actors.verb_table` from
`tests/actors/*_verbs.py`; a test fails when this page is out of date.

Get a handle with `ray.get_actor(name, namespace="openclaw")`: `openclaw-state-manager`, `openclaw-scheduler`,
`openclaw-agent-<node_id>`. Every verb takes plain JSON values or the models of `openclaw_ray.models`, and returns plain
JSON values. A refusal is raised as its class from `openclaw_ray.errors`; `call_json(verb, body)` of the StateManager
answers `{"ok": false, "error": {code, field, limit, hint, ...}}` instead. Where a verb takes several things at once,
all or none of the call is done.
"""


def text() -> str:
    """The page."""
    from actors.node_agent import NodeAgent
    from actors.scheduler import Scheduler
    from actors.state_manager import StateManager

    lines = [_HEAD]
    for actor in (StateManager, Scheduler, NodeAgent):
        plain: Any = actor.__ray_metadata__.modified_class  # type: ignore[attr-defined]
        name = next(n for n in ("StateManager", "Scheduler", "NodeAgent") if n in plain.__name__)
        lines += [f"## {name}", "", "| verb | does | refuses | tests |", "|---|---|---|---|"]
        for verb, case in CASES.items():
            if case.actor == name:
                lines.append(_row(verb, case, getattr(plain, verb)))
        lines.append("")
    return "\n".join(lines)


def _row(verb: str, case: Case, method: Any) -> str:
    # Ray adds a parameter of its own to every method.
    parameters = [p for p in inspect.signature(method).parameters.values() if p.name not in ("self", "_ray_trace_ctx")]
    takes = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
    does = (inspect.getdoc(method) or "").partition("\n")[0]
    refused = {f"`{where}`: {kind.__name__}": None for arguments, kind, where in case.bad if arguments}
    refuses = "<br>".join(refused) or "any argument"
    tests = f"`test_a_verb_does_its_work[{verb}]`"
    if case.many:
        tests += f"<br>`test_a_verb_takes_several_at_once[{verb}]`"
    tests += f"<br>`test_a_verb_refuses_naming_the_field[{verb}-…]`"
    return f"| `{verb}({takes})` | {does} | {refuses} | {tests} |"


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(text(), "utf-8")
