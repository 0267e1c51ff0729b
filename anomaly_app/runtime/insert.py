"""Rows that are there already, written to a topic at once: what INSERT INTO … VALUES does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from anomaly_app.errors import BrokerError
from anomaly_app.formats.records import RecordEncoder
from anomaly_app.jobs.topic_tables import Sink
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.refusals import refusal
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.topics import CHANGELOG, FOREVER, NeededTopic, TopicAdmin
from anomaly_app.settings import LoadedSettings


async def write_rows(sink: Sink, rows: Sequence[tuple[Any, ...]], loaded: LoadedSettings) -> None:
    """Write rows and wait until the brokers have them; the topic is made if it is missing and may be.

    Args:
        sink: the table.
        rows: of its columns, in memory form.
        loaded: the settings.

    Raises:
        BrokerError: Kafka cannot be reached, or does not let us in.
        EvaluationError: a value has no form in the format; nothing is written then.
        RegistryError: the schema registry cannot be reached, or refuses a schema.
    """
    registries = Registries(loaded)
    try:
        encoder = RecordEncoder(sink, registries.of(sink))
        await encoder.prepare()
    finally:
        await registries.close()
    records = [encoder.encode(row) for row in rows]
    async with TopicAdmin(loaded) as admin:
        await admin.ensure([NeededTopic(sink.topic, 1, CHANGELOG if sink.upsert else FOREVER)])
    try:
        async with AIOKafkaProducer(**client_options(loaded), enable_idempotence=True) as producer:
            await asyncio.gather(*[await producer.send(sink.topic, value, key) for key, value in records])
    except KafkaError as error:
        final = refusal(error, loaded.settings.kafka.sasl_username)
        raise final or BrokerError(f"the broker does not answer: {error or type(error).__name__}") from error
