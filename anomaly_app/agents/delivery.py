"""The data flow of delivery, as one reads it from top to bottom.

::

    anomaly.alerts ──► Active: dispatcher decides ──► state topic ──► Outbox ──► slack, email, webhook, …
          │                        ▲
          │             silences, acknowledgements (topics that every process follows)
          ├──► StreamReader of each streaming sink ──► another topic, InfluxDB, Alertmanager
          └──► ArchiveReader of each archive (also of other topics) ──► files by hour

One process of a name is active, others stand by and take over. The page and its API are there in all of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from anomaly_app.delivery.acks import Ack
from anomaly_app.delivery.overview import group_statuses
from anomaly_app.delivery.response_rules import compile_rules
from anomaly_app.delivery.routes import RouteTree
from anomaly_app.delivery.silence_request import SilenceRequest
from anomaly_app.delivery.status import ArchiveStatus, GroupStatus, SilenceStatus, State, ToldStatus, WayStatus
from anomaly_app.errors import BrokerError
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.connection import FETCH_WAIT_MS, MOCK_FETCH_WAIT_MS, client_options
from anomaly_app.runtime.delivery_active import Active, Office
from anomaly_app.runtime.delivery_group import Lease, LeaseLost, eldest, group_consumer, renew
from anomaly_app.runtime.delivery_metrics import DeliveryMetrics
from anomaly_app.runtime.delivery_notes import Notes
from anomaly_app.runtime.delivery_state import StateTopic
from anomaly_app.runtime.delivery_topics import ensure_topics, state_topic
from anomaly_app.runtime.delivery_ways import create_ways
from anomaly_app.runtime.refusals import refusal
from anomaly_app.runtime.undelivered import Undelivered
from anomaly_app.settings import LoadedSettings
from anomaly_app.sinks.archive import check_archives
from anomaly_app.sinks.responses import ResponseCalls
from anomaly_app.sinks.sender import Sender, StreamSender

log = logging.getLogger(__name__)

STANDBY_MS = 300
RETRY_S = 1.0
RECENT = 50


class Page(Protocol):
    """What is served."""

    async def cleanup(self) -> None:
        """Serve no more."""
        ...


class DeliveryProcess(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """``anomaly deliver``: stands by or delivers until it is stopped.

    Args:
        loaded: the settings.

    Raises:
        SettingsError: a route, a receiver or a sink cannot be as it is set.
    """

    def __init__(self, loaded: LoadedSettings) -> None:
        self._loaded = loaded
        self._tree = RouteTree.compile(loaded)
        check_archives(loaded)
        self._rules = compile_rules(loaded, self._tree.receivers)
        self._calls = ResponseCalls(loaded)
        self._metrics = DeliveryMetrics()
        self._senders, self._streams = create_ways(loaded, self._metrics.observe, self._metrics.count)
        self._recent: deque[ToldStatus] = deque(maxlen=RECENT)
        self._office: Office | None = None
        self._active: Active | None = None
        self._running: asyncio.Task[None] | None = None
        self._state: State = "starting"
        self._stopping = asyncio.Event()
        self._lease = Lease(loaded.settings.kafka.session_timeout_s)
        self._eldest = eldest()
        self._assigned = False
        self._woken = asyncio.Event()
        self._trouble = ""
        self._fates: Counter[str] = Counter()
        self._response_fates: Counter[str] = Counter()

    # --- from start to end --------------------------------------------------------------------------

    async def run(self, serve: Callable[[], Awaitable[Page]]) -> None:
        """Deliver until :meth:`stop`.

        Args:
            serve: makes the page available; called once Kafka is known to answer.

        Raises:
            SettingsError: the page cannot be served, or a topic that is to be archived is missing.
            BrokerError: Kafka is away, or refuses something.
        """
        try:
            await self._run(serve)
        except KafkaError as error:
            final = refusal(error, self._loaded.settings.kafka.sasl_username)
            if final is None:
                raise BrokerError(f"the broker does not answer any more: {error or type(error).__name__}") from error
            raise final from error
        finally:
            self._state = "stopped"

    async def _run(self, serve: Callable[[], Awaitable[Page]]) -> None:
        loaded, delivery = self._loaded, self._loaded.settings.delivery
        async with AsyncExitStack() as stack:
            partitions, compacts = await ensure_topics(loaded)
            stack.push_async_callback((await serve()).cleanup)
            producer = AIOKafkaProducer(**client_options(loaded), acks="all", max_batch_size=900_000)
            stack.push_async_callback(producer.stop)
            await producer.start()
            for sender, _ in self._senders:
                stack.push_async_callback(sender.close)
            stack.push_async_callback(self._calls.close)
            for stream in self._streams:
                stack.push_async_callback(stream.close)
            wait_ms = FETCH_WAIT_MS if compacts else MOCK_FETCH_WAIT_MS
            notes = Notes(loaded, producer, partitions, wait_ms)
            stack.push_async_callback(notes.close)
            await notes.start()
            follow = [asyncio.create_task(work) for work in notes.works()]
            stack.push_async_callback(cancel, follow)
            self._office = Office(
                loaded=loaded,
                tree=self._tree,
                senders=self._senders,
                streams=self._streams,
                partitions=partitions,
                state=StateTopic(loaded, state_topic(loaded), producer, compacts=compacts),
                notes=notes,
                rules=self._rules,
                calls=self._calls,
                producer=producer,
                undelivered=Undelivered(producer, delivery.dead_letter_topic, self._metrics),
                metrics=self._metrics,
                recent=self._recent,
                fetch_wait_ms=wait_ms,
            )
            while not self._stopping.is_set():
                await self._be_member(self._office, follow)

    async def _be_member(self, office: Office, follow: Sequence[asyncio.Task[None]]) -> None:
        """Belong to the group until the process is stopped, or the group cannot be used any more."""
        consumer = group_consumer(self._loaded, self._loaded.settings.delivery.name, self._eldest, office.fetch_wait_ms)
        self._state, self._assigned = "standby", False
        try:
            await consumer.start()
            consumer.subscribe([office.state.topic, office.alerts_topic], listener=self)
            await self._until_stopped(office, consumer, follow)
            self._trouble = ""
        except KafkaError as error:
            if refusal(error) is not None:
                raise
            # Its consumer does not recover from some of them: as a new member it does.
            self._trouble = f"the group cannot be used: {error or type(error).__name__}"
            log.warning("%s; trying again", self._trouble)
            self._eldest.begin_anew()
            await asyncio.sleep(RETRY_S)
        finally:
            await consumer.stop()

    def stop(self) -> None:
        """Let :meth:`run` end in order."""
        self._stopping.set()
        self._woken.set()
        if self._active is not None:
            self._active.end()

    async def stopped(self) -> None:
        """Wait for :meth:`stop`."""
        await self._stopping.wait()

    async def _until_stopped(self, office: Office, consumer: Any, follow: Sequence[asyncio.Task[None]]) -> None:
        lease = self._lease
        place = TopicPartition(office.state.topic, 0)
        while not self._stopping.is_set():
            _check(follow)
            if not self._assigned:
                await self._stand_by(consumer)
                office.notes.changed()
                continue
            problem = await renew(lease, consumer, {place: office.state.end})
            if problem:
                log.debug("not active yet: %s", problem)
                await asyncio.sleep(STANDBY_MS / 1_000)
                continue
            self._trouble = ""
            await self._deliver(office, consumer, lease, follow)

    async def _stand_by(self, consumer: Any) -> None:
        """Wait for partitions or the end, for a while: reading nothing says that the process lives.

        In a task: while the group gives its partitions anew aiokafka lets who reads wait.
        """
        reading = asyncio.ensure_future(consumer.getmany(timeout_ms=STANDBY_MS))
        waking = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait([reading, waking], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            await cancel([reading, waking])
        self._woken.clear()

    async def _deliver(self, office: Office, consumer: Any, lease: Lease, follow: Sequence[asyncio.Task[None]]) -> None:
        """Be active until the partitions go, or the process is stopped."""
        active = self._active = Active(office, consumer, lease)
        self._running = asyncio.create_task(active.run(), name="active")
        self._state = "active"
        log.info("active: %s", self._loaded.settings.delivery.name)
        try:
            await asyncio.wait([self._running, *follow], return_when=asyncio.FIRST_COMPLETED)
            active.end()  # if it goes on, somebody else has failed
            await self._running
            _check(follow)
        except LeaseLost as error:
            log.warning("%s; standing by", error)
        finally:
            if active.dispatcher is not None:
                self._fates.update(active.dispatcher.fates)
                self._fates["waiting"] = 0
                self._response_fates.update(active.responses.fates)
            self._active = self._running = None
            self._state = "standby"

    # --- the group ----------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """End in order before another process may begin."""
        # A commit behind the request to join would have the generation before it, which makes aiokafka join again.
        self._assigned = False
        if self._active is not None and self._running is not None:
            self._active.end()
            await asyncio.wait([self._running])
        if revoked and not self._lease.valid:
            self._eldest.begin_anew()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Go on, if everything was assigned; nothing is read before the state says from where."""
        self._assigned = bool(assigned)
        self._woken.set()

    # --- what the page and its API ask ----------------------------------------------------------------

    @property
    def state(self) -> State:
        """Whether it is the active one of its name."""
        return self._state

    @property
    def registry(self) -> CollectorRegistry:
        """What is counted as it happens."""
        return self._metrics.registry

    def ready(self) -> tuple[bool, str]:
        """Whether alerts are delivered or it stands by, else the reason."""
        if self._state in ("starting", "stopped"):
            return False, self._state
        if self._trouble:
            return False, self._trouble
        active = self._active
        if active is not None and active.dispatcher is None:
            return False, "reading the state"
        return (False, active.problem) if active is not None and active.problem else (True, "")

    def healthy(self) -> tuple[bool, str]:
        """It ends by itself when it is not."""
        return True, ""

    def lag(self) -> int | None:
        """Alerts that are not decided yet; None of a process that stands by."""
        return self._active.lag() if self._active is not None else None

    def fates(self) -> Mapping[str, int]:
        """What became of alerts since the process began."""
        dispatcher = self._active.dispatcher if self._active is not None else None
        return self._fates if dispatcher is None else self._fates + dispatcher.fates

    def responses(self) -> Mapping[str, int]:
        """Runs of responses since the process began, by how they began."""
        active = self._active
        return self._response_fates if active is None else self._response_fates + active.responses.fates

    def ways(self) -> Sequence[WayStatus]:
        """The sinks of all receivers."""
        active = self._active
        desks = active.outbox.desks if active is not None else {}
        lags = {stream.sender.name: stream.lag() for stream in active.streams} if active is not None else {}
        notifying = [
            _way(sender, len(desks[sender.name]) if sender.name in desks else 0) for sender, _ in self._senders
        ]
        return [*notifying, *(_way(sender, lags.get(sender.name, 0), True) for sender in self._streams)]

    def groups(self, limit: int) -> Sequence[GroupStatus]:
        """Groups, those that were told last first."""
        dispatcher = self._active.dispatcher if self._active is not None else None
        return group_statuses(dispatcher, time.time_ns() // 1_000_000, limit) if dispatcher is not None else ()

    def group_count(self) -> int:
        """How many groups are remembered."""
        dispatcher = self._active.dispatcher if self._active is not None else None
        return len(dispatcher.groups) if dispatcher is not None else 0

    def silences(self) -> Sequence[SilenceStatus]:
        """All silences that are not long over."""
        return self._office.notes.statuses() if self._office is not None else ()

    def told(self) -> Sequence[ToldStatus]:
        """The latest notifications, newest first."""
        return list(self._recent)[::-1]

    def acks(self, limit: int) -> Sequence[Ack]:
        """The latest acknowledgements, newest first."""
        return list(islice(reversed(self._office.notes.acks.values()), limit)) if self._office is not None else ()

    def archives(self) -> Sequence[ArchiveStatus]:
        """The archives."""
        return [archive.status() for archive in self._active.archives] if self._active is not None else ()

    async def silence(self, request: SilenceRequest) -> SilenceStatus:
        """Store a silence; raises ValueError or BrokerError."""
        return await self._notes().add(request)

    async def expire(self, silence_id: str) -> bool:
        """End a silence now; whether there was one; raises BrokerError."""
        return await self._notes().expire(silence_id)

    async def acknowledge(self, ack: Ack) -> None:
        """Store an acknowledgement; raises BrokerError."""
        await self._notes().acknowledge(ack)

    def _notes(self) -> Notes:
        if self._office is None:
            raise BrokerError("the process is still starting")
        return self._office.notes


def _check(follow: Sequence[asyncio.Task[None]]) -> None:
    """Raises BrokerError if silences and acknowledgements are not followed any more."""
    for task in follow:
        if task.done():
            error = task.exception() if not task.cancelled() else None
            final = refusal(error) if error is not None else None
            raise final or BrokerError(f"silences and acknowledgements cannot be followed: {error}") from error


def _way(sender: Sender | StreamSender, outstanding: int, streaming: bool = False) -> WayStatus:
    health = sender.health
    receiver, kind = sender.name.split("/")[:2]
    return WayStatus(
        name=sender.name,
        receiver=receiver,
        kind=kind,
        up=health.failing_since_ms is None,
        breaker=sender.state,
        outstanding=outstanding,
        sent=health.results["sent"],
        failed=health.results["failed"] + health.results["refused"],
        problem=health.problem,
        sent_ms=health.sent_ms,
        streaming=streaming,
    )
