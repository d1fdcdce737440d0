"""/metrics: the coordinator's totals and the dispatcher's own figures in one page."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

from openclaw_ray.logs import get_logger
from openclaw_ray.metrics.exporter import Exporter
from openclaw_ray.runtime.dispatcher import Dispatcher

log = get_logger(__name__)


class MetricsServer:
    """Serves what the dispatcher last heard. A taken port is said in the log and does not stop scheduling."""

    def __init__(self, dispatcher: Dispatcher, ray_version: str) -> None:
        self._dispatcher = dispatcher
        build = {"version": metadata.version("openclaw-ray"), "ray_version": ray_version, "schema_version": "1"}
        self._exporter = Exporter(build=build)
        self._exporter.meter = dispatcher.meter
        self._close: Callable[[], None] | None = None
        #: ``host:port`` that is served, or None.
        self.address: str | None = None
        dispatcher.on_totals = self.update

    def serve(self, host: str, port: int) -> None:
        """Begin to serve; port 0 takes a free one."""
        try:
            bound, self._close = self._exporter.serve(host, port)
        except OSError as error:
            log.warning("metrics are not served", host=host, port=port, error=str(error))
            return
        self.address = f"{host}:{bound}"

    def update(self) -> None:
        """New totals have come."""
        totals = self._dispatcher.totals
        gauges = dict(totals.get("gauges", {}))
        gauges["scheduler_last_pass_timestamp_seconds"] = self._dispatcher.last_pass_at
        self._exporter.update(totals.get("counters", {}), gauges)

    def text(self) -> str:
        """The page as it is now."""
        self.update()
        return self._exporter.text()

    def close(self) -> None:
        """Give the port back."""
        if self._close is not None:
            self._close()
