"""Generated records on their way to Kafka, each when it is its time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from anomaly_app.cli.output import note, progress

if TYPE_CHECKING:
    from anomaly_app.generators import Generated
    from anomaly_app.settings import LoadedSettings

LINGER_MS = 5
"""The producer gathers records for so long."""


async def to_kafka(
    stamped: Iterable[Generated],
    records: int | None,
    encode: Callable[[Any], bytes],
    topics: Sequence[str],
    partitions: int,
    paced: bool,
    loaded: LoadedSettings,
) -> None:
    """Write records to their topics.

    Args:
        stamped: the records.
        records: how many they will be; None if nobody knows.
        encode: makes the bytes of a value.
        topics: that they belong to; those that are missing are created.
        partitions: of a topic that is created.
        paced: each record is sent when it is its time.
        loaded: how Kafka is reached.

    Raises:
        BrokerError: a topic cannot be created, or takes no records.
    """
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError

    from anomaly_app.errors import BrokerError
    from anomaly_app.runtime.connection import client_options
    from anomaly_app.runtime.topics import FOREVER, NeededTopic, TopicAdmin

    async with TopicAdmin(loaded) as admin:
        await admin.ensure([NeededTopic(topic, partitions, FOREVER) for topic in topics])
    names = ", ".join(topics)
    # A topic that was just created answers "not leader" for a moment; that is retried, and no news.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    problems: list[BaseException] = []

    def done(sent: asyncio.Future[Any]) -> None:
        problem = None if sent.cancelled() else sent.exception()
        if problem is not None:
            problems.append(problem)

    began, number = time.monotonic(), 0
    producer = AIOKafkaProducer(**client_options(loaded), linger_ms=LINGER_MS)
    await producer.start()
    try:
        with progress("records") as bar:
            task = bar.add_task(f"to {names}", total=records)
            for number, record in enumerate(stamped, 1):
                wait = record.timestamp_ms / 1_000 - time.time() if paced else 0
                if wait > 0:
                    await asyncio.sleep(wait)
                value = encode(record.value)
                key = record.key if isinstance(record.key, bytes) else record.key.encode()
                sent = await producer.send(record.topic, value, key=key, timestamp_ms=record.timestamp_ms)
                sent.add_done_callback(done)
                if problems:
                    break
                if wait > 0 or number % 1_000 == 0:
                    bar.update(task, completed=number)
            await producer.flush()
    except KafkaError as error:
        problems.append(error)
    finally:
        await producer.stop()
        note(f"{number:,} records to {names} in {time.monotonic() - began:.1f} s")
    if problems:
        raise BrokerError(f"topic {names} does not take records: {problems[0]}") from problems[0]
