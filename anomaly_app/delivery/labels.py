"""What routes, silences and groups see of an alert."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from anomaly_app.alerts import Alert

SEVERITY = "severity"
LEVELS = ("low", "medium", "high", "critical")
"""Severities from the least to the worst."""

MOST_CHARACTERS = 1_000
"""Of a value; longer ones are cut, and end with a hash of the whole."""


def labels_of(alert: Alert, tenant: str = "") -> dict[str, str]:
    """The labels of an alert; empty ones are left out, for a missing label equals an empty one.

    A key column that is named like a label of all alerts gets ``key_`` before its name; ``tenant`` does only if the
    tenant is known otherwise.

    Args:
        alert: the record.
        tenant: of its header, or of the settings; "" for none.

    Example:
        >>> from anomaly_app.alerts import AlertSource
        >>> alert = Alert(
        ...     id="1", job="sales", version="1", query="unusual", key={"user_id": "ann", "type": 7}, type="pattern",
        ...     severity="high", score=None, event_time="", detected_at="", explanation="", rows=[], rows_total=0,
        ...     payload={}, source=AlertSource(topic="t", partition=0, offset=0),
        ... )
        >>> labels_of(alert)
        {'job': 'sales', 'query': 'unusual', 'type': 'pattern', 'severity': 'high', 'user_id': 'ann', 'key_type': '7'}
    """
    labels = {"job": alert.job, "query": alert.query, "type": alert.type, SEVERITY: alert.severity}
    if tenant:
        labels["tenant"] = tenant
    for column, value in alert.key.items():
        name = column
        while name in labels:
            name = f"key_{name}"
        labels[name] = label_of(value)
    return {name: value for name, value in labels.items() if value}


def fingerprint(labels: Mapping[str, str]) -> str:
    """Hash of the labels without the severity: what gets worse is still the same.

    Example:
        >>> fingerprint({"job": "a", "severity": "low"}) == fingerprint({"severity": "high", "job": "a"})
        True
    """
    named = sorted(item for item in labels.items() if item[0] != SEVERITY)
    return hashlib.blake2b(msgspec.json.encode(named), digest_size=8).hexdigest()


def label_of(value: Any) -> str:
    """The text of a value of the key.

    Example:
        >>> label_of("ann"), label_of(7), label_of(None), len(label_of("long" * 1_000))
        ('ann', '7', '', 1000)
    """
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) <= MOST_CHARACTERS:
        return text
    whole = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{text[: MOST_CHARACTERS - len(whole) - 1]}…{whole}"
