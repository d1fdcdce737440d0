"""Every verb for drivers with handles, and what shows that it works: the tests and docs/verbs.md read this.

A case uses handles only, as a driver would; each begins with ids of its own.
"""

from __future__ import annotations

from tests.actors import node_verbs, task_verbs, other_verbs  # isort: skip  (the order of the page)
from tests.actors.cases import CASES, Case, Driver

#: What is imported so that it fills CASES, in the order of the page.
MODULES = (node_verbs, task_verbs, other_verbs)

__all__ = ["CASES", "MODULES", "Case", "Driver"]
