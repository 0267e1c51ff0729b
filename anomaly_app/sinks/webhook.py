"""Requests to programs: in the form of Alertmanager's webhook, as CloudEvents, or the alerts as they are."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.notification import Notification, Told
from anomaly_app.settings.delivery import WebhookSink
from anomaly_app.sinks.annotations import annotations_of
from anomaly_app.sinks.http import Client
from anomaly_app.sinks.messages import Message, Messages

SIGNATURE = "X-Anomaly-Signature"
IDEMPOTENCY = "Idempotency-Key"

_encoder = msgspec.json.Encoder()


class Webhook:
    """Posts notifications.

    Args:
        settings: of the sink.
        messages: puts them into words.
        source: name of the delivery, which CloudEvents tell.

    Raises:
        OptionError: a setting is wrong.
    """

    def __init__(self, settings: WebhookSink, messages: Messages, source: str) -> None:
        self._secret = settings.secret
        self._client = Client(
            settings.url.get_secret_value(),
            settings,
            token=settings.token.get_secret_value(),
            secrets=[settings.secret.get_secret_value()],
        )
        self._messages, self._form, self._source = messages, settings.form, source

    async def send(self, notification: Notification) -> None:
        """Post it; the same notification has the same idempotency key whenever it is sent."""
        content, type_ = _FORMS[self._form](notification, self._messages.message(notification), self._source)
        body = _encoder.encode(content)
        headers = {"Content-Type": type_, IDEMPOTENCY: notification.id}
        if secret := self._secret.get_secret_value():
            headers[SIGNATURE] = signature(secret.encode(), body)
        self._client.check(await self._client.request(body, headers))

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()


def signature(secret: bytes, body: bytes) -> str:
    """What the receiver compares with a HMAC of its own over the body as it came.

    Example:
        >>> signature(b"key", b"{}")[:23]
        'sha256=a777724d943eb48d'
    """
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def _alertmanager(notification: Notification, message: Message, source: str) -> tuple[Any, str]:
    alerts = [_told(told, message.link) for told in notification.alerts]
    return {
        "version": "4",
        "groupKey": notification.group,
        "truncatedAlerts": notification.more,
        "status": notification.status,
        "receiver": notification.receiver,
        "groupLabels": notification.group_labels,
        "commonLabels": _common([told.labels for told in notification.alerts]),
        "commonAnnotations": {
            **_common([alert["annotations"] for alert in alerts]),
            "title": message.title,
            "text": message.text,
        },
        "externalURL": message.link,
        "alerts": alerts,
    }, "application/json"


def _told(told: Told, link: str) -> dict[str, Any]:
    alert = told.alert
    return {
        "status": told.status,
        "labels": {"alertname": alert.job, **told.labels},
        "annotations": annotations_of(alert),
        "startsAt": iso_time(told.starts_ms),
        "endsAt": iso_time(told.ends_ms) if told.status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": link,
        "fingerprint": told.fingerprint,
    }


def _cloudevents(notification: Notification, message: Message, source: str) -> tuple[Any, str]:
    return {
        "specversion": "1.0",
        "id": notification.id,
        "source": f"/anomaly/{source}",
        "type": f"anomaly.notification.{notification.status}",
        "subject": notification.group,
        "time": iso_time(notification.created_ms),
        "datacontenttype": "application/json",
        "data": {
            "receiver": notification.receiver,
            "reason": notification.reason,
            "title": message.title,
            "text": message.text,
            "group_labels": notification.group_labels,
            "more": notification.more,
            "held_back": notification.held_back,
            "alerts": [_plain(told) for told in notification.alerts],
        },
    }, "application/cloudevents+json"


def _alerts(notification: Notification, message: Message, source: str) -> tuple[Any, str]:
    return [_plain(told) for told in notification.alerts], "application/json"


def _plain(told: Told) -> dict[str, Any]:
    """The record of the topic, and whether it lasts."""
    return {
        **msgspec.to_builtins(told.alert),
        "status": told.status,
        "starts_at": iso_time(told.starts_ms),
        "ends_at": iso_time(told.ends_ms),
        "count": told.count,
    }


def _common(labels: list[dict[str, str]]) -> dict[str, str]:
    """What all have."""
    first, *others = labels
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


_FORMS: Mapping[str, Callable[[Notification, Message, str], tuple[Any, str]]] = {
    "alertmanager": _alertmanager,
    "cloudevents": _cloudevents,
    "alert": _alerts,
}
