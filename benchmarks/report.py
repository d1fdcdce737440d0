"""The outcome of a run: one JSON document for programs, one table for people, both of the same rows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.series import Row
from openclaw_ray.display import table

#: Number of the JSON document's form; raised when a reader of the old one would misread the new one.
SCHEMA = 1

_COLUMNS = ("row", "what", "goal", "median", "min .. max", "measured (medians)", "met")
_MET = {True: "yes", False: "NO", None: None}


#: What could not be measured, and why.
Failures = Mapping[str, str]


def document(conditions: Mapping[str, Any], rows: Iterable[Row], failed: Failures) -> dict[str, Any]:
    """What the file holds."""
    shown = [row.to_json() for row in rows]
    return {"schema": SCHEMA, "conditions": dict(conditions), "rows": shown, "failed": dict(failed)}


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write the document, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def render(conditions: Mapping[str, Any], rows: Sequence[Row], failed: Failures) -> str:
    """Conditions, table and notes."""
    cells = [
        (
            row.name,
            row.what,
            _goal(row),
            quantity(row.figure, row.unit),
            f"{quantity(min(row.runs))} .. {quantity(max(row.runs))}",
            ", ".join(f"{name} {quantity(statistics.median(values))}" for name, values in row.raw.items()),
            _MET[row.met],
        )
        for row in rows
    ]
    parts = [_conditions(conditions), table(_COLUMNS, cells, cell_max=80)]
    notes = [f"{row.name}: {row.note}" for row in rows if row.note]
    notes += [f"FAILED: {what}: {why}" for what, why in failed.items()]
    judged = [row.met for row in rows if row.met is not None]
    summary = f"{sum(judged)} of {len(judged)} goals met." if judged else ""
    return "\n\n".join(part for part in (*parts, "\n".join(notes), summary) if part)


def quantity(figure: float, unit: str = "") -> str:
    """A figure with three digits that mean something, and its unit."""
    size = abs(figure)
    if size >= 100:
        text = f"{figure:,.0f}"
    elif size >= 10:
        text = f"{figure:.1f}"
    else:
        text = f"{figure:.2f}" if size >= 1 or not size else f"{figure:.3g}"
    return text + _behind(unit)


def _goal(row: Row) -> str | None:
    if row.goal is None:
        return None
    return f"{'>=' if row.goal.at_least else '<='} {row.goal.bound:,g}{_behind(row.unit)}"


def _behind(unit: str) -> str:
    return unit if unit in {"", "x", "%", "/s"} else f" {unit}"


def _conditions(conditions: Mapping[str, Any]) -> str:
    lines = []
    for name, value in conditions.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{k}={v}" for k, v in value.items())  # noqa: PLW2901
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))  # noqa: PLW2901
        lines.append(f"{name.replace('_', ' ')}: {value}")
    return "\n".join(lines)
