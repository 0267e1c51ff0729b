"""Findings to alerts: one record type with a deterministic id, a severity and an explanation for people."""

from anomaly_app.alerts.builder import AlertBuilder, encode
from anomaly_app.alerts.identity import alert_id
from anomaly_app.alerts.record import Alert, AlertSource, Severity, UsedRow

__all__ = ["Alert", "AlertBuilder", "AlertSource", "Severity", "UsedRow", "alert_id", "encode"]
