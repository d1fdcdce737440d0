from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import live, memory, placing, report, store
from benchmarks.__main__ import BENCHMARKS, arguments, main, measure
from benchmarks.conditions import conditions
from benchmarks.plan import Benchmark, Plan, matching
from benchmarks.series import Row, at_least, at_most, percentile
from openclaw_ray.errors import WaitTimeout

CONDITIONS = {"cpus": "2 x some", "load_average": [0.5, 0.4], "settings_changed": {"slots": 3}}


def rows() -> list[Row]:
    turns = live.Turns(2_000, ours_s=[0.2, 0.4, 0.25], bare_s=[2.0, 2.0, 2.0])
    cost = live.Cost(2_000, [Counter(submit=4, report=10, stats=9), Counter(submit=6, report=10, poll=2)], [30, 50])
    return [
        live.throughput_row(turns),
        *live.cost_rows(cost),
        *live.round_trip_rows([[0.002] * 19 + [0.010]], [[0.001] * 20]),
        live.fifty_ms_row(live.Turns(80, ours_s=[2.5, 2.0], bare_s=[2.5, 2.5]), slots=2),
        store.store_row("update-node", "handle", [[0.001] * 10 + [0.009] * 90]),
        *placing.placing_rows({"many": [60_000.0], "few": [90_000.0], "pass": [4_000.0]}),
        memory.memory_row([50_000 * 2048], 50_000),
    ]


def by_name() -> dict[str, Row]:
    return {row.name: row for row in rows()}


def test_throughput_is_compared_repetition_by_repetition() -> None:
    row = by_name()["noop-2000"]
    assert list(row.runs) == pytest.approx([10, 5, 8])
    assert row.figure == pytest.approx(8)
    assert row.met is False
    assert row.raw["bare/s"] == [1_000] * 3


def test_calls_and_commits_are_per_thousand_tasks_and_leave_our_questions_out() -> None:
    found = by_name()
    assert list(found["calls"].runs) == [7, 9]
    assert list(found["commits"].runs) == [15, 25]
    assert "poll 0.5, report 5.0, submit 2.5" in found["calls"].note
    assert found["commits"].met is True


def test_a_round_trip_is_judged_by_bare_rays_and_its_tail_by_our_own_median() -> None:
    found = by_name()
    assert found["round-trip"].figure == pytest.approx(2)
    assert found["round-trip"].met is True
    assert found["round-trip-p95"].figure == pytest.approx(1)


def test_the_share_of_ideal_comes_from_slots_and_time() -> None:
    row = by_name()["fifty-ms"]
    assert list(row.runs) == pytest.approx([80, 100])
    assert row.raw["bare %"] == pytest.approx([80, 80])


def test_other_rows_come_from_their_data() -> None:
    found = by_name()
    assert found["update-node-handle"].figure == pytest.approx(9)
    assert found["update-node-handle"].met is False
    assert found["placing-1000"].met is True
    assert found["placing-nodes"].figure == pytest.approx(1.5)
    assert found["placing-pass"].met is None
    assert found["memory"].figure == pytest.approx(2)


def test_the_table_shows_goal_figure_and_verdict_of_every_row() -> None:
    shown = report.render(CONDITIONS, rows(), {})
    lines = {line.split()[0]: line for line in shown.splitlines() if line}
    for row in rows():
        assert row.what in lines[row.name]
    assert ">= 10x" in lines["noop-2000"]
    assert lines["noop-2000"].endswith("NO")
    assert lines["commits"].endswith("yes")
    assert "load average: 0.5, 0.4" in shown
    assert "settings changed: slots=3" in shown
    assert shown.endswith("6 of 10 goals met.")


def test_the_document_has_a_schema_number_and_everything_that_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    report.write(path, report.document(CONDITIONS, rows(), {}))
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["schema"] == report.SCHEMA
    assert found["conditions"] == CONDITIONS
    first = found["rows"][0]
    assert (first["median"], first["min"], first["max"]) == (8, 5, 10)
    assert first["goal"] == {"at_least": 10}
    assert first["raw"]["ours/s"] == [10_000, 5_000, 8_000]


def test_a_benchmark_that_fails_is_told_and_takes_no_other_along(tmp_path: Path) -> None:
    def fails(plan: Plan) -> Iterator[Row]:
        raise WaitTimeout("1 task did not end")
        yield

    def works(plan: Plan) -> Iterator[Row]:
        yield memory.memory_row([50_000 * 1024], 50_000)

    chosen = [Benchmark(("a",), fails, "what fails"), Benchmark(("memory",), works, "what works")]
    found, failed = measure(chosen, Plan(tmp_path))
    assert [row.name for row in found] == ["memory"]
    assert "FAILED: what fails: WaitTimeout: 1 task did not end" in report.render(CONDITIONS, found, failed)
    assert report.document(CONDITIONS, found, failed)["failed"].keys() == {"what fails"}


def test_every_row_that_is_made_is_announced() -> None:
    announced = {name for one in BENCHMARKS for name in one.rows}
    assert {row.name for row in rows()} <= announced


def test_rows_are_selected_by_name_and_pattern(tmp_path: Path) -> None:
    chosen = matching(BENCHMARKS, Plan(tmp_path, only=("page-*", "memory")))
    assert [one.rows for one in chosen] == [store.STORE_ROWS, memory.MEMORY_ROWS]
    assert matching(BENCHMARKS, Plan(tmp_path)) == list(BENCHMARKS)
    with pytest.raises(ValueError, match="no row 'nope'; there are: noop-2000"):
        matching(BENCHMARKS, Plan(tmp_path, only=("nope",)))


def test_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments([]).repetitions == 5
    assert arguments(["--quick"]).repetitions == 2
    assert arguments([]).output == Path("build/bench.json")
    with pytest.raises(SystemExit):
        arguments(["--repetitions", "0"])
    assert main(["--list"]) == 0
    assert "round-trip-p95" in capsys.readouterr().out
    assert main(["nope"]) == 2


def test_conditions_name_machine_versions_and_changed_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_PREFILL_MS", "50")
    found = conditions(Plan(tmp_path), "3.40.1")
    assert {"date", "cpus", "load_average", "python", "ray", "sqlite", "repetitions", "slots"} <= found.keys()
    assert found["settings_changed"] == {"prefill_ms": 50}
    assert found["fsync_p50_ms"] > 0
    json.dumps(found)


@pytest.mark.parametrize(
    ("figure", "unit", "shown"),
    [
        (7_712.3, "/s", "7,712/s"),
        (12.34, "x", "12.3x"),
        (1.75, "x", "1.75x"),
        (0.2345, "ms", "0.234 ms"),
        (0, "", "0.00"),
    ],
)
def test_figures_show_three_digits(figure: float, unit: str, shown: str) -> None:
    assert report.quantity(figure, unit) == shown


def test_goals_include_their_bound() -> None:
    assert at_least(10).met(10)
    assert not at_least(10).met(9.99)
    assert at_most(2).met(2)
    assert not at_most(2).met(2.01)


def test_percentiles_are_samples() -> None:
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(range(1, 101), 0.95) == 95
    assert percentile([4], 0.95) == 4
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)
