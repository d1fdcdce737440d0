from __future__ import annotations

import functools
import inspect
import json
import os.path
import pickle
import sys
import threading

import pytest

from openclaw_ray.core.limits import CODE_BYTES_MAX
from openclaw_ray.errors import InvalidParams, InvalidRequest
from openclaw_ray.models.skill import SkillKind
from openclaw_ray.skills import packing
from openclaw_ray.skills.context import Context
from openclaw_ray.skills.function import Skill, check_params, skill


def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    A second paragraph.
    """
    return a + b


def test_a_skill_is_still_the_function():
    made = skill(add)
    assert made(2) == 3
    assert made.__name__ == "add"
    assert made.__doc__ == add.__doc__
    assert inspect.signature(made) == inspect.signature(add)
    assert repr(made) == "<Skill add>"


def test_what_is_declared_stands_in_the_manifest():
    made = skill(
        name="sum", timeout="5m", retries=2, requires={"bins": ["sh"]}, resources={"cpu": 2, "memory": "1GiB"},
        tags=("math",), version="2",
    )(add)  # fmt: skip
    manifest = made.manifest
    assert (manifest.name, manifest.kind, manifest.timeout, manifest.retries) == ("sum", SkillKind.PYTHON, 300, 2)
    assert manifest.requires.bins == ["sh"]
    assert manifest.resources == {"cpu": 2, "memory": 2**30}
    assert (manifest.tags, manifest.version, manifest.description) == (["math"], "2", "Add two numbers.")
    assert manifest.python == f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("declared", "field"),
    [
        ({"timeout": "10"}, "timeout"),
        ({"timeout": 0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"retries": 2.5}, "retries"),
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"tags": "python"}, "tags"),
        ({"requires": {"bin": ["sh"]}}, "requires.bin"),
        ({"resources": {"cpu": float("nan")}}, "resources.cpu"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_is_written(declared, field):
    with pytest.raises(InvalidRequest) as caught:
        skill(**declared)(add)
    assert caught.value.field == field


class Thing:
    def method(self) -> None: ...

    def __call__(self) -> None: ...


def numbers():
    yield 1


async def later_numbers():
    yield 1


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (len, "builtin"),
        (Thing, "class"),
        (Thing().method, "method"),
        (Thing(), "Thing"),
        (functools.partial(add, 1), "partial"),
        (numbers, "generator"),
        (later_numbers, "generator"),
        (lambda: 1, "lambda"),
    ],
)
def test_what_cannot_be_a_skill_is_refused_with_its_kind(fn, words):
    with pytest.raises(InvalidRequest, match=words):
        skill(fn)


def test_a_named_lambda_is_a_skill():
    packed = skill(name="twice")(lambda x: 2 * x).packed()
    assert packing.load(packed.blob)(x=4) == 8


async def slow(x: int) -> int:
    return x + 1


def test_a_coroutine_function_is_run_to_its_end():
    assert packing.load(skill(slow).packed().blob)(x=1) == 2


def test_a_skill_may_be_made_of_a_skill():
    assert skill(name="other")(skill(add)).packed().manifest.name == "other"


def context_by_name(ctx, a): ...
def context_by_long_name(context, a): ...
def context_by_note(c: Context, a): ...
def context_second(a, ctx): ...
def no_context(a): ...
def only_keyword(*, ctx): ...


@pytest.mark.parametrize(
    ("fn", "takes"),
    [
        (context_by_name, True),
        (context_by_long_name, True),
        (context_by_note, True),
        (context_second, False),
        (no_context, False),
        (only_keyword, False),
    ],
)
def test_the_context_is_asked_for_by_the_first_parameter(fn, takes):
    made = skill(fn)
    assert made.manifest.takes_context is takes
    assert list(made.signature.parameters) == (["a"] if takes else list(inspect.signature(fn).parameters))


def test_an_unpicklable_closure_is_refused_by_the_name_of_its_variable():
    lock = threading.Lock()

    def guarded() -> None:
        with lock:
            pass

    with pytest.raises(InvalidRequest, match="closure variable 'lock' of guarded is a lock"):
        skill(guarded).packed()


LOCK = threading.Lock()


def helper_with_lock() -> bool:
    return LOCK.locked()


def uses_helper() -> bool:
    return helper_with_lock()


def test_an_unpicklable_global_of_a_helper_is_named_too():
    with pytest.raises(InvalidRequest, match="global 'LOCK' of global 'helper_with_lock'"):
        skill(uses_helper).packed()


def test_too_much_data_in_a_closure_is_refused():
    data = os.urandom(CODE_BYTES_MAX + 1)
    with pytest.raises(InvalidRequest, match="bytes"):
        skill(name="big")(lambda: data).packed()


def test_a_closure_that_holds_itself_is_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        skill(name="loop")(lambda: loop).packed()


class Hostile:
    def __reduce__(self):
        raise RuntimeError("no")


def test_a_value_whose_reduce_raises_is_refused():
    hostile = Hostile()
    with pytest.raises(InvalidRequest, match="'hostile'"):
        skill(name="h")(lambda: hostile).packed()


def test_the_digest_of_the_code_is_that_of_the_blob():
    import hashlib

    packed = skill(add).packed()
    assert packed.manifest.code == hashlib.sha256(packed.blob).hexdigest()


@skill
def factorial(n: int) -> int:
    return n * factorial(n - 1) if n > 1 else 1


@skill
def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


@skill
def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def test_skills_that_call_themselves_and_each_other_travel():
    assert packing.load(factorial.packed().blob)(n=5) == 120
    assert packing.load(even.packed().blob)(n=10) is True
    assert not isinstance(pickle.loads(factorial.packed().blob)[1], Skill)


def test_an_installed_function_travels_by_reference_and_names_its_module():
    packed = skill(json.dumps).packed()
    assert pickle.loads(packed.blob) == ("reference", "json", "dumps")
    assert packed.manifest.requires.modules == ["json"]
    assert packing.load(packed.blob)({"a": 1}) == '{"a": 1}'


def test_an_installed_function_names_its_distribution():
    manifest = skill(pytest.importorskip).manifest
    assert manifest.requires.modules == ["_pytest"]
    assert "pytest" in manifest.origin.partition("(")[2]


def call(a, b=2, *, c=3): ...
def anything(**more): ...
def one(x): ...
def positional(x, /): ...


@pytest.mark.parametrize(
    ("fn", "params"),
    [
        (call, {"a": 1}),
        (call, {"a": 1, "b": 2, "c": 4}),
        (anything, {"x": 1}),
        (one, 5),
        (one, None),
        (positional, [1]),
    ],
)
def test_params_that_bind_are_accepted(fn, params):
    check_params(inspect.signature(fn), params)


@pytest.mark.parametrize(
    ("fn", "params", "field", "hint"),
    [
        (call, {}, "params.a", "takes"),
        (call, {"a": 1, "cc": 1}, "params.cc", "'c'"),
        (call, {"a": 1, "zzz": 1}, "params.zzz", "a, b, c"),
        (anything, 5, "params", "takes"),
        (lambda: 1, [1], "params", "takes"),
        (positional, {"x": 1}, "params.x", "has no such parameter"),
    ],
)
def test_params_that_do_not_bind_name_the_field(fn, params, field, hint):
    with pytest.raises(InvalidParams) as caught:
        check_params(inspect.signature(fn), params)
    assert caught.value.field == field
    assert hint in str(caught.value)


def test_a_skill_checks_params_without_its_context():
    made = skill(context_by_name)
    made.check({"a": 1})
    with pytest.raises(InvalidParams):
        made.check({"ctx": 1, "a": 1})
