"""Something that Prometheus scrapes: metrics that move at every scrape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fake_worker import FakeWorker, make_alert, make_graph, make_partition
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from anomaly_app.web.metrics import create_registry


@contextmanager
def serve(registry: CollectorRegistry, move: Callable[[int], None]) -> Iterator[str]:
    """``/metrics`` of a registry on a free port of loopback.

    Args:
        registry: that is shown.
        move: is called before each answer, with its number.

    Yields:
        host:port.
    """
    lock = threading.Lock()
    asked = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal asked
            with lock:
                asked += 1
                move(asked)
                body = generate_latest(registry)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def worker_target() -> Iterator[str]:
    """The worker's own metrics of a status that moves on."""
    worker = FakeWorker()

    def move(number: int) -> None:
        moved = {"rows": 100 * number, "late": number, "rejected": number, "dead_letters": number, "duplicates": number}
        seconds = {"lag": 7 * number, "watermark_ms": 1_700_000_000_000 + 1_000 * number, "buffered": 5}
        worker.assigned = [make_partition(0, **moved, **seconds)]
        worker.assigned += [make_partition(0, **moved, **seconds, repartitioned=True)]
        graph = make_graph()
        grown = [type(node)(**{**_fields(node), "rows": node.rows + 50 * number}) for node in graph.nodes]
        worker.drawn = [type(graph)(job=graph.job, query=graph.query, nodes=tuple(grown))]
        worker.counts = {"attempts-given-up": number}
        worker.feed.publish(make_alert(number))
        worker.flushed.add(0.02 * (number % 7))

    with serve(create_registry(worker), move) as target:
        yield target


@contextmanager
def delivery_target() -> Iterator[str]:
    """Metrics as docs/alerting.md names them, of a delivery that does all that it can."""
    registry = CollectorRegistry()
    told = Counter("anomaly_notifications", "-", ["receiver", "sink", "outcome"], registry=registry)
    took = Histogram("anomaly_notification_duration_seconds", "-", ["receiver", "sink"], registry=registry)
    alerts = Counter("anomaly_delivery_alerts", "-", ["fate"], registry=registry)
    outbox = Gauge("anomaly_outbox", "-", ["receiver"], registry=registry)
    up = Gauge("anomaly_receiver_up", "-", ["receiver", "sink"], registry=registry)
    lag = Gauge("anomaly_delivery_lag_records", "-", registry=registry)
    active = Gauge("anomaly_delivery_active", "-", registry=registry)
    groups = Gauge("anomaly_delivery_groups", "-", registry=registry)
    files = Counter("anomaly_archive_files", "-", registry=registry)
    pending = Gauge("anomaly_archive_pending_bytes", "-", registry=registry)
    count = Counter("anomaly_count", "-", ["severity", "tenant", "job"], registry=registry)
    amount = Histogram("anomaly_amount", "-", ["severity"], buckets=(10, 100, 1_000, 10_000), registry=registry)

    def move(number: int) -> None:
        for receiver, sink in (("oncall", "slack"), ("oncall", "email"), ("archive", "influxdb")):
            for outcome in ("sent", "failed", "gave_up", "held_back"):
                told.labels(receiver, sink, outcome).inc()
            took.labels(receiver, sink).observe(0.1 * (number % 5))
            up.labels(receiver, sink).set(sink != "email")
            outbox.labels(receiver).set(number)
        for fate in ("sent", "grouped", "silenced", "inhibited", "muted", "unrouted"):
            alerts.labels(fate).inc()
        for severity in ("low", "medium", "high", "critical"):
            count.labels(severity, "eu", "unusual_sales").inc()
            amount.labels(severity).observe(number * 7)
        lag.set(number)
        groups.set(3)
        active.set(1)
        files.inc()
        pending.set(1_000 * number)

    with serve(registry, move) as target:
        yield target


def _fields(node: object) -> dict[str, object]:
    return {name: getattr(node, name) for name in node.__struct_fields__}  # type: ignore[attr-defined] # of msgspec
