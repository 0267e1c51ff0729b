"""What Alertmanager calls annotations: what is said of an alert and does not name it."""

from __future__ import annotations

from anomaly_app.alerts import Alert
from anomaly_app.sinks.deviation import deviation_of
from anomaly_app.sinks.wording import explanation, summary

LONGEST_VALUE = 200


def annotations_of(alert: Alert) -> dict[str, str]:
    """What happened, how it came to be, the id, how far from normal, and the simple columns of the payload."""
    said = {"summary": summary(alert), "description": explanation(alert), "id": alert.id}
    deviation = deviation_of(alert.payload)
    if deviation is not None:
        said["deviation"] = deviation.words()
    for name, value in alert.payload.items():
        if isinstance(value, bool):
            said.setdefault(name, "true" if value else "false")
        elif isinstance(value, str | int | float):
            said.setdefault(name, str(value)[:LONGEST_VALUE])
    return said
