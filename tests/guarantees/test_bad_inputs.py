"""Bad inputs: every row at every door is refused by its field, stores nothing, and the next call works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guarantees import table
from tests.guarantees.case import Case, Shown
from tests.guarantees.cases import CASES
from tests.guarantees.doors import Doors, tried
from tests.guarantees.rows import NOT_YET, ROWS

#: What came out of the cases that have run.
SHOWN: dict[str, Shown] = {}


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with Doors(tmp_path_factory.mktemp("doors")) as opened:
        yield opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_it_is_refused_by_its_field_and_stores_nothing(case: Case, doors: Doors) -> None:
    SHOWN[case.id] = tried(doors, case)


def test_the_page_says_what_came_out(doors: Doors) -> None:
    for case in CASES:
        if case.id not in SHOWN:
            SHOWN[case.id] = tried(doors, case)
    assert table.PATH.read_text("utf-8") == table.text(SHOWN), "run: make tables"


def test_every_row_has_cases_or_a_reason() -> None:
    numbers = [f"B{i:02}" for i in range(1, 61)]
    assert list(ROWS) == numbers
    shown = {case.row for case in CASES}
    assert shown <= set(ROWS)
    assert [row for row in ROWS if row not in shown] == [row for row in NOT_YET if row not in shown]


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.id for case in CASES]
    assert sorted(names) == sorted(set(names))
