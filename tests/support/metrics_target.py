"""Something that Prometheus scrapes: metrics that move at every scrape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fake_worker import FakeWorker, make_alert, make_graph, make_partition
from notifications import an_alert, incoming
from prometheus_client import CollectorRegistry, generate_latest

from anomaly_app.alerts import Severity
from anomaly_app.delivery.status import ArchiveStatus, WayStatus
from anomaly_app.runtime.delivery_metrics import DeliveryMetrics
from anomaly_app.sinks.sender import Result
from anomaly_app.status import JobStatus
from anomaly_app.web.delivery_metrics import create_registry as create_delivery_registry
from anomaly_app.web.metrics import create_registry

SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")


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


class MovingWorker(FakeWorker):
    """A worker's status whose models are asked more and more."""

    asked = 0

    def jobs(self) -> list[JobStatus]:
        jobs = super().jobs()
        for model in jobs[0]["models"]:
            for count in ("calls", "rows", "errors", "retries"):
                model[count] *= self.asked  # type: ignore[literal-required] # these are
            model["latencies"] = [number * self.asked for number in model["latencies"]]
        return jobs


@contextmanager
def worker_target() -> Iterator[str]:
    """The worker's own metrics of a status that moves on."""
    worker = MovingWorker()

    def move(number: int) -> None:
        worker.asked = number
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


class FakeDelivery:
    """A delivery's status that moves on, of one that does all that it can."""

    WAYS = ("oncall/slack/0", "oncall/email/0", "systems/influxdb/0")

    def __init__(self) -> None:
        self.metrics = DeliveryMetrics()
        self.registry = self.metrics.registry
        self.state = "active"
        self._number = 0
        self._observed = {way: self.metrics.observe(way) for way in self.WAYS}

    def move(self, number: int) -> None:
        self._number = number
        results: tuple[Result, ...] = ("sent", "failed", "refused")
        for way, observe in self._observed.items():
            for result in results:
                observe(result, 0.1 * (number % 5) + 0.001)
            self.metrics.gave_up(way, 1)
            self.metrics.held_back(way, 1)
        for severity in SEVERITIES:
            alert = an_alert(number, severity=severity, job="unusual_sales", payload={"amount": 7 * number})
            self.metrics.alert(incoming(alert, tenant="eu")[0])

    def ready(self) -> tuple[bool, str]:
        return True, ""

    healthy = ready

    def lag(self) -> int | None:
        return self._number

    def group_count(self) -> int:
        return 3

    def fates(self) -> dict[str, int]:
        return dict.fromkeys(("sent", "grouped", "silenced", "inhibited", "muted", "unrouted"), self._number)

    def responses(self) -> dict[str, int]:
        return {"started": self._number, "refused": self._number}

    def ways(self) -> list[WayStatus]:
        found = []
        for way in self.WAYS:
            receiver, kind, _ = way.split("/")
            found.append(
                WayStatus(
                    name=way,
                    receiver=receiver,
                    kind=kind,
                    up=kind != "email",
                    breaker="closed",
                    outstanding=self._number,
                    sent=1,
                    failed=1,
                    problem="",
                    sent_ms=None,
                    streaming=kind == "influxdb",
                )
            )
        return found

    def archives(self) -> list[ArchiveStatus]:
        number = self._number
        return [ArchiveStatus(name="alerts", files=number, records=number, pending_bytes=1_000 * number, problem="")]


@contextmanager
def delivery_target() -> Iterator[str]:
    """The delivery's own metrics of a status that moves on."""
    delivery: Any = FakeDelivery()
    with serve(create_delivery_registry(delivery), delivery.move) as target:
        yield target


def _fields(node: object) -> dict[str, object]:
    return {name: getattr(node, name) for name in node.__struct_fields__}  # type: ignore[attr-defined] # of msgspec
