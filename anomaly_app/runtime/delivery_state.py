"""What delivery remembers, in partition 0 of a compacted topic, and topics that every process follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from anomaly_app.errors import BrokerError
from anomaly_app.runtime.connection import MOCK_FETCH_WAIT_MS, client_options
from anomaly_app.runtime.writer import OutputWriter, read_ranges
from anomaly_app.settings import LoadedSettings

Changes = Sequence[tuple[bytes, bytes | None]]

REWRITE_BYTES = 1_000_000
"""After which everything is written again to a broker that does not compact: librdkafka's mock cluster, which keeps
the last 5 MB of a partition."""
READ_AT_ONCE = 5_000


class StateTopic:
    """The entries of the state; all in partition 0, so that their order is that of the writes.

    Args:
        loaded: the settings.
        topic: its name.
        producer: a started aiokafka producer.
        compacts: the broker keeps the last value of each key.
    """

    def __init__(self, loaded: LoadedSettings, topic: str, producer: Any, *, compacts: bool) -> None:
        self.topic = topic
        self._loaded, self._compacts = loaded, compacts
        self._writer = OutputWriter({topic: 1}, ())
        self._writer.producer = producer
        self._kept: dict[bytes, bytes] = {}
        self._written = 0
        self._writing: asyncio.Future[int] | None = None
        self.end = 0
        """Behind the last record that was read or written here."""

    async def read(self) -> dict[bytes, bytes]:
        """All entries, up to what is the end now."""
        if self._writing is not None:
            # Whoever was active before in this process was ended in the middle of it: it may be stored yet.
            await asyncio.wait([self._writing])
        entries: dict[bytes, bytes] = {}
        place = TopicPartition(self.topic, 0)
        async with _consumer(self._loaded, MOCK_FETCH_WAIT_MS) as consumer:
            begin = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
            async for record in read_ranges(consumer, self.topic, {0: (int(begin), int(end))}):
                _put(entries, record.key, record.value)
        # Nobody knows how much was written since all of it was written last.
        self._kept, self._written = ({}, 0) if self._compacts else (dict(entries), REWRITE_BYTES)
        self.end = int(end)
        return entries

    async def write(self, changes: Changes) -> None:
        """Write entries and wait until the brokers have them; raises KafkaError.

        Args:
            changes: key and value, None for one that is gone; in one batch where they fit, else in their order.
        """
        if not self._compacts:
            for key, value in changes:
                _put(self._kept, key, value)
                self._written += len(key) + len(value or b"")
            if self._written > REWRITE_BYTES:
                gone = [(key, value) for key, value in changes if value is None]
                changes, self._written = [*gone, *self._kept.items()], 0
        if changes:
            self._writing = asyncio.ensure_future(self._writer.changelog(self.topic, 0, changes))
            self.end = await asyncio.shield(self._writing) + 1


class Followed:
    """A compacted topic as every process sees it: read from its beginning, then followed.

    Args:
        loaded: the settings.
        topic: its name.
        partitions: how many it has.
        take: called with key and value of each record; the value is None for what is gone.
        fetch_wait_ms: how long the broker keeps a fetch to which it has nothing to say.
    """

    def __init__(
        self, loaded: LoadedSettings, topic: str, partitions: int, take: Callable[[bytes, bytes | None], None],
        fetch_wait_ms: int,
    ) -> None:  # fmt: skip
        self.topic, self._take = topic, take
        self._places = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = _consumer(loaded, fetch_wait_ms)
        self._moved = asyncio.Condition()

    async def start(self) -> None:
        """Read what is there."""
        await self._consumer.start()
        ends = await self._consumer.end_offsets(self._places)  # first: behind a fetch it would wait
        self._consumer.assign(self._places)
        await self._consumer.seek_to_beginning()
        while not await self._has_reached(ends):
            await self._step(200)

    async def run(self) -> None:
        """Follow it for ever."""
        while True:
            await self._step(1_000)

    async def reached(self, partition: int, offset: int, timeout_s: float) -> None:
        """Wait until a record that was written here is taken, so that who wrote it reads it.

        Args:
            partition: of the record.
            offset: of the record.
            timeout_s: for how long.

        Raises:
            BrokerError: it is not read in that time.
        """
        place = TopicPartition(self.topic, partition)
        try:
            async with asyncio.timeout(timeout_s), self._moved:
                while await self._consumer.position(place) <= offset:
                    await self._moved.wait()
        except TimeoutError:
            problem = f"what was written to {self.topic} is not read back; it may be there all the same"
            raise BrokerError(problem) from None

    async def close(self) -> None:
        """End the consumer."""
        await self._consumer.stop()

    async def _has_reached(self, ends: Mapping[Any, int]) -> bool:
        for place, end in ends.items():
            if await self._consumer.position(place) < end:
                return False
        return True

    async def _step(self, timeout_ms: int) -> None:
        found = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=READ_AT_ONCE)
        if not found:
            return
        for records in found.values():
            for record in records:
                if record.key is not None:
                    self._take(record.key, record.value)
        async with self._moved:
            self._moved.notify_all()


def _put(entries: dict[bytes, bytes], key: bytes | None, value: bytes | None) -> None:
    if key is None:
        return
    # Behind the others: positions, which are written last, stay last.
    entries.pop(key, None)
    if value is not None:
        entries[key] = value


def _consumer(loaded: LoadedSettings, fetch_wait_ms: int) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        **client_options(loaded), enable_auto_commit=False, auto_offset_reset="earliest",
        fetch_max_wait_ms=fetch_wait_ms,
    )  # fmt: skip
