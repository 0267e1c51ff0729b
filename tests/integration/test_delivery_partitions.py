"""A topic that is archived grows while delivery reads it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from anomaly_app.runtime import delivery_reader
from anomaly_app.runtime.delivery_reader import Reader
from anomaly_app.runtime.topics import TopicAdmin
from anomaly_app.settings import LoadedSettings, load_settings
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import Sent, send

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


async def values(reader: Reader, count: int) -> list[bytes]:
    """The next records, of which there are so many at least."""
    found: list[bytes] = []
    while len(found) < count:
        await reader.grow()
        found += [record.value for record in await reader.take(200)]
        await reader.commit(await reader.positions())
    return found


async def grow(loaded: LoadedSettings, topic: str, count: int) -> None:
    """Give a topic more partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=loaded.settings.kafka.bootstrap_servers)
    await admin.start()
    await admin.create_partitions({topic: NewPartitions(count)})
    await admin.close()
    async with TopicAdmin(loaded) as known:
        while (await known.partitions([topic]))[topic] < count:  # noqa: ASYNC110 (Kafka tells nobody)
            await asyncio.sleep(0.05)


async def test_a_partition_that_is_added_is_read_from_its_beginning(
    kafka: ApacheKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_reader, "METADATA_MS", 200)
    servers, topic = kafka.bootstrap_servers, f"grows-{tmp_path.name}"
    kafka.create_topics({topic: 1})
    await send(servers, topic, [Sent(None, b"before")])
    loaded = load_settings({"kafka.bootstrap_servers": servers}, environ={})  # it begins at the end
    reader = Reader(loaded, {topic: 1}, f"{topic}-archive", 100)
    await reader.start()
    await send(servers, topic, [Sent(None, b"first")])
    assert await values(reader, 1) == [b"first"]
    await grow(loaded, topic, 3)
    await send(servers, topic, [Sent(None, b"second", partition=2), Sent(None, b"third", partition=0)])
    assert sorted(await values(reader, 2)) == [b"second", b"third"]
    positions = await reader.positions()
    assert {place.partition: offset for place, offset in positions.items()} == {0: 3, 1: 0, 2: 1}
    await reader.close()
    await send(servers, topic, [Sent(None, b"fourth", partition=2), Sent(None, b"fifth", partition=1)])
    again = Reader(loaded, {topic: 3}, f"{topic}-archive", 100)
    await again.start()
    assert sorted(await values(again, 2)) == [b"fifth", b"fourth"], "it goes on, where it was told to begin at the end"
    await again.close()
