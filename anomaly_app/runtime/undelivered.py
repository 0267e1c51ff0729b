"""The dead-letter topic of delivery: what could not be sent, and why."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Sequence
from typing import Any

import msgspec
from aiokafka.errors import KafkaError

from anomaly_app.delivery.notification import Incoming, Notification
from anomaly_app.runtime.delivery_metrics import DeliveryMetrics
from anomaly_app.runtime.outgoing import ID_HEADER, MAX_RECORD_BYTES, Headers
from anomaly_app.runtime.refusals import refusal
from anomaly_app.sinks.breaker import backoff_s

REASON_HEADER = "anomaly-reason"


class Undelivered:
    """Writes dead letters; a letter is durable when the call returns, which takes as long as the broker is away.

    Args:
        producer: a started aiokafka producer.
        topic: ``delivery.dead_letter_topic``.
        metrics: of the process.
    """

    def __init__(self, producer: Any, topic: str, metrics: DeliveryMetrics) -> None:
        self._producer, self.topic, self._metrics = producer, topic, metrics
        self._chance = random.Random()

    async def notification(self, way: str, notification: Notification, reason: str, since_ms: int) -> None:
        """A notification that is given up.

        Args:
            way: receiver, kind and number of the sink.
            notification: that was to be sent.
            reason: of the last attempt.
            since_ms: when it was due, in ms since 1970.
        """
        letter = {"way": way, "reason": reason, "since_ms": since_ms, "notification": notification}
        value = msgspec.json.encode(letter)
        if len(value) > MAX_RECORD_BYTES - 10_000:
            # Better a short letter than none: the alerts stand in their topic.
            alerts = [{"id": told.alert.id, "labels": told.labels} for told in notification.alerts]
            letter["notification"] = {"id": notification.id, "receiver": notification.receiver, "alerts": alerts}
            value = msgspec.json.encode(letter)
        await self._write(way, value, reason, notification.id)

    async def alerts(self, way: str, alerts: Sequence[tuple[Incoming, str]]) -> None:
        """Alerts that a stream gives up, each with the reason."""
        for incoming, reason in alerts:
            letter = {
                "way": way,
                "reason": reason,
                "partition": incoming.partition,
                "offset": incoming.offset,
                "tenant": incoming.tenant,
                "alert": msgspec.Raw(incoming.raw),
            }
            value = msgspec.json.encode(letter)
            if len(value) > MAX_RECORD_BYTES - 10_000:
                value = msgspec.json.encode({**letter, "alert": {"id": incoming.alert.id}})
            await self._write(way, value, reason, incoming.alert.id)

    async def unreadable(self, record: Any, reason: str) -> None:
        """A record of the topic of the alerts that is no alert."""
        data = (record.value or b"")[: MAX_RECORD_BYTES // 2]
        letter = {
            "way": "",
            "reason": f"this is no alert: {reason}",
            "partition": record.partition,
            "offset": record.offset,
            "value": base64.b64encode(data).decode(),
        }
        place = f"{record.topic}-{record.partition}-{record.offset}"
        await self._write("", msgspec.json.encode(letter), str(letter["reason"]), place)

    async def _write(self, way: str, value: bytes, reason: str, id_: str) -> None:
        headers: Headers = [(ID_HEADER, id_.encode()), (REASON_HEADER, reason.encode()[:1_000])]
        failures = 0
        while True:
            try:
                await self._producer.send_and_wait(self.topic, value, way.encode() or None, headers=headers)
            except KafkaError as error:
                if refusal(error) is not None:
                    raise
                # Nothing is let go before its letter is stored: who asked waits as long as the broker is away.
                failures += 1
                await asyncio.sleep(backoff_s(failures, self._chance))
            else:
                if way:
                    self._metrics.gave_up(way, 1)
                return
