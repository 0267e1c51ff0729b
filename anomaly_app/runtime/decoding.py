"""Decoding each batch of a source once for all plans that read it.

Plans of one source differ in their keys, and so in where their rows go; the records are the same. They are decoded with
the columns of all plans, and each plan gets its own of these. A record that is bad is decoded by each plan itself: what
cannot be read may be a column that this plan does not look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from anomaly_app.formats.records import Decoded, RecordDecoder, SourceLike
from anomaly_app.formats.registry import Registry
from anomaly_app.operators import POSITION, TIME, Layout, Row
from anomaly_app.plan.physical import table_layout

if TYPE_CHECKING:
    from anomaly_app.jobs.model import Source
    from anomaly_app.runtime.feed import Feed
    from anomaly_app.runtime.pipeline import Pipeline
    from anomaly_app.runtime.registries import Registries


class SharedDecoder:
    """The columns of all plans of a source.

    Args:
        source: the table.
        layouts: columns of the plans.
        registry: for Avro.
    """

    def __init__(self, source: SourceLike, layouts: Sequence[Layout], registry: Registry | None = None) -> None:
        wanted = {column.name for layout in layouts for column in layout.columns}
        self.layout = table_layout(source.schema, (one for one in source.schema.columns if one.name in wanted))
        self._decoder = RecordDecoder(source, self.layout, registry)
        self._plans = len(layouts)
        self._batches: dict[Place, tuple[tuple[int, int, int], Decoded, int]] = {}
        """By topic and partition the batch that not all plans have taken: which, what it gave, for how many more."""

    async def prepare(self, records: Sequence[Any]) -> None:
        """See :meth:`RecordDecoder.prepare`."""
        if _which(records) != self._batches.get(_place(records), (None,))[0]:
            await self._decoder.prepare(records)

    def decode(self, records: Sequence[Any], arrival_ms: int) -> Decoded:
        """See :meth:`RecordDecoder.decode`; the records of one partition, once for each plan."""
        place, which = _place(records), _which(records)
        known, decoded, left = self._batches.pop(place, (None, None, 0))
        if known != which or decoded is None:
            decoded, left = self._decoder.decode(records, arrival_ms), self._plans
        if left > 1:
            self._batches[place] = which, decoded, left - 1
        return decoded


class PlanDecoder:
    """Decodes the records of a source for one plan; others decode the same records.

    Args:
        shared: by all plans.
        own: of this plan.
        layout: its columns.
    """

    def __init__(self, shared: SharedDecoder, own: RecordDecoder, layout: Layout) -> None:
        self._shared, self._own = shared, own
        self._pick: itemgetter[Any] | None = None
        if layout != shared.layout:
            self._pick = itemgetter(TIME, POSITION, *(shared.layout.index(column.name) for column in layout.columns))

    async def prepare(self, records: Sequence[Any]) -> None:
        """See :meth:`RecordDecoder.prepare`."""
        await self._shared.prepare(records)
        await self._own.prepare(records)

    def decode(self, records: Sequence[Any], arrival_ms: int) -> Decoded:
        """See :meth:`RecordDecoder.decode`."""
        decoded = self._shared.decode(records, arrival_ms)
        if decoded.ignored or decoded.tombstones:  # it is not known which
            return self._own.decode(records, arrival_ms)
        rows: list[Row] = decoded.rows if self._pick is None else list(map(self._pick, decoded.rows))
        if not decoded.bad:
            return Decoded(rows, [])
        again = self._own.decode([record for record, _ in decoded.bad], arrival_ms)
        return again._replace(rows=sorted([*rows, *again.rows], key=itemgetter(POSITION)))


def share_decoding(pipelines: Iterable[Pipeline], registries: Registries) -> None:
    """Have pipelines decode together what they read in the same way.

    Args:
        pipelines: of a worker.
        registries: for Avro.
    """
    groups: list[list[Feed]] = []
    for feed in (feed for pipeline in pipelines for feed in pipeline.feeds):
        way = _way(feed.source)
        group = next((group for group in groups if _way(group[0].source) == way), None)
        if group is None:
            groups.append([feed])
        else:
            group.append(feed)
    for group in groups:
        if len(group) > 1:
            source = group[0].source
            shared = SharedDecoder(source, [one.layout for one in group], registries.of(source))
            for one in group:
                one.share(shared)


def _way(source: Source) -> tuple[Any, ...]:
    """What counts for how records are decoded."""
    formats = (source.value_format, source.key_format, source.key_fields, source.value_fields)
    return source.topic, source.topics, source.skips_nulls, source.schema, formats


Place = tuple[str, int]


def _place(records: Sequence[Any]) -> Place:
    return records[0].topic, records[0].partition


def _which(records: Sequence[Any]) -> tuple[int, int, int]:
    """Tells batches of a partition apart: records of one offset are the same."""
    return records[0].offset, records[-1].offset, len(records)
