"""Metrics: one table of families, a `Meter` that counts, an `Exporter` that shows.

Only whoever serves `/metrics` needs `openclaw_ray.metrics.exporter`; importing this package does not load
prometheus_client.
"""

from openclaw_ray.metrics.meter import Meter, Row, Totals
from openclaw_ray.metrics.table import FAMILIES, OTHER, PREFIX, Family

__all__ = ["FAMILIES", "OTHER", "PREFIX", "Family", "Meter", "Row", "Totals"]
