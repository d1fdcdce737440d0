"""The spool: outcomes survive the agent, and the file does not grow for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from openclaw_ray.core.types import Outcome
from openclaw_ray.protocol import OutcomeMessage
from openclaw_ray.runtime import spool as module
from openclaw_ray.runtime.spool import Spool


def outcome(token: int, result: str = "1") -> OutcomeMessage:
    return OutcomeMessage(
        token=token, outcome=Outcome.COMPLETED, started_at=1.0, ended_at=2.0, run_s=1.0, result=result
    )


def keep(spool: Spool, *outcomes: OutcomeMessage) -> None:
    spool.texts(list(outcomes))
    spool.append()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.jsonl"


def test_what_was_not_judged_is_there_after_a_crash(path: Path) -> None:
    spool = Spool(path)
    keep(spool, outcome(1, '"line\u2028and\x85more"'), outcome(2), outcome(3))
    spool.settle([2, 99])
    assert Spool(path).outcomes == [outcome(1, '"line\u2028and\x85more"'), outcome(3)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_outcome_that_is_judged_before_it_is_written_is_never_written(path: Path) -> None:
    spool = Spool(path)
    assert spool.texts([outcome(1)]) == spool.texts([outcome(1)])
    keep(spool, outcome(2))
    spool.texts([outcome(3)])
    spool.settle([3])
    spool.append()
    assert [o.token for o in Spool(path).outcomes] == [1, 2]
    assert '"token":3' not in path.read_text()


def test_an_empty_spool_is_an_empty_file(path: Path) -> None:
    spool = Spool(path)
    keep(spool, outcome(1))
    spool.settle([1])
    assert path.stat().st_size == 0
    assert Spool(path).outcomes == []


@pytest.mark.parametrize("cut", ["-", "-x", '{"token": 7', "\x00\x00"])
def test_a_line_that_was_cut_off_costs_only_itself(path: Path, cut: str) -> None:
    spool = Spool(path)
    keep(spool, outcome(1))
    with path.open("a") as file:
        file.write(cut)
    again = Spool(path)
    keep(again, outcome(2))
    assert [o.token for o in Spool(path).outcomes] == [1, 2]


def test_under_steady_load_the_file_is_written_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINES_MAX", 20)
    spool = Spool(path)
    keep(spool, outcome(0))
    for token in range(1, 200):
        keep(spool, outcome(token))
        spool.settle([token])
    assert len(path.read_text().splitlines()) < 40
    assert [o.token for o in Spool(path).outcomes] == [0]


def test_a_disk_that_takes_nothing_does_not_stop_the_report(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "no" / "such" / "folder")
    keep(spool, outcome(1), outcome(2))
    spool.settle([1])
    assert [o.token for o in spool.outcomes] == [2]
    spool.settle([2])
    assert spool.outcomes == []
