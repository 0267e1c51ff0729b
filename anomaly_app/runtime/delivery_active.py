"""The active delivery process: alerts in, decisions stored, then sent.

Nothing is sent before the state that says so is stored, and the position of an alert is stored with its fate: whoever
takes over after a crash sends what was on its way again, with the same ids, and goes on behind the last alert whose
fate is known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from anomaly_app.delivery.acks import Ack
from anomaly_app.delivery.dispatcher import Dispatcher
from anomaly_app.delivery.labels import labels_of
from anomaly_app.delivery.notification import Incoming
from anomaly_app.delivery.response_rules import Rule
from anomaly_app.delivery.responses import PREFIX, Responses
from anomaly_app.delivery.routes import RouteTree
from anomaly_app.delivery.silences import Silence
from anomaly_app.delivery.status import ToldStatus
from anomaly_app.errors import BrokerError
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.delivery_archives import ArchiveReader
from anomaly_app.runtime.delivery_group import Lease, renew
from anomaly_app.runtime.delivery_metrics import DeliveryMetrics
from anomaly_app.runtime.delivery_notes import Note, Notes
from anomaly_app.runtime.delivery_reader import read_alerts
from anomaly_app.runtime.delivery_responses import ResponseDesk
from anomaly_app.runtime.delivery_state import Changes, StateTopic
from anomaly_app.runtime.delivery_streams import StreamReader
from anomaly_app.runtime.outbox import Outbox, Outgoing
from anomaly_app.runtime.refusals import refusal
from anomaly_app.runtime.undelivered import Undelivered
from anomaly_app.settings import LoadedSettings
from anomaly_app.sinks.responses import ResponseCalls
from anomaly_app.sinks.sender import Sender, StreamSender

log = logging.getLogger(__name__)

STEP_MS = 100
"""How often something is decided, and stored, while nothing comes."""
TURN_S = 0.05
"""From turn to turn at least while alerts come: each turn is a write to the state, of much or little."""
MOST_AT_ONCE = 5_000
RENEW_S = 1.0
TIDY_S = 30.0
FINISH_S = 3.0
"""What attempts that are being made get at an orderly end: less than a rebalance waits for."""
RETRY_S = 0.5

OWN = b"process/"
"""Begins the keys of what is not the dispatcher's."""
POSITIONS_KEY = OWN + b"positions"


@dataclass(frozen=True, slots=True)
class Office:
    """What a process has as long as it lives, whether it is active or stands by.

    Args:
        loaded: the settings.
        tree: the compiled routes.
        senders: of the notifying sinks, each with its ``give_up_after`` in ms.
        streams: of the streaming sinks.
        partitions: of every topic that is read or written.
        state: the topic of the state.
        notes: silences and acknowledgements.
        rules: of responses.
        calls: that these make.
        producer: started.
        undelivered: takes what is given up.
        metrics: counts.
        recent: the latest notifications.
        fetch_wait_ms: how long the broker keeps a fetch to which it has nothing to say.
    """

    loaded: LoadedSettings
    tree: RouteTree
    senders: Sequence[tuple[Sender, int]]
    streams: Sequence[StreamSender]
    partitions: Mapping[str, int]
    state: StateTopic
    notes: Notes
    rules: Sequence[Rule]
    calls: ResponseCalls
    producer: Any
    undelivered: Undelivered
    metrics: DeliveryMetrics
    recent: deque[ToldStatus]
    fetch_wait_ms: int

    @property
    def alerts_topic(self) -> str:
        """The topic of the alerts."""
        return self.loaded.settings.alerts.topic


