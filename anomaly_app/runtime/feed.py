"""A topic of a table that a plan reads: records to rows, rows to frames, and the topics for what is set apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from anomaly_app.conversions import timestamp_to_text
from anomaly_app.errors import DataError, DecodeError
from anomaly_app.formats.records import Decoded, RecordDecoder
from anomaly_app.formats.registry import Registry
from anomaly_app.jobs.model import Input
from anomaly_app.operators import COLUMNS, POSITION, TIME, Row
from anomaly_app.runtime.decoding import PlanDecoder, SharedDecoder
from anomaly_app.runtime.frames import FrameCodec
from anomaly_app.runtime.outgoing import RowWriter
from anomaly_app.settings import Settings
from anomaly_app.upstreams import feed_of, place_of, topic_number, upstream_of

MAX_ROW_BYTES = 300_000
"""Of the columns that are read: two rows and a key must fit one record, of a repartition topic or a changelog."""
SUSPECT_BYTES = MAX_ROW_BYTES // 5
"""Records below it cannot hold such a row: a number of two characters takes nine bytes."""

_value_size, _key_size = attrgetter("serialized_value_size"), attrgetter("serialized_key_size")


class Feed:
    """A topic of a table of a plan.

    Args:
        input: the table, and what the plan reads of it.
        number: of the table in the plan.
        topic: of the table; most have one.
        partitions: of each topic of the table.
        settings: of the worker.
        registry: for Avro.

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
        registry: Registry | None,
    ) -> None:
        self.number, self.topic, self.partitions, self._all = number, topic, partitions[topic], partitions
        self.topic_number = topic_number(topic) if input.source.topics.several else 0
        self.key = feed_of(self.upstream(0))
        self.source, self.layout, self.partition_by = input.source, input.layout, input.partition_by
        self.late_topic, self.dead_letter_topic = f"{topic}.late", f"{topic}.dlq"
        self.max_ahead_ms = int(settings.worker.max_ahead_s * 1000)
        idle = input.source.idle_timeout_ms
        self.idle_timeout_s = settings.worker.idle_timeout_s if idle is None else idle / 1000
        self._own_decoder = RecordDecoder(input.source, input.layout, registry)
        self.decoder: RecordDecoder | PlanDecoder = self._own_decoder
        self.row_writer = RowWriter(input.layout, topic)
        self.frames = FrameCodec(input.layout, number, self.topic_number)

    def upstream(self, partition: int) -> int:
        """Number of a partition among those of all tables of the plan."""
        return upstream_of(self.number, place_of(self.topic_number, partition))

    @property
    def upstreams(self) -> Iterable[int]:
        """Numbers of all its partitions."""
        return map(self.upstream, range(self.partitions))

    @property
    def places(self) -> Sequence[tuple[str, int]]:
        """Topic and number of each partition of the table, also of its other topics."""
        topics = self.source.topics.all or (self.topic,)
        return [(topic, number) for topic in topics for number in range(self._all[topic])]

    def share(self, decoder: SharedDecoder) -> None:
        """Decode together with other plans of the same table."""
        self.decoder = PlanDecoder(decoder, self._own_decoder, self.layout)

    def decode(self, records: Sequence[Any], arrival_ms: int) -> Decoded:
        """Rows of records, as :meth:`RecordDecoder.decode` gives them; rows that are too large are bad ones too."""
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
        known = row[:width] if len(row) in (width, width + 2) else (*row[:COLUMNS], *[None] * (width - COLUMNS))
        return self.row_writer.shown(known)
