"""A worker's status that tests set by hand."""

from __future__ import annotations

from typing import Any

from anomaly_app.alerts import Alert, AlertSource, UsedRow, alert_id
from anomaly_app.web import AlertFeed, JobStatus, PartitionStatus, Subscription


class FakeWorker:
    def __init__(self, *, recent: int = 1_000, queue: int = 256) -> None:
        self.feed = AlertFeed(recent, queue)
        self.state: tuple[bool, str] = (True, "")
        self.health: tuple[bool, str] = (True, "")
        self.counts: dict[str, int] = {}
        self.assigned: list[PartitionStatus] = []

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
            }
        ]

    def partitions(self) -> list[PartitionStatus]:
        return self.assigned

    def alerts(self, limit: int) -> list[Alert]:
        return self.feed.latest(limit)

    def subscribe(self) -> Subscription:
        return self.feed.subscribe()

    def counters(self) -> dict[str, int]:
        return self.counts


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


def make_partition(number: int, **changes: Any) -> PartitionStatus:
    topic = "flink.sales.records"
    fields: dict[str, Any] = {"job": "unusual_sales", "queries": ("unusual",), "source": topic, "topic": topic}
    fields["partition"] = number
    return PartitionStatus(**{**fields, **changes})
