"""The door: each bad input alone is refused with our error, field and limit or example; good ones come back equal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, Field

from openclaw_ray.core.resources import Resources
from openclaw_ray.core.types import NodeStatus, Priority, TaskType
from openclaw_ray.errors import InvalidParams, InvalidRequest, OpenClawError
from openclaw_ray.models.door import Document, canonical, check_json, parse, plain, quoted
from openclaw_ray.models.fields import (
    amounts,
    amounts_of,
    bytes_of,
    from_iso,
    identifier,
    instant,
    iso,
    priority,
    seconds,
    skill_name,
    units_of,
)
from openclaw_ray.models.ids import new_name, new_task_id
from openclaw_ray.models.node import Machine, NodeChange, NodeSpec, Usage
from openclaw_ray.models.skill import SkillManifest
from openclaw_ray.models.task import TaskSpec, digest

NAN, INF = float("nan"), float("inf")
#: Python itself refuses to print it.
HUGE = pytest.param(10**5000, id="huge")


class Named(Document):
    """Something with an id."""

    id: Any
    specs: list[TaskSpec] = Field(default_factory=list)


def refused(model: type[BaseModel], at: str = "", **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(model, fields, at=at)
    error = caught.value
    assert len(str(error)) < 700
    assert "\n" not in str(error)
    OpenClawError.to_json(error)
    return error


# -- ids and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a/b",
        "a\\b",
        "../../x",
        "..",
        ".",
        "a\0",
        "é",
        "\u0440\u0430ypal",
        "a\n",
        "x" * 129,
        "x" * 10_000,
        None,
        5,
        b"a",
        HUGE,
    ],
)
def test_b01_to_b05_such_an_id_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        identifier(value)
    assert caught.value.limit == "1-128 characters of A-Z a-z 0-9 . _ : -"
    assert len(str(caught.value)) < 200
    assert refused(NodeSpec, node_id=value).field == "node_id"


@pytest.mark.parametrize("value", ["a", "t-7kq2m", "A.b_c:d-9", "x" * 128])
def test_such_an_id_is_fine(value: str) -> None:
    assert identifier(value) == value


def test_new_ids_are_ids_and_differ() -> None:
    found = {identifier(new_task_id()) for _ in range(1_000)} | {identifier(new_name("s"))}
    assert len(found) == 1_001


@pytest.mark.parametrize("value", ["", " a", "a ", "a/b", "a\nb", "a\u202eb", "a\ud800", "x" * 129, "..", 5, None])
def test_b47_such_a_skill_name_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="skill name"):
        skill_name(value)
    assert refused(NodeSpec, node_id="n", available_skills=["ok", value]).field == "available_skills[1]"


@pytest.mark.parametrize("value", ["ocr", 'quote"d', "画像 resize", "café"])
def test_such_a_skill_name_is_fine(value: str) -> None:
    assert skill_name(value) == value


# -- specs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [("timout", "timeout"), ("max_retry", "max_retries"), ("priorty", "priority"), ("parameter", "parameters")],
)
def test_b08_an_unknown_field_is_refused_with_the_nearest_name(name: str, meant: str) -> None:
    error = refused(TaskSpec, "tasks[3]", **{name: 1})
    assert (error.field, error.hint) == (f"tasks[3].{name}", f"did you mean {meant!r}?")


def test_b08_an_unknown_field_like_no_other_gets_the_list() -> None:
    assert "known: " in str(refused(TaskSpec, zzz=1).hint)
    assert refused(Named, id=1, specs=[{"timout": 1}]).field == "specs[0].timout"
    assert "another name" in refused(TaskSpec, params={}, parameters={}).message


def test_b09_an_unknown_state_lists_the_valid_ones() -> None:
    error = refused(NodeChange, status="sleeping")
    assert error.field == "status"
    assert all(status.value in str(error.limit) for status in NodeStatus)


@pytest.mark.parametrize(
    ("fields", "field", "limit"),
    [
        ({"required_skills": "python"}, "required_skills", 'a list, for example ["python"]'),
        ({"required_skills": ["s"] * 10_000}, "required_skills", "at most 64"),
        ({"required_skills": ["ok", 5]}, "required_skills[1]", "1-128 printable"),
        ({"optional_skills": {"a": 1}}, "optional_skills", "a list"),
        ({"after": ["a/b"]}, "after[0]", "1-128"),
        ({"after": ["a"] * 1_001}, "after", "at most 1,000"),
        ({"retries": -1}, "retries", "from 0"),
        ({"retries": 2.5}, "retries", None),
        ({"retries": True}, "retries", None),
        ({"max_retries": 10**9}, "max_retries", "at most 1000"),
        ({"max_lost": -1}, "max_lost", "from 0"),
        ({"required_tags": ["t"] * 10_000}, "required_tags", "at most 32"),
        ({"required_tags": ["x" * 1_000_000]}, "required_tags[0]", "1-64"),
        ({"required_tags": ["a", "b\nc"]}, "required_tags[1]", "1-64"),
        ({"affinity_tags": "gpu"}, "affinity_tags", "a list"),
        ({"resources": {"cpu": -1}}, "resources.cpu", "a number from 0"),
        ({"resources": {"cpu": NAN}}, "resources.cpu", "a number from 0"),
        ({"resources": {"cpu": "1"}}, "resources.cpu", "a number from 0"),
        ({"resources": {"cpu": True}}, "resources.cpu", "a number from 0"),
        pytest.param({"resources": {"cpu": 10**400}}, "resources.cpu", "a number from 0", id="large cpu"),
        ({"resources": {"cpu": 0.0001}}, "resources.cpu", "steps of 0.001"),
        ({"resources": {"memory": 2**63}}, "resources.memory", "bytes"),
        ({"resources": {"memory": "2 gigs"}}, "resources.memory", "bytes"),
        ({"resources": {str(i): 1 for i in range(17)}}, "resources", "at most 16"),
        ({"resources": [1]}, "resources", "for example"),
        ({"resources": {5: 1}}, "resources", "1-64"),
        ({"not_before": "2026-01-01T00:00:00"}, "not_before", "ISO-8601 with a zone"),
        ({"not_before": "9999-01-01T00:00:00Z"}, "not_before", "2000 to 2200"),
        ({"not_before": 1e18}, "not_before", "ISO-8601"),
        ({"not_before": NAN}, "not_before", "ISO-8601"),
        ({"not_before": "tomorrow"}, "not_before", "ISO-8601"),
        ({"name": "x" * 201}, "name", "at most 200"),
        ({"name": "a\0b"}, "name", "without NUL"),
        ({"name": "a\ud800"}, "name", "Unicode"),
        ({"name": b"bytes"}, "name", None),
        ({"description": "x" * 4_001}, "description", "at most 4,000"),
        ({"task_type": "fast"}, "task_type", "'interactive'"),
        ({"strategy": "best"}, "strategy", "least_tasks"),
        ({"task_type": "daemon", "timeout": 5}, "timeout", "leave it out"),
        ({"not_before": "2026-01-02T00:00:00Z", "deadline": "2026-01-01T00:00:00Z"}, "deadline", "later"),
        ({"revision": "main"}, "revision", "text like"),
        ({"metadata": {"a": {"b": NAN}}}, "metadata.a.b", "finite"),
        ({"metadata": [1]}, "metadata", None),
    ],
)
def test_b11_to_b21_such_a_spec_is_refused(fields: dict[str, Any], field: str, limit: str | None) -> None:
    error = refused(TaskSpec, **fields)
    assert error.field == field
    if limit is not None:
        assert limit in str(error.limit)


@pytest.mark.parametrize("value", [99, -1, 1.5, NAN, True, "high ", "HIGH", "", None, [], HUGE])
def test_b16_such_a_priority_is_refused(value: Any) -> None:
    error = refused(TaskSpec, priority=value)
    assert (error.field, error.limit) == ("priority", "critical, high, normal, low (0 to 3)")


def test_priorities_have_names_and_numbers() -> None:
    assert [priority(p) for p in ("critical", "high", "normal", "low")] == [0, 1, 2, 3]
    assert [priority(p) for p in (0, 3, Priority.HIGH)] == [0, 3, 1]


# -- durations, sizes, amounts, instants ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        NAN,
        INF,
        -INF,
        1e308,
        0.5,
        "10",
        "",
        "-3s",
        "1e9s",
        "5 minutes-ish",
        "1.5h",
        "5M",
        " 5s",
        True,
        None,
        10**9,
        "9999d",
    ],
)
def test_b17_and_b39_such_a_duration_is_refused(value: Any) -> None:
    error = refused(TaskSpec, timeout=value) if value is not None else InvalidRequest("x", "timeout")
    assert error.field == "timeout"
    with pytest.raises(InvalidRequest, match="duration"):
        seconds(value)


def test_durations_are_whole_seconds() -> None:
    assert [seconds(x) for x in (1, 2.0, "30s", "5m", "2h", "1d")] == [1, 2, 30, 300, 7_200, 86_400]


@pytest.mark.parametrize(
    ("text", "size"),
    [(0, 0), (7, 7), ("512B", 512), ("1KiB", 1024), ("1.5 MiB", 1_572_864), ("2GiB", 2**31), ("1TB", 10**12)],
)
def test_sizes_are_bytes(text: Any, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("value", [-1, 1.5, True, "1", "1 Gi", "-1GiB", "99999TiB", None, 2**60])
def test_b20_such_a_size_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="size"):
        bytes_of(value)


@pytest.mark.parametrize(
    "written", [{}, {"cpu": 1}, {"cpu": 0.5, "gpu": 0.001, "memory": 2**31, "licence": 3}, {"memory": 2**50}]
)
def test_amounts_come_back_as_written(written: dict[str, Any]) -> None:
    assert amounts_of(units_of(amounts(written))) == written
    assert amounts(units_of(written)) == written


def test_amounts_are_whole_units() -> None:
    assert units_of(amounts({"cpu": 0.1, "memory": "1KiB", "none": 0})) == Resources.of(cpu=100, memory=1024)


def test_instants_are_utc_and_round_trip() -> None:
    text = iso(1_767_225_600.25)
    assert text == "2026-01-01T00:00:00.250000+00:00"
    assert from_iso(text) == 1_767_225_600.25
    berlin = instant("2026-01-01T01:00:00.25+01:00")
    assert (berlin, berlin.tzinfo) == (instant(datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC)), UTC)
    assert instant(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5)))).hour == 19


# -- nodes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, NAN, "4", 10**9, 1.5, True])
def test_b44_such_slots_are_refused(value: Any) -> None:
    assert refused(NodeSpec, node_id="n", max_concurrent_tasks=value).field == "max_concurrent_tasks"


@pytest.mark.parametrize("value", [250, -1, NAN, INF, "4"])
def test_b44_such_a_usage_is_refused(value: Any) -> None:
    assert refused(Usage, cpu_usage=value).field == "cpu_usage"
    assert refused(NodeSpec, node_id="n", disk_usage=value).field == "disk_usage"


def test_b44_and_b47_such_a_machine_is_refused() -> None:
    assert refused(Machine, hostname="h", capacity={"cpu": -1}).field == "capacity.cpu"
    assert refused(Machine, hostname="h", port="80").field == "port"
    assert refused(Machine, hostname="h", port=70_000).limit == "at most 65535"
    assert refused(NodeSpec, node_id="n", skills=[f"s{i}" for i in range(100_000)]).limit == "at most 10,000"
    assert refused(Machine).message == "is missing"


# -- params --------------------------------------------------------------------------------------------------------


def itself() -> list[Any]:
    found: list[Any] = [1]
    found.append(found)
    return found


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


class Odd:
    """Has no JSON form."""


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"x": [1, NAN]}, "params.x[1]"),
        (INF, "params"),
        (-INF, "params"),
        (deep(100_000), "params"),
        ((1, 2), "params"),
        ({"a": {1}}, "params.a"),
        ([b"x"], "params[0]"),
        ({"at": datetime(2026, 1, 1, tzinfo=UTC)}, "params.at"),
        (Decimal(1), "params"),
        ({5: 1}, "params"),
        ({"a": {None: 1}}, "params.a"),
        (itself(), "params"),
        (Odd(), "params"),
        ("\ud800", "params"),
        pytest.param(10**5000, "params", id="huge"),
        pytest.param([[10**400]], "params[0][0]", id="large"),
    ],
)
def test_b23_to_b26_what_json_would_not_bring_back_is_refused(value: Any, field: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        canonical(value)
    assert caught.value.field == field
    error = refused(TaskSpec, params=value)
    assert isinstance(error, InvalidParams)
    assert error.field == field


def test_b22_too_much_is_refused_with_the_size_and_the_limit() -> None:
    for big in ("x" * 10_000_000, "é" * 600_000):
        with pytest.raises(InvalidParams, match="bytes as JSON") as caught:
            canonical(big)
        assert caught.value.limit == "1,048,576 bytes"
    assert canonical("x" * 1_048_574)
    assert refused(TaskSpec, params="x" * 17_000_000).field == "params"


def test_b24_the_limit_of_nesting_is_exact() -> None:
    check_json(deep(64))
    with pytest.raises(InvalidParams, match="too deeply"):
        check_json(deep(65))
    for value in (deep(100_000), itself()):
        with pytest.raises(InvalidParams, match="too deeply"):
            plain(value)


@pytest.mark.parametrize(
    "text", ['{"params": NaN}', '{"params": Infinity}', '{"params": ', "", "[1]", "[" * 100_000, b"\xff"]
)
def test_bad_json_text_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(TaskSpec, text)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        True,
        0,
        -5,
        2**70,
        1.5,
        1e300,
        "",
        "text",
        "\0 \u202e ☃ 💥",
        {"b": [1, {"a": None}], "a": 'quo"te'},
    ],
)
def test_what_is_accepted_comes_back_equal(value: Any) -> None:
    assert json.loads(canonical(value)) == value
    spec = parse(TaskSpec, {"params": value, "metadata": {"value": value}})
    assert parse(TaskSpec, spec.canonical()) == spec
    assert parse(TaskSpec, spec.canonical()).params == value


def test_models_and_dataclasses_become_mappings() -> None:
    @dataclass
    class Point:
        x: int
        where: Usage

    assert plain({"p": [Point(1, Usage())]})["p"][0]["x"] == 1
    assert canonical(plain(Point(1, Usage(cpu_usage=2.0))))
    assert plain(Point) is Point
    assert plain((1,)) == (1,)


# -- canonical specs -----------------------------------------------------------------------------------------------


def test_a_spec_has_one_text_however_it_was_written() -> None:
    one = parse(TaskSpec, {
        "skill": "ocr", "params": {"b": 1, "a": 2}, "priority": "high", "timeout": "5m", "max_retries": 2,
        "resources": {"memory": "1KiB", "cpu": 1.0}, "not_before": "2026-01-01T01:00:00+01:00", "group": None,
    })  # fmt: skip
    two = parse(TaskSpec, '{"parameters":{"a":2,"b":1},"skill":"ocr","retries":2,"timeout":300,"priority":1,'
                '"resources":{"cpu":1,"memory":1024},"not_before":"2026-01-01T00:00:00Z"}')  # fmt: skip
    assert (
        one.canonical()
        == two.canonical()
        == (
            '{"not_before":"2026-01-01T00:00:00.000000+00:00","params":{"a":2,"b":1},"priority":1,'
            '"resources":{"cpu":1,"memory":1024},"retries":2,"skill":"ocr","timeout":300}'
        )
    )
    assert digest(one.canonical()) == digest(two.canonical())
    assert TaskSpec().canonical() == "{}"
    assert parse(TaskSpec, one) is one
    assert parse(TaskSpec, parse(TaskSpec, one.canonical()).model_dump(mode="json")) == one


def test_what_a_spec_implies() -> None:
    assert TaskSpec(required_skills=["b", "a"]).runs == "b"
    assert TaskSpec(skill="s", required_skills=["b", "a", "a"]).all_skills == ("a", "b", "s")
    assert TaskSpec().runs is None
    assert TaskSpec(task_type=TaskType.COMPUTE_INTENSIVE).asks == {"cpu": 1}
    assert TaskSpec(task_type=TaskType.COMPUTE_INTENSIVE, resources={"cpu": 3}).asks == {"cpu": 3}


def test_a_manifest_is_checked_too() -> None:
    revision = "a" * 64
    found = parse(SkillManifest, {"name": "ocr", "kind": "python", "revision": revision, "timeout": "30s"})
    assert found.timeout == 30
    assert refused(SkillManifest, name="ocr", kind="magic", revision=revision).limit == "'python' or 'command'"
    assert refused(SkillManifest, name="ocr", kind="python", revision="x").field == "revision"


@pytest.mark.parametrize("value", ["x" * 10_000, HUGE, NAN, None, Odd(), b"x", "a\nb", "\ud800"])
def test_any_value_can_be_quoted(value: Any) -> None:
    text = quoted(value)
    assert len(text) < 70
    assert "\n" not in text
    text.encode()
