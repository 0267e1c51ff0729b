"""A query over topics while somebody looks on: nothing is written, committed or kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from anomaly_app.errors import AnomalyError, BrokerError
from anomaly_app.eventtime import split_ahead, with_times
from anomaly_app.formats.records import RecordDecoder
from anomaly_app.graph.asked import Failure
from anomaly_app.jobs.live_task import LiveTable, LiveTask
from anomaly_app.jobs.lookups import Lookup
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.models.client import answer_all
from anomaly_app.operators import MIN_WATERMARK, TIME, Finding
from anomaly_app.plan.physical.layouts import table_layout
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.lookups import Lookups, topics_of
from anomaly_app.runtime.positions import first_position, last_position
from anomaly_app.runtime.refusals import refusal
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.topics import TopicAdmin
from anomaly_app.schema import Changelog
from anomaly_app.settings import LoadedSettings

POLL_MS = 200
"""How long a fetch waits for rows: then time passes, for idle partitions and windows over processing time."""
FETCH_ROWS = 2_000
"""Records of one round at most: the terminal stands still while they are worked on."""
FORGET_S = 5.0
"""How often operators let go what they keep for a checkpoint."""


@dataclass(slots=True)
class LiveCounts:
    """What a live query has read, and what of it gave nothing.

    Attributes:
        read: records.
        late: rows that came too late.
        ahead: rows whose event time is too far in the future.
        unreadable: records that could not be read.
        ignored: those that the format lets go, with ``ignore-parse-errors``.
        failed: rows on which an expression failed.
        nulls: records without value that the table lets go.
        kept_out: rows of tables of lookup joins that joins cannot find, by reason.
        first: what was wrong with the first of the unreadable or failed ones.
    """

    read: int = 0
    late: int = 0
    ahead: int = 0
    unreadable: int = 0
    ignored: int = 0
    failed: int = 0
    nulls: int = 0
    kept_out: Mapping[str, int] = field(default_factory=dict)
    first: str = field(default="")

    def note(self, problem: str) -> None:
        """Keep the first problem."""
        self.first = self.first or problem

    @property
    def words(self) -> str:
        """What gave nothing, in one line; "" if there is nothing to tell."""
        counted = {
            "late": self.late,
            "too far in the future": self.ahead,
            "unreadable": self.unreadable,
            "ignored": self.ignored,
            "failed": self.failed,
            "without value": self.nulls,
            **{reason.replace("_", " "): count for reason, count in self.kept_out.items()},
        }
        told = ", ".join(f"{count:,} {what}" for what, count in counted.items() if count)
        return f"{told}; the first: {self.first}" if told and self.first else told


@dataclass(slots=True)
class _Partition:
    """How far a partition is read.

    Args:
        number: among those of the table.
        position: of the next record.
        end: where it ends for a bounded query; None to go on.
        quiet_since: monotonic time since which there are no more rows.
        idle: it holds nobody back any more.
        highest: greatest event time so far, in ms.
    """

    number: int
    position: int
    end: int | None
    quiet_since: float | None = None
    idle: bool = False
    highest: int = MIN_WATERMARK


class LiveQuery:
    """A query over Kafka tables.

    Args:
        factory: the query.
        sources: the tables that it reads, by name.
        loaded: the settings.
        to_end: read to where the topics end now, whatever the tables say.
        lookups: tables that it looks rows up in, but for those that are filled already.

    Attributes:
        counts: what was read so far.
    """

    def __init__(
        self,
        factory: PlannedQuery,
        sources: Mapping[str, Source],
        loaded: LoadedSettings,
        *,
        to_end: bool = False,
        lookups: Sequence[Lookup] = (),
    ) -> None:
        self._factory, self._sources, self._loaded, self._to_end = factory, sources, loaded, to_end
        self._lookups = lookups
        self._topics: dict[str, Sequence[str]] = {}
        self.counts = LiveCounts()

    async def run(self, show: Callable[[Sequence[Finding]], None]) -> None:
        """Read until the tables end, which they may never do, or until the task is cancelled.

        Args:
            show: takes findings as they come, at least twice a second and perhaps none.

        Raises:
            BrokerError: Kafka cannot be reached, or does not let us in; a topic does not exist.
            RegistryError: the schema registry cannot be reached, or does not know a schema.
            SqlValidationError: a table that is looked up in is in a file that cannot be read.
            DataError: it has more rows than it may.
        """
        registries = Registries(self._loaded)
        try:
            await self._run(show, registries)
        except KafkaError as error:
            final = refusal(error, self._loaded.settings.kafka.sasl_username)
            raise final or BrokerError(f"the broker does not answer: {error or type(error).__name__}") from error
        finally:
            await registries.close()

    async def _run(self, show: Callable[[Sequence[Finding]], None], registries: Registries) -> None:
        reads = self._factory.physical.reads
        scanned = [scan.table for scan in self._factory.scans]
        layouts = {
            name: table_layout(
                source.schema, source.schema.columns if scanned.count(name) > 1 else source.columns(reads[name])
            )
            for name, source in self._sources.items()
        }
        decoders = {
            name: RecordDecoder(source, layouts[name], registries.of(source)) for name, source in self._sources.items()
        }
        async with TopicAdmin(self._loaded) as admin:
            self._topics = {name: await admin.meant(source) for name, source in self._sources.items()}
            topics = {topic for names in self._topics.values() for topic in names}
            found = await admin.sources(sorted(topics | topics_of(self._lookups)))
        counts = {topic: found[topic] for topic in topics}
        tables = {
            name: LiveTable(source.schema, layouts[name], range(sum(counts[topic] for topic in self._topics[name])))
            for name, source in self._sources.items()
        }
        self._task = LiveTask(self._factory, tables)
        async with self._filled(registries, found) as works, self._reader(counts) as (consumer, partitions):
            forgotten = time.monotonic()
            while not self._at_end(partitions):
                await self._round(consumer, partitions, decoders)
                await answer_all(self._task, Failure)
                for work in works:
                    if work.done():
                        work.result()  # it fails where a table cannot be followed any more
                show(self._found())
                if time.monotonic() - forgotten > FORGET_S:
                    forgotten = time.monotonic()
                    self._task.forget()
                await asyncio.sleep(0)  # a topic with much to read must not keep the terminal from its keys
        self._task.finish()
        await answer_all(self._task, Failure)
        show(self._found())

    @asynccontextmanager
    async def _filled(
        self, registries: Registries, partitions: Mapping[str, int]
    ) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
        """With the tables that are looked up in read, and the tasks that follow them."""
        lookups = Lookups(self._loaded, {"": self._lookups}, registries, partitions)
        works: list[asyncio.Task[None]] = []
        try:
            await lookups.read_files()
            await lookups.read_topics()
            works += [asyncio.create_task(work) for work in lookups.works()]
            yield works
        finally:
            await cancel(works)
            self.counts.kept_out = dict(lookups.counters())
            await lookups.close()

    async def _round(
        self,
        consumer: Any,
        partitions: Mapping[TopicPartition, Mapping[str, _Partition]],
        decoders: Mapping[str, RecordDecoder],
    ) -> None:
        """Take what there is."""
        batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=FETCH_ROWS)
        for place, records in batches.items():
            for name, partition in partitions[place].items():
                await self._take(name, partition, records, decoders[name])
        for place, tables in partitions.items():
            # Markers of transactions and compacted records are passed without a record.
            reached = await consumer.position(place)
            for one in tables.values():
                one.position = max(one.position, reached)
        self._pass_time(consumer, partitions)

    # --- reading ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _reader(
        self, counts: Mapping[str, int]
    ) -> AsyncIterator[tuple[Any, dict[TopicPartition, dict[str, _Partition]]]]:
        """A consumer without a group, at the first record of each partition; and where tables stand in each."""
        kafka = self._loaded.settings.kafka
        consumer: Any = AIOKafkaConsumer(
            **client_options(self._loaded),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            isolation_level=kafka.isolation_level or "read_uncommitted",
        )
        places = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
        await consumer.start()
        try:
            consumer.assign(places)
            firsts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            partitions: dict[TopicPartition, dict[str, _Partition]] = {place: {} for place in places}
            for name, source in self._sources.items():
                own = [place for place in places if place.topic in self._topics[name]]
                for number, place in enumerate(own):
                    partitions[place][name] = await self._range(consumer, source, number, place, firsts, ends)
            for place in places:
                consumer.seek(place, min(one.position for one in partitions[place].values()))
            yield consumer, partitions
        finally:
            await consumer.stop()

    async def _range(
        self,
        consumer: Any,
        source: Source,
        number: int,
        place: TopicPartition,
        firsts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> _Partition:
        """Where a table begins and ends in a partition. No group reads it: ``group-offsets`` are those of a new one."""

        @asynccontextmanager
        async def reader() -> AsyncIterator[Any]:
            yield consumer

        override, first, end = self._loaded.settings.worker.startup, firsts[place], ends[place]
        start = await first_position(source, override, place, first, end, reader)
        return _Partition(number, start, await last_position(source, self._to_end, place, end, reader))

    @staticmethod
    def _at_end(partitions: Mapping[TopicPartition, Mapping[str, _Partition]]) -> bool:
        """Whether every table is read to its end."""
        return all(
            one.end is not None and one.position >= one.end for tables in partitions.values() for one in tables.values()
        )

    async def _take(self, name: str, partition: _Partition, records: Sequence[Any], decoder: RecordDecoder) -> None:
        """Records of a partition, for one of the tables that read it."""
        begin, end = partition.position, partition.end
        if records[0].offset < begin or (end is not None and records[-1].offset >= end):
            records = [one for one in records if one.offset >= begin and (end is None or one.offset < end)]
        if not records:
            return
        await decoder.prepare(records)
        now_ms = time.time_ns() // 1_000_000
        decoded = decoder.decode(records, now_ms)
        partition.position = records[-1].offset + 1
        partition.quiet_since, partition.idle = None, False
        counts, rows = self.counts, decoded.rows
        counts.read += len(records)
        counts.ignored += decoded.ignored
        counts.nulls += decoded.tombstones if self._sources[name].skips_nulls else 0
        counts.unreadable += len(decoded.bad)
        for record, error in decoded.bad[:1]:
            counts.note(f"{record.topic}[{record.partition}] offset {record.offset}: {error}")
        schema = self._sources[name].schema
        if schema.rowtime is not None:
            latest_ms = now_ms + int(self._loaded.settings.worker.max_ahead_s * 1000)
            if schema.changelog is Changelog.UPSERT:
                rows = list(with_times(rows, partition.highest, latest_ms))
            kept, ahead = split_ahead(rows, latest_ms)
            counts.ahead += len(ahead)
            rows = list(kept)
        if rows:
            partition.highest = max(partition.highest, max(row[TIME] for row in rows))
            self._task.process(name, partition.number, rows)

    def _pass_time(self, consumer: Any, partitions: Mapping[TopicPartition, Mapping[str, _Partition]]) -> None:
        """Partitions without more rows become idle; windows over processing time end by the clock."""
        now = time.monotonic()
        for place, tables in partitions.items():
            highwater = consumer.highwater(place)
            for name, one in tables.items():
                ended = one.end is not None and one.position >= one.end
                if one.idle or highwater is None or (one.position < highwater and not ended):
                    continue
                own = self._sources[name].idle_timeout_ms
                timeout = self._loaded.settings.worker.idle_timeout_s if own is None else own / 1000
                if one.quiet_since is None:
                    one.quiet_since = now
                elif ended or (timeout and now - one.quiet_since >= timeout):
                    one.idle = True
                    self._task.idle(name, one.number)
        self._task.clock(time.time_ns() // 1_000_000)

    # --- what comes of it ---------------------------------------------------------------------------

    def _found(self) -> list[Finding]:
        output = self._task.take()
        self.counts.late += len(output.late)
        self.counts.failed += len(output.problems)
        for _, problem in output.problems[:1]:
            self.counts.note(_reason(problem.error))
        return [finding for _, finding in output.findings]


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, AnomalyError) else f"{type(error).__name__}: {error}"
