"""Upserts to all changes: the last row of each primary key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_app.changes import Change
from anomaly_app.graph.one_row import OneRow
from anomaly_app.graph.vertices import Flow, Vertex, origin_of
from anomaly_app.keyed import KeyedState
from anomaly_app.operators import COLUMNS, POSITION, TIME, Layout, Row
from anomaly_app.schema import CHANGE, Column


@dataclass(frozen=True, slots=True)
class NormalizePlan:
    """Which rows take the place of which.

    Args:
        layout: of the rows; the kind of change is among the columns.
        reads: names of the columns that somebody needs: the others are not stored.
        key_of: the key of a row.
        keys: columns that key it.
        ttl_ms: a row whose key gets no other for longer may be dropped; None for never.
    """

    layout: Layout
    reads: frozenset[str]
    key_of: Callable[[Row], Any]
    keys: tuple[Column, ...]
    ttl_ms: int | None = None


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
        self._last: KeyedState[Row] = KeyedState(plan.keys, OneRow(plan.layout, plan.reads), ttl_ms=plan.ttl_ms)
        self.stores = (self._last,)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Each row as the changes that it makes."""
        ((rows, watermark),) = flows
        last, width, place = self._last, self.width, self._change
        keys = list(map(self._plan.key_of, rows))
        last.prefetch(keys)
        live, put, expires = last.live, last.put, self._plan.ttl_ms is not None
        found: list[Row] = []
        for key, row in zip(keys, rows, strict=True):
            before = live.get(key)
            if expires and before is not None and last.has_expired(before, row[TIME]):
                last.delete(key)
                before = None
            if row[place] % 2:  # a deletion
                if before is None:
                    self.counters.add("deletions of nothing")
                    continue
                last.delete(key)
                found.append(self._taken_back(before, row, Change.DELETE))
            elif before is None:
                put(key, row[:width])
                found.append((*row[:place], Change.INSERT.value, *row[place + 1 : width], origin_of(row, width, 0)))
            else:
                put(key, row[:width])
                if before[COLUMNS:] == row[COLUMNS:width] and before[0] == row[0]:
                    continue  # it is as it was
                found.append(self._taken_back(before, row, Change.BEFORE))
                found.append((*row[:place], Change.AFTER.value, *row[place + 1 : width], origin_of(row, width, 0)))
        last.sweep(watermark)
        return Flow(found, watermark)

    def _taken_back(self, before: Row, cause: Row, kind: Change) -> Row:
        place, width = self._change, self.width
        columns = (*before[COLUMNS:place], kind.value, *before[place + 1 : width])
        return (before[0], cause[POSITION], *columns, origin_of(cause, width, 1))
