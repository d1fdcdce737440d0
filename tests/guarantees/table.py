"""Writes docs/bad_inputs.md from what the cases bring out: ``python -m tests.guarantees.table``, or ``make tables``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.guarantees.case import Case, Shown
from tests.guarantees.cases import CASES
from tests.guarantees.rows import NOT_YET, ROWS

PATH = Path(__file__).parents[2] / "docs" / "bad_inputs.md"

_HEAD = """# Bad inputs

What is refused, at which door, and the words that come out. Written by `make tables` from the cases of
`tests/guarantees`; a test fails when this page is out of date. Each line is a test of
`tests/guarantees/test_bad_inputs.py`, `test_it_is_refused_by_its_field_and_stores_nothing[…]`; after each the count of
tasks, the nodes, the registry and the version are what they were before, memory equals the disk, and the next good call
works.
"""


def text(shown: Mapping[str, Shown]) -> str:
    """The page.

    Args:
        shown: What came out, by the id of each case.
    """
    lines = [_HEAD]
    for row, given in ROWS.items():
        cases = [case for case in CASES if case.row == row]
        lines.append(f"## {row}: {given}\n")
        if row in NOT_YET:
            lines.append(f"Not yet: {NOT_YET[row]}.\n")
        if cases:
            lines += ["| given | door | test | what comes out |", "|---|---|---|---|"]
            lines += [_line(case, shown[case.id]) for case in cases]
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _line(case: Case, shown: Shown) -> str:
    words = f"`{shown.code}` {_cell(shown.text)}"
    return f"| {_cell(case.given)} | {_cell(case.door)} | `{_cell(case.id)}` | {words} |"


def _cell(words: str) -> str:
    """One cell, whatever stands in it."""
    escaped = words.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in escaped)


def main() -> None:
    """Run every case and write the page."""
    from tests.guarantees.doors import Doors, tried

    with tempfile.TemporaryDirectory() as folder, Doors(Path(folder)) as doors:
        PATH.write_text(text({case.id: tried(doors, case) for case in CASES}), "utf-8")


if __name__ == "__main__":
    main()
