"""Reading topics from positions of their own, committed to a group that has no members."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from anomaly_app.alerts import Alert
from anomaly_app.delivery.notification import Incoming
from anomaly_app.runtime.connection import METADATA_MS, client_options
from anomaly_app.runtime.kafka_sink import TENANT_HEADER
from anomaly_app.runtime.refusals import refusal
from anomaly_app.settings import LoadedSettings

log = logging.getLogger(__name__)

_alerts = msgspec.json.Decoder(Alert)


def read_alert(record: Any, tenant: str) -> Incoming:
    """An alert of the topic.

    Args:
        record: of aiokafka.
        tenant: if its header names none.

    Raises:
        ValueError: it is none.
    """
    named = next((value for name, value in record.headers if name == TENANT_HEADER and value), None)
    return Incoming(
        alert=_alerts.decode(record.value or b""),
        raw=record.value,
        partition=record.partition,
        offset=record.offset,
        tenant=tenant if named is None else named.decode("utf-8", "replace"),
        key=record.key,
        timestamp_ms=max(record.timestamp, 0),
    )


class Reader:
    """A consumer that has all partitions of some topics, and commits how far it is.

    Args:
        loaded: the settings.
        topics: numbers of partitions by topic.
        group: under which positions are committed.
        fetch_wait_ms: how long the broker keeps a fetch to which it has nothing to say.
        most: records at a time.
    """

    def __init__(
        self, loaded: LoadedSettings, topics: Mapping[str, int], group: str, fetch_wait_ms: int, most: int = 2_000
    ) -> None:
        self._loaded, self._most = loaded, most
        self._topics = list(topics)
        self._places = [TopicPartition(topic, number) for topic, count in topics.items() for number in range(count)]
        self._consumer = AIOKafkaConsumer(
            **client_options(loaded),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level=loaded.settings.kafka.isolation_level or "read_uncommitted",
            fetch_max_wait_ms=fetch_wait_ms,
            metadata_max_age_ms=METADATA_MS,
            # Each reader holds at most so much ahead.
            fetch_max_bytes=1_000_000,
            max_partition_fetch_bytes=250_000,
        )
        self._committed: dict[Any, int] = {}

    async def start(self) -> None:
        """Go to where it was, or to where ``delivery.startup`` says."""
        await self._consumer.start()
        self._consumer.assign(self._places)
        committed = {place: await self._consumer.committed(place) for place in self._places}
        fresh = [place for place in self._places if committed[place] is None]
        # A partition that was added to a topic that is read already is read from its beginning.
        known = {place.topic for place in self._places if committed[place] is not None}
        ends = await self._consumer.end_offsets(fresh) if fresh else {}
        begins = await self._consumer.beginning_offsets(fresh) if fresh else {}
        latest = self._loaded.settings.delivery.startup == "latest"
        begin_here = {place: int((ends if latest and place.topic not in known else begins)[place]) for place in fresh}
        for place in self._places:
            self._consumer.seek(place, begin_here.get(place, committed[place]))
        if begin_here:
            # Else a crash before the first commit would skip what came meanwhile.
            await self._consumer.commit(begin_here)
        self._committed = {place: begin_here.get(place, committed[place]) for place in self._places}

    async def grow(self) -> None:
        """Take on partitions that were added, from their beginning; the others go on where they are."""
        added = [
            TopicPartition(topic, number)
            for topic in self._topics
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
            if TopicPartition(topic, number) not in self._committed
        ]
        if not added:
            return
        begins = await self._consumer.beginning_offsets(added)
        positions = await self.positions() | {place: int(begins[place]) for place in added}
        self._places += added
        self._consumer.assign(self._places)
        for place, offset in positions.items():
            self._consumer.seek(place, offset)
        # Not committed yet: who begins reads what was added later from its beginning.
        self._committed |= {place: positions[place] for place in added}

    async def take(self, timeout_ms: int, most: int = 0) -> list[Any]:
        """The next records, by partition in their order; none if none come in that time."""
        found = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=most or self._most)
        return [record for records in found.values() for record in records]

    async def positions(self) -> dict[Any, int]:
        """The next offset by topic and partition."""
        return {place: await self._consumer.position(place) for place in self._places}

    async def commit(self, positions: Mapping[Any, int]) -> str:
        """Commit what has changed; "" or what went wrong, which the next commit mends."""
        changed = {place: offset for place, offset in positions.items() if self._committed.get(place) != offset}
        if changed:
            try:
                await self._consumer.commit(changed)
            except KafkaError as error:
                if refusal(error) is not None:
                    raise
                return str(error) or type(error).__name__
            self._committed |= changed
        return ""

    def lag(self) -> int:
        """Records behind what is committed, as far as is known."""
        return sum(
            max(0, (self._consumer.highwater(place) or 0) - committed) for place, committed in self._committed.items()
        )

    async def close(self) -> None:
        """End the consumer."""
        await self._consumer.stop()


def read_alerts(records: Iterable[Any], tenant: str) -> tuple[list[Incoming], list[tuple[Any, str]]]:
    """Alerts, and the records that are none, with the reason."""
    alerts: list[Incoming] = []
    others: list[tuple[Any, str]] = []
    for record in records:
        try:
            alerts.append(read_alert(record, tenant))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            others.append((record, str(error)))
    return alerts, others
