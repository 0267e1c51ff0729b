"""When what an alert is about happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from anomaly_app.alerts import Alert

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def event_ms(alert: Alert) -> int | None:
    """Its event time in ms since 1970; None if it cannot be read.

    Times beyond the calendar stand in alerts as numbers.

    Example:
        >>> from anomaly_app.alerts.values import iso_time
        >>> import msgspec
        >>> class Shaped(msgspec.Struct):
        ...     event_time: str
        >>> event_ms(Shaped("2025-07-10T14:07:02.697Z")), event_ms(Shaped(iso_time(1 << 62))), event_ms(Shaped("?"))
        (1752156422697, 4611686018427387904, None)
    """
    text = alert.event_time
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return int(text) if text.lstrip("-").isdecimal() and len(text) < 25 else None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)
