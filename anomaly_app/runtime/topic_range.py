"""Records of a range of topics, read once, without a group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from anomaly_app.errors import BrokerError
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.refusals import refusal
from anomaly_app.runtime.topics import TopicAdmin
from anomaly_app.settings import LoadedSettings

POLL_MS = 500
"""How long a fetch waits for records."""


class TopicRange:
    """A range of topics, to where they end now.

    Args:
        topics: names.
        loaded: how Kafka is reached.
        begin: records from this time on, in ms since 1970; None for all.
        end: and before this time; None for those that there are now.
    """

    def __init__(
        self, topics: Sequence[str], loaded: LoadedSettings, begin: int | None = None, end: int | None = None
    ) -> None:
        self._topics, self._loaded, self._begin, self._end = topics, loaded, begin, end
        self.partitions: dict[str, int] = {}
        self._ranges: dict[Any, tuple[int, int]] = {}

    @property
    def rows(self) -> int:
        """Records at most."""
        return sum(end - begin for begin, end in self._ranges.values())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Any]:
        """A consumer; partitions and ranges are known then.

        Raises:
            BrokerError: Kafka cannot be reached, or a topic does not exist.
        """
        try:
            async with TopicAdmin(self._loaded) as admin:
                self.partitions = dict(await admin.sources(sorted(self._topics)))
            consumer = AIOKafkaConsumer(
                **client_options(self._loaded), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
                isolation_level=self._loaded.settings.kafka.isolation_level or "read_uncommitted",
            )  # fmt: skip
            await consumer.start()
            try:
                places = [TopicPartition(t, p) for t, count in self.partitions.items() for p in range(count)]
                consumer.assign(places)
                firsts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
                begins = await _offsets(consumer, self._begin, firsts, ends)
                stops = await _offsets(consumer, self._end, ends, ends)
                self._ranges = {place: (begins[place], max(begins[place], stops[place])) for place in places}
                for place in places:
                    consumer.seek(place, begins[place])
                yield consumer
            finally:
                await consumer.stop()
        except KafkaError as error:
            final = refusal(error, self._loaded.settings.kafka.sasl_username)
            raise final or BrokerError(f"the broker does not answer: {error or type(error).__name__}") from error

    async def batches(self, consumer: Any) -> AsyncIterator[list[Any]]:
        """Records of one partition after those of another, until all ranges are read."""
        left = {place: end for place, (begin, end) in self._ranges.items() if begin < end}
        while left:
            for place, records in (await consumer.getmany(timeout_ms=POLL_MS, max_records=5_000)).items():
                wanted = [record for record in records if record.offset < left.get(place, 0)]
                if wanted:
                    yield wanted
            for place, end in list(left.items()):
                # Markers of transactions and compacted records are passed without a record.
                if await consumer.position(place) >= end:
                    del left[place]
            await asyncio.sleep(0)


async def _offsets(
    consumer: Any, time: int | None, usual: Mapping[Any, int], ends: Mapping[Any, int]
) -> dict[Any, int]:
    """Of the first records of a time or a later one; where there is none, the ends."""
    if time is None:
        return dict(usual)
    found = await consumer.offsets_for_times(dict.fromkeys(usual, time))
    return {place: ends[place] if one is None else int(one.offset) for place, one in found.items()}
