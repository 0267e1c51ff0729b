"""The batch lane: Faust moves whole slices of a partition as one message.

Conductor, streams, rebalance, flow control, commits and table recovery stay Faust's. What changes is the unit: one
message per (partition, up to ``batch_rows`` records), whose value is a :class:`Batch`. Faust's own road costs some
200 us a record, most of it per-message bookkeeping; this one costs that once per slice.

Rules that the lane adds:

* Positions come from stored state, not from the group's committed offsets alone: after each assignment
  :meth:`LaneApp.restore_positions` says where every partition goes on.
* Every such seek begins an *epoch*. Slices of an earlier epoch that still sit in a queue are dropped by the agents:
  everything behind the new position is read again.
* A committed offset is the end of the longest prefix of acknowledged slices.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

FETCH_MAX_WAIT_MS = 20
"""Faust fixes 1500: a fetch that waits for drained partitions then starves full ones (one fetch in flight a broker)."""

POLL_S = 0.2
"""How long one poll of the consumer may wait; a rebalance waits for it."""

REJOIN_S = 1.0
"""How long a member waits before it joins again, after an answer of the group that nobody expects."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch:
    """A slice of a partition.

    Args:
        records: aiokafka ``ConsumerRecord`` objects in order of offset, not empty.
        epoch: of the seek after which they were read.
        highwater: offset behind the last record of the partition, as of the fetch.
        dropped: not processed, because its partition is about to be read again from elsewhere.
    """

    records: Sequence[Any]
    epoch: int
    highwater: int
    dropped: bool = False


class _BatchSchema(faust.Schema):  # type: ignore[misc]  # Faust has no types
    """Passes the batch through: decoding is the runtime's, a batch at a time."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Any]]:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust has no types
    """Builds the consumer with a short fetch wait, and with the group id and isolation level of the settings."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        consumer._group_id = self.app.group_id
        consumer._isolation_level = self.app.isolation_level
        commit = consumer.commit

        async def commit_if_allowed(offsets: Any) -> None:
            with self.app.ending_if_refused():  # Faust would log a page about it, and crash
                await commit(offsets)

        consumer.commit = commit_if_allowed
        return consumer

    async def on_start(self) -> None:
        """Connect; errors of the group are heard from now on, also before the first assignment, while nobody polls."""
        with self.app.ending_if_refused():
            await super().on_start()
        coordinator = self._ensure_consumer()._coordinator

        async def end_or_join_again(error: Exception) -> None:
            self.app.end_if_refused(error)
            log.warning("the consumer group failed, joining again in %g s: %s", REJOIN_S, error)
            coordinator.request_rejoin()
            await asyncio.wait([coordinator._closing], timeout=REJOIN_S)

        # aiokafka's own keeps the error for the next poll and waits for that, which before the first assignment is
        # for ever.
        coordinator._push_error_to_user = end_or_join_again

    def highwater(self, tp: TP) -> int | None:
        """Offset behind the last record that may be read: behind it open transactions can stand."""
        consumer = self._ensure_consumer()
        committed = self.app.isolation_level == "read_committed"
        end: int | None = consumer.last_stable_offset(tp) if committed else consumer.highwater(tp)
        return end


