"""Writing what a flush holds, and knowing after a crash what of it was written before.

A crash may fall between the alerts of a flush and its checkpoint: the replay then finds the same alerts again. Every
checkpoint therefore says how far each output partition had been written (:attr:`OutputWriter.written`); after a
restart what stands behind that is read, and alerts whose ids are there are not written a second time.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import TopicPartition

from anomaly_app.errors import StateError
from anomaly_app.runtime.outgoing import ID_HEADER, Outgoing

if TYPE_CHECKING:  # delivery writes entries, but has no tables
    from anomaly_app.tables.state import Entries

MOST_ONCE = 100_000
"""Late rows and dead letters whose ids are remembered, for other plans that read the same topic."""

Records = Iterable[tuple[bytes | None, bytes | None, Sequence[Any]]]
"""Key, value and headers of each."""
_NO_HEADERS: Sequence[Any] = []

_partitioner = DefaultPartitioner()


class OutputWriter:
    """Writes records in batches by topic and partition.

    Args:
        partitions: number of partitions of every topic that is written.
        recognised: topics whose records carry alert ids.
    """

    def __init__(self, partitions: Mapping[str, int], recognised: Iterable[str]) -> None:
        self._partitions = {topic: list(range(number)) for topic, number in partitions.items()}
        self.written: dict[str, list[int]] = {topic: [-1] * partitions[topic] for topic in sorted(set(recognised))}
        self._known: dict[str, set[str]] = {topic: set() for topic in self.written}
        self._once: dict[tuple[str, str], None] = {}
        self.repeated = 0
        self.producer: Any = None

    # --- after a restart ----------------------------------------------------------------------------

    def recognise(self, topic: str, ids: Iterable[str]) -> None:
        """Alerts that stand in a topic already."""
        self._known[topic].update(ids)

    # --- records ------------------------------------------------------------------------------------

    async def write(self, records: Sequence[Outgoing]) -> None:
        """Write records and wait until the brokers have them; raises KafkaError."""
        by_place: dict[tuple[str, int], list[Outgoing]] = defaultdict(list)
        for record in records:
            known = self._known.get(record.topic)
            if known and record.id in known:
                known.discard(record.id)
                self.repeated += 1
                continue
            if record.once:
                if (record.topic, record.id) in self._once:
                    continue
                self._once[record.topic, record.id] = None
            by_place[record.topic, self._place(record)].append(record)
        if by_place:
            try:
                await self._send(by_place)
            except BaseException:
                for record in records:
                    self._once.pop((record.topic, record.id), None)
                raise
        while len(self._once) > MOST_ONCE:
            del self._once[next(iter(self._once))]

    def _place(self, record: Outgoing) -> int:
        partitions = self._partitions[record.topic]
        if record.partition is not None:
            return record.partition % len(partitions)
        if len(partitions) == 1:
            return 0
        return int(_partitioner(record.key, partitions, partitions))

    async def _send(self, by_place: Mapping[tuple[str, int], Sequence[Outgoing]]) -> None:
        records = [(*place, _with_headers(group)) for place, group in by_place.items()]
        for (topic, partition), last in zip(by_place, await self._batches(records), strict=True):
            written = self.written.get(topic)
            if written is not None and last > written[partition]:
                written[partition] = last

    async def _batches(self, records: Iterable[tuple[str, int, Records]]) -> Sequence[int]:
        """Write records of some partitions side by side; offset of the last one of each."""
        producer = self.producer
        sent: list[Any] = []
        lasts: list[tuple[int, int]] = []
        for topic, partition, group in records:
            batch = producer.create_batch()
            for key, value, headers in group:
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    sent.append(await producer.send_batch(batch, topic, partition=partition))
                    batch = producer.create_batch()
                    if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                        raise StateError(f"a record of {len(value or b'')} bytes for topic {topic} is too large")
            lasts.append((len(sent), int(batch.record_count()) - 1))
            sent.append(await producer.send_batch(batch, topic, partition=partition))
        written = await asyncio.gather(*sent)
        return [int(written[number].offset) + behind for number, behind in lasts]

    async def changelogs(self, entries: Sequence[tuple[str, int, Entries]]) -> Sequence[int]:
        """Write state entries of some partitions; the offset of the last one of each, which is the checkpoint."""
        return await self._batches([(topic, number, _plain(group)) for topic, number, group in entries])

    async def changelog(self, topic: str, partition: int, entries: Entries) -> int:
        """The same for one partition."""
        return (await self.changelogs([(topic, partition, entries)]))[0]


def _with_headers(records: Iterable[Outgoing]) -> Records:
    return ((record.key, record.value, record.headers) for record in records)


def _plain(entries: Entries) -> Records:
    return ((key, value, _NO_HEADERS) for key, value in entries)


async def read_ids(consumer: Any, topic: str, ranges: Mapping[int, tuple[int, int]]) -> set[str]:
    """Ids in the records of a topic; arguments as of :func:`read_ranges`."""
    ids: set[str] = set()
    async for record in read_ranges(consumer, topic, ranges):
        ids.update(value.decode() for name, value in record.headers if name == ID_HEADER)
    return ids


async def read_ranges(consumer: Any, topic: str, ranges: Mapping[int, tuple[int, int]]) -> AsyncIterator[Any]:
    """Records of a topic.

    Args:
        consumer: a started aiokafka consumer without a group, of its own.
        topic: to read.
        ranges: first offset, and offset behind the last, by partition.
    """
    ends = {TopicPartition(topic, partition): end for partition, (start, end) in ranges.items() if start < end}
    if not ends:
        return
    consumer.assign(list(ends))
    for place in ends:
        consumer.seek(place, ranges[place.partition][0])
    left = set(ends)
    while left:
        for records in (await consumer.getmany(*left, timeout_ms=500)).values():
            for record in records:
                yield record
        for place in list(left):
            # Markers of transactions leave gaps: the position tells how far it is, not the last record.
            if await consumer.position(place) >= ends[place]:
                left.discard(place)
