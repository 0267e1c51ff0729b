"""Interval join: rows of two inputs whose times are near each other, and outer rows that none can meet any more.

A row meets the rows that are held of the other side, and is then held itself for as long as one may come that it
would meet. Pairs are the same however the rows of both sides come between each other: whoever comes later finds the
other one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from anomaly_app.errors import LimitError, StateError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.stretches import Stretches
from anomaly_app.graph.vertices import Entries, Flow, Vertex
from anomaly_app.operators import COLUMNS, MAX_WATERMARK, MIN_WATERMARK, POSITION, TIME, Layout, Row
from anomaly_app.patterns.state import RowCodec

_NAMES = (b"a", b"b")
"""Begin the entries of the rows of each side."""

ALONE, MET = b"p", b"t"
"""Begin the value of an entry: the row has met none, or has."""

_STRETCHES = 512
"""In how many stretches of time the rows of a side are let go."""

_FRESH = 10_000
"""So many rows wait to be stored before it is asked whether they are held still."""

Entry: TypeAlias = tuple[int, int, Row]
"""The time of a row that is held, its number in order of arrival, and the row."""

Fail: TypeAlias = Callable[[Exception, Row], None]

Hold: TypeAlias = Callable[[Sequence[Row], int, "KeptRows", Fail], list[Entry]]
"""(rows of a side, watermark in front of them, what is held of this side, what to do with an error) to the rows as
entries: a row that is not held has the number -1. Generated for each side of a join."""

Meet: TypeAlias = Callable[[list[Entry], int, "KeptRows", "KeptRows", int, list[Row], Fail], None]
"""(what :data:`Hold` gave, watermark in front of it, what is held of this side, and of the other, number from which on
rows of the other have come with these, list for the rows that come of pairs, what to do with an error)."""


@dataclass(frozen=True, slots=True)
class IntervalSide:
    """One input.

    Args:
        layout: of its rows.
        reads: names of the columns that somebody needs: the others are not stored.
        key_of: what must be equal on both sides: one value, or a tuple of several or none.
        strict: indexes of the columns of the key that equal none where they are NULL.
        reach: by how many ms a row of the other side may be later at most.
        hold: generated.
        meet: generated.
        alone: from a row that has met none to one of the result, None if it is filtered; None if the side is no outer
            one.
    """

    layout: Layout
    reads: Collection[str]
    key_of: Callable[[Row], Any]
    strict: tuple[int, ...]
    reach: int
    hold: Hold
    meet: Meet
    alone: Callable[[Row], Row | None] | None


@dataclass(frozen=True, slots=True)
class IntervalJoinPlan:
    """An interval join for rows of two layouts.

    Args:
        left: one input.
        right: the other.
        hold: by how many ms the watermark behind it trails that in front.
        stretch: length of the stretches of time in which rows are let go, in ms.
        most: rows of one key that are held on a side.
        in_turn: rows of both sides come in order of their positions.
    """

    left: IntervalSide
    right: IntervalSide
    hold: int
    stretch: int
    most: int
    in_turn: bool


def stretch_of(low: int, high: int) -> int:
    """Length of the stretches of time in which the rows of an interval are let go, in ms."""
    return max(1, (high - low) // _STRETCHES)


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
        gone: numbers of stored rows that are to be deleted.
        next: number of the next row.
        stored: rows with lower numbers are stored.
        floor: rows before this time are not held any more.
        full: keys that have no room for another row.
        overflown: rows that were not held since then.
        most: rows of one key at most.
    """

    __slots__ = (
        "alone", "floor", "fresh", "full", "gone", "index", "keeps_alone", "most", "next", "overflown", "room",
        "stored", "stretches",
    )  # fmt: skip

    def __init__(self, keeps_alone: bool, most: int, stretch: int) -> None:
        self.index: dict[Any, list[Entry]] = {}
        self.stretches = Stretches[Entry](stretch)
        self.alone: set[int] = set()
        self.fresh: list[Entry] = []
        self.gone: list[int] = []
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

    def hold(self, entry: Entry, key: Any, indexed: bool) -> None:
        """Hold a row that has been stored.

        Args:
            entry: the row.
            key: of the row.
            indexed: it may meet others: no part of the key that equals none is NULL.
        """
        self.stretches.add(entry)
        if indexed:
            insort(self.index.setdefault(key, []), entry)

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

    def changes(self) -> Iterable[tuple[bytes, bytes | None, Row]]:
        """Numbers of the rows that are to be stored or deleted: with their state, or None."""
        gone, fresh, floor = self.gone, self.fresh, self.floor
        self.gone, self.fresh, self.stored = [], [], self.next
        for number in gone:
            yield number.to_bytes(8, "big"), None, ()
        for number, row in {number: row for time, number, row in fresh if time >= floor}.items():
            yield number.to_bytes(8, "big"), MET if self.keeps_alone and number not in self.alone else ALONE, row


