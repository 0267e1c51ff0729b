"""Silences and acknowledgements: written by people through any process, followed by all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.acks import Ack
from anomaly_app.delivery.silence_request import SilenceRequest, expired, state_of
from anomaly_app.delivery.silences import Silence, decode_silence, encode_silence
from anomaly_app.delivery.status import SilenceStatus
from anomaly_app.errors import BrokerError
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.connection import MOCK_FETCH_WAIT_MS, client_options
from anomaly_app.runtime.delivery_state import Followed
from anomaly_app.runtime.delivery_topics import ACKS
from anomaly_app.runtime.refusals import refusal
from anomaly_app.runtime.topics import CHANGELOG, NeededTopic, TopicAdmin
from anomaly_app.settings import LoadedSettings

log = logging.getLogger(__name__)

MOST_ACKS = 100_000
"""Acknowledgements that are remembered; responses that wait for one begin with those that were there."""
KEPT_MS = 5 * 24 * 3_600_000
"""How long a silence is shown after its end."""
TIMEOUT_S = 10.0

Note = Silence | Ack | str
"""What has changed; the text is the id of a silence that is gone."""


class Notes:
    """Silences and acknowledgements as all processes see them.

    Args:
        loaded: the settings.
        producer: a started aiokafka producer.
        partitions: of both topics.
        fetch_wait_ms: how long the broker keeps a fetch to which it has nothing to say.
    """

    def __init__(
        self, loaded: LoadedSettings, producer: Any, partitions: Mapping[str, int], fetch_wait_ms: int
    ) -> None:
        delivery = loaded.settings.delivery
        self._producer = producer
        self.silences: dict[str, Silence] = {}
        self.acks: dict[str, Ack] = {}
        self._changed: list[Note] = []
        self._warned: set[str] = set()
        self._silence_topic, self._ack_topic = delivery.silence_topic, delivery.ack_topic
        self._topics = {
            self._silence_topic: Followed(
                loaded, self._silence_topic, partitions[self._silence_topic], self._take_silence, fetch_wait_ms
            ),
            self._ack_topic: Followed(
                loaded, self._ack_topic, partitions[self._ack_topic], self._take_ack, fetch_wait_ms
            ),
        }

    async def start(self) -> None:
        """Read what is there."""
        for topic in self._topics.values():
            await topic.start()

    def works(self) -> list[Any]:
        """What runs for ever: following the topics."""
        return [topic.run() for topic in self._topics.values()]

    async def close(self) -> None:
        """End the consumers."""
        for topic in self._topics.values():
            await topic.close()

    def changed(self) -> Sequence[Note]:
        """What has changed since the last call."""
        changed, self._changed = self._changed, []
        return changed

    def begin(self) -> Sequence[Note]:
        """All there is, for who begins; :meth:`changed` goes on from here."""
        self._changed = []
        return [*self.silences.values(), *self.acks.values()]

    # --- writing ------------------------------------------------------------------------------------

    async def add(self, request: SilenceRequest) -> SilenceStatus:
        """Store a silence; raises ValueError or BrokerError."""
        silence = request.silence(_now_ms())
        await self._write(self._silence_topic, silence.id, encode_silence(silence))
        return silence_status(silence, _now_ms())

    async def expire(self, silence_id: str) -> bool:
        """End a silence now; whether there was one; raises BrokerError."""
        silence, now_ms = self.silences.get(silence_id), _now_ms()
        if silence is None or silence.ends_ms <= now_ms:
            return False
        await self._write(self._silence_topic, silence_id, encode_silence(expired(silence, now_ms)))
        return True

    async def acknowledge(self, ack: Ack) -> None:
        """Store an acknowledgement; raises BrokerError."""
        await self._write(self._ack_topic, ack.alert, msgspec.json.encode(ack))

    async def tidy(self, now_ms: int) -> None:
        """Say which silences end soon, and let go those that ended long ago; for the active process.

        Args:
            now_ms: now, in ms since 1970.
        """
        for silence in list(self.silences.values()):
            if silence.ends_soon(now_ms) and silence.id not in self._warned:
                self._warned.add(silence.id)
                log.warning(
                    "silence %s (%s) of %s ends soon, at %s",
                    silence.id, ", ".join(silence.matchers), silence.created_by, iso_time(silence.ends_ms),
                )  # fmt: skip
            if silence.ends_ms < now_ms - KEPT_MS:
                self._warned.discard(silence.id)
                await self._write(self._silence_topic, silence.id, None)

    def statuses(self) -> list[SilenceStatus]:
        """All silences, those that end first first, ended ones last."""
        now_ms = _now_ms()
        ordered = sorted(self.silences.values(), key=lambda one: (one.ends_ms <= now_ms, one.ends_ms))
        return [silence_status(silence, now_ms) for silence in ordered]

    async def _write(self, topic: str, key: str, value: bytes | None) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                sent = await self._producer.send_and_wait(topic, value, key.encode())
        except TimeoutError:
            raise BrokerError("the broker does not answer; it may be stored all the same") from None
        except KafkaError as error:
            final = refusal(error)
            raise BrokerError(f"it cannot be stored: {final or error or type(error).__name__}") from error
        # Who asks next sees it.
        await self._topics[topic].reached(sent.partition, sent.offset, TIMEOUT_S)

    # --- reading ------------------------------------------------------------------------------------

    def _take_silence(self, key: bytes, value: bytes | None) -> None:
        id_ = key.decode("utf-8", "replace")
        if value is None:
            if self.silences.pop(id_, None) is not None:
                self._changed.append(id_)
            return
        try:
            silence = decode_silence(value)
        except ValueError as error:
            log.warning("topic %s, key %s: %s", self._silence_topic, id_, error)
            return
        self.silences[id_] = silence
        self._changed.append(silence)

    def _take_ack(self, key: bytes, value: bytes | None) -> None:
        id_ = key.decode("utf-8", "replace")
        self.acks.pop(id_, None)
        if value is None:
            return
        try:
            ack = msgspec.json.decode(value, type=Ack)
        except msgspec.MsgspecError as error:
            log.warning("topic %s, key %s: %s", self._ack_topic, id_, error)
            return
        self.acks[id_] = ack
        self._changed.append(ack)
        if len(self.acks) > MOST_ACKS:
            del self.acks[next(iter(self.acks))]


def silence_status(silence: Silence, now_ms: int) -> SilenceStatus:
    """A silence as it is told to programs."""
    return SilenceStatus(
        id=silence.id,
        matchers=silence.matchers,
        starts_at=iso_time(silence.starts_ms),
        ends_at=iso_time(silence.ends_ms),
        created_by=silence.created_by,
        comment=silence.comment,
        state=state_of(silence, now_ms),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def silences_of(loaded: LoadedSettings) -> AsyncIterator[Notes]:
    """Silences and acknowledgements for a command: read, and followed while it writes.

    Args:
        loaded: the settings.

    Raises:
        BrokerError: no broker answers, or a topic is missing and cannot be created.
    """
    delivery = loaded.settings.delivery
    needed = [NeededTopic(delivery.silence_topic, 1, CHANGELOG), NeededTopic(delivery.ack_topic, 1, ACKS)]
    async with TopicAdmin(loaded) as admin:
        partitions = await admin.ensure(needed)
    producer = AIOKafkaProducer(**client_options(loaded), acks="all")
    notes = Notes(loaded, producer, partitions, MOCK_FETCH_WAIT_MS)
    follow: list[asyncio.Task[None]] = []
    try:
        await producer.start()
        await notes.start()
        follow = [asyncio.create_task(work) for work in notes.works()]
        yield notes
    finally:
        await cancel(follow)
        await notes.close()
        await producer.stop()
