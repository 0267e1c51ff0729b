"""Interval join: rows of two inputs whose times are near each other, and outer rows that none can meet any more.

A row meets the rows that are held of the other side, and is then held itself for as long as one may come that it
would meet. Pairs are the same however the rows of both sides come between each other: whoever comes later finds the
other one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from anomaly_app.errors import StateError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.interval_rows import BlockCodec, Entry, Fail, KeptRows
from anomaly_app.graph.vertices import Entries, Flow, Vertex
from anomaly_app.operators import COLUMNS, MAX_WATERMARK, MIN_WATERMARK, POSITION, Layout, Row

_NAMES, _MET = (b"a", b"b"), (b"A", b"B")
"""Begin the entries of the blocks of each side, and of what stands beside them."""

_STRETCHES = 512
"""In how many stretches of time the rows of a side are let go."""

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


class IntervalJoinRows(Vertex):
    """Holds the rows that others may still meet.

    Args:
        plan: of the query.

    Attributes:
        kept: the rows of each side.
    """

    def __init__(self, plan: IntervalJoinPlan) -> None:
        super().__init__(COLUMNS + len(plan.left.layout.columns))
        self._plan = plan
        self._sides = (plan.left, plan.right)
        self.kept = tuple(KeptRows(side.alone is not None, plan.most, plan.stretch) for side in self._sides)
        self._codecs = tuple(BlockCodec(side.layout, side.reads) for side in self._sides)
        self._reached = MIN_WATERMARK
        self._largest = 0
        self._failed = self.failing(0), self.failing(1)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows of both sides, and let go those that the watermark of both has passed."""
        (left, low), (right, high) = flows
        (one, other), (mine, theirs), reached = self._sides, self.kept, self._reached
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
        for kept in self.kept:
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
        for place, (side, kept) in enumerate(zip(self._sides, self.kept, strict=True)):
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
        for name, met, kept, codec in zip(_NAMES, _MET, self.kept, self._codecs, strict=True):
            for first, is_block, value in kept.changes(codec):
                yield (name if is_block else met) + first.to_bytes(8, "big"), value

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the rows that were held."""
        found: dict[bytes, list[tuple[int, bytes]]] = {name: [] for name in (*_NAMES, *_MET)}
        for name, value in sorted(entries):
            if name[:1] not in found or len(name) != 9:
                raise StateError(f"an entry of another kind of state: {name!r}")
            found[name[:1]].append((int.from_bytes(name[1:], "big"), value))
        for place, (kept, side) in enumerate(zip(self.kept, self._sides, strict=True)):
            blocks, met = found[_NAMES[place]], found[_MET[place]]
            kept.restore(blocks, met, self._codecs[place], side.key_of, side.strict)

    def resume(self, watermarks: Sequence[int]) -> int:
        """Rows behind the watermark are late again, and those that it had let go are not held."""
        self._reached = min(watermarks)
        for side, kept in zip(self._sides, self.kept, strict=True):
            kept.let_go(self._reached - side.reach, side.key_of)
        self._largest = max(kept.largest for kept in self.kept)
        self.watermark = self._behind(self._reached)
        return self.watermark

    def crowded(self, rows: int) -> bool:
        """Whether a key may have too many rows: then it counts what is let go between them."""
        if self._largest + rows > self._plan.most:  # no key has more rows than have come since it was counted
            self._largest = max(kept.largest for kept in self.kept)
        return self._largest + rows > self._plan.most


_came = itemgetter(POSITION)
"""What orders pairs as if their rows had come one by one: where the later row stood."""
