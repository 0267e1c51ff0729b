"""What delivery counts, as metrics of Prometheus."""

from __future__ import annotations

import math
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter as Count, Histogram

from anomaly_app.delivery.notification import Incoming
from anomaly_app.delivery.status import sink_label
from anomaly_app.sinks.sender import Observe, Result

MOST_SERIES = 1_000
"""Tenants and jobs come from outside: what is beyond is counted as "other"."""
AMOUNT_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000)
SECONDS_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
OUTCOMES: Mapping[Result, str] = {"sent": "sent", "failed": "failed", "refused": "failed"}
AMOUNTS = ("amount", "max_amount")
"""Columns of the payload that are a sum of money; the first that is there counts."""


class DeliveryMetrics:
    """Counters of the process; what is a state is read when it is scraped."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._told = Count(
            "anomaly_notifications", "Attempts to tell a receiver, and what came of them",
            ("receiver", "sink", "outcome"), registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "anomaly_notification_duration_seconds", "How long an attempt took", ("receiver", "sink"),
            buckets=SECONDS_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._events = Count(
            "anomaly_delivery_events", "What happened to sinks that is no failure", ("receiver", "sink", "event"),
            registry=self.registry,
        )  # fmt: skip
        self._alerts = Count(
            "anomaly_count", "Alerts by what they are about", ("severity", "tenant", "job"), registry=self.registry
        )
        self._amounts = Histogram(
            "anomaly_amount", "Column amount, or max_amount, of the payload of alerts", ("severity",),
            buckets=AMOUNT_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._series: set[tuple[str, str]] = set()

    def observe(self, way: str) -> Observe:
        """What counts the attempts of a sink.

        Args:
            way: receiver, kind and number of the sink.
        """
        receiver, sink = way.partition("/")[0], sink_label(way)
        duration = self._seconds.labels(receiver, sink)

        def note(result: Result, seconds: float) -> None:
            self._told.labels(receiver, sink, OUTCOMES[result]).inc()
            if seconds:
                duration.observe(seconds)

        return note

    def count(self, way: str, what: str) -> None:
        """What happened to a sink that is no failure, such as ``template_failed``."""
        self._events.labels(way.partition("/")[0], sink_label(way), what).inc()

    def gave_up(self, way: str, count: int) -> None:
        """Notifications, or alerts of a streaming way, that went to the dead letters."""
        self._told.labels(way.partition("/")[0], sink_label(way), "gave_up").inc(count)

    def held_back(self, way: str, count: int) -> None:
        """Notifications for which a digest stands."""
        self._told.labels(way.partition("/")[0], sink_label(way), "held_back").inc(count)

    def alert(self, incoming: Incoming) -> None:
        """An alert that has come."""
        alert = incoming.alert
        series = incoming.tenant, alert.job
        if series not in self._series:
            if len(self._series) < MOST_SERIES:
                self._series.add(series)
            else:
                series = "other", "other"
        self._alerts.labels(alert.severity, *series).inc()
        amount = next((found for name in AMOUNTS if (found := _number(alert.payload.get(name))) is not None), None)
        if amount is not None:
            self._amounts.labels(alert.severity).observe(amount)


def _number(value: object) -> float | None:
    """A number of the payload; DECIMAL stands there as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
