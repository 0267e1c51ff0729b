"""A worker's status in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from math import isinf

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from anomaly_app.models.stats import BUCKETS_S
from anomaly_app.status import PartitionStatus, WorkerStatus

_COUNTERS = (
    ("rows", "rows", "Rows taken"),
    ("late", "late_rows", "Rows that came after the watermark had passed them"),
    ("rejected", "rejected_rows", "Rows with an absurd event time"),
    ("dead_letters", "dead_letters", "Records that could not be decoded and rows on which a rule failed"),
    ("duplicates", "duplicate_rows", "Replayed rows that were recognised and dropped"),
)
_PARTITION = ("job", "query", "topic", "partition", "stage")
"""Names of people's own: ``topic`` is the source. ``stage`` is ``repartition`` behind a repartition topic, else
``source``; where rows pass both, each stage counts them."""

_MODEL = ("job", "model", "version")

_NODE = ("job", "query", "node", "title")
"""Nodes are numbered as ``EXPLAIN`` does it."""


class StatusCollector(Collector):
    """Reads the status when it is scraped; keeps nothing.

    Args:
        status: of the worker.
    """

    def __init__(self, status: WorkerStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        yield from self._partitions()
        yield from self._nodes()
        yield from self._models()
        alerts = CounterMetricFamily("anomaly_alerts", "Alerts raised", labels=("job", "query"))
        info = GaugeMetricFamily("anomaly_job_info", "Jobs that run, always 1", labels=("job", "version"))
        held = GaugeMetricFamily("anomaly_lookup_rows", "Rows of tables that are looked up in", labels=("job", "table"))
        for job in self._status.jobs():
            for table in job["lookups"]:
                held.add_metric((job["name"], table["table"]), table["rows"])
            info.add_metric((job["name"], job["version"]), 1)
            for query in job["queries"]:
                alerts.add_metric((job["name"], query["name"]), query["alerts"])
        yield alerts
        yield info
        yield held
        events = CounterMetricFamily("anomaly_events", "What was dropped or bounded, by reason", labels=("reason",))
        for reason, number in sorted(self._status.counters().items()):
            events.add_metric((reason,), number)
        yield events
        flushes = self._status.flushes()
        took = HistogramMetricFamily(
            "anomaly_flush_seconds", "How long it took to write what was done and to store the state of it"
        )
        buckets = [("+Inf" if isinf(bound) else str(bound), number) for bound, number in flushes.cumulated()]
        took.add_metric((), buckets, flushes.sum_s)
        yield took
        yield GaugeMetricFamily("anomaly_ready", "1 if rows flow", value=float(self._status.ready()[0]))
        yield GaugeMetricFamily("anomaly_healthy", "1 if the worker is healthy", value=float(self._status.healthy()[0]))

    def _partitions(self) -> Iterator[Metric]:
        partitions = [(_labels(status), status) for status in self._status.partitions()]
        for field, name, help_ in _COUNTERS:
            counter = CounterMetricFamily(f"anomaly_{name}", help_, labels=_PARTITION)
            for labels, status in partitions:
                counter.add_metric(labels, getattr(status, field))
            yield counter
        lag = GaugeMetricFamily("anomaly_lag_records", "Records to the end of the partition", labels=_PARTITION)
        buffered = GaugeMetricFamily("anomaly_buffered_rows", "Rows that wait for the watermark", labels=_PARTITION)
        watermark = GaugeMetricFamily(
            "anomaly_watermark_timestamp_seconds", "Event time up to which the partition is complete", labels=_PARTITION
        )
        for labels, status in partitions:
            buffered.add_metric(labels, status.buffered)
            if status.lag is not None:
                lag.add_metric(labels, status.lag)
            if status.watermark_ms is not None:
                watermark.add_metric(labels, status.watermark_ms / 1_000)
        yield lag
        yield buffered
        yield watermark

    def _models(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("anomaly_model_calls", "Calls of a model; of one in a file batches", labels=_MODEL)
        rows = CounterMetricFamily("anomaly_model_rows", "Rows for which a model gave something", labels=_MODEL)
        errors = CounterMetricFamily("anomaly_model_errors", "Rows for which a model gave nothing", labels=_MODEL)
        retries = CounterMetricFamily("anomaly_model_retries", "Calls of a model made again", labels=_MODEL)
        opened = GaugeMetricFamily("anomaly_model_circuit_open", "1 if a model is left alone for now", labels=_MODEL)
        took = HistogramMetricFamily("anomaly_model_call_seconds", "How long calls of a model took", labels=_MODEL)
        for job in self._status.jobs():
            for model in job["models"]:
                labels = (job["name"], model["model"], str(model["version"]))
                calls.add_metric(labels, model["calls"])
                rows.add_metric(labels, model["rows"])
                errors.add_metric(labels, model["errors"])
                retries.add_metric(labels, model["retries"])
                opened.add_metric(labels, float(model["open"]))
                bounds = [*map(str, BUCKETS_S), "+Inf"]
                counts = accumulate(model["latencies"])
                took.add_metric(labels, list(zip(bounds, counts, strict=True)), sum_value=model["latency_s"])
        yield from (calls, rows, errors, retries, opened, took)

    def _nodes(self) -> Iterator[Metric]:
        rows = CounterMetricFamily("anomaly_node_rows", "Rows that a node of a query has given out", labels=_NODE)
        late = CounterMetricFamily("anomaly_node_late_rows", "Rows that came too late for a node", labels=_NODE)
        watermark = GaugeMetricFamily(
            "anomaly_node_watermark_timestamp_seconds",
            "Event time up to which what a node gives is complete",
            labels=_NODE,
        )
        for graph in self._status.graphs():
            for node in graph.nodes:
                labels = (graph.job, graph.query, node.id, node.title)
                rows.add_metric(labels, node.rows)
                late.add_metric(labels, node.late)
                if node.watermark_ms is not None:
                    watermark.add_metric(labels, node.watermark_ms / 1_000)
        yield rows
        yield late
        yield watermark


def _labels(status: PartitionStatus) -> tuple[str, ...]:
    stage = "repartition" if status.repartitioned else "source"
    return (status.job, ",".join(status.queries), status.source, str(status.partition), stage)


def create_registry(status: WorkerStatus) -> CollectorRegistry:
    """A registry of its own with the worker's metrics and those of its process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(status))
    ProcessCollector(namespace="anomaly", registry=registry)
    return registry
