from __future__ import annotations

import json
import random
import re
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from openclaw_ray.metrics import FAMILIES, Meter
from openclaw_ray.metrics.exporter import SERIES_MAX, Exporter


def samples(text: str) -> dict[str, float]:
    """``{'name{label=value,...}': value}`` of a page, through Prometheus' own parser."""
    return {
        sample.name + "{" + ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items())) + "}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def stored(meter: Meter) -> dict[tuple[str, str], str]:
    return {(family, labels): value for family, labels, value in meter.take_changed()}


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_keeps_the_rules_of_prometheus(name: str) -> None:
    family = FAMILIES[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z]", name)
    assert (family.kind == "counter") == name.endswith("_total")
    assert (family.kind == "histogram") == bool(family.buckets)
    assert list(family.buckets) == sorted(set(family.buckets))
    assert not re.search(r"_(ms|minutes|kb|mb|percent)(_|$)", name), "base units only"
    assert not set(family.labels) & {"task", "task_id", "group", "user", "key", "path", "le"}
    assert family.help.endswith(".")


def test_gauges_have_one_label_at_most_so_that_a_mapping_can_carry_them() -> None:
    assert all(len(f.labels) <= 1 for n, f in FAMILIES.items() if f.kind == "gauge" and n != "build_info")


# --- counting -------------------------------------------------------------------------------------------------------


def test_counters_add_up_and_histograms_count_into_buckets() -> None:
    meter = Meter()
    meter.inc("tasks_submitted_total", ("ocr",))
    meter.inc("tasks_submitted_total", ("ocr",), 2)
    bounds = FAMILIES["commit_seconds"].buckets
    for value in (bounds[0], bounds[0] * 1.01, 1e9):
        meter.observe("commit_seconds", (), value)
    totals = meter.totals()
    assert totals["tasks_submitted_total"] == [[["ocr"], [3.0]]]
    ((labels, (total, *counts)),) = totals["commit_seconds"]
    assert labels == []
    assert total == pytest.approx(1e9)
    assert (counts[0], counts[1], counts[-1], sum(counts)) == (1, 1, 1, 3)
    assert json.loads(json.dumps(totals)) == totals


def test_impossible_observations_count_as_zero_and_do_not_poison_the_sum() -> None:
    meter = Meter()
    for value in (-5.0, float("nan"), 0.0):
        meter.observe("commit_seconds", (), value)
    assert meter.totals()["commit_seconds"][0][1][:2] == [0.0, 3.0]


def test_wrong_use_is_refused() -> None:
    meter = Meter()
    with pytest.raises(ValueError, match="only grows"):
        meter.inc("nodes_lost_total", (), -1)
    with pytest.raises(ValueError, match="has the labels"):
        meter.inc("placements_total", ())
    with pytest.raises(KeyError):
        meter.inc("no_such_total", ())
    assert meter.totals() == {}


def test_the_twenty_first_skill_is_other_and_stays_so_after_a_restart() -> None:
    meter = Meter()
    for number in range(25):
        meter.inc("tasks_submitted_total", (f"skill-{number}",))
    labels = {series[0][0]: series[1][0] for series in meter.totals()["tasks_submitted_total"]}
    assert len(labels) == 21
    assert labels["other"] == 5
    again = Meter()
    again.load(meter.take_changed())
    assert again.skill_label("skill-3") == "skill-3"
    assert again.skill_label("skill-24") == "other"


# --- storing and taking back ----------------------------------------------------------------------------------------


def test_rows_are_taken_once_and_only_when_changed() -> None:
    meter = Meter()
    meter.inc("nodes_lost_total")
    meter.inc("placements_total", ("placed",))
    assert meter.take_changed() == [("nodes_lost_total", "[]", "[1.0]"), ("placements_total", '["placed"]', "[1.0]")]
    meter.commit()
    assert meter.take_changed() == []
    meter.inc("nodes_lost_total")
    assert meter.take_changed() == [("nodes_lost_total", "[]", "[2.0]")]


def test_a_refused_commit_takes_back_its_own_counts_only() -> None:
    meter = Meter()
    meter.inc("nodes_lost_total")
    meter.checkpoint()
    meter.inc("nodes_lost_total", (), 10)
    assert stored(meter) == {("nodes_lost_total", "[]"): "[11.0]"}
    meter.inc("nodes_lost_total", (), 100)  # somebody else, while the transaction is in flight
    meter.rollback()
    assert meter.totals()["nodes_lost_total"] == [[[], [101.0]]]
    assert stored(meter) == {("nodes_lost_total", "[]"): "[101.0]"}


