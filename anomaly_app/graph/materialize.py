"""Changes to what stands at last of each key of a sink, where several rows may have one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from anomaly_app.changes import Change
from anomaly_app.graph.vertices import Entries, Flow, Vertex, origin_of
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.patterns.state import KeyCodec, RowCodec
from anomaly_app.schema import CHANGE, Column


@dataclass(frozen=True, slots=True)
class MaterializePlan:
    """Which rows stand in the place of which.

    Args:
        layout: of the rows; the kind of change is among the columns.
        reads: names of the columns that somebody needs: the others are not stored.
        key_of: the key of a row.
        keys: columns that key it.
    """

    layout: Layout
    reads: frozenset[str]
    key_of: Callable[[Row], Any]
    keys: tuple[Column, ...]


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
        self._rows: dict[Any, list[Row]] = {}
        self._changed: set[Any] = set()
        self._keys, self._codec = KeyCodec(plan.keys), RowCodec(plan.layout, plan.reads)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """For each row that comes or goes, what counts of its key, if that is another one."""
        ((rows, watermark),) = flows
        known, key_of, width, place = self._rows, self._plan.key_of, self.width, self._change
        found: list[Row] = []
        for row in rows:
            key = key_of(row)
            standing = known.get(key)
            if row[place] % 2 == 0:
                if standing is None:
                    standing = known[key] = []
                standing.append(row[:width])
                found.append(self._told(row, row, Change.AFTER))
            else:
                at = None if standing is None else self._find(standing, row)
                if at is None or standing is None:
                    self.counters.add("rows taken back that were not there")
                    continue
                gone = standing.pop(at)
                if not standing:
                    del known[key]
                    found.append(self._told(gone, row, Change.DELETE))
                elif at == len(standing):
                    found.append(self._told(standing[-1], row, Change.AFTER))
            self._changed.add(key)
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

    def changes(self) -> Entries:
        """Keys that have other rows than before."""
        changed, self._changed = self._changed, set()
        for key in changed:
            values = key if len(self._plan.keys) != 1 else (key,)
            rows = self._rows.get(key)
            data = None if rows is None else msgspec.msgpack.encode([self._codec.encode(row) for row in rows])
            yield self._keys.encode(values), data

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the rows of all keys."""
        for name, data in entries:
            values = self._keys.decode(name)
            rows = msgspec.msgpack.decode(data, type=list[bytes])
            self._rows[values if len(values) != 1 else values[0]] = [self._codec.decode(row) for row in rows]
