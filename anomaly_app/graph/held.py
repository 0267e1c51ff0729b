"""Rows that a vertex holds, as state entries: each is written once, and deleted once."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from anomaly_app.errors import StateError
from anomaly_app.operators import Layout, Row
from anomaly_app.patterns.state import RowCodec

PENDING, TAKEN = b"p", b"t"
"""Begin the value of an entry: the row waits for the watermark, or has been taken."""


class HeldRows:
    """Which rows are held, by number in order of arrival, and what of them is stored.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs: the others are not stored.
    """

    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        self._codec = RowCodec(layout, reads)
        self.next = 0
        """Number of the next row."""
        self._changed: dict[int, tuple[bytes, Row] | None] = {}
        self._stored: set[int] = set()

    def add(self, row: Row) -> int:
        """A row has come; its number."""
        number = self.next
        self.next += 1
        self._changed[number] = (PENDING, row)
        return number

    def taken(self, number: int, row: Row) -> None:
        """A row has been taken and is still held."""
        self._changed[number] = (TAKEN, row)

    def drop(self, number: int) -> None:
        """A row is not held any more."""
        if number in self._stored:
            self._changed[number] = None
        else:
            self._changed.pop(number, None)

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """Entries put or deleted since the last call."""
        entries: list[tuple[bytes, bytes | None]] = []
        for number, change in self._changed.items():
            name = number.to_bytes(8, "big")
            if change is None:
                self._stored.discard(number)
                entries.append((name, None))
            else:
                state, row = change
                self._stored.add(number)
                entries.append((name, state + self._codec.encode(row)))
        self._changed.clear()
        return entries

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> list[tuple[int, bool, Row]]:
        """All rows that are held, in order of arrival: number, whether it has been taken, row."""
        held: list[tuple[int, bool, Row]] = []
        for name, data in sorted(entries):
            if len(name) != 8:
                raise StateError(f"an entry of another kind of state: {name!r}")
            number = int.from_bytes(name, "big")
            self._stored.add(number)
            self.next = number + 1
            held.append((number, data[:1] == TAKEN, self._codec.decode(data[1:])))
        return held
