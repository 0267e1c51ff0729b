"""Changes to what stands at last of each key of a sink, where several rows may have one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from anomaly_app.changes import Change
from anomaly_app.errors import StateError
from anomaly_app.graph.vertices import Flow, Vertex, origin_of
from anomaly_app.keyed import KeyedState, ValueCodec
from anomaly_app.operators import COLUMNS, TIME, Layout, Row
from anomaly_app.patterns.state import RowCodec
from anomaly_app.schema import CHANGE, Column


@dataclass(frozen=True, slots=True)
class MaterializePlan:
    """Which rows stand in the place of which.

    Args:
        layout: of the rows; the kind of change is among the columns.
        reads: names of the columns that somebody needs: the others are not stored.
        key_of: the key of a row.
        keys: columns that key it.
        ttl_ms: a key that gets no row for longer may be dropped; None for never.
    """

    layout: Layout
    reads: frozenset[str]
    key_of: Callable[[Row], Any]
    keys: tuple[Column, ...]
    ttl_ms: int | None = None


class _Rows(ValueCodec[list[Row]]):
    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        self._rows = RowCodec(layout, reads)
        self._decode = msgspec.msgpack.Decoder(list[bytes]).decode

    def encode(self, value: list[Row]) -> bytes:
        return msgspec.msgpack.encode([self._rows.encode(row) for row in value])

    def decode(self, data: bytes, parts: Mapping[int, bytes]) -> list[Row]:
        try:
            return [self._rows.decode(row) for row in self._decode(data)]
        except msgspec.DecodeError as error:
            raise StateError(f"stored rows of a key are unreadable: {error}") from error

    def used_at(self, value: list[Row]) -> int:
        return max(int(row[TIME]) for row in value)

    def was_used_at(self, data: bytes) -> int:
        return self.used_at(self.decode(data, {}))


class LastOfKey(Vertex):
    """Keeps all rows of each key in order of arrival: the last one counts, and the one before it when it goes.

    It gives upserts: what counts now, or that nothing does.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: MaterializePlan) -> None:
        super().__init__(COLUMNS + len(plan.layout.columns))
        self._plan = plan
        self._change = plan.layout.index(CHANGE)
        self._values = [
            COLUMNS + place for place, column in enumerate(plan.layout.columns) if column.name in plan.reads - {CHANGE}
        ]
        codec = _Rows(plan.layout, plan.reads)
        self._rows: KeyedState[list[Row]] = KeyedState(plan.keys, codec, ttl_ms=plan.ttl_ms)
        self.stores = (self._rows,)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """For each row that comes or goes, what counts of its key, if that is another one."""
        ((rows, watermark),) = flows
        known, width, place = self._rows, self.width, self._change
        keys = list(map(self._plan.key_of, rows))
        known.prefetch(keys)
        live, expires = known.live, self._plan.ttl_ms is not None
        found: list[Row] = []
        for key, row in zip(keys, rows, strict=True):
            standing = live.get(key)
            if expires and standing is not None and known.has_expired(standing, row[TIME]):
                known.delete(key)
                standing = None
            if row[place] % 2 == 0:
                if standing is None:
                    standing = []
                standing.append(row[:width])
                known.put(key, standing)
                found.append(self._told(row, row, Change.AFTER))
            else:
                at = None if standing is None else self._find(standing, row)
                if at is None or standing is None:
                    self.counters.add("rows taken back that were not there")
                    continue
                gone = standing.pop(at)
                if not standing:
                    known.delete(key)
                    found.append(self._told(gone, row, Change.DELETE))
                    continue
                known.touch((key,))
                if at == len(standing):
                    found.append(self._told(standing[-1], row, Change.AFTER))
        known.sweep(watermark)
        return Flow(found, watermark)

    def _find(self, standing: Sequence[Row], row: Row) -> int | None:
        """Where a row stands; the last one of several that are the same."""
        values = [row[place] for place in self._values]
        for at in range(len(standing) - 1, -1, -1):
            if [standing[at][place] for place in self._values] == values:
                return at
        return None

    def _told(self, row: Row, cause: Row, kind: Change) -> Row:
        place, width = self._change, self.width
        return (*cause[:COLUMNS], *row[COLUMNS:place], kind.value, *row[place + 1 : width], origin_of(cause, width, 0))
