"""ROW_NUMBER() with a bound: the first rows of a key by time, and the first of a window by any order."""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from anomaly_app.errors import LimitError
from anomaly_app.graph.held import HeldRows
from anomaly_app.graph.vertices import Entries, Flow, Vertex
from anomaly_app.operators import COLUMNS, TIME, Layout, Problem, Row
from anomaly_app.patterns.state import KeyCodec
from anomaly_app.schema import Column

_first = itemgetter(0)


@dataclass(frozen=True, slots=True)
class RankPlan:
    """Ranking for rows of one layout.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs: the others are not stored.
        key_of: the key of a row.
        keys: columns that key it.
        order_of: what rows are ordered by.
        first: the least number that is wanted.
        last: the greatest.
        latest: of equal rows the last to come is first.
        end: index of the end of the window in a row; -1 without windows.
        most: windows and keys that may be open.
    """

    layout: Layout
    reads: frozenset[str]
    key_of: Callable[[Row], Any]
    keys: tuple[Column, ...]
    order_of: Callable[[Row], Any]
    first: int
    last: int
    latest: bool
    end: int
    most: int


class WindowRank(Vertex):
    """The first rows of each key in each window, when the watermark passes its end.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: RankPlan) -> None:
        super().__init__(COLUMNS + len(plan.layout.columns))
        self._plan = plan
        self._held = HeldRows(plan.layout, plan.reads)
        self._windows: dict[int, dict[Any, list[tuple[Any, int, Row]]]] = {}

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows, and give out windows that are over."""
        ((rows, watermark),) = flows
        end_index, reached = self._plan.end, self.watermark
        for row in rows:
            end = row[end_index]
            if end - 1 <= reached:
                self.counters.add("late")
                self.late.append(row)
            else:
                self._take(end, self._held.add(row), row)
        found: list[Row] = []
        for end in sorted(end for end in self._windows if end - 1 <= watermark):
            for ranked in sorted(self._windows.pop(end).values(), key=_oldest):
                found += self._result(end, ranked)
        return Flow(found, watermark)

    def _take(self, end: int, number: int, row: Row) -> None:
        plan = self._plan
        ranked = self._windows.setdefault(end, {}).setdefault(plan.key_of(row), [])
        insort_right(ranked, (plan.order_of(row), -number if plan.latest else number, row), key=_order)
        if len(ranked) > plan.last:
            self._held.drop(abs(ranked.pop()[1]))

    def _result(self, end: int, ranked: Sequence[tuple[Any, int, Row]]) -> list[Row]:
        width, found = self.width, list[Row]()
        for place, (_, number, row) in enumerate(ranked, 1):
            self._held.drop(abs(number))
            if place >= self._plan.first:
                found.append((end - 1, row[1], *row[2:width], place, *row[width:]))
        return found

    def changes(self) -> Entries:
        """Rows that came or went."""
        return self._held.changes()

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the rows that were held."""
        for number, _, row in self._held.restore(entries):
            self._take(row[self._plan.end], number, row)


def _order(entry: tuple[Any, int, Row]) -> tuple[Any, int]:
    return entry[0], entry[1]


def _oldest(ranked: Sequence[tuple[Any, int, Row]]) -> int:
    """Number of the oldest row: windows are given out in this order, which is the same when they have been restored."""
    return min((abs(number) for _, number, _ in ranked), default=0)


KEPT, SEEN = b"h", b"k"
"""Begin the entries of held rows, and of keys that have given out their row."""


class KeepFirst(Vertex):
    """The first row of each key by time, when the watermark passes it; late rows are dropped, also of new keys.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: RankPlan) -> None:
        super().__init__(COLUMNS + len(plan.layout.columns))
        self._plan = plan
        self._held = HeldRows(plan.layout, plan.reads)
        self._keys = KeyCodec(plan.keys)
        self._single = len(plan.keys) == 1
        self._waiting: dict[Any, tuple[int, Row]] = {}
        self._seen: set[Any] = set()
        self._fresh: list[Any] = []

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows, and give out those that the watermark has reached."""
        ((rows, watermark),) = flows
        plan, seen, waiting, held, reached = self._plan, self._seen, self._waiting, self._held, self.watermark
        for row in rows:
            if row[TIME] < reached:
                self.counters.add("late")
                self.late.append(row)
                continue
            key = plan.key_of(row)
            if key in seen:
                continue
            known = waiting.get(key)
            if known is not None:
                if row[TIME] >= known[1][TIME]:
                    continue
                held.drop(known[0])
            elif len(seen) + len(waiting) >= plan.most:
                self.counters.add("key_limit")
                self.problems.append(Problem(LimitError(f"{plan.most} keys are held: there is no room"), [row]))
                continue
            waiting[key] = held.add(row), row
        ready = [(row[TIME], number, key) for key, (number, row) in waiting.items() if row[TIME] <= watermark]
        ready.sort(key=itemgetter(0, 1))
        found: list[Row] = []
        for _, number, key in ready:
            _, row = waiting.pop(key)
            held.drop(number)
            seen.add(key)
            self._fresh.append(key)
            found.append((*row[: self.width], 1, *row[self.width :]))
        return Flow(found, watermark)

    def changes(self) -> Entries:
        """Rows that came or went, and keys that have given out theirs."""
        entries: list[tuple[bytes, bytes | None]] = [(KEPT + name, value) for name, value in self._held.changes()]
        entries += [(SEEN + self._keys.encode((key,) if self._single else key), b"") for key in self._fresh]
        self._fresh.clear()
        return entries

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back rows and keys."""
        rows: list[tuple[bytes, bytes]] = []
        for name, value in entries:
            if name.startswith(SEEN):
                values = self._keys.decode(name[1:])
                self._seen.add(values[0] if self._single else values)
            else:
                rows.append((name[1:], value))
        for number, _, row in self._held.restore(rows):
            self._waiting[self._plan.key_of(row)] = number, row
