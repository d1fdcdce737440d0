"""The revision: equal in every process, another one when anything that travels changes."""

from __future__ import annotations

import json

import pytest

from openclaw_ray.skills.function import skill

DRIVER = """
import json, re, logging, enum, dataclasses, pathlib
from openclaw_ray.skills.function import skill
import helper, helper_two
from helper import twice
PATTERN = re.compile("a+")
LOG = logging.getLogger("x")
NAMES = {"b", "a", "c", "zz", "y"}
class Colour(enum.Enum):
    RED = 1
@dataclasses.dataclass
class Point:
    x: int = {field}
    def size(self): return abs(self.x)
CONSTANT = {constant}
def local(n):
    return n + {local}
def make(k):
    def inner(a, b={default}):
        LOG.info("x")
        from helper_three import late
        return local(a) + twice(b) + k + CONSTANT + late() + helper_two.other() + Point(1).size()
    inner.names = (PATTERN, NAMES, Colour.RED)
    return inner
{comment}
made = skill(name="f", requires={requires})(make({closure}))
packed = made.packed()
print(json.dumps([packed.manifest.revision, packed.manifest.code]))
"""
BASE = {
    "field": "1",
    "constant": "{'a', 'b', 'c', 'd'} and 5",
    "local": "1",
    "default": "2",
    "comment": "",
    "requires": "{}",
    "closure": "3",
}
HELPER = "def twice(x):\n    return {factor} * x\n"


@pytest.fixture
def revision_of(run_script, tmp_path):
    def revision(seed: str = "0", factor: str = "2", late: str = "7", **changes: str) -> str:
        (tmp_path / "helper.py").write_text(HELPER.replace("{factor}", factor))
        (tmp_path / "helper_two.py").write_text("from helper import twice\ndef other():\n    return twice(1)\n")
        (tmp_path / "helper_three.py").write_text(f"def late():\n    return {late}\n")
        text = DRIVER
        for name, value in (BASE | changes).items():
            text = text.replace("{" + name + "}", value)
        return json.loads(run_script(text, PYTHONHASHSEED=seed))[0]

    return revision


def test_it_is_the_same_in_every_process(revision_of):
    assert revision_of(seed="1") == revision_of(seed="2") == revision_of(seed="3")


def test_a_comment_elsewhere_in_the_file_does_not_change_it(revision_of):
    assert revision_of() == revision_of(comment="# nothing\n\n\n")


@pytest.mark.parametrize(
    "change",
    [
        {"default": "9"},
        {"closure": "9"},
        {"constant": "9"},
        {"local": "9"},
        {"factor": "9"},
        {"late": "9"},
        {"field": "9"},
        {"requires": "{'bins': ['sh']}"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_it_changes_with_everything_that_travels(revision_of, change):
    assert revision_of() != revision_of(**change)


CELL = """
import hashlib, json, linecache
from openclaw_ray.skills.function import skill
def cell(number, text):
    name = f"/tmp/cell_{number}.py"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    exec(compile(text, name, "exec"), globals())
    return skill(f).packed().manifest
a = cell(1, "def f(x):\\n    return x + 1\\n")
b = cell(2, "def f(x):\\n    return x + 1\\n")
c = cell(3, "def f(x):\\n    return x + 2\\n")
exec("def f(x): return x + 3"); d = skill(f).packed().manifest
exec("def f(x): return x + 4"); e = skill(f).packed().manifest
print(json.dumps([m.revision for m in (a, b, c, d, e)]))
"""


def test_a_cell_that_is_run_again_keeps_its_revision(run_script):
    a, b, c, d, e = json.loads(run_script(CELL))
    assert a == b
    assert len({a, c, d, e}) == 4  # without source, the code object counts


def adder(n):
    def add(x):
        return x + n

    return add


def test_functions_in_a_closure_count_by_their_code():
    def caller(inner):
        return skill(name="c")(lambda x: inner(x)).manifest.revision

    assert caller(adder(1)) == caller(adder(1))
    assert caller(adder(1)) != caller(adder(2))


def test_equal_looking_values_of_other_types_differ():
    def holding(value):
        return skill(name="h")(lambda: value).manifest.revision

    values = [1, 1.0, True, "1", b"1", [1], (1,), {1}, frozenset([1]), {"1": 1}, None, [[1], 2], [[1, 2]]]
    assert len({holding(value) for value in values}) == len(values)


def test_the_order_of_a_mapping_does_not_count():
    def holding(value):
        return skill(name="h")(lambda: value).manifest.revision

    assert holding({"a": 1, "b": 2}) == holding({"b": 2, "a": 1})
