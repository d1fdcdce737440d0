"""What goes in comes back equal, or is refused at the client's door before any call."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import math
from typing import Any

import pytest
from pydantic import BaseModel

import openclaw_ray as oc
from tests.support.inprocess import Wire

GOOD: list[Any] = [
    None,
    True,
    0,
    -(2**53),
    2**70,
    1.5,
    1e-300,
    "",
    "Grüße 中文 😀",
    "line\nbreak \x1b[31m \u202e",
    "'; DROP TABLE tasks; --",
    [],
    [[1], {"a": [None]}],
    {"": {"b": []}},
    {"x": "%_", "nested": {"k": [1, 2.5, "three", False, None]}},
]


def test_values_come_back_equal(cluster: oc.Cluster) -> None:
    tasks = cluster.map("same", [{"value": value} for value in GOOD])
    assert oc.gather(tasks, timeout=20) == GOOD
    assert [task.params for task in tasks] == [{"value": value} for value in GOOD]
    assert [cluster.task(task.id).params for task in tasks] == [{"value": value} for value in GOOD]


def test_parameters_may_be_any_json_value(cluster: oc.Cluster) -> None:
    tasks = cluster.map("same", ["text", 3, ["a"], [1, 2]])
    assert oc.gather(tasks, timeout=20) == ["text", 3, ["a"], [1, 2]]


class Page(BaseModel):
    path: str
    dpi: int = 300


@dataclasses.dataclass
class Box:
    page: Page
    sizes: list[int]


def test_models_and_dataclasses_become_mappings(cluster: oc.Cluster) -> None:
    task = cluster.submit("same", {"value": Box(Page(path="a"), [1])})
    assert task.result(10) == {"page": {"path": "a", "dpi": 300}, "sizes": [1]}


def looped() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


class Hostile:
    def __reduce__(self) -> Any:
        raise AssertionError("was pickled")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("x" * 10_000_000, "tasks[0]"),  # B22
        (math.nan, "tasks[0].value"),
        (math.inf, "tasks[0].value"),
        (-math.inf, "tasks[0].value"),
        (deep(), "tasks[0]"),  # B24
        ((1, 2), "tasks[0].value"),
        ({1, 2}, "tasks[0].value"),
        (b"bytes", "tasks[0].value"),
        (datetime.date(2026, 1, 1), "tasks[0].value"),
        (decimal.Decimal(1), "tasks[0].value"),
        (looped(), "tasks[0]"),  # B26
        (Hostile(), "tasks[0].value"),  # B27
        (lambda: 1, "tasks[0].value"),
        ({1: "a"}, "tasks[0].value"),
        ({"a": [{"b": (1,)}]}, "tasks[0].value.a[0].b"),
        ("\ud800", "tasks[0].value"),
    ],
)
def test_what_would_not_come_back_equal_is_refused_before_any_call(
    cluster: oc.Cluster, wire: Wire, value: Any, field: str
) -> None:
    with pytest.raises(oc.InvalidParams) as refused:
        cluster.submit("same", {"value": value})
    assert refused.value.field == field
    assert wire.calls["submit"] == 0
    assert cluster.submit("same", {"value": 1}).result(10) == 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timout": "2m"}, "timout"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 99}, "priority"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "5 minutes-ish"}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"retries": 2.5}, "retries"),
        ({"required_skills": "python"}, "required_skills"),
        ({"required_tags": ["a\nb"]}, "required_tags"),
        ({"resources": {"cpu": math.nan}}, "resources"),
        ({"not_before": datetime.datetime(2026, 1, 1)}, "not_before"),  # noqa: DTZ001
        ({"not_before": 1e18}, "not_before"),
        ({"not_before": math.nan}, "not_before"),
        ({"deadline": True}, "deadline"),
        ({"after": ["../../x"]}, "after"),
        ({"key": "k" * 300}, "key"),
        ({"metadata": {"x": (1,)}}, "metadata.x"),
        ({"metadata": ["x"]}, "metadata"),
        ({"strategy": "best"}, None),
        ({"user_id": "\0"}, "user_id"),
        ({"skill": "x"}, "skill"),
    ],
)
def test_a_wrong_word_is_refused_before_any_call(
    cluster: oc.Cluster, wire: Wire, options: dict[str, Any], field: str | None
) -> None:
    given = {k: v for k, v in options.items() if k != "skill"}
    with pytest.raises((oc.InvalidRequest, TypeError)) as refused:
        cluster.submit("same", {"value": 1}, **(given | ({"parameters": 1} if "skill" in options else {})))
    if isinstance(refused.value, oc.OpenClawError) and field not in (None, "skill"):
        assert str(refused.value.field).startswith(str(field))
    assert wire.calls["submit"] == 0


def test_a_misspelt_word_offers_the_nearest(cluster: oc.Cluster) -> None:
    with pytest.raises(oc.InvalidRequest, match="timeout"):
        cluster.submit("same", {"value": 1}, timout="2m")  # type: ignore[call-arg]


def test_one_bad_element_refuses_the_whole_map_before_any_call(cluster: oc.Cluster, wire: Wire) -> None:
    with pytest.raises(oc.InvalidParams) as refused:
        cluster.map("same", [{"value": 1}] * 600 + [{"value": {1}}])
    assert refused.value.field == "tasks[600].value"
    assert wire.calls["submit"] == 0


def test_every_word_of_submit_reaches_the_record(cluster: oc.Cluster) -> None:
    first = cluster.submit("echo", {})
    task = cluster.submit(
        "echo",
        {"a": 1},
        name="a name",
        description="what",
        task_type="io_intensive",
        required_skills=["same"],
        optional_skills=["boom"],
        priority="high",
        timeout="2m",
        retries=7,
        max_lost=2,
        resources={"cpu": 0.5, "memory": "1MiB"},
        required_tags=["n1"],
        affinity_tags=["n2"],
        strategy="random",
        user_id="somebody",
        metadata={"project": "x", "n": [1]},
        key="k1",
        group="g1",
        not_before=-60,
        deadline=3600,
        after=first,
    )
    assert task.result(10) == {"a": 1}
    record = task.record
    assert record is not None
    assert task.node == "node-1"
    assert (record.name, record.description, record.task_type) == ("a name", "what", "io_intensive")
    assert (record.required_skills, record.optional_skills) == (["same"], ["boom"])
    assert (record.priority, record.timeout, record.max_retries, record.max_lost) == (1, 120, 7, 2)
    assert record.resources == {"cpu": 0.5, "memory": 2**20}
    assert (record.required_tags, record.affinity_tags, record.strategy) == (["n1"], ["n2"], "random")
    assert (record.user_id, record.metadata) == ("somebody", {"project": "x", "n": [1]})
    assert (record.key, record.group, record.after) == ("k1", "g1", [first.id])
    assert record.not_before is not None
    assert record.deadline is not None
