"""Alerts to another topic or another cluster, each with its tenant: how tenants forward to a centre."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from anomaly_app.delivery.notification import Incoming
from anomaly_app.errors import SinkError
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.outgoing import ID_HEADER
from anomaly_app.settings import LoadedSettings, split_servers
from anomaly_app.settings.delivery import KafkaSink

TENANT_HEADER = "tenant"
TIMEOUT_MS = 15_000
"""How long the other cluster may take for a batch."""


class KafkaForwarder:
    """A stream sink that writes to a topic: keys, values and times stay as they are.

    A repeat after a crash has the same id in its header.

    Args:
        options: connection arguments of aiokafka.
        topic: where to.
    """

    batch_size, batch_wait_ms = 1_000, 0

    def __init__(self, options: dict[str, Any], topic: str) -> None:
        self._options, self._topic = options, topic
        self._producer: AIOKafkaProducer | None = None

    async def write(self, alerts: Sequence[Incoming], now_ms: int) -> Sequence[tuple[Incoming, str]]:
        """Write them; the id of the alert is in a header, by which a repeat is recognised."""
        try:
            async with asyncio.timeout(TIMEOUT_MS / 1_000):
                return await self._write(alerts)
        except TimeoutError:
            await self.close()
            raise SinkError(f"the cluster of topic {self._topic} does not answer") from None
        except KafkaError as error:
            # A producer that has lost its cluster may not find it again under new addresses. Missing rights are tried
            # again, too: somebody may grant them.
            await self.close()
            raise SinkError(f"topic {self._topic}: {_said(error)}") from error

    async def _write(self, alerts: Sequence[Incoming]) -> list[tuple[Incoming, str]]:
        producer = await self._started()
        waiting = []
        refused: list[tuple[Incoming, str]] = []
        for incoming in alerts:
            headers = [(ID_HEADER, incoming.alert.id.encode())]
            if incoming.tenant:
                headers.append((TENANT_HEADER, incoming.tenant.encode()))
            try:
                sent = await producer.send(
                    self._topic, incoming.raw, incoming.key, timestamp_ms=incoming.timestamp_ms or None, headers=headers
                )
            except MessageSizeTooLargeError as error:
                refused.append((incoming, _said(error)))
                continue
            waiting.append((incoming, sent))
        results = await asyncio.gather(*(sent for _, sent in waiting), return_exceptions=True)
        for (incoming, _), result in zip(waiting, results, strict=True):
            if isinstance(result, MessageSizeTooLargeError):
                refused.append((incoming, _said(result)))
            elif isinstance(result, BaseException):
                raise result
        return refused

    async def tick(self, now_ms: int) -> None:
        """Nothing is due without an alert."""

    async def close(self) -> None:
        """Give back the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(2):
                    await producer.stop()
            except (KafkaError, TimeoutError):
                return  # what was not written is read again

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(**self._options, acks="all", linger_ms=5, request_timeout_ms=TIMEOUT_MS)
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer


def create_kafka_sink(loaded: LoadedSettings, sink: KafkaSink, key: str) -> KafkaForwarder:
    """The sink of a receiver.

    Args:
        loaded: the settings.
        sink: of the receiver.
        key: its path in the settings, such as ``delivery.receivers[0].kafka[0]``.

    Raises:
        SettingsError: the other cluster cannot be reached as the settings say; names the key.
    """
    if not sink.bootstrap_servers:
        return KafkaForwarder(client_options(loaded), sink.topic)
    try:
        options: dict[str, Any] = {"bootstrap_servers": split_servers(sink.bootstrap_servers)}
    except ValueError as error:
        raise loaded.error(f"{key}.bootstrap_servers", str(error)) from None
    options["security_protocol"] = sink.security_protocol
    if sink.security_protocol.endswith("SSL"):
        try:
            options["ssl_context"] = ssl.create_default_context(
                cafile=str(sink.ssl_ca_file) if sink.ssl_ca_file else None
            )
        except (ssl.SSLError, OSError) as error:
            raise loaded.error(f"{key}.ssl_ca_file", f"not a certificate in PEM form: {error}") from error
    if sink.security_protocol.startswith("SASL"):
        if not sink.sasl_username:
            raise loaded.error(f"{key}.sasl_username", f"{sink.security_protocol} needs a user name")
        options |= {
            "sasl_mechanism": sink.sasl_mechanism,
            "sasl_plain_username": sink.sasl_username,
            "sasl_plain_password": sink.sasl_password.get_secret_value(),
        }
    return KafkaForwarder(options, sink.topic)


def _said(error: KafkaError) -> str:
    return str(error) or type(error).__name__
