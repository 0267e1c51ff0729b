"""ORDER BY time, and LIMIT."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from anomaly_app.graph.held import HeldRows
from anomaly_app.graph.vertices import Entries, Flow, Vertex
from anomaly_app.operators import COLUMNS, MAX_WATERMARK, MIN_WATERMARK, TIME, Layout, Row


class Sort(Vertex):
    """Rows in order of time and further columns; late is what is not after the last time that came out.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs: the others are not stored.
        order_of: what rows of one time are ordered by.
    """

    def __init__(self, layout: Layout, reads: Collection[str], order_of: Callable[[Row], Any]) -> None:
        super().__init__(COLUMNS + len(layout.columns))
        self._held, self._order_of = HeldRows(layout, reads), order_of
        self._waiting: list[tuple[int, Row]] = []
        self._last = self._last_stored = MIN_WATERMARK

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows, and give out those that the watermark has passed."""
        ((rows, watermark),) = flows
        for row in rows:
            if row[TIME] <= self._last:
                self.counters.add("late")
                self.late.append(row)
            else:
                self._waiting.append((self._held.add(row), row))
        if watermark <= self.watermark:
            return Flow((), watermark)
        at_end = watermark == MAX_WATERMARK
        ready = self._waiting if at_end else [one for one in self._waiting if one[1][TIME] <= watermark]
        if not ready:
            return Flow((), watermark)
        self._waiting = [] if at_end else [one for one in self._waiting if one[1][TIME] > watermark]
        order_of = self._order_of
        ready.sort(key=lambda one: (one[1][TIME], order_of(one[1]), one[0]))
        for number, _ in ready:
            self._held.drop(number)
        self._last = ready[-1][1][TIME]
        return Flow([row for _, row in ready], watermark)

    def changes(self) -> Entries:
        """Rows that came or went, and the last time that came out."""
        entries = self._held.changes()
        if self._last != self._last_stored:
            self._last_stored = self._last
            entries.append((b"last", str(self._last).encode()))
        return entries

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the rows that were held."""
        rows = []
        for name, value in entries:
            if name == b"last":
                self._last = self._last_stored = int(value)
            else:
                rows.append((name, value))
        self._waiting = [(number, row) for number, _, row in self._held.restore(rows)]


class Limit(Vertex):
    """The first rows to come.

    Args:
        offset: rows that are left out before them.
        count: of the rows; None for all.
    """

    def __init__(self, offset: int, count: int | None) -> None:
        super().__init__()
        self._offset, self._count = offset, count
        self._seen = self._stored = 0

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Those of the rows that are wanted."""
        ((rows, watermark),) = flows
        first = max(self._offset - self._seen, 0)
        end = None if self._count is None else max(self._offset + self._count - self._seen, 0)
        self._seen += len(rows)
        return Flow(rows[first:end], watermark)

    def changes(self) -> Entries:
        """How many rows have come."""
        if self._seen != self._stored:
            self._stored = self._seen
            yield b"seen", str(self._seen).encode()

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back how many have come."""
        for _, value in entries:
            self._seen = self._stored = int(value)


class Descending:
    """A value that sorts the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: Descending) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and bool(other.value == self.value)

    def __hash__(self) -> int:
        return hash(self.value)


def order_by(columns: Sequence[tuple[int, bool, bool]]) -> Callable[[Row], Any]:
    """What rows are ordered by: index of each column in a row, whether it falls, and whether NULLs come first.

    Example:
        >>> key = order_by([(2, True, False)])
        >>> sorted([(0, 0, 1), (0, 1, None), (0, 2, 5)], key=key)
        [(0, 2, 5), (0, 0, 1), (0, 1, None)]
    """
    if not columns:
        return lambda row: ()
    if len(columns) == 1 and not columns[0][1]:
        index, _, nulls_first = columns[0]
        return lambda row: (nulls_first if row[index] is not None else not nulls_first, _comparable(row[index]))

    def key(row: Row) -> tuple[Any, ...]:
        parts: list[Any] = []
        for index, descending, nulls_first in columns:
            value = row[index]
            parts.append(nulls_first if value is not None else not nulls_first)
            parts.append(Descending(value) if descending and value is not None else _comparable(value))
        return tuple(parts)

    return key


def _comparable(value: Any) -> Any:
    return 0 if value is None else value
