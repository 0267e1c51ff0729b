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

    Attributes:
        next: number of the next row.
        changed: rows that have come or been taken since the last :meth:`changes`, by number; None for those that went.
        stored: numbers of the rows that are stored.
    """

    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        self._codec = RowCodec(layout, reads)
        self.next = 0
        self.changed: dict[int, Row | None] = {}
        self.stored: set[int] = set()
        self._pending: set[int] = set()

    def add(self, row: Row) -> int:
        """A row has come; its number."""
        number = self.next
        self.next += 1
        self.wait(number, row)
        return number

    def wait(self, number: int, row: Row) -> None:
        """A row that has come is held and has not been taken."""
        self.changed[number] = row
        self._pending.add(number)

    def taken(self, number: int, row: Row) -> None:
        """A row has been taken and is still held."""
        self.changed[number] = row
        self._pending.discard(number)

    def all_taken(self, numbers: Iterable[int]) -> None:
        """Rows that have waited have been taken; :attr:`changed` has them."""
        if self._pending:
            self._pending.difference_update(numbers)

    def drop(self, number: int) -> None:
        """A row is not held any more."""
        if number in self.stored:
            self.changed[number] = None
        else:
            self.changed.pop(number, None)
        self._pending.discard(number)

    def all_dropped(self, numbers: Iterable[int]) -> None:
        """The same as :meth:`drop` for many."""
        changed, stored, pending = self.changed, self.stored, self._pending
        if not (changed or stored or pending):
            return  # they have come and gone
        for number in numbers:
            if number in stored:
                changed[number] = None
            else:
                changed.pop(number, None)
            pending.discard(number)

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """Entries put or deleted since the last call."""
        entries: list[tuple[bytes, bytes | None]] = []
        encode, pending = self._codec.encode, self._pending
        for number, row in self.changed.items():
            name = number.to_bytes(8, "big")
            if row is None:
                self.stored.discard(number)
                entries.append((name, None))
            else:
                self.stored.add(number)
                entries.append((name, (PENDING if number in pending else TAKEN) + encode(row)))
        self.changed.clear()
        return entries

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> list[tuple[int, bool, Row]]:
        """All rows that are held, in order of arrival: number, whether it has been taken, row."""
        held: list[tuple[int, bool, Row]] = []
        for name, data in sorted(entries):
            if len(name) != 8:
                raise StateError(f"an entry of another kind of state: {name!r}")
            number = int.from_bytes(name, "big")
            self.stored.add(number)
            self.next = number + 1
            taken = data[:1] == TAKEN
            if not taken:
                self._pending.add(number)
            held.append((number, taken, self._codec.decode(data[1:])))
        return held
