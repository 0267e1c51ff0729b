"""A worker's status that tests set by hand."""

from __future__ import annotations

from typing import Any

from anomaly_app.alerts import Alert, AlertSource, UsedRow, alert_id
from anomaly_app.web import AlertFeed, Durations, GraphStatus, JobStatus, NodeStatus, PartitionStatus, Subscription


class FakeWorker:
    def __init__(self, *, recent: int = 1_000, queue: int = 256) -> None:
        self.feed = AlertFeed(recent, queue)
        self.state: tuple[bool, str] = (True, "")
        self.health: tuple[bool, str] = (True, "")
        self.counts: dict[str, int] = {}
        self.assigned: list[PartitionStatus] = []
        self.drawn: list[GraphStatus] = []
        self.flushed = Durations()

    def ready(self) -> tuple[bool, str]:
        return self.state

    def healthy(self) -> tuple[bool, str]:
        return self.health

    def jobs(self) -> list[JobStatus]:
        return [
            {
                "name": "unusual_sales",
                "version": "c0ffee123456",
                "path": "anomaly_app/jobs/unusual_sales.sql",
                "queries": [
                    {
                        "name": "UnusualSalesRecordTable",
                        "description": "row pattern (TYPICAL_SALE+? UNUSUAL_SALE) WITHIN INTERVAL '10' SECOND",
                        "source": "flink.sales.records",
                        "routing": "repartition",
                        "sink": "flink.unusual.sales.records",
                        "alerts": self.feed.published,
                        "late": 0,
                    }
                ],
                "lookups": [
                    {
                        "table": "limits",
                        "source": "limits.csv",
                        "rows": 7,
                        "changes": 1,
                        "rejected": 0,
                        "problem": "",
                    }
                ],
                "models": [
                    {
                        "model": "fraud",
                        "version": 2,
                        "provider": "azureml",
                        "calls": 9,
                        "rows": 250,
                        "errors": 3,
                        "retries": 2,
                        "latency_s": 0.5,
                        "latencies": [4, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                        "open": False,
                        "problem": "",
                    }
                ],
            }
        ]

    def partitions(self) -> list[PartitionStatus]:
        return self.assigned

    def graphs(self) -> list[GraphStatus]:
        return self.drawn

    def alerts(self, limit: int) -> list[Alert]:
        return self.feed.latest(limit)

    def subscribe(self) -> Subscription:
        return self.feed.subscribe()

    def counters(self) -> dict[str, int]:
        return self.counts

    def flushes(self) -> Durations:
        return self.flushed


def make_alert(number: int, **changes: Any) -> Alert:
    key = {"user_id": f"user-{number}"}
    rows = [
        UsedRow(
            variable="UNUSUAL_SALE" if n == 4 else "TYPICAL_SALE",
            event_time=f"2025-07-10T14:07:0{n}.697Z",
            partition=3,
            offset=100 + n,
            values={
                "invoice_id": f"78505954423588711{n}",
                "quantity": "30" if n == 4 else "1",
                "user_id": key["user_id"],
            },
        )
        for n in range(5)
    ]
    fields: dict[str, Any] = {
        "id": alert_id("unusual_sales", "unusual", (key["user_id"],), 3, number, 0),
        "job": "unusual_sales",
        "version": "c0ffee123456",
        "query": "unusual",
        "key": key,
        "type": "pattern",
        "severity": "medium",
        "score": None,
        "event_time": "2025-07-10T14:07:04.697Z",
        "detected_at": "2025-07-10T14:07:05.000Z",
        "explanation": (
            f"user_id user-{number} at 2025-07-10 14:07:04.697: quantity 30 > avg_quantity 1 × 3; unusual_invoice_id "
            "785059544235887114. TYPICAL_SALE: 4 rows from 2025-07-10 14:07:00.697 to 2025-07-10 14:07:03.697 "
            "(quantity 1, 1, 1, 1); matched (TYPICAL_SALE+? UNUSUAL_SALE) WITHIN INTERVAL '10' SECOND because "
            "UNUSUAL_SALE.quantity > AVG(CAST(TYPICAL_SALE.quantity AS INT)) * 3."
        ),
        "rows": rows,
        "rows_total": 5,
        "payload": {**key, "unusual_quantity": 30, "avg_quantity": 1},
        "source": AlertSource(topic="flink.sales.records", partition=3, offset=number),
    }
    return Alert(**{**fields, **changes})


def make_graph(**late: int) -> GraphStatus:
    """A join of windows over two inputs; late rows by the id of the node."""
    second = 1_752_156_422_000
    nodes = [
        ("source 1", "source", "sales", ()),
        ("exchange", "exchange", "Rows by user_id", ("source 1",)),
        ("1", "operator", "Project user_id, quantity", ("exchange",)),
        ("2", "operator", "Aggregate windows of 10 seconds by user_id", ("1",)),
        ("3", "operator", "Aggregate windows of 20 seconds by user_id", ("1",)),
        ("4", "operator", "Union of 2", ("2", "3")),
    ]
    made = [
        NodeStatus(
            id=id_,
            kind=kind,
            title=title,
            inputs=inputs,
            rows=1_000 * (6 - n),
            rows_per_s=100.0 * (6 - n),
            lag=7 if kind != "operator" else None,
            watermark_ms=second - 10_000 * (n > 2),
            late=late.get(f"n{id_}", 0),
        )
        for n, (id_, kind, title, inputs) in enumerate(nodes)
    ]
    return GraphStatus(job="unusual_sales", query="busy", nodes=tuple(made))


def make_partition(number: int, **changes: Any) -> PartitionStatus:
    topic = "flink.sales.records"
    fields: dict[str, Any] = {"job": "unusual_sales", "queries": ("unusual",), "source": topic, "topic": topic}
    fields["partition"] = number
    return PartitionStatus(**{**fields, **changes})
