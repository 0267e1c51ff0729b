"""A topic of a table that a plan reads: records to rows, rows to frames, and the topics for what is set apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from anomaly_app.conversions import timestamp_to_text
from anomaly_app.errors import DataError, DecodeError
from anomaly_app.formats.records import Decoded, RecordDecoder
from anomaly_app.formats.registry import Registry
from anomaly_app.jobs.model import Input
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.operators import COLUMNS, POSITION, TIME, Layout, Row
from anomaly_app.runtime.exchange_codec import ExchangeCodec
from anomaly_app.runtime.frames import FrameCodec
from anomaly_app.runtime.outgoing import RowWriter
from anomaly_app.settings import Settings
from anomaly_app.upstreams import feed_of, place_of, topic_number, upstream_of

MAX_ROW_BYTES = 300_000
"""Of the columns that are read: two rows and a key must fit one record, of a repartition topic or a changelog."""
SUSPECT_BYTES = MAX_ROW_BYTES // 5
"""Records below it cannot hold such a row: a number of two characters takes nine bytes."""

_value_size, _key_size = attrgetter("serialized_value_size"), attrgetter("serialized_key_size")


class TableReader:
    """Decodes the records of a table for all plans of a job that read it: a batch once, whatever their number.

    Args:
        source: the table.
        registry: for Avro.
    """

    def __init__(self, source: Source, registry: Registry | None) -> None:
        self._source, self._registry = source, registry
        self._layouts: list[Layout] = []
        self._decoder: RecordDecoder | None = None
        self.layout = Layout(())
        self._batch: tuple[Sequence[Any], int, Decoded] | None = None

    def add(self, layout: Layout) -> None:
        """Columns that a plan needs; before anything is decoded."""
        self._layouts.append(layout)
        columns = {column.name: column for known in self._layouts for column in known.columns}
        order = [column.name for column in self._source.schema.columns]
        hidden = [name for name in columns if name not in order]  # stand behind the others
        self.layout = Layout(tuple(columns[name] for name in [*order, *hidden] if name in columns))

    @property
    def is_shared(self) -> bool:
        """Whether several plans read the table."""
        return len(self._layouts) > 1

    async def decode(self, records: Sequence[Any], arrival_ms: int) -> Decoded:
        """Rows of the columns of all plans; the last batch is remembered.

        Raises:
            RegistryError: the schema registry cannot be reached; the same call may succeed later.
        """
        batch = self._batch
        if batch is not None and batch[0] is records and batch[1] == arrival_ms:
            return batch[2]
        if self._decoder is None:
            self._decoder = RecordDecoder(self._source, self.layout, self._registry)
        await self._decoder.prepare(records)
        decoded = self._decoder.decode(records, arrival_ms)
        self._batch = records, arrival_ms, decoded
        return decoded


class Feed:
    """A topic of a table of a plan.

    Args:
        input: the table, and what the plan reads of it.
        number: of the table in the plan.
        topic: of the table; most have one.
        partitions: of each topic of the table.
        settings: of the worker.
        reader: of the table, of all plans of the job; None to read it alone.
        registry: for Avro.
        base: of another fragment's rows, number of the first of its inputs among those of the plan.

    Attributes:
        key: tells it apart from the others of the plan: see :func:`~anomaly_app.upstreams.feed_of`.
    """

    def __init__(
        self,
        input: Input,
        number: int,
        topic: str,
        partitions: Mapping[str, int],
        settings: Settings,
        reader: TableReader | None,
        registry: Registry | None,
        base: int = 0,
    ) -> None:
        self.is_exchange = input.is_exchange
        self.number, self.topic, self.partitions, self._all = number, topic, partitions[topic], partitions
        self.topic_number = topic_number(topic) if input.source.topics.several else 0
        self.key = feed_of(self.upstream(0))
        self.source, self.layout, self.partition_by = input.source, input.layout, input.partition_by
        self.late_topic, self.dead_letter_topic = f"{topic}.late", f"{topic}.dlq"
        self.max_ahead_ms = int(settings.worker.max_ahead_s * 1000)
        idle = input.source.idle_timeout_ms
        self.idle_timeout_s = settings.worker.idle_timeout_s if idle is None else idle / 1000
        self.row_writer = RowWriter(input.layout, topic)
        self._reader = reader
        self.codec: FrameCodec | ExchangeCodec
        self._shared: tuple[Sequence[Any], Decoded] | None = None
        if input.is_exchange:
            exchange = ExchangeCodec(input.layout, number, base)
            self.frames, self.codec = exchange.frames, exchange
            return
        self.decoder = RecordDecoder(input.source, input.layout, registry)
        self.frames = self.codec = FrameCodec(input.layout, number, self.topic_number)
        if reader is not None:
            reader.add(input.layout)

    def upstream(self, partition: int) -> int:
        """Number of a partition among those of all tables of the plan."""
        return upstream_of(self.number, place_of(self.topic_number, partition))

    @property
    def told(self) -> str:
        """What it is called for people."""
        return f"fragment {self.source.name.rpartition('-')[2]}" if self.is_exchange else self.source.name

    @property
    def upstreams(self) -> Iterable[int]:
        """Numbers of all its partitions."""
        return map(self.upstream, range(self.partitions))

    @property
    def places(self) -> Sequence[tuple[str, int]]:
        """Topic and number of each partition of the table, also of its other topics."""
        topics = self.source.topics.all or (self.topic,)
        return [(topic, number) for topic in topics for number in range(self._all[topic])]

    async def prepare(self, records: Sequence[Any], arrival_ms: int) -> None:
        """Before :meth:`decode`: fetch the schemas of records, and decode them if other plans want them too.

        Raises:
            RegistryError: the schema registry cannot be reached; the same call may succeed later.
        """
        self._shared = None
        if self._reader is not None and self._reader.is_shared:
            decoded = await self._reader.decode(records, arrival_ms)
            # A record may be bad in columns that this plan does not read.
            if not decoded.bad and not decoded.ignored:
                self._shared = records, decoded
                return
        await self.decoder.prepare(records)

    def decode(self, records: Sequence[Any], arrival_ms: int) -> Decoded:
        """Rows of records, as :meth:`RecordDecoder.decode` gives them; rows that are too large are bad ones too."""
        shared, self._shared = self._shared, None
        if shared is not None and shared[0] is records:
            decoded = shared[1]._replace(rows=self._own(shared[1].rows), bad=[])
        else:
            decoded = self.decoder.decode(records, arrival_ms)
        if max(map(_value_size, records)) < SUSPECT_BYTES and max(map(_key_size, records)) < SUSPECT_BYTES:
            return decoded
        by_offset = {record.offset: record for record in records}
        too_large: dict[int, int] = {}
        for row in decoded.rows:
            record = by_offset[row[POSITION]]
            suspect = _value_size(record) >= SUSPECT_BYTES or _key_size(record) >= SUSPECT_BYTES
            length = len(msgspec.msgpack.encode(row)) if suspect else 0
            if length > MAX_ROW_BYTES:
                too_large[record.offset] = length
        for offset, length in too_large.items():
            problem = f"the columns that are read take {length} bytes, and {MAX_ROW_BYTES} are the most that is held"
            decoded.bad.append((by_offset[offset], DecodeError(problem)))
        return decoded._replace(rows=[row for row in decoded.rows if row[POSITION] not in too_large])

    def _own(self, rows: Sequence[Row]) -> list[Row]:
        """Rows of the columns of all plans as rows of those of this one."""
        assert self._reader is not None
        wide = self._reader.layout
        if wide.columns == self.layout.columns:
            return list(rows)
        places = [TIME, POSITION, *(wide.index(column.name) for column in self.layout.columns)]
        return list(map(itemgetter(*places), rows))

    def ahead_error(self, row: Row) -> DataError:
        """Why a row with an absurd timestamp is set apart."""
        try:
            shown = timestamp_to_text(row[TIME], 3)
        except DataError:
            shown = f"{row[TIME]} ms"
        hours = self.max_ahead_ms / 3_600_000
        return DataError(f"event time {shown} is more than {hours:g} h ahead of the clock (worker.max_ahead_s)")

    def show(self, row: Row) -> Mapping[str, Any]:
        """A row by its columns; of one that was made of others only the place is known."""
        width = COLUMNS + len(self.layout.columns)
        behind = (0, 1) if self.is_exchange else (0, 2)
        known = row[:width] if len(row) - width in behind else (*row[:COLUMNS], *[None] * (width - COLUMNS))
        return self.row_writer.shown(known)
