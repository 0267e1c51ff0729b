"""Alerts as JSON; who only passes them on needs nothing of what makes them."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from anomaly_app.alerts.record import Alert

MOST_BYTES = 100_000
"""Of an encoded alert; a larger one is to be shortened. The worker keeps many, and brokers refuse what is larger."""
LONGEST_TEXT = 1_000
"""Characters of a text in a shortened alert."""
MOST_ELEMENTS = 50
"""And elements of an array, map or row."""

_encoder = msgspec.json.Encoder()


def encode(alert: Alert) -> bytes:
    """The alert as a JSON object in UTF-8."""
    return _encoder.encode(alert)


def shorten(alert: Alert) -> Alert:
    """The alert with long texts and arrays cut; without its rows, if it is still too large then."""
    short = msgspec.structs.replace(
        alert,
        key=_short(alert.key),
        explanation=_short(alert.explanation),
        payload=_short(alert.payload),
        rows=[msgspec.structs.replace(row, values=_short(row.values)) for row in alert.rows],
    )
    return short if len(encode(short)) <= MOST_BYTES else msgspec.structs.replace(short, rows=[])


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
    if isinstance(value, list | tuple):
        return [_short(element) for element in value[:MOST_ELEMENTS]]
    if isinstance(value, dict):
        return {_short(name): _short(element) for name, element in islice(value.items(), MOST_ELEMENTS)}
    return value
