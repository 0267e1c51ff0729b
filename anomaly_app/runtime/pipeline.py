"""What a plan needs at run time, made once: decoder, encoders, alert builders, names of topics."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from anomaly_app.alerts.builder import AlertBuilder
from anomaly_app.conversions import timestamp_to_text
from anomaly_app.errors import DataError, DecodeError
from anomaly_app.formats.records import Decoded, RecordDecoder, RecordEncoder
from anomaly_app.jobs.model import Job, Plan, Query, Routing
from anomaly_app.operators import POSITION, TIME, Layout, Row
from anomaly_app.runtime.changed import ChangeWriter, Printer
from anomaly_app.runtime.decoding import PlanDecoder, SharedDecoder
from anomaly_app.runtime.frames import FrameCodec
from anomaly_app.runtime.outgoing import RowWriter
from anomaly_app.runtime.registries import Registries
from anomaly_app.settings import Settings

MAX_ROW_BYTES = 300_000
"""Of the columns that are read: two rows and a key must fit one record, of a repartition topic or a changelog."""
SUSPECT_BYTES = MAX_ROW_BYTES // 5
"""Records below it cannot hold such a row: a number of two characters takes nine bytes."""

_value_size, _key_size = attrgetter("serialized_value_size"), attrgetter("serialized_key_size")


@dataclass(slots=True)
class QueryOutput:
    """Where the findings of a query go.

    Args:
        query: whose.
        builder: of its alerts.
        encoder: of its result rows; None without a topic.
        topic: of the sink; "" without.
        alerts: how many there were.
        late: rows that came too late for it.
        changes: of its result, if rows are taken back from it and a topic tells them.
        printer: of its result rows, if these are printed.
    """

    query: Query
    builder: AlertBuilder
    encoder: RecordEncoder | None
    topic: str
    alerts: int = 0
    late: int = 0
    changes: ChangeWriter | None = None
    printer: Printer | None = None


def _output(query: Query, builder: AlertBuilder, registries: Registries) -> QueryOutput:
    sink = query.sink
    if sink is None or not sink.topic:
        printer = Printer(sink) if sink is not None and sink.connector == "print" else None
        return QueryOutput(query, builder, None, "", printer=printer)
    encoder = RecordEncoder(sink, registries.of(sink))
    changes = ChangeWriter(sink, encoder) if query.factory.node.updating else None
    return QueryOutput(query, builder, encoder, sink.topic, changes=changes)


class Pipeline:
    """A plan with everything that its stages share.

    Args:
        job: that the plan is of.
        plan: what runs.
        settings: of the worker.
        partitions: of the source topic.
        registries: for Avro.
        sized: topics get as many partitions as wanted; else all have as many as the source.
    """

    def __init__(
        self, job: Job, plan: Plan, settings: Settings, partitions: int, registries: Registries, *, sized: bool = True
    ) -> None:
        self.job, self.plan, self.partitions = job, plan, partitions
        self.source = plan.source
        self.repartitioned = plan.routing is not Routing.DIRECT and partitions > 1
        self.name = self._name(settings.worker.app_id)
        self.downstream = settings.worker.repartition_partitions or partitions
        if plan.routing is Routing.SINGLE and sized:
            self.downstream = 1
        self.repartition_topic = f"{settings.worker.app_id}-{self.name}-repartition"
        self.late_topic, self.dead_letter_topic = f"{plan.source.topic}.late", f"{plan.source.topic}.dlq"
        self.alert_topic = settings.alerts.topic
        self.max_ahead_ms = int(settings.worker.max_ahead_s * 1000)
        idle = plan.source.idle_timeout_ms
        self.idle_timeout_s = settings.worker.idle_timeout_s if idle is None else idle / 1000
        self._own_decoder = RecordDecoder(plan.source, plan.layout, registries.of(plan.source))
        self.decoder: RecordDecoder | PlanDecoder = self._own_decoder
        self.row_writer = RowWriter(plan.layout, plan.source.topic)
        self._row_writers: dict[Layout, RowWriter] = {}
        self.frames = FrameCodec(plan.layout)
        self.outputs = [_output(query, AlertBuilder(job, plan, query), registries) for query in plan.queries]

    def _name(self, app_id: str) -> str:
        """Names the plan's tables and topics: the same only while positions in them mean the same.

        Its last two parts tell the job of the worker, and what is read in which way.
        """
        job, source, keys = self.job.name, self.source, self.plan.queries[0].factory.partition_by
        words = re.sub(r"[^A-Za-z0-9._-]", "_", "-".join([job, source.name.rpartition(".")[2], *(keys or ())]))
        way = [source.name, source.topic, str(self.repartitioned), "" if keys is None else repr(tuple(keys))]
        return f"{words}-{job_mark(app_id, job)}-{_digest(*way)}"

    @property
    def detect_topic(self) -> str:
        """The topic whose partitions run the queries."""
        return self.repartition_topic if self.repartitioned else self.source.topic

    @property
    def detect_partitions(self) -> int:
        """And how many it has."""
        return self.downstream if self.repartitioned else self.partitions

    def share(self, decoder: SharedDecoder) -> None:
        """Decode together with other plans of the same source."""
        self.decoder = PlanDecoder(decoder, self._own_decoder, self.plan.layout)

    def writer_of(self, layout: Layout) -> RowWriter:
        """What writes rows that a query has made."""
        writer = self._row_writers.get(layout)
        if writer is None:
            writer = self._row_writers[layout] = RowWriter(layout, self.source.topic)
        return writer

    async def prepare(self) -> None:
        """Make sinks ready to encode (register schemas); raises RegistryError."""
        for output in self.outputs:
            if output.encoder is not None:
                await output.encoder.prepare()

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


def job_mark(app_id: str, job: str) -> str:
    """Tells names of tables and topics of a worker's job from those of others.

    Example:
        >>> job_mark("anomaly", "unusual_sales")
        '21107e0a'
    """
    return _digest(app_id, job)


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()