def test_rows_of_a_refused_commit_are_stored_next_time() -> None:
    meter = Meter()
    meter.inc("nodes_lost_total")
    meter.checkpoint()
    meter.take_changed()
    meter.rollback()
    meter.checkpoint()
    assert stored(meter) == {("nodes_lost_total", "[]"): "[1.0]"}


def test_a_batch_closed_without_a_word_counts_as_committed_and_is_stored_later() -> None:
    meter = Meter()
    meter.checkpoint()
    meter.inc("nodes_lost_total")
    meter.checkpoint()
    assert stored(meter) == {("nodes_lost_total", "[]"): "[1.0]"}


def test_totals_leave_out_a_batch_until_it_is_committed() -> None:
    meter = Meter()
    meter.checkpoint()
    meter.inc("nodes_lost_total")
    assert stored(meter) == {("nodes_lost_total", "[]"): "[1.0]"}
    assert meter.totals() == {}
    meter.commit()
    assert meter.totals() == {"nodes_lost_total": [[[], [1.0]]]}


def test_series_of_another_version_are_left_out_on_loading() -> None:
    meter = Meter()
    meter.load(
        [
            ("gone_total", "[]", "[1.0]"),
            ("commit_seconds", "[]", "[1.0,2.0]"),
            ("placements_total", "[]", "[1.0]"),
            ("tasks", '["pending"]', "[1.0]"),
            ("nodes_lost_total", "[]", "[4.0]"),
        ]
    )
    assert meter.totals() == {"nodes_lost_total": [[[], [4.0]]]}


@pytest.mark.parametrize("seed", range(20))
def test_stored_rows_equal_what_was_committed_whatever_fails(seed: int) -> None:
    """Random batches, refusals and restarts against a plain count of what should stand."""
    rng = random.Random(seed)
    meter, disk, standing = Meter(), dict[tuple[str, str], str](), 0
    for _ in range(100):
        meter.checkpoint()
        batch = rng.randrange(4)
        meter.inc("tasks_submitted_total", ("s",), batch)
        rows = stored(meter)
        in_flight = rng.randrange(3)
        meter.inc("tasks_submitted_total", ("s",), in_flight)
        standing += in_flight
        if rng.random() < 0.3:
            meter.rollback()
        else:
            disk |= rows
            meter.commit()
            standing += batch
        assert sum(value[0] for _, value in meter.totals().get("tasks_submitted_total", [])) == standing
        if rng.random() < 0.2:
            disk |= stored(meter)
            meter = Meter()
            meter.load((family, labels, value) for (family, labels), value in disk.items())


# --- the page -------------------------------------------------------------------------------------------------------


@pytest.fixture
def exporter() -> Exporter:
    return Exporter({"version": "0.1.0", "ray_version": "2", "schema_version": "1"})


def test_the_page_shows_totals_gauges_and_own_counts(exporter: Exporter) -> None:
    meter = Meter()
    meter.inc("tasks_finished_total", ("ocr", "completed"), 7)
    meter.observe("task_run_seconds", ("ocr", "completed"), 0.3)
    exporter.meter.inc("placements_total", ("placed",), 2)
    exporter.update(meter.totals(), {"tasks": {"pending": 3, "running": 1}, "state_epoch": 4})
    page = samples(exporter.text())
    assert page["openclaw_tasks_finished_total{outcome=completed,skill=ocr}"] == 7
    assert page["openclaw_placements_total{result=placed}"] == 2
    assert page["openclaw_tasks{state=pending}"] == 3
    assert page["openclaw_state_epoch{}"] == 4
    assert page["openclaw_task_run_seconds_bucket{le=0.1,outcome=completed,skill=ocr}"] == 0
    assert page["openclaw_task_run_seconds_bucket{le=0.5,outcome=completed,skill=ocr}"] == 1
    assert page["openclaw_task_run_seconds_bucket{le=+Inf,outcome=completed,skill=ocr}"] == 1
    assert page["openclaw_task_run_seconds_count{outcome=completed,skill=ocr}"] == 1
    assert page["openclaw_task_run_seconds_sum{outcome=completed,skill=ocr}"] == 0.3
    assert page["openclaw_build_info{ray_version=2,schema_version=1,version=0.1.0}"] == 1


