"""Counters and histograms as plain numbers that can be stored, carried and taken back.

The StateManager counts here while it applies a batch, writes the changed rows in the batch's own transaction, and so
counts each thing exactly as often as it happened, over restarts and refused commits. Must not know Prometheus.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from openclaw_ray.metrics.table import FAMILIES, OTHER, SKILLS_MAX

__all__ = ["Meter", "Row", "Totals"]

#: (family, labels as JSON list, value as JSON list): one stored series.
Row = tuple[str, str, str]
#: JSON form of everything counted: ``{family: [[labels, value], ...]}`` with a value as in `Meter`.
Totals = dict[str, list[list[Any]]]

Key = tuple[str, tuple[str, ...]]
#: A counter is ``[count]``; a histogram ``[sum, in bucket 0, in bucket 1, ..., above the last]``, not cumulative.
Value = list[float]

_SKILL_AT = {name: family.labels.index("skill") for name, family in FAMILIES.items() if "skill" in family.labels}
_WIDTH = {
    name: 1 if family.kind == "counter" else len(family.buckets) + 2
    for name, family in FAMILIES.items()
    if family.kind != "gauge"
}


class Meter:
    """What was counted, with undo for one batch.

    ``checkpoint`` opens a batch; what is counted from there on belongs to it until ``take_changed`` hands out the rows
    for its transaction. Then either ``commit`` or ``rollback``. What is counted at any other time (while the
    transaction is in flight, between batches) stands at once and is stored with the next batch. Not thread-safe.
    """

    def __init__(self) -> None:
        #: What stands: committed batches and counts outside of batches.
        self._total: dict[Key, Value] = {}
        #: Counts of the open or sealed batch, apart until `commit`.
        self._batch: dict[Key, Value] = {}
        #: Where `inc` and `observe` add: `_batch` between `checkpoint` and `take_changed`, otherwise `_total`.
        self._target = self._total
        #: Series of `_total` that differ from what is stored.
        self._changed: set[Key] = set()
        #: Series whose rows are in the transaction in flight.
        self._taken: set[Key] = set()
        #: Names that have a label value of their own; never forgotten, as a series must not change its meaning.
        self._skills: set[str] = set()

    def inc(self, family: str, labels: tuple[str, ...] = (), value: float = 1.0) -> None:
        """Add to a counter.

        Args:
            family: Name in `FAMILIES`.
            labels: One value per label of the family, in its order; a skill by its full name.
            value: 0 or more.
        """
        if value < 0:
            raise ValueError(f"{family}: a counter only grows, not by {value}")
        self._series(family, labels)[0] += value

    def observe(self, family: str, labels: tuple[str, ...], value: float) -> None:
        """Add one observation to a histogram; below zero (a clock was set back) or not a number counts as zero."""
        value = value if value > 0 else 0.0
        series = self._series(family, labels)
        series[0] += value
        series[1 + bisect_left(FAMILIES[family].buckets, value)] += 1

    def skill_label(self, skill: str) -> str:
        """The label value of a skill: its name for the first 20 names seen, then `other`."""
        if skill in self._skills:
            return skill
        if len(self._skills) >= SKILLS_MAX:
            return OTHER
        self._skills.add(skill)
        return skill

    def checkpoint(self) -> None:
        """Open a batch. An earlier one that was neither committed nor rolled back counts as committed."""
        self.commit()
        self._target = self._batch

    def take_changed(self) -> list[Row]:
        """The rows to store in this transaction: every series changed since they were last stored. Closes the batch."""
        self._target = self._total
        self._taken |= self._changed | self._batch.keys()
        self._changed.clear()
        rows = []
        for key in sorted(self._taken):
            value = _sum(self._total.get(key), self._batch.get(key))
            rows.append((key[0], _dumps(list(key[1])), _dumps(value)))
        return rows

    def commit(self) -> None:
        """The transaction is on disk: the batch's counts stand."""
        for key, value in self._batch.items():
            self._total[key] = _sum(self._total.get(key), value)
            if key not in self._taken:  # counted, but its rows were never taken
                self._changed.add(key)
        self._end_batch()

    def rollback(self) -> None:
        """The transaction was refused: forget the batch's counts.

        Other changes in its rows are stored next time. A skill seen first in that batch keeps its label.
        """
        self._changed |= self._taken & self._total.keys()
        self._end_batch()

    def load(self, rows: Iterable[Row]) -> None:
        """Begin with stored rows, as after a restart; a series this version does not know is left out."""
        self._end_batch()
        self._total.clear()
        self._changed.clear()
        self._skills.clear()
        for family, labels_json, value_json in rows:
            labels, value = tuple(json.loads(labels_json)), json.loads(value_json)
            if len(value) != _WIDTH.get(family, -1) or len(labels) != len(FAMILIES[family].labels):
                continue
            self._total[family, labels] = value
            if family in _SKILL_AT and (skill := labels[_SKILL_AT[family]]) != OTHER:
                self._skills.add(skill)

    def totals(self) -> Totals:
        """All that stands, as plain JSON values; a batch in flight is left out, so that no counter goes down."""
        totals: Totals = {}
        for (family, labels), value in self._total.items():
            totals.setdefault(family, []).append([list(labels), list(value)])
        return totals

    def _series(self, family: str, labels: tuple[str, ...]) -> Value:
        if self._target is self._batch and (known := self._batch.get((family, labels))) is not None:
            return known  # its labels are as they are counted
        at = _SKILL_AT.get(family, -1)
        if at >= 0 and labels[at] not in self._skills:
            labels = (*labels[:at], self.skill_label(labels[at]), *labels[at + 1 :])
        key = (family, labels)
        series = self._target.get(key)
        if series is None:
            if len(labels) != len(FAMILIES[family].labels):
                raise ValueError(f"{family} has the labels {FAMILIES[family].labels}, got {labels}")
            series = self._target[key] = [0.0] * _WIDTH[family]
        if self._target is self._total:
            self._changed.add(key)
        return series

    def _end_batch(self) -> None:
        self._batch = {}
        self._taken = set()
        self._target = self._total


def _sum(one: Value | None, two: Value | None) -> Value:
    if one is None or two is None:
        return list(one or two or ())
    return [a + b for a, b in zip(one, two, strict=True)]


def _dumps(value: list[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