class LaneConsumer(driver.Consumer):  # type: ignore[misc]  # Faust has no types
    """A consumer that yields slices for the topics of the lane and single messages for all others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.epoch = 0
        self._polling = asyncio.Lock()
        self._handed: dict[TP, deque[int]] = defaultdict(deque)
        self._done: dict[TP, set[int]] = defaultdict(set)
        self._fetched: dict[TP, int] = {}
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _in_lane(self, tp: TP) -> bool:
        return tp.topic in self.app.lane_topics

    def on_buffer_full(self, tp: TP) -> None:
        """Back-pressure of the lane is a full queue, which blocks the fetcher; Faust's valve waits a second."""
        if not self._in_lane(tp):
            super().on_buffer_full(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Upstream forgets acknowledged offsets before committing them (faust issue 502): commit first."""
        await self.app.before_revoke(revoked)
        await self.commit()
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._handed.pop(tp, None)
            self._done.pop(tp, None)

    async def perform_seek(self) -> None:
        """Go to the positions that the stored state asks for, and begin an epoch."""
        async with self._polling:
            await super().perform_seek()
            self._handed.clear()
            self._done.clear()
            self._fetched.clear()
            self.epoch += 1
            assigned = {tp for tp in self.assignment() if self._in_lane(tp)}
            if not assigned:
                return
            # Faust keeps a committed offset of 0 apart from none only here.
            committed = {tp: self._read_offset[tp] for tp in assigned}
            positions = await self.app.restore_positions(committed, self.epoch)
            if positions:
                await self.seek_wait(positions)
                self._read_offset.update(positions)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 (Faust's signature)
        """Slices of the lane's topics; the last record of a slice of changelog, the rest applied at once."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        async with self._polling:
            if not self.flow_active:
                return  # a seek waits for the lock
            with self.app.ending_if_refused():
                records, active = await self._wait_next_records(min(timeout, POLL_S))
            # Records of a stopped flow are dropped: a seek comes before it is resumed.
            if records is None or self.should_stop or not self.flow_active:
                return
            epoch, generation = self.epoch, self.app.consumer_generation_id
            self._fetched.update((tp, fetched[-1].offset) for tp, fetched in records.items() if fetched)
        others: dict[TP, Sequence[Any]] = {}
        for tp, fetched in records.items():
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            highwater = self.highwater(tp) or 0
            self.app.monitor.track_tp_end_offset(tp, highwater)
            if not self._in_lane(tp):
                others[tp] = self._apply_changelog(tp, fetched)
                continue
            for message in self._slices(tp, fetched, epoch, generation, highwater):
                if not self.flow_active or self.epoch != epoch:
                    return
                self._handed[tp].append(message.offset)
                yield tp, message
        for tp, record in self.scheduler.iterate(others):
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            yield tp, self._to_message(tp, record)

    async def beyond(self, tp: TP, position: int) -> int:
        """Where the fetch stands, if all records below it have been processed; else ``position``.

        Markers of transactions take offsets and are never seen: behind the last record there may be some.
        """
        async with self._polling:
            standing = await self.position(tp)
            last = self._fetched.get(tp, -1)
        return standing if standing is not None and last < position < standing else position

    def _slices(self, tp: TP, fetched: Sequence[Any], epoch: int, generation: int, highwater: int) -> Iterable[Any]:
        start = self._read_offset[tp]
        if start is not None and fetched and fetched[0].offset < start:
            fetched = [record for record in fetched if record.offset >= start]
        size = self.app.batch_rows
        for first in range(0, len(fetched), size):
            part = fetched[first : first + size]
            last = part[-1]
            yield ConsumerMessage(
                tp.topic, tp.partition, last.offset, last.timestamp / 1000.0, last.timestamp_type, [], None,
                Batch(part, epoch, highwater), None, 0, len(part), tp, generation_id=generation,
            )  # fmt: skip

    def _apply_changelog(self, tp: TP, fetched: Sequence[Any]) -> Sequence[Any]:
        """Write all but the last record of changelog to the store at once; the last one drives Faust's recovery."""
        table = self.app.tables._changelogs.get(tp.topic)
        if table is None or len(fetched) < 2:
            return fetched
        start = self._read_offset[tp]
        events = [_Event(self._to_message(tp, r)) for r in fetched[:-1] if start is None or r.offset >= start]
        table.data.apply_changelog_batch(events, table._to_key, table._to_value)
        return fetched[-1:]

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets between two slices are not gaps."""
        if not self._in_lane(tp):
            await super()._add_gap(tp, offset_from, offset_to)

    def ack(self, message: Any) -> bool:
        """Note a slice as done; rows below the committed offset are read again after a crash, and count too."""
        tp = message.tp
        if not self._in_lane(tp):
            return bool(super().ack(message))
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        batch: Batch = message.value
        if batch.epoch == self.epoch and not batch.dropped:
            self._done[tp].add(message.offset)
            self._acked.setdefault(tp, [])  # a commit looks at the partitions that stand there
        waiting = self._waiting_for_ack
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        return True

    def _new_offset(self, tp: TP) -> int | None:
        """What to commit: the end of the longest acknowledged prefix of slices."""
        if not self._in_lane(tp):
            offset: int | None = super()._new_offset(tp)
            return offset
        handed, done, last = self._handed[tp], self._done[tp], None
        while handed and handed[0] in done:
            last = handed.popleft()
            done.discard(last)
        return None if last is None else last + 1


class _Event:
    """As much of an event as ``apply_changelog_batch`` looks at."""

    __slots__ = ("message",)

    def __init__(self, message: Any) -> None:
        self.message = message


class _Producer(driver.Producer):  # type: ignore[misc]  # Faust has no types
    """Idempotent: a batch that is sent again after a lost answer is stored once, in order."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {**super()._settings_extra(), "acks": "all", "enable_idempotence": True}

    async def on_start(self) -> None:
        """Connect."""
        with self.app.ending_if_refused():
            await super().on_start()


class _Transport(driver.Transport):  # type: ignore[misc]  # Faust has no types
    Consumer = LaneConsumer
    Producer = _Producer


class LaneApp(faust.App):  # type: ignore[misc]  # Faust has no types
    """A Faust application whose :meth:`lane_topic` topics come as batches.

    Args:
        batch_rows: records of one batch at most.
        group_id: consumer group.

    Attributes:
        isolation_level: of the consumer; may be set until it is made.
    """

    def __init__(self, *args: Any, batch_rows: int, group_id: str, **kwargs: Any) -> None:
        self.lane_topics: set[str] = set()
        self.batch_rows, self.group_id = batch_rows, group_id
        self.isolation_level = "read_uncommitted"
        super().__init__(*args, **kwargs)

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return _Transport(self.conf.broker_producer, self)

    def lane_topic(self, name: str, partitions: int, queued: int = 4) -> Any:
        """A topic of the lane; ``queued`` batches may wait before the fetcher is held up."""
        self.lane_topics.add(name)
        return self.topic(name, schema=_BatchSchema(), partitions=partitions, maxsize=queued)

    @contextmanager
    def ending_if_refused(self) -> Iterator[None]:
        """Around what asks the broker: see :meth:`end_if_refused`."""
        try:
            yield
        except Exception as error:
            self.end_if_refused(error)
            raise

    def end_if_refused(self, error: Exception) -> None:
        """End the process if an error is a refusal that no retry heals."""
        raise NotImplementedError

    async def restore_positions(self, committed: Mapping[TP, int | None], epoch: int) -> Mapping[TP, int]:
        """State is recovered and nothing is read yet: where to go on, by partition."""
        raise NotImplementedError

    async def before_revoke(self, revoked: set[TP]) -> None:
        """Partitions are about to go: write out what is done."""
        raise NotImplementedError
