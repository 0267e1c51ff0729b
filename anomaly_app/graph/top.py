"""The first rows of a key in any order, as they are at a time: Top-N, and the last row of a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from anomaly_app.changes import Change
from anomaly_app.expressions.typed import Environment
from anomaly_app.graph.compaction import compacted, values_at
from anomaly_app.graph.join_side import identity_of
from anomaly_app.graph.one_row import OneRow
from anomaly_app.graph.ranked import Entry, Ranked, RankedCodec
from anomaly_app.graph.vertices import Flow, Vertex, origin_of
from anomaly_app.keyed import KeyedState
from anomaly_app.operators import COLUMNS, POSITION, TIME, Layout, Row
from anomaly_app.schema import Column


@dataclass(frozen=True, slots=True)
class TopPlan:
    """Ranking for rows of one layout.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs: the others are not stored.
        keys: columns that key them.
        key_of: the key of a row.
        order_of: what rows are ordered by; of equal ones the first to come is first.
        first: the least number that is wanted.
        last: the greatest.
        numbered: the number is a column of the result.
        change: index of the kind of change in a row; 0 if rows are never taken back.
        ttl_ms: after which a key whose rows did not come any more is dropped; None for never.
        seen: indexes of the columns of the result that somebody needs.
    """

    layout: Layout
    reads: frozenset[str]
    keys: tuple[Column, ...]
    key_of: Callable[[Row], Any]
    order_of: Callable[[Row], Any]
    first: int
    last: int
    numbered: bool
    change: int
    ttl_ms: int | None
    seen: tuple[int, ...]

    @property
    def width(self) -> int:
        """Of a row, without what stands behind the columns."""
        return COLUMNS + len(self.layout.columns)

    def maker(self) -> tuple[Callable[..., Row], int]:
        """What makes a row of the result of a row, and the index of the kind of change in it."""
        columns = [f"row[{k}]" for k in range(COLUMNS, self.width) if not self.change or k != self.change]
        if self.numbered:
            columns.append("number")
        values = ", ".join(["row[0]", "position", *columns, "kind", "origin"])
        source = f"def made(row, number, position, kind, origin):\n    return ({values})"
        return Environment().function("made", source), COLUMNS + len(columns)


# --- the last row of a key ----------------------------------------------------------------------------------


class KeepLast(Vertex):
    """The last row of each key by time; of equal times the one that came last. Nothing is late.

    Args:
        plan: of the query, over rows that are never taken back; the order is not asked for.
    """

    def __init__(self, plan: TopPlan) -> None:
        super().__init__(plan.width)
        self._plan = plan
        self._last: KeyedState[Row] = KeyedState(plan.keys, OneRow(plan.layout, plan.reads), ttl_ms=plan.ttl_ms)
        self.stores = (self._last,)
        self._made, _ = plan.maker()
        self._seen = values_at(plan.seen)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows, and give what is another one behind them, once for each key."""
        ((rows, watermark),) = flows
        last, plan = self._last, self._plan
        keys = list(map(plan.key_of, rows))
        last.prefetch(keys)
        before: dict[Any, Row | None] = {}
        latest: dict[Any, Row] = {}
        found: list[Row] = []
        live, expires = last.live, plan.ttl_ms is not None
        for key, row in zip(keys, rows, strict=True):
            known = latest.get(key) or live.get(key)
            if expires and known is not None and last.has_expired(known, row[TIME]):
                if key in latest:  # what came before is told, and stays
                    found += self._changes({key: before[key]}, latest)
                before[key], latest[key] = None, row
            elif known is None or row[TIME] >= known[TIME]:
                before.setdefault(key, known)
                latest[key] = row
        last.put_all(latest)
        last.sweep(watermark)
        found += self._changes(before, latest)
        return Flow(found, watermark)

    def _changes(self, before: Mapping[Any, Row | None], latest: Mapping[Any, Row]) -> Iterator[Row]:
        made, width, seen = self._made, self.width, self._seen
        for key, old in before.items():
            row = latest[key]
            if old is None:
                yield made(row, 1, row[POSITION], Change.INSERT.value, origin_of(row, width, 0))
                continue
            gone = made(old, 1, row[POSITION], Change.BEFORE.value, origin_of(row, width, 1))
            come = made(row, 1, row[POSITION], Change.AFTER.value, origin_of(row, width, 0))
            if gone[TIME] != come[TIME] or seen(gone) != seen(come):
                yield gone
                yield come


