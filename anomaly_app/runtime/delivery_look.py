"""Looking at what delivery knows, without being a part of it: state, silences, an alert of the topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from anomaly_app.delivery.notification import Incoming
from anomaly_app.delivery.responses import PREFIX
from anomaly_app.delivery.silences import Silence, decode_silence
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.delivery_active import OWN
from anomaly_app.runtime.delivery_reader import read_alert
from anomaly_app.runtime.delivery_topics import state_topic
from anomaly_app.runtime.topics import TopicAdmin
from anomaly_app.runtime.writer import read_ranges
from anomaly_app.settings import LoadedSettings


class Known(NamedTuple):
    """What delivery knows now.

    Args:
        entries: of the dispatcher's state.
        silences: all that are stored.
    """

    entries: Mapping[bytes, bytes]
    silences: list[Silence]


async def look(loaded: LoadedSettings) -> Known:
    """Read the state and the silences; nothing is created or changed.

    Args:
        loaded: the settings.

    Raises:
        BrokerError: no broker answers.
    """
    entries = await _compacted(loaded, state_topic(loaded))
    stored = await _compacted(loaded, loaded.settings.delivery.silence_topic)
    silences = []
    for value in stored.values():
        try:
            silences.append(decode_silence(value))
        except ValueError:
            continue  # the process says so in its log
    return Known({key: value for key, value in entries.items() if not key.startswith((OWN, PREFIX))}, silences)


async def find_alert(loaded: LoadedSettings, alert_id: str) -> Incoming | None:
    """The last alert of an id in the topic of the alerts; None if there is none.

    Args:
        loaded: the settings.
        alert_id: of the alert.

    Raises:
        BrokerError: no broker answers.
    """
    topic, found = loaded.settings.alerts.topic, None
    needle = alert_id.encode()
    async for record in _records(loaded, topic):
        if needle not in (record.value or b""):
            continue
        try:
            incoming = read_alert(record, loaded.settings.delivery.tenant)
        except ValueError:
            continue
        if incoming.alert.id == alert_id:
            found = incoming
    return found


async def _compacted(loaded: LoadedSettings, topic: str) -> dict[bytes, bytes]:
    entries: dict[bytes, bytes] = {}
    async for record in _records(loaded, topic):
        if record.key is None:
            continue
        entries.pop(record.key, None)
        if record.value is not None:
            entries[record.key] = record.value
    return entries


async def _records(loaded: LoadedSettings, topic: str) -> AsyncIterator[Any]:
    """All of a topic that there is now; none if it does not exist."""
    async with TopicAdmin(loaded) as admin:
        count = (await admin.partitions([topic])).get(topic, 0)
    places = [TopicPartition(topic, number) for number in range(count)]
    if not places:
        return
    async with AIOKafkaConsumer(
        **client_options(loaded), enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100
    ) as consumer:
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        ranges = {place.partition: (int(begins[place]), int(ends[place])) for place in places}
        async for record in read_ranges(consumer, topic, ranges):
            yield record
