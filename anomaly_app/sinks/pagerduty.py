"""Events to PagerDuty, version 2: trigger and resolve."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from anomaly_app.alerts import Severity
from anomaly_app.delivery.notification import Notification
from anomaly_app.errors import OptionError
from anomaly_app.settings.delivery import PagerDutySink
from anomaly_app.sinks.http import Client
from anomaly_app.sinks.messages import Message, Messages
from anomaly_app.sinks.wording import explanation, facts, one_line, summary

LONGEST_SUMMARY = 1_024
LONGEST_KEY = 255
SEVERITIES: dict[Severity, str] = {"critical": "critical", "high": "error", "medium": "warning", "low": "info"}

_encoder = msgspec.json.Encoder()


class PagerDuty:
    """Triggers an incident for a group of alerts, and resolves it when all of them are over.

    Args:
        settings: of the sink.
        messages: puts notifications into words.

    Raises:
        OptionError: a setting is wrong.
    """

    def __init__(self, settings: PagerDutySink, messages: Messages) -> None:
        self._key, self._messages = settings.routing_key, messages
        if not self._key.get_secret_value():
            raise OptionError("routing_key", "is needed")
        self._client = Client(settings.url, settings, secrets=[self._key.get_secret_value()], secret_url=False)

    async def send(self, notification: Notification) -> None:
        """Trigger or resolve; the same group is the same incident."""
        event = event_of(notification, self._messages.message(notification))
        body = _encoder.encode({"routing_key": self._key.get_secret_value(), **event})
        self._client.check(await self._client.request(body, {"Content-Type": "application/json"}))

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()


def event_of(notification: Notification, message: Message) -> dict[str, Any]:
    """An event, but for the key that says whose it is."""
    key = {"dedup_key": _dedup_key(notification.group)}
    if notification.status == "resolved":
        return {"event_action": "resolve", **key}
    first = notification.alerts[0].alert
    if message.one:
        details: dict[str, Any] = {name.lower(): value for name, value in facts(message.items[0]) if value}
        details["explanation"] = explanation(first)
    else:
        details = {
            "alerts": [{name.lower(): value for name, value in facts(item) if value} for item in message.items],
            "left out": message.left_out,
        }
    text = message.text if message.templated else summary(first)
    links = [(message.link, "Where to look"), (message.acknowledge, "Acknowledge")]
    return {
        "event_action": "trigger",
        **key,
        "client": "anomaly",
        **({"client_url": message.link} if message.link else {}),
        "links": [{"href": address, "text": name} for address, name in links if address],
        "payload": {
            "summary": one_line(f"{message.title}: {text}", LONGEST_SUMMARY),
            "source": first.source.topic or first.job,
            "severity": SEVERITIES[message.severity],
            "timestamp": first.event_time,
            "component": first.job,
            "group": ", ".join(f"{name}={value}" for name, value in notification.group_labels.items()),
            "class": first.type,
            "custom_details": {
                **({"note": message.lead} if message.lead else {}),
                **details,
                "what to do": message.actions,
            },
        },
    }


def _dedup_key(group: str) -> str:
    return group if len(group) <= LONGEST_KEY else hashlib.blake2b(group.encode(), digest_size=32).hexdigest()
