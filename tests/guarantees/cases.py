"""All cases, in the order of the rows."""

from __future__ import annotations

from tests.guarantees import folders, ids, nodes, params, specs, texts
from tests.guarantees.case import CASES

MODULES = (ids, specs, params, texts, nodes, folders)
CASES.sort(key=lambda case: case.row)

__all__ = ["CASES"]