# --- Top-N --------------------------------------------------------------------------------------------------


class TopRows(Vertex):
    """The first rows of each key. Of rows that are never taken back only those are kept.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: TopPlan) -> None:
        super().__init__(plan.width)
        self._plan = plan
        codec = RankedCodec(plan.layout, plan.reads, plan.order_of)
        self._ranked: KeyedState[Ranked] = KeyedState(plan.keys, codec, ttl_ms=plan.ttl_ms)
        self.stores = (self._ranked,)
        self._identity = identity_of(plan.layout, plan.reads) if plan.change else None
        self._made, self._change = plan.maker()
        self._seen = values_at(plan.seen)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows, and give what is another one behind them, once for each key."""
        ((rows, watermark),) = flows
        plan, ranked = self._plan, self._ranked
        if plan.last < plan.first:  # nobody wants any
            return Flow((), watermark)
        keys = list(map(plan.key_of, rows))
        ranked.prefetch(keys)
        before: dict[Any, list[Entry]] = {}
        causes: dict[Any, Row] = {}
        found: list[Row] = []
        live, expires, change = ranked.live, plan.ttl_ms is not None, plan.change
        for key, row in zip(keys, rows, strict=True):
            own = live.get(key)
            if expires and own is not None:
                if ranked.has_expired(own, row[TIME]):
                    if key in causes:  # what came before is told, and stays
                        found += self._changes(before.pop(key), self._visible(own), causes.pop(key))
                    ranked.delete(key)
                    own = None
                elif row[TIME] > own.used:
                    own.used = row[TIME]
                    ranked.touch((key,))
            if change and row[change] % 2:
                self._take_back(key, own, row, before, causes)
                continue
            order = plan.order_of(row)
            if own is None:
                own = Ranked()
                ranked.put(key, own)
            elif not change and len(own.slots) >= plan.last and not order < own.entries.last.order[0]:
                continue
            if key not in causes:
                before.setdefault(key, self._visible(own))
            causes[key] = row
            own.add(order, row, self._identity)
            if row[TIME] > own.used:
                own.used = row[TIME]
            if not change and len(own.slots) > plan.last:
                own.remove(own.entries.last, None)
        ranked.touch(key for key in causes if key in live)
        for key, cause in causes.items():
            own = live.get(key)
            found += self._changes(before[key], self._visible(own) if own is not None else [], cause)
        ranked.sweep(watermark)
        return Flow(compacted(found, self._change, self._seen) if found else found, watermark)

    def _take_back(
        self, key: Any, own: Ranked | None, row: Row, before: dict[Any, list[Entry]], causes: dict[Any, Row]
    ) -> None:
        assert self._identity is not None
        entry = own.find(row, self._identity) if own is not None else None
        if own is None or entry is None:
            self.counters.add("taken back without having come")
            return
        if key not in causes:
            before[key] = self._visible(own)
        causes[key] = row
        own.remove(entry, self._identity)
        if not own.slots:
            self._ranked.delete(key)

    def _visible(self, own: Ranked) -> list[Entry]:
        return list(islice(own.entries, self._plan.first - 1, self._plan.last))

    def _changes(self, before: Sequence[Entry], after: Sequence[Entry], cause: Row) -> Iterator[Row]:
        made, position, width, number = self._made, cause[POSITION], self.width, 0
        if self._plan.numbered:
            pairs = [
                (place, old, new)
                for place, (old, new) in enumerate(zip_longest(before, after), self._plan.first)
                if old is not new
            ]
        else:
            stay = {id(entry) for entry in before} & {id(entry) for entry in after}
            gone = [entry for entry in before if id(entry) not in stay]
            come = [entry for entry in after if id(entry) not in stay]
            pairs = [(0, old, new) for old, new in zip_longest(gone, come)]
        for place, old, new in pairs:
            if old is not None:
                kind = Change.BEFORE if new is not None else Change.DELETE
                yield made(old.row, place, position, kind.value, origin_of(cause, width, number))
                number += 1
            if new is not None:
                kind = Change.AFTER if old is not None else Change.INSERT
                yield made(new.row, place, position, kind.value, origin_of(cause, width, number))
                number += 1
