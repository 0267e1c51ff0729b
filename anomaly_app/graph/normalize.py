"""Upserts to all changes: the last row of each primary key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_app.changes import Change
from anomaly_app.graph.vertices import Entries, Flow, Vertex, origin_of
from anomaly_app.operators import COLUMNS, POSITION, Layout, Row
from anomaly_app.patterns.state import KeyCodec, RowCodec
from anomaly_app.schema import CHANGE, Column


@dataclass(frozen=True, slots=True)
class NormalizePlan:
    """Which rows take the place of which.

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


class LastRow(Vertex):
    """Keeps the last row of each key: a row that takes its place takes it back before.

    A row that is taken back has the time that it came with, so that windows find it; its position is that of the row
    that takes its place.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: NormalizePlan) -> None:
        super().__init__(COLUMNS + len(plan.layout.columns))
        self._plan = plan
        self._change = plan.layout.index(CHANGE)
        self._last: dict[Any, Row] = {}
        self._changed: set[Any] = set()
        self._keys = KeyCodec(plan.keys)
        self._rows = RowCodec(plan.layout, plan.reads)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Each row as the changes that it makes."""
        ((rows, watermark),) = flows
        last, key_of, width, place = self._last, self._plan.key_of, self.width, self._change
        found: list[Row] = []
        for row in rows:
            key = key_of(row)
            before = last.get(key)
            if row[place] % 2:  # a deletion
                if before is None:
                    self.counters.add("deletions of nothing")
                    continue
                del last[key]
                found.append(self._taken_back(before, row, Change.DELETE))
            elif before is None:
                last[key] = row[:width]
                found.append((*row[:place], Change.INSERT.value, *row[place + 1 : width], origin_of(row, width, 0)))
            else:
                last[key] = row[:width]
                if before[COLUMNS:] == row[COLUMNS:width] and before[0] == row[0]:
                    continue  # it is as it was
                found.append(self._taken_back(before, row, Change.BEFORE))
                found.append((*row[:place], Change.AFTER.value, *row[place + 1 : width], origin_of(row, width, 0)))
            self._changed.add(key)
        return Flow(found, watermark)

    def _taken_back(self, before: Row, cause: Row, kind: Change) -> Row:
        place, width = self._change, self.width
        columns = (*before[COLUMNS:place], kind.value, *before[place + 1 : width])
        return (before[0], cause[POSITION], *columns, origin_of(cause, width, 1))

    def changes(self) -> Entries:
        """Keys whose row is another one."""
        changed, self._changed = self._changed, set()
        for key in changed:
            values = key if len(self._plan.keys) != 1 else (key,)
            row = self._last.get(key)
            yield self._keys.encode(values), None if row is None else self._rows.encode(row)

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the last rows."""
        for name, data in entries:
            values = self._keys.decode(name)
            self._last[values if len(values) != 1 else values[0]] = self._rows.decode(data)
