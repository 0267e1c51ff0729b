"""The rows that an interval join holds of one side, and how they are stored.

Rows are stored in blocks: one entry for those that have come since the last time, deleted as a whole when the last of
them is held no more. What is written grows with the rows that came, and the number of entries hardly does. Which rows
of a block are still held follows from the watermark; which of them have met a partner since stands in an entry beside
the block.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from types import GenericAlias
from typing import Any, TypeAlias

import msgspec

from anomaly_app.errors import LimitError, StateError
from anomaly_app.graph.stretches import Stretches
from anomaly_app.operators import MIN_WATERMARK, TIME, Layout, Row
from anomaly_app.patterns.state import RowParts

BLOCK_ROWS, BLOCK_BYTES = 512, 100_000
"""Of a block, at most; but one row may be larger."""

_FRESH = 10_000
"""So many rows wait to be stored before it is asked whether they are held still."""

Entry: TypeAlias = tuple[int, int, Row]
"""The time of a row that is held, its number in order of arrival, and the row."""

Fail: TypeAlias = Callable[[Exception, Row], None]

_row = itemgetter(2)


class BlockCodec:
    """Rows of a block as bytes, as far as somebody needs them.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs.

    Example:
        >>> from anomaly_app.schema import INT, Column
        >>> codec = BlockCodec(Layout((Column("n", INT),)), {"n"})
        >>> blocks = list(codec.encode([(7, (1_000, 5, 42)), (9, (2_000, 6, 43))], {9}))
        >>> [(first, rows, codec.decode(first, data)) for first, rows, data in blocks]
        [(7, 2, ([(7, (1000, 5, 42)), (9, (2000, 6, 43))], [9]))]
    """

    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        self._parts = RowParts(layout, reads)
        rows = GenericAlias(list, (GenericAlias(tuple, self._parts.types),))
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
            GenericAlias(tuple, (list[int], list[int], rows))
        )
        self._encode = msgspec.msgpack.Encoder().encode

    def encode(self, rows: Sequence[tuple[int, Row]], met: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """The blocks of rows: number of the first one, how many they are, bytes.

        Args:
            rows: with their numbers, which rise.
            met: numbers of those that have met a partner.
        """
        split, encode = self._parts.split, self._encode
        for first in range(0, len(rows), BLOCK_ROWS):
            part = rows[first : first + BLOCK_ROWS]
            numbers = [number for number, _ in part]
            steps = (
                [later - number for number, later in pairwise(numbers)] if numbers[-1] - numbers[0] >= len(part) else []
            )
            own_met = [place for place, number in enumerate(numbers) if number in met] if met else []
            data = encode((steps, own_met, [split(row) for _, row in part]))
            if len(data) > BLOCK_BYTES and len(part) > 1:
                half = len(part) // 2
                yield from self.encode(part[:half], met)
                yield from self.encode(part[half:], met)
            else:
                yield numbers[0], len(part), data

    def decode(self, first: int, data: bytes) -> tuple[list[tuple[int, Row]], list[int]]:
        """Rows of a block with their numbers, and the numbers of those that have met a partner.

        Raises:
            StateError: these are no rows.
        """
        try:
            steps, met, parts = self._decoder.decode(data)
            rows = [self._parts.join(*part) for part in parts]
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StateError(f"stored rows of a join are unreadable: {error}") from error
        numbers = [first, *steps]
        for place in range(1, len(numbers)):
            numbers[place] += numbers[place - 1]
        if not steps:
            numbers = list(range(first, first + len(rows)))
        return list(zip(numbers, rows, strict=True)), [numbers[place] for place in met]


class _Blocks:
    """What is known of the blocks that stand.

    Attributes:
        firsts: the numbers of their first rows, which rise.
        left: how many rows of each are held.
        met: of each the numbers of rows that have met a partner since they were stored.
    """

    __slots__ = ("firsts", "left", "met")

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.left: dict[int, int] = {}
        self.met: dict[int, list[int]] = {}

    def add(self, first: int, rows: int) -> None:
        """One more, behind all others."""
        self.firsts.append(first)
        self.left[first] = rows

    def of(self, number: int) -> int:
        """The block that a row stands in, by its first row."""
        return self.firsts[bisect_right(self.firsts, number) - 1]

    def take(self, numbers: Iterable[int]) -> list[int]:
        """Rows are not held any more: the blocks of which none is left."""
        left, empty = self.left, list[int]()
        for number in numbers:
            first = self.of(number)
            left[first] -= 1
            if not left[first]:
                empty.append(first)
        if empty:
            for first in empty:
                del left[first]
            self.firsts = [first for first in self.firsts if first in left]
        return empty


class KeptRows:
    """The rows that are held of one side.

    Args:
        keeps_alone: it is an outer side: which rows have met none counts.
        most: rows of one key at most.
        stretch: length of the stretches of time in which they are let go, in ms.

    Attributes:
        index: by key its rows in order of time.
        stretches: the rows by time.
        alone: numbers of the rows that have met none; stays empty if that does not count.
        fresh: rows that are to be stored, and perhaps some that are not held any more.
        met: numbers of stored rows that have met their first since they were.
        gone: numbers of stored rows that are not held any more.
        next: number of the next row.
        stored: rows with lower numbers are stored.
        floor: rows before this time are not held any more.
        full: keys that have no room for another row.
        overflown: rows that were not held since then.
        most: rows of one key at most.
    """

    __slots__ = (
        "_blocks", "alone", "floor", "fresh", "full", "gone", "index", "keeps_alone", "met", "most", "next",
        "overflown", "room", "stored", "stretches",
    )  # fmt: skip

    def __init__(self, keeps_alone: bool, most: int, stretch: int) -> None:
        self.index: dict[Any, list[Entry]] = {}
        self.stretches = Stretches[Entry](stretch)
        self.alone: set[int] = set()
        self.fresh: list[Entry] = []
        self.met: list[int] = []
        self.gone: list[int] = []
        self._blocks = _Blocks()
        self.next = self.stored = self.overflown = 0
        self.full: set[Any] = set()
        self.floor, self.room = MIN_WATERMARK, _FRESH
        self.keeps_alone, self.most = keeps_alone, most

    def overflow(self, key: Any, fail: Fail, row: Row) -> None:
        """A row is not held since its key has too many; that is reported once, until there is room again."""
        self.overflown += 1
        if key in self.full:
            return
        self.full.add(key)
        problem = (
            f"the join holds {self.most} rows of key {key!r} that others may still meet, and has no room for another "
            "one: rows that come meet those, but are not held (limits.rows_per_key)"
        )
        fail(LimitError(problem), row)

    def take(self, entries: list[Entry], first: int) -> None:
        """Rows have come, the first one that is held with this number."""
        if self.next - first < len(entries):
            entries = [entry for entry in entries if entry[1] >= 0]
        self.fresh += entries
        self.stretches.extend(entries)

    @property
    def largest(self) -> int:
        """Rows of the key that has the most."""
        return max(map(len, self.index.values()), default=0)

    def let_go(self, before: int, key_of: Callable[[Row], Any]) -> list[Entry]:
        """Let go the rows before a time.

        Args:
            before: time in ms; where it does not count who has met none, some rows before it may be held for longer.
            key_of: the key of a row.

        Returns:
            Those that have met none.
        """
        went = self.stretches.take(before, roughly=not self.keeps_alone)
        length = self.stretches.length
        self.floor = before if self.keeps_alone else before // length * length
        return self._forget(went, key_of) if went else went

    def _forget(self, went: list[Entry], key_of: Callable[[Row], Any]) -> list[Entry]:
        index, floor = self.index, self.floor
        for key in map(key_of, map(_row, went)):
            entries = index.get(key)
            if entries is not None and entries[0][0] < floor:
                if entries[-1][0] < floor:
                    del index[key]
                else:
                    del entries[: bisect_left(entries, (floor,))]
        if self.stored:
            stored = self.stored
            self.gone += [number for _, number, _ in went if number < stored]
        if len(self.fresh) > self.room:  # nobody stores them
            self.fresh = [entry for entry in self.fresh if entry[0] >= floor]
            self.room = max(_FRESH, 2 * len(self.fresh))
        if self.full:
            self.full = {key for key in self.full if len(index.get(key, ())) >= self.most}
        if not self.keeps_alone:
            return []
        alone = self.alone
        lonely = [entry for entry in went if entry[1] in alone]
        alone.difference_update([number for _, number, _ in lonely])
        return lonely

    # --- state ----------------------------------------------------------------------------------------

    def changes(self, codec: BlockCodec) -> Iterator[tuple[int, bool, bytes | None]]:
        """Blocks that came or went, and what stands beside them: number, whether it is the block itself, value."""
        blocks, alone, gone = self._blocks, self.alone, set(self.gone)
        for first in blocks.take(gone):
            yield first, True, None
            if blocks.met.pop(first, None):
                yield first, False, None
        touched = dict[int, None]()
        for number in self.met:
            if number not in gone:
                first = blocks.of(number)
                blocks.met.setdefault(first, []).append(number)
                touched[first] = None
        for first in touched:
            yield first, False, _encode([number - first for number in blocks.met[first]])
        fresh = [(number, row) for time, number, row in self.fresh if time >= self.floor]
        met = {number for number, _ in fresh if number not in alone} if self.keeps_alone else ()
        for first, rows, data in codec.encode(fresh, met):
            blocks.add(first, rows)
            yield first, True, data
        self.fresh, self.met, self.gone, self.stored = [], [], [], self.next

    def restore(
        self, blocks: Iterable[tuple[int, bytes]], met: Iterable[tuple[int, bytes]], codec: BlockCodec,
        key_of: Callable[[Row], Any], strict: Collection[int],
    ) -> None:  # fmt: skip
        """Take back the blocks that stand. Rows of them that were let go are there again until time is told.

        Args:
            blocks: number and value of each, in order.
            met: of what stands beside them.
            codec: that they were written with.
            key_of: the key of a row.
            strict: indexes of the columns of the key that equal none where they are NULL.
        """
        for first, data in blocks:
            rows, own_met = codec.decode(first, data)
            self._blocks.add(first, len(rows))
            for number, row in rows:
                entry = (row[TIME], number, row)
                self.stretches.add(entry)
                if not any(row[place] is None for place in strict):
                    insort(self.index.setdefault(key_of(row), []), entry)
            self.next = self.stored = rows[-1][0] + 1
            if self.keeps_alone:
                self.alone.update(number for number, _ in rows)
                self.alone.difference_update(own_met)
        for first, data in met:
            numbers = [first + step for step in _steps(data)]
            self._blocks.met[first] = numbers
            self.alone.difference_update(numbers)


_encode = msgspec.msgpack.Encoder().encode


def _steps(data: bytes) -> list[int]:
    try:
        return msgspec.msgpack.decode(data, type=list[int])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"stored numbers of rows are unreadable: {error}") from error
