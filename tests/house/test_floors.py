"""The shape of the code itself: who may import whom, and how large a function or a file may be."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Floor of each part; a file belongs to the longest prefix of its module name. A new part is entered here first.
FLOORS = {
    "openclaw_ray.errors": 0,
    "openclaw_ray.models": 0,
    "openclaw_ray.core": 0,
    "openclaw_ray.storage": 1,
    "openclaw_ray.skills": 1,
    "openclaw_ray.config": 1,
    "openclaw_ray.clock": 1,
    "openclaw_ray.protocol": 1,
    "openclaw_ray.metrics": 1,
    "openclaw_ray.display": 1,
    "openclaw_ray.logs": 1,
    "openclaw_ray.runtime": 2,
    "openclaw_ray.client": 3,
    "openclaw_ray.sim": 3,
    "actors": 3,
    "openclaw_ray.cluster": 3,
    "openclaw_ray.cli": 4,
    "benchmarks": 4,
}
#: The package itself re-exports the public names, `python -m` starts the command: both see everything.
TOP = {"openclaw_ray", "openclaw_ray.__main__"}
#: What every floor from 1 up may use sideways: values and time, no behaviour.
SHARED = {"openclaw_ray.config", "openclaw_ray.clock"}
#: Further allowed steps on one floor, each with its reason.
SIDEWAYS = {
    ("openclaw_ray.models", "openclaw_ray.errors"),  # documents refuse bad input with our errors
    ("openclaw_ray.models", "openclaw_ray.core"),  # and speak of the core's states
    ("openclaw_ray.core", "openclaw_ray.errors"),  # an illegal event raises
    ("openclaw_ray.cluster", "openclaw_ray.client"),  # `up` and `local` stand above client and actors
    ("openclaw_ray.cluster", "actors"),
    ("openclaw_ray.sim", "openclaw_ray.client"),  # the real client drives a simulation
}

#: The core decides: no waiting, no clock, no chance, no disk, no word to anybody.
CORE_BANS = {
    "ray", "asyncio", "aiosqlite", "sqlite3", "time", "logging", "threading", "os", "uuid", "random", "subprocess",
    "secrets", "socket", "pathlib", "structlog", "pydantic", "concurrent", "multiprocessing",
}  # fmt: skip
CORE_OWN = {"openclaw_ray"}

ONLY_IN = {
    "sqlite3": {"openclaw_ray.storage"},
    "aiosqlite": {"openclaw_ray.storage"},
    "ray": {"actors", "openclaw_ray.client", "openclaw_ray.cli", "openclaw_ray.cluster", "benchmarks"},
    "structlog": {"openclaw_ray.logs"},
    "prometheus_client": {"openclaw_ray.metrics"},
}

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str | None:
    """The entry of FLOORS that a module belongs to; the files beside cluster.py are one part with it."""
    module = re.sub(r"\Aopenclaw_ray\.cluster_\w+", "openclaw_ray.cluster", module)
    while module not in FLOORS:
        module, dot, _ = module.rpartition(".")
        if not dot:
            return None
    return module


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import anywhere in a file, relative ones made absolute, names after `import` too."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from openclaw_ray import config` imports openclaw_ray.config as much as `import` does.
            targets = [f"{module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, target if part_of(target) else module) for target in targets)


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


CODE = sources("openclaw_ray", "actors", "benchmarks")
by_file = pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))


@by_file
def test_every_file_has_a_floor(path: Path) -> None:
    module = module_name(path)
    assert module in TOP or part_of(module), f"{module}: enter it in FLOORS"


@by_file
def test_imports_go_down(path: Path) -> None:
    mine = part_of(module_name(path))
    if mine is None:
        return
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for line, target in imports(path)
        if target.split(".")[0] in {"openclaw_ray", "actors", "benchmarks", "tests"} and not may_import(mine, target)
    ]
    assert not wrong, "\n".join(wrong)


def may_import(mine: str, target: str) -> bool:
    part = part_of(target)
    if part is None:
        # The bare package re-exports the top, tests are above everything.
        return target in TOP and FLOORS[mine] >= 4
    if part == mine or (mine, part) in SIDEWAYS:
        return True
    if FLOORS[mine] >= 1 and part in SHARED:
        return True
    # On the top floor the entry points may lean on each other.
    return FLOORS[part] < FLOORS[mine] or FLOORS[mine] >= 4


@pytest.mark.parametrize(
    ("mine", "target", "allowed"),
    [
        ("openclaw_ray.core", "openclaw_ray.runtime.coordinator", False),
        ("openclaw_ray.core", "openclaw_ray.clock", False),
        ("openclaw_ray.core", "openclaw_ray.models.task", False),
        ("openclaw_ray.models", "openclaw_ray.core.types", True),
        ("openclaw_ray.storage", "openclaw_ray.skills", False),
        ("openclaw_ray.storage", "openclaw_ray.config", True),
        ("openclaw_ray.runtime", "actors.scheduler", False),
        ("openclaw_ray.runtime", "openclaw_ray.storage", True),
        ("openclaw_ray.client", "openclaw_ray.cluster", False),
        ("openclaw_ray.cluster", "actors.scheduler", True),
        ("actors", "openclaw_ray", False),
        ("benchmarks", "openclaw_ray", True),
    ],
)
def test_the_rule_itself(mine: str, target: str, allowed: bool) -> None:
    assert may_import(mine, target) is allowed


@pytest.mark.parametrize(
    "path", sources("openclaw_ray/core"), ids=lambda path: str(path.relative_to(ROOT / "openclaw_ray"))
)
def test_the_core_uses_the_quiet_part_of_the_standard_library_only(path: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for line, target in imports(path)
        if (top := target.split(".")[0]) in CORE_BANS or top not in sys.stdlib_module_names | CORE_OWN
    ]
    assert not wrong, "\n".join(wrong)


@by_file
def test_a_library_is_used_only_where_it_belongs(path: Path) -> None:
    part = part_of(module_name(path))
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}, which belongs to {', '.join(sorted(ONLY_IN[top]))}"
        for line, target in imports(path)
        if (top := target.split(".")[0]) in ONLY_IN and part not in ONLY_IN[top]
    ]
    assert not wrong, "\n".join(wrong)


def test_sleeping_in_tests_happens_in_one_place() -> None:
    # The work of a task may take time: such functions live in support/skills.py.
    allowed = {ROOT / "tests/support/wait.py", ROOT / "tests/support/skills.py"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources("tests")
        if path not in allowed
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"}
        # asyncio.sleep(0) gives others a turn and waits for nothing
        if [ast.unparse(argument) for argument in node.args] != ["0"]
    ]
    assert not wrong, "use virtual time, an event or wait_until:\n" + "\n".join(wrong)


@by_file
def test_functions_fit_a_screen(path: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := own_lines(node)) > FUNCTION_LINES_MAX
    ]
    assert not wrong, "\n".join(wrong)


def own_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    documented = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - documented


@pytest.mark.parametrize("path", [*CODE, *sources("tests", "examples")], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_one_idea(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= FILE_LINES_MAX, f"{path.relative_to(ROOT)} has {lines} lines: it holds two ideas"
