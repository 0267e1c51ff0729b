"""Delivery's status in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from anomaly_app.delivery.status import DeliveryStatus, sink_label

WAITING = "waiting"
"""The fate of an alert that has none yet: its number falls again."""


class DeliveryCollector(Collector):
    """Reads the status when it is scraped; what is counted as it happens stands in the registry of the status.

    Args:
        status: of the process.
    """

    def __init__(self, status: DeliveryStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        yield from self._status.registry.collect()
        fates = CounterMetricFamily("anomaly_delivery_alerts", "What became of alerts", labels=("fate",))
        known_fates = dict(self._status.fates())
        waiting = known_fates.pop(WAITING, 0)
        for fate, number in sorted(known_fates.items()):
            fates.add_metric((fate,), number)
        yield fates
        yield GaugeMetricFamily("anomaly_delivery_waiting", "Alerts whose fate is not known yet", value=waiting)
        responses = CounterMetricFamily("anomaly_responses", "Runs of responses", labels=("fate",))
        for fate, number in sorted(self._status.responses().items()):
            responses.add_metric((fate,), number)
        yield responses
        yield from self._ways()
        lag = GaugeMetricFamily("anomaly_delivery_lag_records", "Alerts that are not decided yet")
        known = self._status.lag()
        if known is not None:
            lag.add_metric((), known)
        yield lag
        yield GaugeMetricFamily(
            "anomaly_delivery_groups", "Groups of alerts that are remembered", value=self._status.group_count()
        )
        yield from self._archives()
        yield GaugeMetricFamily(
            "anomaly_delivery_active",
            "1 if this process delivers, 0 if it stands by for another one",
            value=float(self._status.state == "active"),
        )
        yield GaugeMetricFamily("anomaly_ready", "1 if it delivers or stands by", value=float(self._status.ready()[0]))
        yield GaugeMetricFamily(
            "anomaly_healthy", "1 if the process is healthy", value=float(self._status.healthy()[0])
        )

    def _ways(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "anomaly_receiver_up", "1 if the last attempt went well, or there was none", labels=("receiver", "sink")
        )
        outbox = GaugeMetricFamily(
            "anomaly_outbox", "What is to be sent: notifications, and of streaming ways alerts", labels=("receiver",)
        )
        waiting: dict[str, int] = {}
        for way in self._status.ways():
            up.add_metric((way.receiver, sink_label(way.name)), float(way.up))
            waiting[way.receiver] = waiting.get(way.receiver, 0) + way.outstanding
        for receiver, number in waiting.items():
            outbox.add_metric((receiver,), number)
        yield up
        yield outbox

    def _archives(self) -> Iterator[Metric]:
        archives = self._status.archives()
        files = CounterMetricFamily("anomaly_archive_files", "Files that were written")
        pending = GaugeMetricFamily("anomaly_archive_pending_bytes", "Records that are in no file yet")
        if archives:
            files.add_metric((), sum(archive.files for archive in archives))
            pending.add_metric((), sum(archive.pending_bytes for archive in archives))
        yield files
        yield pending


def create_registry(status: DeliveryStatus) -> CollectorRegistry:
    """A registry of its own with delivery's metrics and those of its process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DeliveryCollector(status))
    ProcessCollector(namespace="anomaly", registry=registry)
    return registry