def test_counters_without_labels_begin_at_zero_and_nothing_is_created(exporter: Exporter) -> None:
    text = exporter.text()
    assert samples(text)["openclaw_nodes_lost_total{}"] == 0
    assert "_created" not in text
    assert "python_info" not in text


def test_a_gauge_that_is_no_longer_given_is_no_longer_shown(exporter: Exporter) -> None:
    exporter.update({}, {"node_slots": {"nas": 2}})
    assert "openclaw_node_slots{node=nas}" in samples(exporter.text())
    exporter.update({}, {})
    assert "openclaw_node_slots{node=nas}" not in samples(exporter.text())


def test_a_gauge_outside_the_table_is_refused(exporter: Exporter) -> None:
    with pytest.raises(ValueError, match="nodse"):
        exporter.update({}, {"nodse": 1})


def test_totals_of_another_version_are_left_out(exporter: Exporter) -> None:
    exporter.update({"future_total": [[[], [1.0]]]}, {})
    assert "future" not in exporter.text()


@pytest.mark.parametrize(
    "name", ['a"b', "a\\b", "a\nb", "a\rb", "a\u2028b", "\udc80", "ü", "x" * 1_000, "", "{}", "a\x00"]
)
def test_any_name_of_a_node_leaves_the_page_parseable(exporter: Exporter, name: str) -> None:
    exporter.update({}, {"node_slots": {name: 2}})
    text = exporter.text()
    assert sum(key.startswith("openclaw_node_slots{") for key in samples(text)) == 1
    assert all(line.startswith(("#", "openclaw_")) for line in text.splitlines())


def test_nodes_beyond_the_limit_become_one(exporter: Exporter) -> None:
    names = [f"node-{number}" for number in range(260)]
    gauges = {
        "node_slots": dict.fromkeys(names, 2.0),
        "node_cpu_usage_ratio": {name: number / 260 for number, name in enumerate(names)},
        "node_last_heartbeat_timestamp_seconds": {name: 1_000.0 + number for number, name in enumerate(names)},
    }
    exporter.update({}, gauges)
    page = samples(exporter.text())
    assert page["openclaw_node_slots{node=other}"] == 20
    assert page["openclaw_node_cpu_usage_ratio{node=other}"] == 259 / 260
    assert page["openclaw_node_last_heartbeat_timestamp_seconds{node=other}"] == 1_250


def test_the_page_stays_below_its_limit_and_loses_no_count(exporter: Exporter) -> None:
    meter = Meter()
    outcomes = ("completed", "failed", "timeout", "cancelled", "lost", "released")
    for number in range(30):
        for outcome in outcomes:
            meter.observe("task_run_seconds", (f"skill-{number}", outcome), 1.0)
            meter.inc("task_attempts_total", (f"skill-{number}", outcome))
        meter.observe("task_wait_seconds", (f"skill-{number}",), 1.0)
        meter.inc("tasks_submitted_total", (f"skill-{number}",))
    exporter.update(meter.totals(), {})
    page = samples(exporter.text())
    assert len(page) <= SERIES_MAX
    assert sum(v for k, v in page.items() if k.startswith("openclaw_task_run_seconds_count")) == 180
    assert page["openclaw_tasks_submitted_total{skill=skill-0}"] == 1
    exporter.update(Meter().totals(), {})
    exporter.update(meter.totals(), {})
    assert samples(exporter.text()) == page


# --- over HTTP ------------------------------------------------------------------------------------------------------


@pytest.fixture
def port(exporter: Exporter) -> Iterator[int]:
    bound, close = exporter.serve(port=0)
    yield bound
    close()


def scrape(port: int) -> str:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever http_proxy says
    with direct.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_the_page_is_served_without_a_word_on_the_terminal(
    exporter: Exporter, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    exporter.update({}, {"state_epoch": 9})
    assert samples(scrape(port)) == samples(exporter.text())
    assert capfd.readouterr() == ("", "")


def test_a_closed_server_frees_its_port_and_a_taken_one_is_an_error(exporter: Exporter) -> None:
    port, close = exporter.serve(port=0)
    with pytest.raises(OSError, match="in use"):
        Exporter().serve(port=port)
    scrape(port)
    close()
    again, close = exporter.serve(port=port)
    assert again == port
    assert "openclaw_build_info" in scrape(port)
    close()