class Active:
    """One time of being active, from taking over to the end.

    Args:
        office: of the process.
        consumer: of the group, which has all partitions.
        lease: as long as it is valid something may be written and sent.
    """

    def __init__(self, office: Office, consumer: AIOKafkaConsumer, lease: Lease) -> None:
        self._office, self._consumer, self._lease = office, consumer, lease
        self.outbox = Outbox(office.senders, office.undelivered, lease.check, office.recent, office.metrics.held_back)
        # The topic may have grown since the process began.
        self._places = sorted(place for place in consumer.assignment() if place.topic == office.alerts_topic)
        topic = {office.alerts_topic: len(self._places)}
        self.streams = [
            StreamReader(
                office.loaded,
                topic,
                sender,
                self._belongs(sender),
                office.undelivered,
                lease.check,
                office.fetch_wait_ms,
            )
            for sender in office.streams
        ]
        self.archives = [
            ArchiveReader(
                office.loaded, archive,
                {name: {**office.partitions, **topic}[name] for name in archive.topics or topic}, lease.check,
                office.fetch_wait_ms,
            )
            for archive in office.loaded.settings.delivery.archive
        ]  # fmt: skip
        response_topic = office.loaded.settings.delivery.response_topic
        self._desk = ResponseDesk(office.calls, office.producer, response_topic, lease.check)
        self.dispatcher: Dispatcher | None = None
        self.responses = Responses(())
        self.problem = ""
        """Why nothing is decided for now; "" if all is well."""
        self._read: dict[int, int] = {}
        self._stored: dict[int, int] = {}
        self._put: set[str] = set()
        self._ending = asyncio.Event()
        self._readers: dict[asyncio.Task[None], StreamReader | ArchiveReader] = {}
        self._tasks: list[asyncio.Task[None]] = []

    # --- from the beginning to the end --------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until :meth:`end`.

        Raises:
            LeaseLost: another process may be active.
            KafkaError: Kafka refuses something.
        """
        self._tasks = [asyncio.create_task(self._renew_for_ever(), name="renew")]
        try:
            await _until_one_fails(asyncio.create_task(self._recover(), name="recover"), self._tasks)
            dispatcher = self.dispatcher
            assert dispatcher is not None
            works = [
                self._tidy_for_ever(),
                *(desk.run() for desk in self.outbox.desks.values()),
            ]
            readers: list[StreamReader | ArchiveReader] = [*self.streams, *self.archives]
            self._readers = {asyncio.create_task(reader.run()): reader for reader in readers}
            self._tasks += [*(asyncio.create_task(work) for work in works), *self._readers]
            await _until_one_fails(asyncio.create_task(self._decide_for_ever(dispatcher), name="decide"), self._tasks)
            if self._lease.valid:
                await self._finish(dispatcher)
        finally:
            await cancel(self._tasks)
            await self._desk.close()
            for stream in self.streams:
                await stream.close()
            for archive in self.archives:
                await archive.close()

    def end(self) -> None:
        """Let :meth:`run` end in order."""
        self._ending.set()

    async def _recover(self) -> None:
        """Begin with the state as whoever was active before has left it."""
        office = self._office
        self._consumer.pause(*self._consumer.assignment())
        entries = await office.state.read()
        own = entries.pop(POSITIONS_KEY, None)
        of_responses = {key: entries.pop(key) for key in list(entries) if key.startswith(PREFIX)}
        dispatcher = Dispatcher(office.tree, office.loaded.settings.delivery, entries)
        self.responses = responses = Responses(office.rules, of_responses, dispatcher.silences)
        for gone in dispatcher.withdrawn:
            problem = "its sink is no more in the settings"
            await office.undelivered.notification(gone.sink, gone.notification, problem, gone.since_ms)
        begun: dict[int, int] = msgspec.json.decode(own, type=dict[int, int]) if own else {}
        for place in self._places:
            number = place.partition
            # Each passes over what it has; behind all alerts there may be records that are none.
            taken = [of[number] for of in (dispatcher.positions, responses.positions) if number in of]
            known = [*([min(taken)] if taken else []), *([begun[number]] if number in begun else [])]
            self._read[number] = max(known) if known else await self._first(place, bool(begun))
            self._consumer.seek(place, self._read[number])
        await self._write([(POSITIONS_KEY, msgspec.json.encode(self._read))])
        for note in office.notes.begin():
            self._note(dispatcher, note)
        self._stored = dict(self._read)
        self._consumer.resume(*self._places)
        self.dispatcher = dispatcher

    async def _first(self, place: TopicPartition, later: bool) -> int:
        """Where a partition begins of which nothing is known; one that was added later is read from its beginning."""
        latest = self._office.loaded.settings.delivery.startup == "latest" and not later
        ask = self._consumer.end_offsets if latest else self._consumer.beginning_offsets
        return int((await ask([place]))[place])

    async def _finish(self, dispatcher: Dispatcher) -> None:
        """Let what is on its way arrive, and write that down."""
        await asyncio.gather(self.outbox.finish(FINISH_S), self._desk.finish(FINISH_S), self._finish_readers())
        await asyncio.gather(*(archive.finish() for archive in self.archives))
        self._settle(dispatcher, _now_ms())
        await self._store(dispatcher)
        await renew(self._lease, self._consumer, self._offsets())

    async def _finish_readers(self) -> None:
        """Let batches that are being written be written, but for those of sinks that are away."""
        for reader in self._readers.values():
            reader.stop()
        alive = [task for task, reader in self._readers.items() if not reader.is_away]
        if alive:
            await asyncio.wait(alive, timeout=FINISH_S)
        await cancel(self._readers)

    # --- decisions ----------------------------------------------------------------------------------

    async def _decide_for_ever(self, dispatcher: Dispatcher) -> None:
        office = self._office
        while not self._ending.is_set():
            records = await self._take()
            begun = time.monotonic()
            self._lease.check()
            alerts, others = read_alerts(records, office.loaded.settings.delivery.tenant)
            for record, reason in others:
                await office.undelivered.unreadable(record, reason)
            now_ms = _now_ms()
            for note in office.notes.changed():
                self._note(dispatcher, note)
            self._settle(dispatcher, now_ms)
            for incoming in alerts:
                office.metrics.alert(incoming)
            for decides in (dispatcher, self.responses):
                decides.take(alerts, now_ms)
                decides.advance(now_ms)
            for record in records:
                self._read[record.partition] = record.offset + 1
            await self._store(dispatcher, unreadable=bool(others))
            self._send_new(reversed(dispatcher.outbox.values()))
            self._send_new(reversed(self.responses.outbox.values()))
            self._desk.put(self.responses.requests)
            if records and (left_s := begun + TURN_S - time.monotonic()) > 0:
                await asyncio.sleep(left_s)

    async def _take(self) -> list[Any]:
        """The next records of the alerts; none when this is to end.

        In a task: while the group gives its partitions anew aiokafka lets who reads wait, and the group waits for this.
        """
        reading = asyncio.ensure_future(
            self._consumer.getmany(*self._places, timeout_ms=STEP_MS, max_records=MOST_AT_ONCE)
        )
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait([reading, ending], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return []
            return [record for own in reading.result().values() for record in own]
        finally:
            await cancel([reading, ending])

    def _settle(self, dispatcher: Dispatcher, now_ms: int) -> None:
        """What has become of that which was sent, and of calls."""
        for id_, fate, problem in self.outbox.settled():
            self._put.discard(id_)
            dispatcher.settled(id_, fate, now_ms)
            self.responses.settled(id_, fate == "sent", now_ms, problem)
        for id_, outcome in self._desk.settled():
            self.responses.settled(id_, outcome.sent, now_ms, outcome.problem)

    def _send_new(self, latest_first: Iterable[Outgoing]) -> None:
        """What is stored now may be sent: as far back as it was not seen before."""
        fresh: list[Outgoing] = []
        for delivery in latest_first:
            if delivery.id in self._put:
                break
            fresh.append(delivery)
        self._put.update(delivery.id for delivery in fresh)
        self.outbox.put(reversed(fresh))

    async def _store(self, dispatcher: Dispatcher, *, unreadable: bool = False) -> None:
        await self._desk.write(self.responses.records())
        changes = [*self.responses.changes(), *dispatcher.changes()]
        if unreadable:  # the dispatcher knows positions of alerts only
            changes.append((POSITIONS_KEY, msgspec.json.encode(self._read)))
        await self._write(changes)
        self._stored = dict(self._read)

    async def _write(self, changes: Changes) -> None:
        """Write state for as long as it takes: without it nothing may go on."""
        while changes:
            self._lease.check()
            try:
                await self._office.state.write(changes)
            except KafkaError as error:
                if refusal(error) is not None:
                    raise
                self.problem = f"the state cannot be stored: {error or type(error).__name__}"
                await asyncio.sleep(RETRY_S)
            else:
                self.problem = ""
                return

    def _note(self, dispatcher: Dispatcher, note: Note) -> None:
        if isinstance(note, Silence):
            dispatcher.put_silence(note)
        elif isinstance(note, Ack):
            dispatcher.acknowledge(note.alert, note.by, note.at_ms)
            self.responses.acknowledge(note.alert, note.by, note.at_ms)
        else:
            dispatcher.drop_silence(note)

    def _belongs(self, sender: StreamSender) -> Any:
        receiver = sender.name.partition("/")[0]
        tree = self._office.tree

        def belongs(incoming: Incoming) -> bool:
            return receiver in tree.receivers_of(labels_of(incoming.alert, incoming.tenant))

        return belongs

    # --- beside -------------------------------------------------------------------------------------

    async def _renew_for_ever(self) -> None:
        while True:
            problem = await renew(self._lease, self._consumer, self._offsets())
            if problem:
                log.debug("positions are not committed: %s", problem)
            self._lease.check()
            await asyncio.sleep(RENEW_S)

    async def _tidy_for_ever(self) -> None:
        while True:
            try:
                await self._office.notes.tidy(_now_ms())
            except BrokerError as error:
                log.debug("silences are not tidied: %s", error)
            await asyncio.sleep(TIDY_S)

    def _offsets(self) -> dict[Any, int]:
        alerts = {place: self._stored[place.partition] for place in self._places if place.partition in self._stored}
        return {TopicPartition(self._office.state.topic, 0): self._office.state.end, **alerts}

    def lag(self) -> int | None:
        """Alerts that are not decided yet; None while unknown."""
        if self.dispatcher is None:
            return None
        lag = 0
        for place in self._places:
            end = self._consumer.highwater(place) if place in self._consumer.assignment() else None
            if end is None:
                return None
            lag += max(0, end - self._stored.get(place.partition, end))
        return lag


async def _until_one_fails(first: asyncio.Task[None], others: Sequence[asyncio.Task[None]]) -> None:
    """Wait until the first task has ended, or another one failed; raises what failed."""
    try:
        left: set[asyncio.Task[None]] = {first, *others}
        while not first.done():
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        first.result()
    finally:
        await cancel([first])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
