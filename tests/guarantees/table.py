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

What is refused, at which door, and the words that come out. Written by `make tables` from what the cases of
`tests/guarantees` bring out; a test fails when this page is out of date.

A line stands for one test per door, `test_it_is_refused_by_its_field_and_stores_nothing[ROW-DOOR-GIVEN]` in
`tests/guarantees/test_bad_inputs.py`, with `_` for blanks. After each refusal the counts of tasks, the nodes, the
registry and the version are what they were, memory equals the disk, and the next good call works. Beside a door stands
the field that its refusal names; the words follow the field.

Doors: client and async client are the Python clients over a whole cluster, command is `openclaw-ray` there, with its
exit code. The name of a verb is a call of it by handle, with values or JSON text. JSON is `call_json` of `submit`.
Register, poll, report and offers are the messages of a node's agent, assign and watch those of the Scheduler.
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
            lines += ["| given | door and field | what comes out |", "|---|---|---|"]
            lines += _lines(cases, shown)
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _lines(cases: list[Case], shown: Mapping[str, Shown]) -> list[str]:
    """A line for each input and each wording of its refusal, with all doors that use it."""
    doors: dict[tuple[str, str, str], list[str]] = {}
    for case in cases:
        found = shown[case.id]
        field, words = "", found.text.removeprefix("error: ")
        if found.at is not None and words.startswith(f"{found.at}: "):
            field, words = f" `{found.at}`", words.removeprefix(f"{found.at}: ")
        doors.setdefault((case.given, found.code, words), []).append(_cell(case.door) + field)
    return [
        f"| {_cell(given)} | {', '.join(where)} | `{code}` {_cell(words)} |"
        for (given, code, words), where in doors.items()
    ]


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
