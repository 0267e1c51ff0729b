"""Semi and anti joins: rows of one input for which there are some of another, or are none, whenever they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_app.changes import Change
from anomaly_app.expressions.typed import FAILURES, Environment
from anomaly_app.graph.compaction import compacted, values_at
from anomaly_app.graph.join_side import FEW, Group, Side, SidePlan, in_order_of_arrival, origin_of_pair
from anomaly_app.graph.vertices import Flow, Vertex, origin_of
from anomaly_app.operators import COLUMNS, POSITION, Row


@dataclass(frozen=True, slots=True)
class SemiJoinPlan:
    """A join of rows of two layouts, of which the left ones come out.

    Args:
        kind: ``SEMI``, ``ANTI`` or ``MARK``.
        left: one input; it is outer if rows that meet none come out.
        right: the other.
        members: indexes, in a row of each side, of the values that are compared as IN does; None for EXISTS.
        condition: what else holds for a pair; None for nothing.
        updating: rows of the result carry what they change, behind their columns.
        ttl_ms: after which a key whose rows did not come any more is dropped; None for never.
        seen: indexes of the columns of the result that somebody needs.
    """

    kind: str
    left: SidePlan
    right: SidePlan
    members: tuple[int, int] | None
    condition: Callable[[Row, Row], Any] | None
    updating: bool
    ttl_ms: int | None
    seen: tuple[int, ...]


_Made = tuple[Row, "bool | None", int]
"""A row of the left, whether it meets one of the right (None: unknown), and what is changed."""


class SemiJoinRows(Vertex):
    """Holds the rows of both inputs, as far as they can make a difference yet.

    Without further condition the rows of a key meet all those of it. Else it is counted how many each meets: these
    counts are not stored, since they follow from the rows.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: SemiJoinPlan) -> None:
        super().__init__(plan.left.width)
        self._plan = plan
        self._counted = plan.condition is not None or plan.members is not None
        self._left, self._right = Side(plan.left, plan.ttl_ms), Side(plan.right, plan.ttl_ms)
        self.stores = (self._left.store, self._right.store)
        self._grows = not plan.left.change and not plan.right.change
        """Nothing is ever taken back: what a row meets, it meets for ever."""
        self._made, self._change = _maker(plan)
        self._seen = values_at(plan.seen)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows of both sides, and give those of the left that it makes a difference to."""
        watermark = min(flow.watermark for flow in flows)
        sides = (self._left, self._right)
        keys = [
            list(map(side.plan.key_of, flow.rows)) if flow.rows else [] for side, flow in zip(sides, flows, strict=True)
        ]
        for side in sides:
            side.store.prefetch(keys[0] + keys[1])
        found: list[Row] = []
        takes_back = False
        made, updating, width = self._made, self._plan.updating, self.width
        for place, key, row in in_order_of_arrival(flows[0].rows, keys[0], flows[1].rows, keys[1]):
            position, row_width = row[POSITION], sides[place].plan.width
            for number, (one, mark, change) in enumerate(self._changes(place, key, row)):
                if updating:
                    takes_back = takes_back or change % 2 == 1
                    found.append(made(one, position, mark, change, origin_of(row, row_width, number)))
                elif place == 0:
                    found.append(made(one, position, mark, change, origin_of(row, width, 0)))
                else:
                    found.append(made(one, position, mark, change, origin_of_pair(one, width, row, row_width)))
        for side in sides:
            side.flush(watermark)
        return Flow(compacted(found, self._change, self._seen) if takes_back else found, watermark)

    def _changes(self, place: int, key: Any, row: Row) -> Iterator[_Made]:
        side = (self._left, self._right)[place]
        plan = side.plan
        kind = row[plan.change] if plan.change else 0
        if plan.meets_nothing is not None and plan.meets_nothing(key):
            if place == 0 and plan.outer:
                yield row, False, kind
            return
        left, right = self._left.group(key, row[0]), self._right.group(key, row[0])
        if kind % 2:
            own = right if place else left
            assert side.identity is not None
            where = own.find(row, side.identity) if own is not None else -1
            if own is None or where < 0:
                self.counters.add("taken back without having come")
                return
            if place:
                yield from self._right_gone(key, own, where, left)
            else:
                yield from self._left_gone(key, own, where, right, kind)
        elif place:
            yield from self._right_came(key, row, left, right)
        else:
            yield from self._left_came(key, row, kind, left, right)

    # --- rows of the left ---------------------------------------------------------------------------------

    def _left_came(self, key: Any, row: Row, kind: int, left: Group | None, right: Group | None) -> Iterator[_Made]:
        sure, unsure = self._facing(row, right) if right is not None else (0, 0)
        mark = _mark(sure, unsure)
        if self._shows(mark):
            yield row, mark, kind
        if self._is_settled(mark):
            return
        self._count(key, left, right)
        self._left.add(key, left, row)
        if left is not None and self._counted:
            met, unknown = _counts(left)
            met.append(sure)
            unknown.append(unsure)

    def _left_gone(self, key: Any, left: Group, where: int, right: Group | None, kind: int) -> Iterator[_Made]:
        self._count(key, left, right)
        mark = self._mark_of(left, where, right)
        row = self._left.remove(key, left, where)
        if self._shows(mark):
            yield row, mark, kind

    # --- rows of the right --------------------------------------------------------------------------------

    def _right_came(self, key: Any, row: Row, left: Group | None, right: Group | None) -> Iterator[_Made]:
        if self._counted:
            self._count(key, left, right)
            self._right.add(key, right, row)
            yield from self._counted_change(key, row, left, 1)
            return
        if right is None or self._plan.right.change:
            self._right.add(key, right, row)
        else:  # one row tells as much as many
            self._right.use(key, right, row)
        if right is None and left is not None:
            yield from self._flipped(list(left), False, True)
            if self._grows:
                self._left.drop(key)

    def _right_gone(self, key: Any, right: Group, where: int, left: Group | None) -> Iterator[_Made]:
        self._count(key, left, right)
        row = self._right.remove(key, right, where)
        if self._counted:
            yield from self._counted_change(key, row, left, -1)
        elif not right and left is not None:
            yield from self._flipped(list(left), True, False)

    def _counted_change(self, key: Any, row: Row, left: Group | None, by: int) -> Iterator[_Made]:
        """A row of the right has come or gone: each row of the left that meets it meets one more or less."""
        if left is None:
            return
        met, unsure = _counts(left)
        settled: list[int] = []
        for number, is_sure in self._those(row, left):
            before = _mark(met[number], unsure[number])
            counts = met if is_sure else unsure
            counts[number] += by
            after = _mark(met[number], unsure[number])
            if before is not after:
                yield from self._flipped([left[number]], before, after)
            if self._is_settled(after):
                settled.append(number)
        for number in sorted(settled, reverse=True):
            self._left.remove(key, left, number)

    def _flipped(self, rows: Sequence[Row], before: bool | None, after: bool | None) -> Iterator[_Made]:
        if self._plan.kind == "MARK":
            for row in rows:
                yield row, before, Change.BEFORE.value
                yield row, after, Change.AFTER.value
        elif self._shows(before) != self._shows(after):
            kind = Change.DELETE if self._shows(before) else Change.INSERT
            for row in rows:
                yield row, None, kind.value

    # --- who meets whom -----------------------------------------------------------------------------------

    def _shows(self, mark: bool | None) -> bool:
        """Whether a row of the left comes out."""
        kind = self._plan.kind
        return kind == "MARK" or (mark is True if kind == "SEMI" else mark is False)

    def _is_settled(self, mark: bool | None) -> bool:
        """Whether nothing changes any more for a row."""
        return self._grows and (mark is True or (mark is None and self._plan.kind == "ANTI"))

    def _facing(self, row: Row, right: Group) -> tuple[int, int]:
        """How many rows of the right a row of the left meets, and of how many it is unknown."""
        if not self._counted:
            return len(right), 0
        members, condition = self._plan.members, self._plan.condition
        sure = unsure = 0
        for number, is_sure in _candidates(row, members[0] if members else None, right, members and members[1]):
            if condition is None or self._holds(condition, row, right[number]):
                if is_sure:
                    sure += 1
                else:
                    unsure += 1
        return sure, unsure

    def _those(self, row: Row, left: Group) -> Iterator[tuple[int, bool]]:
        """Numbers of the rows of the left that a row of the right meets, and whether that is sure."""
        members, condition = self._plan.members, self._plan.condition
        for number, is_sure in _candidates(row, members[1] if members else None, left, members and members[0]):
            if condition is None or self._holds(condition, left[number], row):
                yield number, is_sure

    def _holds(self, condition: Callable[[Row, Row], Any], left: Row, right: Row) -> bool:
        try:
            return bool(condition(left, right))
        except FAILURES as error:
            self.fail(error, left)
            return False

    def _mark_of(self, left: Group, number: int, right: Group | None) -> bool | None:
        if not self._counted:
            return right is not None and len(right) > 0
        met, unsure = _counts(left)
        return _mark(met[number], unsure[number])

    def _count(self, key: Any, left: Group | None, right: Group | None) -> None:
        """See to it that it is known how many rows those of the left have met.

        Of a row that is kept as it is it is found out again each time, unless there are many to look at.
        """
        if left is None or left.met is not None or not self._counted:
            return
        found = [self._facing(row, right) if right is not None else (0, 0) for row in left]
        left.more.met, left.more.unsure = [sure for sure, _ in found], [unsure for _, unsure in found]
        if right is not None and len(right) > FEW:
            self._left.keep(key, left)


def _counts(left: Group) -> tuple[list[int], list[int]]:
    """How many rows those of a group have met for sure, and perhaps."""
    more = left.more
    if more.met is None or more.unsure is None:
        more.met, more.unsure = [], []
    return more.met, more.unsure


def _mark(sure: int, unsure: int) -> bool | None:
    return True if sure else None if unsure else False


def _candidates(row: Row, member: int | None, others: Group, theirs: int | None) -> list[tuple[int, bool]]:
    """Numbers of rows of a group that may be met, and whether that would be sure: NULL may be equal to anything."""
    if member is None or theirs is None:
        return [(number, True) for number in range(len(others))]
    value = row[member]
    if value is None:
        return [(number, False) for number in range(len(others))]
    known = others.by_member(theirs)
    equal = [(number, True) for number in known.get(value, ())]
    return equal + [(number, False) for number in known.get(None, ())]


def _maker(plan: SemiJoinPlan) -> tuple[Callable[..., Row], int]:
    """What makes a row of the result, and the index of the kind of change in it."""
    side = plan.left
    columns = [f"row[{k}]" for k in range(COLUMNS, side.width) if not side.change or k != side.change]
    if plan.kind == "MARK":
        columns.append("mark")
    values = ", ".join(["row[0]", "position", *columns, *["kind"] * plan.updating, "origin"])
    source = f"def made(row, position, mark, kind, origin):\n    return ({values})"
    return Environment().function("made", source), COLUMNS + len(columns)
