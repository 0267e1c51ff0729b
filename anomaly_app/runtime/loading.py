"""Rows of a file into a topic, each once: what a load that was cut off has written is found there.

Every record says in a header from which row of which load it is. The rows of a file go to a partition in their order,
and an idempotent producer keeps it: so the last record of a partition tells which of its rows are written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import TopicPartition

from anomaly_app.errors import BrokerError
from anomaly_app.formats.records import RecordEncoder
from anomaly_app.jobs.topic_tables import Sink
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.refusals import refusal
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.topics import FOREVER, NeededTopic, TopicAdmin
from anomaly_app.settings import LoadedSettings

HEADER = "anomaly-load"
FLUSH_ROWS = 1_000
READ_S = 10.0

_partitioner = DefaultPartitioner()


class LoadRow(NamedTuple):
    """A row to be written.

    Args:
        number: of the row in its file, from 1.
        values: of the sink's columns, in memory form.
        wait_s: how long to wait before it.
    """

    number: int
    values: Sequence[Any]
    wait_s: float = 0.0


class Loaded(NamedTuple):
    """What a load did.

    Args:
        written: rows that it wrote.
        there: rows that an earlier run had written.
    """

    written: int
    there: int


async def load_rows(
    sink: Sink,
    rows: Iterable[LoadRow],
    load: str,
    loaded: LoadedSettings,
    *,
    partitions: int,
    fill: Callable[[Sequence[Any]], Sequence[Any]],
    progress: Callable[[int], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Loaded:
    """Write rows; those that an earlier run of the same load has written are passed over.

    Args:
        sink: the table.
        rows: in the order of their numbers.
        load: names the file and its content.
        loaded: the settings.
        partitions: of the topic, if it has to be made.
        fill: completes a row right before it is written, such as with the time.
        progress: is told the number of the row that was written last.
        sleep: waits for a number of seconds.

    Raises:
        BrokerError: Kafka cannot be reached, or does not let us in.
        RegistryError: the schema registry cannot be reached, or refuses the schema.
        EvaluationError: a value has no form in the format.
    """
    registries = Registries(loaded)
    try:
        encoder = RecordEncoder(sink, registries.of(sink))
        await encoder.prepare()
    finally:
        await registries.close()
    async with TopicAdmin(loaded) as admin:
        count = (await admin.ensure([NeededTopic(sink.topic, partitions, FOREVER)]))[sink.topic]
    written = there = 0
    async with _told(loaded):
        last = await _last_rows(sink.topic, count, load, loaded)
        places = list(range(count))
        async with AIOKafkaProducer(**client_options(loaded), enable_idempotence=True, linger_ms=5) as producer:
            sent: list[asyncio.Future[Any]] = []
            for row in rows:
                key, _ = encoder.encode(row.values)
                # Without a key, rows take the partitions in turn: where a row goes must not depend on the run.
                place = row.number % count if key is None else int(_partitioner(key, places, places))
                if row.number <= last.get(place, 0):
                    there += 1
                    continue
                if row.wait_s > 0:
                    await sleep(row.wait_s)
                key, value = encoder.encode(fill(row.values))
                header = (HEADER, f"{load}:{row.number}".encode())
                sent.append(await producer.send(sink.topic, value, key=key, partition=place, headers=[header]))
                written += 1
                if len(sent) >= FLUSH_ROWS:
                    await asyncio.gather(*sent)
                    sent.clear()
                    progress(row.number)
            await asyncio.gather(*sent)
    return Loaded(written, there)


@asynccontextmanager
async def _told(loaded: LoadedSettings) -> AsyncIterator[None]:
    try:
        yield
    except TimeoutError:
        raise BrokerError("the broker does not give what stands in the topic") from None
    except KafkaError as error:
        final = refusal(error, loaded.settings.kafka.sasl_username)
        raise final or BrokerError(f"the broker does not answer: {error or type(error).__name__}") from error


async def _last_rows(topic: str, count: int, load: str, loaded: LoadedSettings) -> dict[int, int]:
    """Number of the last row of the load by partition."""
    places = [TopicPartition(topic, number) for number in range(count)]
    found: dict[int, int] = {}
    async with AIOKafkaConsumer(**client_options(loaded), enable_auto_commit=False) as consumer:
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        left = {place for place in places if ends[place] > begins[place]}
        for place in left:
            consumer.seek(place, ends[place] - 1)
        async with asyncio.timeout(READ_S):
            while left:
                for place, records in (await consumer.getmany(*left, timeout_ms=500)).items():
                    for record in records:
                        left.discard(place)
                        for name, value in record.headers:
                            mine, _, number = value.decode("utf-8", "replace").rpartition(":")
                            if name == HEADER and mine == load and number.isdigit():
                                found[place.partition] = int(number)
    return found
