from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from openclaw_ray import logs

log = logs.get_logger("openclaw_ray.somewhere")


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    logs.shutdown()


def written(home: Path, component: str = "test") -> list[dict[str, Any]]:
    # str.splitlines also breaks at U+2028 and its kin: one record must survive the strictest reader.
    return [json.loads(line) for line in logs.log_path(component, home).read_text("utf-8").splitlines()]


def test_a_record_names_time_place_and_fields(tmp_path: Path) -> None:
    logs.configure("test", tmp_path)
    log.info("node lost", node_id="nas", task_id="t1", attempt=2, rescued=3)
    (record,) = written(tmp_path)
    time = datetime.fromisoformat(record.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    assert record.pop("line") > 0
    assert record == {
        "level": "info",
        "component": "test",
        "logger": "openclaw_ray.somewhere",
        "module": "test_logs",
        "function": "test_a_record_names_time_place_and_fields",
        "event": "node lost",
        "oc_node": "nas",
        "oc_task": "t1",
        "oc_attempt": 2,
        "rescued": 3,
    }


def test_text_stays_readable_and_a_record_stays_one_line(tmp_path: Path) -> None:
    logs.configure("test", tmp_path)
    text = "zwei\nZeilen, größer \u2028 \u2029 \x85 \r \x0b 𝄞 100 %s"
    log.warning("text", text=text, half="\udc80")
    (record,) = written(tmp_path)
    assert record["text"] == text
    assert record["half"] == "\udc80"
    assert "größer" in logs.log_path("test", tmp_path).read_text("utf-8")


@pytest.mark.parametrize("value", [float("nan"), {1: object()}, {("a", 1): 2}, Path("/x")])
def test_any_value_gives_a_line_of_json(tmp_path: Path, value: object) -> None:
    logs.configure("test", tmp_path)
    log.info("odd", value=value)
    assert "odd" in written(tmp_path)[0]["event"]


def test_a_field_cannot_falsify_the_record(tmp_path: Path) -> None:
    logs.configure("test", tmp_path)
    log.info("event", level="fatal", line=0, msg="m", args="a", name="n")
    (record,) = written(tmp_path)
    assert record["level"] == "info"
    assert record["level_"] == "fatal"
    assert (record["msg"], record["args"], record["name"]) == ("m", "a", "n")


def test_a_huge_field_keeps_both_ends(tmp_path: Path) -> None:
    logs.configure("test", tmp_path)
    log.info("huge", text="a" + "x" * 1_000_000 + "z")
    text = written(tmp_path)[0]["text"]
    assert len(text) < 2 * logs.FIELD_CHARS_MAX
    assert (text[0], text[-1]) == ("a", "z")


def test_an_exception_is_written_with_its_traceback(tmp_path: Path) -> None:
    logs.configure("test", tmp_path)
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it failed", node_id="n")
    (record,) = written(tmp_path)
    assert record["level"] == "error"
    assert record["exception"].endswith("ValueError: broken\n")


def test_context_variables_reach_the_record(tmp_path: Path) -> None:
    logs.configure("test", tmp_path)
    with structlog.contextvars.bound_contextvars(task_id="t9"):
        log.info("inside")
    log.info("outside")
    inside, outside = written(tmp_path)
    assert inside["oc_task"] == "t9"
    assert "oc_task" not in outside


def test_plain_logging_calls_below_our_root_are_json_too(tmp_path: Path) -> None:
    logs.configure("test", tmp_path)
    logging.getLogger("openclaw_ray.plain").warning("%d left", 3)
    (record,) = written(tmp_path)
    assert (record["event"], record["function"]) == (
        "3 left",
        "test_plain_logging_calls_below_our_root_are_json_too",
    )


def test_names_outside_the_package_are_put_below_it(tmp_path: Path) -> None:
    logs.configure("test", tmp_path)
    logs.get_logger("actors.scheduler").info("hello")
    assert written(tmp_path)[0]["logger"] == "openclaw_ray.actors.scheduler"


def test_levels_below_the_configured_one_are_dropped_and_can_be_changed(tmp_path: Path) -> None:
    logs.configure("test", tmp_path, "WARNING")
    log.info("no")
    logs.configure("test", tmp_path, "DEBUG")
    log.debug("yes")
    assert [record["event"] for record in written(tmp_path)] == ["yes"]


def test_configuring_again_writes_no_record_twice(tmp_path: Path) -> None:
    logs.configure("one", tmp_path)
    logs.configure("one", tmp_path)
    log.info("first")
    logs.configure("two", tmp_path)
    log.info("second")
    assert [record["event"] for record in written(tmp_path, "one")] == ["first"]
    assert [record["event"] for record in written(tmp_path, "two")] == ["second"]


def test_other_handlers_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = list(logging.getLogger().handlers)
    logs.configure("test", tmp_path)
    log.info("ours")
    assert logging.getLogger().handlers == before
    assert not caplog.records


def test_without_configure_the_host_program_gets_plain_text(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("retrying", node_id="nas")
    assert caplog.messages == ["retrying oc_node=nas"]


def test_files_are_rotated_and_private(tmp_path: Path) -> None:
    logs.configure("test", tmp_path, bytes_max=2_000, files_max=2)
    for number in range(50):
        log.info("filling", number=number)
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["test.jsonl", "test.jsonl.1", "test.jsonl.2"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700


def test_a_file_that_cannot_be_made_sends_records_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("in the way")
    logs.configure("test", tmp_path)
    log.error("still heard")
    assert "still heard" in capsys.readouterr().err


def test_odd_component_names_stay_inside_the_folder(tmp_path: Path) -> None:
    assert logs.log_path("../../etc/x", tmp_path).parent == tmp_path / "logs"
