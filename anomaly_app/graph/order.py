"""Rows put into order of event time inside a graph, where they are not the rows of a source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from anomaly_app.errors import StateError
from anomaly_app.eventtime import ReorderBuffer
from anomaly_app.graph.vertices import Entries, Flow, Vertex
from anomaly_app.operators import COLUMNS, TIME, Layout, Row
from anomaly_app.patterns.state import RowCodec


class Order(Vertex):
    """Holds rows until the watermark has passed them; those behind it are late.

    Each row that is held when state is written is one entry, under its number in order of arrival.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs: the others are not stored.
    """

    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        super().__init__(COLUMNS + len(layout.columns))
        self._codec = RowCodec(layout, reads)
        self._buffer = ReorderBuffer(None)
        self._next = 0
        self._stored: set[int] = set()
        self._released: list[int] = []
        self._fresh: dict[int, Row] = {}

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows, and give out those that the watermark has passed, in order of time."""
        ((rows, watermark),) = flows
        buffer = self._buffer
        if rows:
            numbered = [(row[TIME], number, row) for number, row in enumerate(rows, self._next)]
            self._next += len(rows)
            late = buffer.add(numbered)
            if late:
                self.counters.add("late", len(late))
                self.late += [row for _, _, row in late]
                gone = {number for _, number, _ in late}
                numbered = [one for one in numbered if one[1] not in gone]
            self._fresh.update((number, row) for _, number, row in numbered)
        buffer.advance(watermark)
        ready = []
        for _, number, row in buffer.release():
            if self._fresh.pop(number, None) is None:
                self._released.append(number)
            ready.append(row)
        return Flow(ready, watermark)

    def changes(self) -> Entries:
        """Rows that came and are held, and those that went."""
        entries: list[tuple[bytes, bytes | None]] = []
        for number in self._released:
            self._stored.discard(number)
            entries.append((number.to_bytes(8, "big"), None))
        for number, row in self._fresh.items():
            self._stored.add(number)
            entries.append((number.to_bytes(8, "big"), self._codec.encode(row)))
        self._released.clear()
        self._fresh.clear()
        return entries

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the rows that were held."""
        held = sorted(entries)
        for name, data in held:
            if len(name) != 8:
                raise StateError(f"an entry of another kind of state: {name!r}")
            number, row = int.from_bytes(name, "big"), self._codec.decode(data)
            self._stored.add(number)
            self._buffer.waiting.append((row[TIME], number, row))
            self._next = number + 1
        self._buffer.restore(self._buffer.waiting, highest=self._buffer.highest, watermark=self._buffer.watermark)

    def resume(self, watermarks: Sequence[int]) -> int:
        """Rows behind the watermark are late again."""
        self._buffer.advance(min(watermarks))
        return super().resume(watermarks)


class Retime(Vertex):
    """Rows whose time is another of their columns from here on.

    Args:
        index: of the column in a row, in ms.
        width: of a row.
    """

    def __init__(self, index: int, width: int) -> None:
        super().__init__(width)
        self._index = index

    def run(self, flows: Sequence[Flow]) -> Flow:
        """The same rows with their new time; a row without one is left out and counted."""
        ((rows, watermark),) = flows
        index = self._index
        timed = [(row[index], *row[1:]) for row in rows if row[index] is not None]
        if len(timed) < len(rows):
            self.counters.add("no_time", len(rows) - len(timed))
        return Flow(timed, watermark)
