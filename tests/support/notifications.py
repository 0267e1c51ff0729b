"""Alerts and notifications as delivery would make them."""

from __future__ import annotations

from typing import Any

import msgspec

from anomaly_app.alerts import Alert, AlertSource, Severity, UsedRow, alert_id, encode
from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.labels import fingerprint, labels_of
from anomaly_app.delivery.notification import Incoming, Notification, Told

T0 = 1_764_270_000_000
"""2025-11-27T19:00:00Z."""


def an_alert(
    number: int = 0,
    *,
    key: dict[str, Any] | None = None,
    severity: Severity = "high",
    payload: dict[str, Any] | None = None,
    at_ms: int = T0,
    job: str = "unusual_transactions",
    **changes: Any,
) -> Alert:
    """One of the tutorial's rule of transactions."""
    key = {"userId": "user001"} if key is None else key
    if payload is None:
        payload = {
            **key,
            "window_start": "2025-11-27T18:55:00.000",
            "max_amount": 12_345.67,
            "avg_amount": 260.5,
            "stddev_amount": 1_200.25,
            "threshold": 3_261.13,
            "row_count": 42,
            "severity": severity,
            "alert": "ANOMALY DETECTED: User user001 has transaction of 12345.67",
        }
    row = {"userId": key.get("userId"), "amount": 12_345.67, "merchantId": "merchant_7"}
    alert = Alert(
        id=alert_id(job, "", tuple(key.values()), 0, number, 0),
        job=job,
        version="1",
        query="unusual_transactions",
        key=key,
        type="selection",
        severity=severity,
        score=None,
        event_time=iso_time(at_ms),
        detected_at=iso_time(at_ms + 250),
        explanation=f"userId {key.get('userId')} at {iso_time(at_ms, ' ', '')}: max_amount 12345.67.",
        rows=[UsedRow(variable="row", event_time=iso_time(at_ms), partition=0, offset=number, values=row)],
        rows_total=1,
        payload=payload,
        source=AlertSource(topic="transactions", partition=0, offset=number),
    )
    return msgspec.structs.replace(alert, **changes)


def told(alert: Alert, *, status: Any = "firing", count: int = 1, tenant: str = "") -> Told:
    labels = labels_of(alert, tenant)
    return Told(alert, labels, fingerprint(labels), status, T0, T0 + 300_000, count)


def a_notification(*alerts: Told | Alert, **changes: Any) -> Notification:
    entries = [entry if isinstance(entry, Told) else told(entry) for entry in alerts or (an_alert(),)]
    status = "firing" if any(entry.status == "firing" for entry in entries) else "resolved"
    notification = Notification(
        id="n-1",
        receiver="ops",
        group="g-1",
        group_labels={"job": entries[0].alert.job},
        status=status,
        reason="new" if status == "firing" else "resolved",
        alerts=entries,
        more=0,
        created_ms=T0 + 1_000,
    )
    return msgspec.structs.replace(notification, **changes)


def incoming(*alerts: Alert, tenant: str = "") -> list[Incoming]:
    return [Incoming(alert, encode(alert), 0, number, tenant) for number, alert in enumerate(alerts)]
