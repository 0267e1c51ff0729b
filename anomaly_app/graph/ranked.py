"""The rows of one key in order, as a value that is stored in parts: what changes is written, not all of them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from anomaly_app.errors import StateError
from anomaly_app.graph.join_side import FEW
from anomaly_app.keyed import ValueCodec
from anomaly_app.operators import Layout, Row
from anomaly_app.patterns.state import RowCodec

CHUNK = 2_048
"""Entries of a sorted list that are moved at once at most."""


class Entry:
    """A row in its place.

    Args:
        order: what it is ordered by, and among equal ones its number.
        row: the row.
        slot: number of the part that it is stored in.
    """

    __slots__ = ("order", "row", "slot")

    def __init__(self, order: tuple[Any, int], row: Row, slot: int) -> None:
        self.order, self.row, self.slot = order, row, slot


_order = attrgetter("order")


class Sorted:
    """Entries in order, in pieces that are moved at little cost.

    Example:
        >>> entries = Sorted()
        >>> for number, value in enumerate("cab"):
        ...     entries.add(Entry((value, number), (), 0))
        >>> [entry.order[0] for entry in entries], len(entries)
        (['a', 'b', 'c'], 3)
    """

    __slots__ = ("_chunks", "_count")

    def __init__(self) -> None:
        self._chunks: list[list[Entry]] = [[]]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        for chunk in self._chunks:
            yield from chunk

    @property
    def last(self) -> Entry:
        """The greatest; there must be one."""
        return self._chunks[-1][-1]

    def _place(self, order: tuple[Any, int]) -> int:
        """Number of the chunk in which an order has its place."""
        chunks = self._chunks
        if len(chunks) == 1:
            return 0
        low, high = 0, len(chunks) - 1
        while low < high:
            middle = (low + high) // 2
            if chunks[middle][-1].order < order:
                low = middle + 1
            else:
                high = middle
        return low

    def add(self, entry: Entry) -> None:
        """Put an entry into its place."""
        number = self._place(entry.order)
        chunk = self._chunks[number]
        insort(chunk, entry, key=_order)
        self._count += 1
        if len(chunk) > CHUNK:
            half = len(chunk) // 2
            self._chunks[number : number + 1] = [chunk[:half], chunk[half:]]

    def remove(self, entry: Entry) -> None:
        """Take an entry out, which is there."""
        number = self._place(entry.order)
        chunk = self._chunks[number]
        del chunk[bisect_left(chunk, entry.order, key=_order)]
        self._count -= 1
        if not chunk and len(self._chunks) > 1:
            del self._chunks[number]


class Ranked:
    """The rows of one key in order.

    Attributes:
        entries: in order.
        slots: the same, by the parts that they are stored in.
        next: number of the next row to come.
        used: time of the latest row, in ms.
        stored: how many slots are stored.
        changed: slots that hold another row than is stored.
        places: entries by what their rows are; None as long as there are few.
    """

    __slots__ = ("changed", "entries", "next", "places", "slots", "stored", "used")

    def __init__(self) -> None:
        self.entries = Sorted()
        self.slots: list[Entry] = []
        self.next = self.used = self.stored = 0
        self.changed: set[int] = set()
        self.places: dict[Any, list[Entry]] | None = None

    def add(self, order: Any, row: Row, identity: Callable[[Row], Any] | None) -> None:
        """Take a row."""
        entry = Entry((order, self.next), row, len(self.slots))
        self.next += 1
        self.changed.add(entry.slot)
        self.slots.append(entry)
        self.entries.add(entry)
        if self.places is not None and identity is not None:
            self.places.setdefault(identity(row), []).append(entry)

    def remove(self, entry: Entry, identity: Callable[[Row], Any] | None) -> None:
        """Take a row out; the one of the last slot moves to its slot."""
        self.entries.remove(entry)
        last = self.slots.pop()
        if last is not entry:
            self.slots[entry.slot] = last
            last.slot = entry.slot
            self.changed.add(entry.slot)
        if self.places is not None and identity is not None:
            own = self.places[identity(entry.row)]
            own.remove(entry)
            if not own:
                del self.places[identity(entry.row)]

    def find(self, row: Row, identity: Callable[[Row], Any]) -> Entry | None:
        """The last entry of such a row; None if there is none."""
        wanted = identity(row)
        if self.places is None:
            if len(self.slots) <= FEW:
                found = [entry for entry in self.slots if identity(entry.row) == wanted]
                return max(found, key=_order) if found else None
            self.places = {}
            for entry in self.entries:
                self.places.setdefault(identity(entry.row), []).append(entry)
        entries = self.places.get(wanted)
        return entries[-1] if entries else None


class _Head(msgspec.Struct, array_like=True):
    used: int
    next: int
    rows: int


class _Part(msgspec.Struct, array_like=True):
    number: int
    row: bytes


class RankedCodec(ValueCodec[Ranked]):
    """The rows of a key as its value: a head, and a part for each slot.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs: the others are not stored.
        order_of: what rows are ordered by.
    """

    def __init__(self, layout: Layout, reads: Collection[str], order_of: Callable[[Row], Any]) -> None:
        self._rows, self._order_of = RowCodec(layout, reads), order_of
        self._encoder = msgspec.msgpack.Encoder()
        self._heads, self._parts = msgspec.msgpack.Decoder(_Head), msgspec.msgpack.Decoder(_Part)

    def encode(self, value: Ranked) -> bytes:
        """The head: its rows stand in parts."""
        return self._encoder.encode(_Head(value.used, value.next, len(value.slots)))

    def decode(self, data: bytes, parts: Mapping[int, bytes]) -> Ranked:
        """And back, with all parts; raises StateError."""
        head, ranked = self._head(data), Ranked()
        for slot in range(head.rows):
            part = self._part(parts[slot])
            row = self._rows.decode(part.row)
            entry = Entry((self._order_of(row), part.number), row, slot)
            ranked.slots.append(entry)
            ranked.entries.add(entry)
        ranked.used, ranked.next, ranked.stored = head.used, head.next, head.rows
        return ranked

    def changed_parts(self, value: Ranked) -> Mapping[int, bytes | None]:
        """Slots that have another row than is stored, or none any more."""
        count = len(value.slots)
        changed: dict[int, bytes | None] = {slot: None for slot in range(count, value.stored)}
        for slot in value.changed:
            if slot < count:
                entry = value.slots[slot]
                changed[slot] = self._encoder.encode(_Part(entry.order[1], self._rows.encode(entry.row)))
        value.stored = count
        value.changed = set()
        return changed

    def stored_parts(self, value: Ranked) -> Collection[int]:
        """Slots that are stored."""
        return range(value.stored)

    def parts_of(self, data: bytes) -> Collection[int]:
        """The same, of stored bytes."""
        return range(self._head(data).rows)

    def used_at(self, value: Ranked) -> int:
        """Time of the latest row."""
        return value.used

    def was_used_at(self, data: bytes) -> int:
        """The same, of stored bytes."""
        return self._head(data).used

    def _head(self, data: bytes) -> _Head:
        try:
            return self._heads.decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StateError(f"stored ranks are unreadable: {error}") from error

    def _part(self, data: bytes) -> _Part:
        try:
            return self._parts.decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StateError(f"a stored row of ranks is unreadable: {error}") from error
