"""Keeps the tables of lookup joins fresh: files that are read again when they change, and topics that are followed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from anomaly_app.errors import AnomalyError, BrokerError, DataError, RegistryError, SqlValidationError
from anomaly_app.expressions.tokens import Span
from anomaly_app.formats.records import RecordDecoder
from anomaly_app.graph.lookup import Loaded
from anomaly_app.incoming import Rejected
from anomaly_app.jobs.binder import BoundTable
from anomaly_app.jobs.files import FileSource
from anomaly_app.jobs.lookups import Lookup
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.plan.physical.layouts import table_layout
from anomaly_app.rows import Rows, table_rows
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.refusals import refusal
from anomaly_app.runtime.registries import Registries
from anomaly_app.settings import LoadedSettings
from anomaly_app.status import LookupStatus

POLL_MS = 500
"""How long a topic is waited for at a time."""
DISCOVERY_MS = 30_000
"""Between two looks whether a topic has got more partitions."""
RETRY_S = 5.0
"""Between two questions to a schema registry that is away."""

log = logging.getLogger(__name__)


class FileFollower:
    """A table in a file: what it holds is what the file held when it was last read in peace.

    Args:
        lookup: the table.
        source: the file.
        where: the file of the job, for errors; "" for none.
    """

    def __init__(self, lookup: Lookup, source: FileSource, where: str) -> None:
        self._table, self._source, self._where = lookup.table, source, where
        self._bound = BoundTable(source.name, source.schema, Span(*source.place))
        self._seen: tuple[int, ...] = ()
        self._refused: tuple[int, ...] = ()
        self.rejected = 0
        self.problem = ""

    async def begin(self) -> None:
        """Read the file for the first time.

        Raises:
            SqlValidationError: it cannot be read, or is too large; points at its path in the job.
        """
        try:
            self._seen = self._source.table.signature()
            self._take(*await asyncio.to_thread(self._read))
        except DataError as error:
            problem = f"table {self._source.name}: {error}"
            wrong = SqlValidationError(problem, self._source.text, *self._source.place)
            raise (wrong.in_file(self._where) if self._where else wrong) from error

    async def follow(self) -> None:
        """Read the file again whenever it has changed."""
        if not self._source.interval_ms:
            return
        while True:
            await asyncio.sleep(self._source.interval_ms / 1000)
            await self.look()

    async def look(self) -> None:
        """Read the file again if it has changed; one that cannot be read leaves the table as it is."""
        seen: tuple[int, ...] = ()
        try:
            seen = self._source.table.signature()
            if seen == self._seen:
                self.problem = ""
                return
            if seen == self._refused:
                return
            loaded, rejected = await asyncio.to_thread(self._read)
            if self._source.table.signature() != seen:
                return  # somebody is writing it: the next look finds it whole
            self._seen = seen
            self._take(loaded, rejected)
        except DataError as error:
            if str(error) != self.problem:
                log.warning("table %s keeps the rows it has: %s", self._source.name, error)
            self.problem, self._refused = str(error), seen

    def _read(self) -> tuple[Loaded, list[Rejected]]:
        rows, rejected = table_rows(Rows(rows=self._source.table), self._bound)
        if rejected and not rows:
            raise DataError(f"{self._source.table.path}: no row can be read; the first: {rejected[0].reason}")
        return self._table.load(rows), rejected

    def _take(self, loaded: Loaded, rejected: Sequence[Rejected]) -> None:
        self._table.swap(loaded)
        self.problem = ""
        self.rejected += len(rejected)
        if rejected:
            first = rejected[0].reason
            log.warning(
                "table %s: %d rows cannot be read and are left out, the first: %s",
                self._source.name, len(rejected), first,
            )  # fmt: skip
        log.info("table %s: %d rows from %s", self._source.name, len(self._table), self._source.table.path)

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def where(self) -> str:
        """Where the rows come from."""
        return str(self._source.table.path)


class TopicFollower:
    """A table in a compacted topic, read from its beginning by every worker.

    Args:
        lookup: the table.
        source: the topic.
        loaded: the settings.
        registries: for Avro.
        partitions: of the topic.
    """

    def __init__(
        self, lookup: Lookup, source: Source, loaded: LoadedSettings, registries: Registries, partitions: int
    ) -> None:
        self._table, self._source, self._loaded, self._partitions = lookup.table, source, loaded, partitions
        layout = table_layout(source.schema, source.schema.columns)
        self._decoder = RecordDecoder(source, layout, registries.of(source))
        self._consumer: Any = None
        self._places: list[TopicPartition] = []
        self._away = ""
        self.rejected = 0

    async def begin(self) -> None:
        """Read the topic to the end that it has now.

        Raises:
            DataError: the table has more rows than it may.
        """
        self._consumer = AIOKafkaConsumer(
            **client_options(self._loaded),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            metadata_max_age_ms=DISCOVERY_MS,
            isolation_level=self._loaded.settings.kafka.isolation_level or "read_uncommitted",
        )
        await self._consumer.start()
        await self._discover(self._partitions)
        ends: Mapping[TopicPartition, int] = await self._consumer.end_offsets(self._places)
        left = {place for place in self._places if ends[place] > 0}
        while left:
            await self._poll()
            for place in list(left):
                # Markers of transactions leave gaps: the position tells how far it is, not the last record.
                if await self._consumer.position(place) >= ends[place]:
                    left.discard(place)
        if self._table.refused:
            most = self._loaded.settings.limits.lookup_rows
            problem = f"table {self._table.name} has more than {most:,} rows, which is what limits.lookup_rows allows"
            raise DataError(problem)
        log.info("table %s: %d rows from topic %s", self._table.name, len(self._table), self._source.topic)

    async def follow(self) -> None:
        """Take what comes, for ever."""
        while True:
            await self._poll()
            await self._discover(len(self._consumer.partitions_for_topic(self._source.topic) or ()))

    async def _discover(self, count: int) -> None:
        """Read from all partitions, which may have become more."""
        fresh = [TopicPartition(self._source.topic, number) for number in range(count)]
        if len(fresh) <= len(self._places):
            return
        positions = {place: await self._consumer.position(place) for place in self._places}
        self._places = fresh
        self._consumer.assign(fresh)
        for place in fresh:
            self._consumer.seek(place, positions.get(place, 0))

    async def _poll(self) -> None:
        for records in (await self._consumer.getmany(timeout_ms=POLL_MS)).values():
            await self._prepare(records)
            decoded = self._decoder.decode(records, time.time_ns() // 1_000_000)
            refused = self._table.refused
            self._table.take(decoded.rows)
            self._tell(decoded.bad, self._table.refused - refused)

    async def _prepare(self, records: Sequence[Any]) -> None:
        while True:
            try:
                await self._decoder.prepare(records)
            except RegistryError as error:
                if not error.retriable:
                    raise
                self._away = str(error)
                log.warning("table %s waits for the schema registry: %s", self._table.name, error)
                await asyncio.sleep(RETRY_S)
            else:
                self._away = ""
                return

    def _tell(self, bad: Sequence[tuple[Any, AnomalyError]], refused: int) -> None:
        self.rejected += len(bad)
        if bad:
            record, error = bad[0]
            log.warning(
                "table %s: %d records cannot be read and are left out, the first: %s[%d] at %d: %s",
                self._table.name, len(bad), record.topic, record.partition, record.offset, error,
            )  # fmt: skip
        if refused:
            log.warning("table %s: %s", self._table.name, self.problem)

    @property
    def problem(self) -> str:
        """What keeps the table from being what the topic says; "" if nothing does."""
        if self._away or not self._table.refused:
            return self._away
        return f"it has more rows than limits.lookup_rows allows: {self._table.refused:,} are left out"

    async def close(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()

    @property
    def where(self) -> str:
        """Where the rows come from."""
        return f"topic {self._source.topic}"


class Lookups:
    """The tables of all lookup joins of a worker, or of a live query.

    Args:
        loaded: the settings.
        lookups: the tables, by the name of their job.
        registries: for Avro.
        partitions: of the topics that are looked up in.
        paths: of the files of the jobs, for errors.
    """

    def __init__(
        self,
        loaded: LoadedSettings,
        lookups: Mapping[str, Sequence[Lookup]],
        registries: Registries,
        partitions: Mapping[str, int],
        paths: Mapping[str, str] | None = None,
    ) -> None:
        self._loaded = loaded
        self._followers: list[tuple[str, Lookup, FileFollower | TopicFollower]] = []
        for job, own in lookups.items():
            for lookup in own:
                lookup.table.most = loaded.settings.limits.lookup_rows
                source = lookup.source
                follower: FileFollower | TopicFollower
                if isinstance(source, FileSource):
                    follower = FileFollower(lookup, source, (paths or {}).get(job, ""))
                else:
                    follower = TopicFollower(lookup, source, loaded, registries, partitions[source.topic])
                self._followers.append((job, lookup, follower))

    async def read_files(self) -> None:
        """Read the tables in files; raises ``SqlValidationError`` if one cannot be read."""
        for _, _, follower in self._followers:
            if isinstance(follower, FileFollower):
                await follower.begin()

    async def read_topics(self) -> None:
        """Read the tables in topics to their ends: no row is looked up before that.

        Raises:
            BrokerError: Kafka cannot be reached, or does not let us in.
            DataError: one has more rows than it may.
        """
        topics = [follower for _, _, follower in self._followers if isinstance(follower, TopicFollower)]
        try:
            await asyncio.gather(*(follower.begin() for follower in topics))
        except KafkaError as error:
            final = refusal(error, self._loaded.settings.kafka.sasl_username)
            raise final or BrokerError(f"the broker does not answer: {error or type(error).__name__}") from error

    def works(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to run as long as rows are looked up."""
        for _, _, follower in self._followers:
            yield follower.follow()

    async def close(self) -> None:
        """Close all connections."""
        for _, _, follower in self._followers:
            await follower.close()

    def status(self, job: str) -> list[LookupStatus]:
        """The tables of a job."""
        return [
            {
                "table": lookup.table.name,
                "source": follower.where,
                "rows": len(lookup.table),
                "changes": lookup.table.version,
                "rejected": follower.rejected,
                "problem": follower.problem,
            }
            for one, lookup, follower in self._followers
            if one == job
        ]

    def counters(self) -> dict[str, int]:
        """Rows of the tables that joins cannot find, by reason."""
        counts = {
            "lookup_rows_rejected": sum(follower.rejected for _, _, follower in self._followers),
            "lookup_rows_over_limit": sum(lookup.table.refused for _, lookup, _ in self._followers),
            "lookup_rows_without_key": sum(lookup.table.failed for _, lookup, _ in self._followers),
        }
        return {reason: number for reason, number in counts.items() if number}


def topics_of(lookups: Iterable[Lookup]) -> set[str]:
    """Topics of the tables that queries look rows up in."""
    return {lookup.source.topic for lookup in lookups if isinstance(lookup.source, Source)}
