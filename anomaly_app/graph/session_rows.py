"""SESSION without GROUP BY: the rows of each session, when the watermark passes its end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anomaly_app.graph.held import HeldRows
from anomaly_app.graph.vertices import Entries, Flow, Vertex, origin_of
from anomaly_app.operators import COLUMNS, POSITION, TIME, Layout, Row


@dataclass(slots=True)
class _Session:
    low: int
    high: int
    rows: list[tuple[int, Row]]
    gone: set[int] = field(default_factory=set)
    """Numbers of rows that were taken back: the session stays as long as it was with them."""


class SessionRows(Vertex):
    """Holds the rows of open sessions; each comes out with the edges of its session.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs: the others are not stored.
        key_of: the key of a row.
        gap_ms: without a row of the key that ends its session.
        change: index of the kind of change in a row; None if rows are never taken back.
    """

    def __init__(
        self,
        layout: Layout,
        reads: Collection[str],
        key_of: Callable[[Row], Any],
        gap_ms: int,
        change: int | None = None,
    ) -> None:
        super().__init__(COLUMNS + len(layout.columns))
        self._key_of, self._gap, self._change = key_of, gap_ms, change
        own = [layout.index(column.name) for column in layout.columns if column.name in reads]
        self._compared = [index for index in (TIME, *own) if index != change]
        self._held = HeldRows(layout, reads)
        self._open: dict[Any, list[_Session]] = {}

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows, and give out sessions that are over."""
        ((rows, watermark),) = flows
        gap, reached = self._gap, self.watermark
        for row in rows:
            touched = self._touched(row)
            if self._change is not None and row[self._change] % 2:
                self._take_back(row, touched)
            elif not touched and row[TIME] + gap - 1 <= reached:
                self.counters.add("late")
                self.late.append(row)
            else:
                self._take(self._held.add(row), row, touched)
        ended: list[_Session] = []
        for key, sessions in list(self._open.items()):
            over = [session for session in sessions if session.high + gap - 1 <= watermark]
            if not over:
                continue
            ended += over
            left = [session for session in sessions if session.high + gap - 1 > watermark]
            if left:
                self._open[key] = left
            else:
                del self._open[key]
        ended.sort(key=lambda session: (session.high, session.rows[-1][0]))
        return Flow([row for session in ended for row in self._result(session)], watermark)

    def _take_back(self, row: Row, touched: Sequence[_Session]) -> None:
        """A row goes, if its session is open."""
        values = [row[index] for index in self._compared]
        for session in touched:
            for number, held in session.rows:
                if number not in session.gone and [held[index] for index in self._compared] == values:
                    session.gone.add(number)
                    self._held.taken(number, held)
                    return
        self.counters.add("rows taken back behind their window")

    def _touched(self, row: Row) -> list[_Session]:
        time, gap = row[TIME], self._gap
        sessions = self._open.get(self._key_of(row), ())
        return [session for session in sessions if session.low - gap <= time <= session.high + gap]

    def _take(self, number: int, row: Row, touched: Sequence[_Session]) -> None:
        time, sessions = row[TIME], self._open.setdefault(self._key_of(row), [])
        merged = _Session(time, time, [(number, row)])
        for session in touched:
            sessions.remove(session)
            merged.low, merged.high = min(merged.low, session.low), max(merged.high, session.high)
            merged.rows += session.rows
            merged.gone |= session.gone
        merged.rows.sort(key=_number)
        sessions.append(merged)

    def _result(self, session: _Session) -> Iterable[Row]:
        start, end, width = session.low, session.high + self._gap, self.width
        for number, row in session.rows:
            self._held.drop(number)
            if number in session.gone:
                continue
            yield (end - 1, row[POSITION], *row[COLUMNS:width], start, end, end - 1, origin_of(row, width, 0))

    def changes(self) -> Entries:
        """Rows that came or went."""
        return self._held.changes()

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the rows of open sessions."""
        for number, is_gone, row in self._held.restore(entries):
            self._take(number, row, self._touched(row))
            if is_gone:
                self._open[self._key_of(row)][-1].gone.add(number)


def _number(entry: tuple[int, Row]) -> int:
    return entry[0]
