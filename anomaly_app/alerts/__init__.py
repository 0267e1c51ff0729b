"""Findings to alerts: one record type with a deterministic id, a severity and an explanation for people.

:class:`~anomaly_app.alerts.builder.AlertBuilder` is not imported here: delivery has alerts, but no SQL.
"""

from anomaly_app.alerts.encoding import encode
from anomaly_app.alerts.identity import alert_id
from anomaly_app.alerts.record import Alert, AlertSource, Severity, UsedRow

__all__ = ["Alert", "AlertSource", "Severity", "UsedRow", "alert_id", "encode"]
