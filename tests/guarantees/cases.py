"""All cases, in the order of the rows."""

from __future__ import annotations

from tests.guarantees import ids, params, specs
from tests.guarantees.case import CASES

MODULES = (ids, specs, params)
CASES.sort(key=lambda case: case.row)

__all__ = ["CASES"]