_row = itemgetter(2)


class IntervalJoinRows(Vertex):
    """Holds the rows that others may still meet.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: IntervalJoinPlan) -> None:
        super().__init__(COLUMNS + len(plan.left.layout.columns))
        self._plan = plan
        self._sides = (plan.left, plan.right)
        self._kept = tuple(KeptRows(side.alone is not None, plan.most, plan.stretch) for side in self._sides)
        self._codecs = tuple(RowCodec(side.layout, side.reads) for side in self._sides)
        self._reached = MIN_WATERMARK
        self._largest = 0
        self._failed = self.failing(0), self.failing(1)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows of both sides, and let go those that the watermark of both has passed."""
        (left, low), (right, high) = flows
        (one, other), (mine, theirs), reached = self._sides, self._kept, self._reached
        first_mine, first_theirs = mine.next, theirs.next
        mine_fail, theirs_fail = self._failed
        found: list[Row] = []
        self._largest += len(left) + len(right)
        mine_new = one.hold(left, reached, mine, mine_fail) if left else []
        theirs_new = other.hold(right, reached, theirs, theirs_fail) if right else []
        if mine_new:
            one.meet(mine_new, reached, mine, theirs, first_theirs, found, mine_fail)
        if theirs_new:
            other.meet(theirs_new, reached, theirs, mine, first_mine, found, theirs_fail)
            if mine_new and self._plan.in_turn:
                found.sort(key=_came)
        mine.take(mine_new, first_mine)
        theirs.take(theirs_new, first_theirs)
        for kept in self._kept:
            if kept.overflown:
                self.counters.add("join_row_limit", kept.overflown)
                kept.overflown = 0
        watermark = low if low < high else high
        if watermark != self._reached:
            self._reached = watermark
            self._let_go(watermark, found)
        return Flow(found, self._behind(watermark))

    def _let_go(self, watermark: int, found: list[Row]) -> None:
        over: list[tuple[int, int, int, Row]] = []
        for place, (side, kept) in enumerate(zip(self._sides, self._kept, strict=True)):
            for time, number, row in kept.let_go(watermark - side.reach, side.key_of):
                over.append((time + side.reach, place, number, row))
        over.sort()
        for _, place, _, row in over:
            alone = self._sides[place].alone
            assert alone is not None
            try:
                result = alone(row)
            except FAILURES as error:
                self._failed[place](error, row)
            else:
                if result is not None:
                    found.append(result)

    def _behind(self, watermark: int) -> int:
        moves = watermark not in (MIN_WATERMARK, MAX_WATERMARK)
        return watermark - self._plan.hold if moves else watermark

    # --- state ----------------------------------------------------------------------------------------

    def changes(self) -> Entries:
        """Rows that came or went, or have met their first."""
        for name, kept, codec in zip(_NAMES, self._kept, self._codecs, strict=True):
            for number, state, row in kept.changes():
                yield name + number, None if state is None else state + codec.encode(row)

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the rows that were held."""
        for name, value in sorted(entries):
            if name[:1] not in _NAMES or len(name) != 9:
                raise StateError(f"an entry of another kind of state: {name!r}")
            place = _NAMES.index(name[:1])
            kept, side = self._kept[place], self._sides[place]
            number, row = int.from_bytes(name[1:], "big"), self._codecs[place].decode(value[1:])
            indexed = not any(row[place] is None for place in side.strict)
            kept.hold((row[TIME], number, row), side.key_of(row), indexed)
            if kept.keeps_alone and value[:1] == ALONE:
                kept.alone.add(number)
            kept.next = kept.stored = number + 1

    def resume(self, watermarks: Sequence[int]) -> int:
        """Rows behind the watermark are late again."""
        self._reached = min(watermarks)
        self.watermark = self._behind(self._reached)
        return self.watermark

    def crowded(self, rows: int) -> bool:
        """Whether a key may have too many rows: then it counts what is let go between them."""
        if self._largest + rows > self._plan.most:  # no key has more rows than have come since it was counted
            self._largest = max(kept.largest for kept in self._kept)
        return self._largest + rows > self._plan.most


_came = itemgetter(POSITION)
"""What orders pairs as if their rows had come one by one: where the later row stood."""
