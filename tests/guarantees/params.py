"""B22 to B30: parameters that are no JSON, results that cannot be stored, skills that end their process."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from openclaw_ray.errors import InvalidParams
from openclaw_ray.skills import attempt
from tests.guarantees.case import case
from tests.guarantees.doors import Doors

NAN, INF = math.nan, math.inf
FORMS = "text, numbers, true/false, null, lists, mappings"
DEEP = "is nested too deeply (or holds itself)"


def itself() -> list[Any]:
    found: list[Any] = [1]
    found.append(found)
    return found


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def sharing(levels: int) -> list[Any]:
    """Of 2 ** levels parts, in as many lists as there are levels."""
    found: list[Any] = [0]
    for _ in range(levels):
        found = [found, found]
    return found


class Unpicklable:
    """Says so when somebody tries, and has no JSON form."""

    def __reduce__(self) -> Any:
        raise AssertionError("was pickled")

    def __str__(self) -> str:
        raise AssertionError("was shown")

    __repr__ = __str__


class Raises:
    """Whatever is asked of it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("hostile")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("hostile")

    def __hash__(self) -> int:
        raise RuntimeError("hostile")


class RaisingDict(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("hostile")


class Liar:
    """Says that it is a list."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return list


def params(
    row: str, given: str, value: Callable[[], Any], inside: str, says: str, doors: str = "client handle"
) -> None:
    """The same value in the parameters of a task at every door that takes Python's values."""
    expected: dict[str, Any] = {"error": InvalidParams, "says": (says,)}
    if "client" in doors:
        case(row, given, "client", lambda d: d.submit({"a": value()}), at=f"tasks[0].a{inside}", **expected)
        case(row, given, "async client", lambda d: d.submit_async({"a": value()}), at=f"tasks[0].a{inside}", **expected)
        case(
            row,
            f"{given} in metadata",
            "client",
            lambda d: d.submit(metadata={"a": value()}),
            at=f"metadata.a{inside}",
            **expected,
        )
        case(
            row,
            f"{given}, one of a map",
            "client",
            lambda d: d.cluster.map("later", [1, {"a": value()}]),
            at=f"tasks[1].a{inside}",
            **expected,
        )
    if "handle" in doors:
        case(
            row,
            given,
            "add_task",
            lambda d: d.call("add_task", task={"skill": "x", "params": {"a": value()}}),
            at=f"task.params.a{inside}",
            **expected,
        )
        case(
            row,
            f"{given} as result",
            "update_task",
            lambda d: d.call("update_task", task_id="known", changes={"result": {"a": value()}}),
            at=f"changes.result.a{inside}",
            **expected,
        )


for given, value in (("NaN", NAN), ("Infinity", INF), ("-Infinity", -INF)):
    params("B23", given, lambda v=value: v, "", "finite numbers")
    params("B23", f"{given} in a list", lambda v=value: [1, v], "[1]", "finite numbers")
params("B25", "a tuple", lambda: (1, 2), "", FORMS)
params("B25", "a set", lambda: {1}, "", FORMS)
params("B25", "bytes", lambda: b"x", "", FORMS)
params("B25", "a datetime", lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "", FORMS)
params("B25", "a Decimal", lambda: decimal.Decimal(1), "", FORMS)
params("B25", "a function", lambda: params, "", FORMS)
params("B25", "a key that is no text", lambda: {1: 2}, "", "text keys")
params("B25", "a whole number of 5,000 digits", lambda: 10**5_000, "", "1024 bits")
params("B25", "half a surrogate pair", lambda: "\ud800", "", "Unicode text")
params("B27", "an object with a hostile __reduce__", Unpicklable, "", FORMS)
for row, given, make, says in (
    ("B24", "100,000 lists", lambda: deep(100_000), DEEP),
    ("B26", "a list that holds itself", itself, DEEP),
    ("B26", "2 ** 60 lists out of 60", lambda: sharing(60), "bytes as JSON"),
    ("B27", "an object whose methods raise", Raises, "its own methods raise"),
    ("B27", "an object that says it is a list", Liar, "its own methods raise"),
):
    case(row, given, "client", lambda d, m=make: d.submit({"a": m()}), error=InvalidParams, at="tasks[0]", says=(says,))
    case(
        row,
        f"{given} in metadata",
        "client",
        lambda d, m=make: d.submit(metadata={"a": m()}),
        error=InvalidParams,
        at="metadata",
        says=(says,),
    )
    if given != "2 ** 60 lists out of 60":  # a handle's value was copied by Ray, and is as large as it says
        case(
            row,
            given,
            "add_task",
            lambda d, m=make: d.call("add_task", task={"params": {"a": m()}}),
            error=InvalidParams,
            at="task",
            says=(says,),
        )
        case(
            row, given, "update_node", lambda d, m=make: d.call("update_node", node_id="n1", changes=m()), at="changes"
        )
for name in ("priority", "timeout", "required_skills", "after", "resources", "task_type", "not_before"):
    case(
        "B27",
        f"{name} whose methods raise",
        "client",
        lambda d, n=name: d.submit(**{n: Raises()}),
        at=name,
        says=("its own methods raise RuntimeError",),
    )


case(
    "B27",
    "parameters whose items() raises",
    "client",
    lambda d: d.submit(RaisingDict(a=1)),
    error=InvalidParams,
    at="tasks[0]",
    says=("its own methods raise RuntimeError",),
)


def taken_plainly(d: Doors) -> str:
    task_id = d.call("add_task", task={"skill": "later", "params": RaisingDict(a=1)})
    assert d.call("get_task", task_id=task_id)["parameters"] == {"a": 1}
    return "kept as the mapping that it is; its own methods are not called"


case("B27", "parameters whose items() raises", "add_task", taken_plainly, error=None)

# -- as text -------------------------------------------------------------------------------------------------------


def row_text(text: str) -> Callable[[Doors], Any]:
    """Parameters as the text of a bulk row, as the client sends them."""
    bulk = {"spec": {"skill": "later"}, "rows": [["bulk", text, None]]}
    return lambda d: d.text("submit", {"bulk": bulk})


for row, given, text, inside, says in (
    ("B22", "text of 10 MB", json.dumps("x" * 10_000_000), "", "1,048,576 bytes"),
    ("B23", "NaN", "[NaN]", "", "finite numbers"),
    ("B23", "1e400", '{"a": 1e400}', ".a", "finite numbers"),
    ("B24", "100,000 brackets", "[" * 100_000, "", "JSON text"),
    ("B24", "66 levels", "[" * 66 + "]" * 66, "", "64 levels"),
    ("B25", "a number of 400 digits", "9" * 400, "", "1024 bits"),
    ("B25", "a number of 5,000 digits", "9" * 5_000, "", "JSON text"),
    ("B25", "half a surrogate pair", '{"a": "\\ud800"}', ".a", "Unicode text"),
    ("B25", "half a text", '{"a": ', "", "JSON text"),
):
    case(row, given, "submit in bulk", row_text(text), error=InvalidParams, at=f"bulk.rows[0][1]{inside}", says=(says,))

SPEC = '{"tasks": [{"id": "a", "spec": {"params": %s}}]}'
for row, given, verb, text, at in (
    ("B23", "Infinity", "submit", SPEC % "Infinity", "tasks[0].spec.params"),
    ("B24", "100,000 brackets", "submit", '{"tasks": ' + "[" * 100_000, "body"),
    ("B24", "100,000 brackets", "get_task", '{"task_id": ' + "[" * 100_000, "body"),
    ("B24", "66 levels", "submit", SPEC % ("[" * 66 + "]" * 66), "tasks[0].spec.params"),
    ("B25", "half a text", "submit", '{"tasks": ', "body"),
    ("B25", "half a text", "get_task", '{"task_id": ', "body"),
    ("B25", "half a surrogate pair", "submit", SPEC % '"\\ud800"', "body"),
    ("B25", "half a surrogate pair", "get_task", '{"task_id": "\\ud800"}', "task_id"),
    ("B25", "a list", "submit", "[]", "body"),
    ("B25", "a list", "get_task", "[]", "body"),
):
    case(row, f"{given} as body of {verb}", "JSON", lambda d, v=verb, b=text: d.text(v, b), at=at)
for given, body in (
    ("a number", 5),
    ("bytes that are no UTF-8", b"\xff"),
    ("a tuple", (1,)),
    ("a key that is no text", {1: 2}),
):
    for verb in ("submit", "get_task"):
        case("B25", f"{given} as body of {verb}", "call", lambda d, v=verb, b=body: d.raw(v, b), at="body")

# -- 10 MB ---------------------------------------------------------------------------------------------------------

MB = "1,048,576 bytes"
big: dict[str, Any] = {"error": InvalidParams, "says": (MB, "pass a file or a URL")}
case("B22", "10 MB", "client", lambda d: d.submit({"a": "x" * 10_000_000}), at="tasks[0]", **big)
case(
    "B22", "600,000 letters of two bytes", "client", lambda d: d.submit({"a": "\u00e9" * 600_000}), at="tasks[0]", **big
)
case(
    "B22",
    "10 MB, one of a map",
    "client",
    lambda d: d.cluster.map("later", [1, "x" * 10_000_000]),
    at="tasks[1]",
    **big,
)
case(
    "B22", "10 MB", "add_task", lambda d: d.call("add_task", task={"params": "x" * 10_000_000}), at="task.params", **big
)
case(
    "B22",
    "10 MB",
    "submit",
    lambda d: d.text("submit", SPEC % json.dumps("x" * 10_000_000)),
    at="tasks[0].spec.params",
    **big,
)
case(
    "B22",
    "17 MB",
    "submit",
    lambda d: d.text("submit", SPEC % json.dumps("x" * 17_000_000)),
    error=InvalidParams,
    at="tasks[0].spec.params",
    says=("16,777,216 bytes",),
)
case(
    "B22",
    "2 MB, eight times",
    "submit in bulk",
    lambda d: d.text(
        "submit",
        {
            "bulk": {
                "spec": {"skill": "later"},
                "rows": [[f"b{i}", json.dumps("x" * 1_000_000), None] for i in range(18)],
            }
        },
    ),
    at="bulk.rows",
    says=("16,777,216 bytes",),
)
case(
    "B22",
    "metadata of 1 MB",
    "client",
    lambda d: d.submit(metadata={"a": "x" * 1_000_000}),
    error=InvalidParams,
    at="metadata",
    says=("65,536 bytes",),
)
case(
    "B22",
    "metadata of 1 MB",
    "update_task",
    lambda d: d.call("update_task", task_id="known", changes={"metadata": {"a": "x" * 1_000_000}}),
    error=InvalidParams,
    at="changes.metadata",
    says=("65,536 bytes",),
)
case(
    "B22",
    "a result of 10 MB",
    "update_task",
    lambda d: d.call("update_task", task_id="known", changes={"result": "x" * 10_000_000}),
    error=InvalidParams,
    at="changes.result",
    says=("4,194,304 bytes",),
)
case(
    "B22",
    "10,001 tasks",
    "submit",
    lambda d: d.text("submit", {"tasks": [{"id": f"t{i}", "spec": {}} for i in range(10_001)]}),
    at="tasks",
    says=("at most 10000",),
)
case(
    "B22",
    "10,001 tasks",
    "add_task",
    lambda d: d.call("add_task", task=[{}] * 10_001),
    at="task",
    says=("at most 10,000",),
)
case(
    "B22",
    "an operation of 257 MiB",
    "call",
    lambda d: d.raw("submit", " " * (257 << 20)),
    at="body",
    says=("268,435,456 bytes",),
)


def from_file(data: bytes) -> Callable[[Doors], Any]:
    """The command, with its parameters in a file."""

    def send(d: Doors) -> Any:
        path = d.folder / "params.json"
        path.write_bytes(data)
        return d.type("submit", "later", "--params", f"@{os.path.relpath(path)}")

    return send


for row, given, data, says in (
    ("B22", "a file of 2 MB", b"1" * 2_000_000, "more than 1,048,576 bytes"),
    ("B23", "a file with NaN", b'{"a": NaN}', "finite numbers"),
    ("B24", "a file of 100,000 brackets", b"[" * 100_000, "64 levels"),
    ("B25", "a file that is no UTF-8", b"\xff\xfe", "is not UTF-8 text"),
    ("B25", "a file with a name twice", b'{"a": 1, "a": 2}', "'a' is given twice"),
    ("B25", "an empty file", b"", "is not JSON"),
):
    case(row, given, "command", lambda d, b=data: _without_path(from_file(b)(d)), says=(says,))
    case(
        row,
        f"{given} on stdin",
        "command",
        lambda d, b=data: d.type("submit", "later", "--params", "-", stdin=b),
        says=(says,),
    )


def _without_path(ended: Any) -> Any:
    return replace(ended, err=re.sub(r"[^ ']*params\.json", "params.json", ended.err))


for given, words, says in (
    ("a device without end", ("--params", "@/dev/zero"), "more than 1,048,576 bytes"),
    ("a folder", ("--params", "@/"), "cannot be read"),
    ("a file with NUL in its name", ("--params", "@a\0b"), "cannot be read"),
    ("a file in a home of nobody", ("--params", "@~nobody-at-all/x"), "cannot be read"),
    ("no JSON", ("--params", "{'a': 1}"), "is not JSON"),
    ("a word without =", ("word",), "is no parameter"),
    ("a word twice", ("a=1", "a=2"), "given twice"),
    ("half a surrogate pair", ("a=\udcff",), "Unicode text"),
    ("NaN", ("a:=NaN",), "finite numbers"),
    ("both forms", ("a=1", "--params", "{}"), "not both"),
):
    case("B25", given, "command", lambda d, w=words: d.type("submit", "later", *w), says=(says,))

# -- results -------------------------------------------------------------------------------------------------------


def result(row: str, given: str, make: Callable[[], Any], says: str, *, permanent: bool = True) -> None:
    """What becomes of a skill that returns (or raises) this; the process that runs it lives."""

    def send(d: Doors) -> str:
        text, failed, final = attempt.call(make, "{}", None)
        assert text is None
        assert failed is not None
        assert final is permanent
        assert says in failed["message"] or says in failed["type"], failed
        return f"the attempt fails: {failed['kind']}: {failed['message'] or failed['type']}"

    case(row, given, "result of a skill", send, error=None)


def leaving(error: BaseException) -> Callable[[], Any]:
    def leave() -> Any:
        raise error

    return leave


result("B28", "a lambda", lambda: lambda: 1, "a function has no JSON form")
result("B28", "a generator", lambda: (x for x in ()), "a generator has no JSON form")
result("B28", "an open file", lambda: sys.__stderr__, "a TextIOWrapper has no JSON form")
result("B28", "NaN", lambda: NAN, "finite numbers")
result("B28", "a list that holds itself", itself, DEEP)
result("B28", "an object whose methods raise", Raises, "its own methods raise")
result("B29", "2 GB in 2,048 texts", lambda: ["x" * 2**20] * 2_048, "4,194,304 bytes")
result("B29", "2 ** 60 lists", lambda: sharing(60), "4,194,304 bytes")
result("B29", "a text of 5 MB", lambda: "x" * 5_000_000, "4,194,304 bytes")
for error in (
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    BaseException("bare"),
    RecursionError("deep"),
    MemoryError(),
):
    name = type(error).__name__
    result("B30", name, leaving(error), name, permanent=False)
