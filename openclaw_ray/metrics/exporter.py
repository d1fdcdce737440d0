"""The page `/metrics`: renders the newest totals and gauges, and serves them on a thread of its own.

A registry of our own, so that neither Ray's nor the host program's metrics mix in, and no `_created` series. Must not
know where the figures come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from openclaw_ray.metrics.meter import Meter, Totals, Value
from openclaw_ray.metrics.table import FAMILIES, NODES_MAX, OTHER, PREFIX, SKILLS_MAX, Family

__all__ = ["Exporter", "Gauges"]

#: Present values: a number, or one per value of the family's only label.
Gauges = Mapping[str, float | Mapping[str, float]]

#: Series on the page, at most: so many, and so many more per node. Someone else's Prometheus pays for each.
SERIES_MAX = 500
SERIES_PER_NODE = 20
LABEL_CHARS_MAX = 128

Rows = dict[tuple[str, ...], Value]


class Exporter(Collector):
    """Holds one page of metrics.

    `update` and `text` belong to one thread (an actor's loop); the server's threads only read the page last made.

    Args:
        build: The labels of `build_info`: version, ray_version, schema_version.
    """

    def __init__(self, build: Mapping[str, str] | None = None) -> None:
        #: Counts of the process that exports, shown beside the totals from elsewhere.
        self.meter = Meter()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._build = dict(build or {})
        self._totals: Totals = {}
        self._gauges: Gauges = {}
        #: Label values in use; they only grow, as a series must not change its meaning.
        self._admitted: dict[str, set[str]] = {"skill": set(), "node": set()}
        #: Families that show all skills as one, to stay below the limit; once folded, folded until a restart.
        self._folded: set[str] = set()
        self._page: dict[str, Rows] = {}
        self._remake()

    def update(self, totals: Totals, gauges: Gauges) -> None:
        """Show these from now on, with the counts of `meter` so far.

        Args:
            totals: From `Meter.totals()` of another process; families unknown here are left out.
            gauges: The present values; what is not in them is no longer shown.
        """
        unknown = [name for name in gauges if name not in FAMILIES or FAMILIES[name].kind != "gauge"]
        if unknown:
            raise ValueError(f"not in the table of gauges: {', '.join(sorted(unknown))}")
        self._totals, self._gauges = totals, gauges
        self._remake()

    def text(self) -> str:
        """The page in Prometheus' text format."""
        self._remake()
        return generate_latest(self.registry).decode()

    def serve(self, host: str = "127.0.0.1", port: int = 9464) -> tuple[int, Callable[[], None]]:
        """Serve the page over HTTP on a daemon thread.

        Args:
            host: Address to bind; the page asks nobody for a password.
            port: 0 takes a free one.

        Returns:
            The bound port, and a function that stops the server and frees the port.

        Raises:
            OSError: The port is taken.
        """
        server, thread = start_http_server(port, addr=host, registry=self.registry)

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return server.server_port, close

    def collect(self) -> Iterator[Metric]:
        """Prometheus' view of the page; called on the server's threads."""
        for name, rows in self._page.items():
            yield _metric(name, FAMILIES[name], rows)

    def _remake(self) -> None:
        page: dict[str, Rows] = {}
        for totals in (self._totals, self.meter.totals()):
            for name, series in totals.items():
                if name in FAMILIES:
                    for labels, value in series:
                        self._add(page, name, tuple(labels), value)
        for name, value in self._gauges.items():
            for label, number in value.items() if isinstance(value, Mapping) else [(None, value)]:
                self._add(page, name, () if label is None else (label,), [float(number)])
        if self._build:
            labels = tuple(self._build.get(label, "") for label in FAMILIES["build_info"].labels)
            self._add(page, "build_info", labels, [1.0])
        self._fold_skills(page)
        # One assignment: a scrape on another thread sees the old page or the new one.
        self._page = {name: page.get(name) or _zero(family) for name, family in FAMILIES.items()}

    def _add(self, page: dict[str, Rows], name: str, labels: tuple[str, ...], value: Value) -> None:
        family = FAMILIES[name]
        if len(labels) != len(family.labels):
            raise ValueError(f"{name} has the labels {family.labels}, got {labels}")
        shown = tuple(self._label(key, text, name) for key, text in zip(family.labels, labels, strict=True))
        _merge(page.setdefault(name, {}), family, shown, value)

    def _label(self, key: str, text: str, family: str) -> str:
        text = "".join(c if c.isprintable() else "_" for c in str(text)[:LABEL_CHARS_MAX])
        if key == "skill" and family in self._folded:
            return OTHER
        admitted = self._admitted.get(key)
        if admitted is None or text in admitted or text == OTHER:
            return text
        if len(admitted) >= (SKILLS_MAX if key == "skill" else NODES_MAX):
            return OTHER
        admitted.add(text)
        return text

    def _fold_skills(self, page: dict[str, Rows]) -> None:
        """While the page is over the limit, show the largest family with all its skills as one."""
        limit = SERIES_MAX + SERIES_PER_NODE * len(page.get("node_slots", ()))
        sizes = {name: len(rows) * _series_per_row(FAMILIES[name]) for name, rows in page.items()}
        while sum(sizes.values()) > limit:
            left = [name for name in sizes if "skill" in FAMILIES[name].labels and name not in self._folded]
            if not left:
                return
            largest = max(left, key=lambda name: sizes[name])
            self._folded.add(largest)
            family, rows, at = FAMILIES[largest], page[largest], FAMILIES[largest].labels.index("skill")
            page[largest] = {}
            for labels, value in rows.items():
                _merge(page[largest], family, (*labels[:at], OTHER, *labels[at + 1 :]), value)
            sizes[largest] = len(page[largest]) * _series_per_row(family)


def _merge(rows: Rows, family: Family, labels: tuple[str, ...], value: Value) -> None:
    old = rows.get(labels)
    if old is None:
        rows[labels] = list(value)
    elif family.fold == "sum":
        rows[labels] = [a + b for a, b in zip(old, value, strict=True)]
    else:
        rows[labels] = [max(old[0], value[0]) if family.fold == "max" else min(old[0], value[0])]


def _series_per_row(family: Family) -> int:
    # Buckets, +Inf, sum and count.
    return len(family.buckets) + 3 if family.kind == "histogram" else 1


def _zero(family: Family) -> Rows:
    """A counter that has counted nothing is 0, not absent: otherwise its first increase would be invisible."""
    if family.labels or family.kind == "gauge":
        return {}
    return {(): [0.0] * (len(family.buckets) + 2 if family.kind == "histogram" else 1)}


def _metric(name: str, family: Family, rows: Rows) -> Metric:
    full = PREFIX + name
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(full, family.help, labels=family.labels)
        for labels, (total, *counts) in rows.items():
            histogram.add_metric(labels, _cumulative(family, counts), sum_value=total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(full, family.help, labels=family.labels)
    for labels, (value,) in rows.items():
        metric.add_metric(labels, value)
    return metric


def _cumulative(family: Family, counts: list[float]) -> list[tuple[str, float]]:
    buckets, below = [], 0.0
    for bound, count in zip([*map(str, family.buckets), "+Inf"], counts, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets
