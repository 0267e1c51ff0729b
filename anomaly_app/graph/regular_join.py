"""Regular join: every pair of rows of two inputs, whenever they come; what becomes of them follows their changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.changes import Change
from anomaly_app.expressions.typed import FAILURES, Environment
from anomaly_app.graph.compaction import compacted, values_at
from anomaly_app.graph.join_side import FEW, Group, Side, SidePlan, in_order_of_arrival, origin_of_pair
from anomaly_app.graph.vertices import Flow, Vertex, origin_of
from anomaly_app.operators import COLUMNS, POSITION, Row


@dataclass(frozen=True, slots=True)
class RegularJoinPlan:
    """A join of rows of two layouts.

    Args:
        left: one input.
        right: the other.
        condition: what else holds for a pair; None for nothing.
        updating: rows of the result carry what they change, behind their columns.
        ttl_ms: after which a key whose rows did not come any more is dropped; None for never.
        seen: indexes of the columns of the result that somebody needs.
    """

    left: SidePlan
    right: SidePlan
    condition: Callable[[Row, Row], Any] | None
    updating: bool
    ttl_ms: int | None
    seen: tuple[int, ...]


class RegularJoinRows(Vertex):
    """Holds all rows of both inputs.

    Which rows of an outer side meet none is known by the size of the other group; with a further condition by counts,
    which are not stored: they follow from the rows.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: RegularJoinPlan) -> None:
        super().__init__(plan.left.width)
        self._plan = plan
        self._counts = [side.outer and plan.condition is not None for side in (plan.left, plan.right)]
        self._sides = (Side(plan.left, plan.ttl_ms), Side(plan.right, plan.ttl_ms))
        self.stores = tuple(side.store for side in self._sides)
        self._pair, *alone = _makers(plan)
        self._alone = tuple(alone)
        self._seen = values_at(plan.seen)
        self._change = COLUMNS + sum(len(side.layout.columns) - (side.change > 0) for side in (plan.left, plan.right))

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows of both sides, and give what they change."""
        watermark = min(flow.watermark for flow in flows)
        keys = [
            list(map(side.plan.key_of, flow.rows)) if flow.rows else []
            for side, flow in zip(self._sides, flows, strict=True)
        ]
        for side in self._sides:
            side.store.prefetch(keys[0] + keys[1])
        arrivals = in_order_of_arrival(flows[0].rows, keys[0], flows[1].rows, keys[1])
        found = self._insert(arrivals) if not self._plan.updating else self._change_rows(arrivals)
        for side in self._sides:
            side.flush(watermark)
        return Flow(found, watermark)

    # --- inner joins of inputs that only grow -------------------------------------------------------------

    def _insert(self, arrivals: Sequence[tuple[int, Any, Row]]) -> list[Row]:
        found: list[Row] = []
        sides, pair = self._sides, self._pair
        width, other_width = self._plan.left.width, self._plan.right.width
        tests = [side.plan.meets_nothing for side in sides]
        for place, key, row in arrivals:
            test = tests[place]
            if test is not None and test(key):
                continue
            side, other = sides[place], sides[1 - place]
            side.add(key, side.group(key, row[0]), row)
            others = other.group(key, row[0])
            if others is None:
                continue
            met: Sequence[Row] = others
            if self._plan.condition is not None:
                met = [others[number] for number in self._met(place, row, others)]
            if place == 0:
                found += [pair(row, one, row[POSITION], origin_of_pair(row, width, one, other_width)) for one in met]
            else:
                found += [pair(one, row, row[POSITION], origin_of_pair(one, width, row, other_width)) for one in met]
        return found

    def _met(self, place: int, row: Row, others: Sequence[Row]) -> list[int]:
        """Numbers of the rows of the other side that a row meets."""
        condition = self._plan.condition
        if condition is None:
            return list(range(len(others)))
        try:
            if place == 0:
                return [number for number, one in enumerate(others) if condition(row, one)]
            return [number for number, one in enumerate(others) if condition(one, row)]
        except FAILURES:
            return [number for number, one in enumerate(others) if self._holds(condition, place, row, one)]

    def _holds(self, condition: Callable[[Row, Row], Any], place: int, row: Row, one: Row) -> bool:
        try:
            return bool(condition(row, one) if place == 0 else condition(one, row))
        except FAILURES as error:
            # It is the columns of the left that failures tell.
            self.fail(error, row if place == 0 else one)
            return False

    # --- all others -----------------------------------------------------------------------------------------

    def _change_rows(self, arrivals: Sequence[tuple[int, Any, Row]]) -> list[Row]:
        found: list[Row] = []
        takes_back = False
        pair, (left_alone, right_alone) = self._pair, self._alone
        for place, key, row in arrivals:
            side = self._sides[place].plan
            kind = row[side.change] if side.change else 0
            made: Iterable[_Made]
            if side.meets_nothing is not None and side.meets_nothing(key):
                made = [(place, row, None, kind)] if side.outer else ()
            elif kind % 2:
                made = self._taken_back(place, key, row, kind)
            else:
                made = self._added(place, key, row, kind)
            position, width = row[POSITION], side.width
            for number, (own, one, other, change) in enumerate(made):
                origin = origin_of(row, width, number)
                takes_back = takes_back or change % 2 == 1
                if other is None:
                    found.append((right_alone if own else left_alone)(one, position, change, origin))
                elif own:
                    found.append(pair(other, one, position, change, origin))
                else:
                    found.append(pair(one, other, position, change, origin))
        return compacted(found, self._change, self._seen) if takes_back else found

    def _added(self, place: int, key: Any, row: Row, kind: int) -> Iterator[_Made]:
        side, other = self._sides[place], self._sides[1 - place]
        own, others = side.group(key, row[0]), other.group(key, row[0])
        self._count(key, place, own, others)
        met = self._met(place, row, others) if others is not None else ()
        before = len(own) if own is not None else 0
        side.add(key, own, row)
        if own is not None and own.met is not None:
            own.met.append(len(met))
        if others is None or not met:
            if side.plan.outer:
                yield place, row, None, kind
            return
        counts = others.met
        for number in met:
            one = others[number]
            if other.plan.outer and (before if counts is None else counts[number]) == 0:
                yield 1 - place, one, None, Change.DELETE.value
            if counts is not None:
                counts[number] += 1
            yield place, row, one, kind

    def _taken_back(self, place: int, key: Any, row: Row, kind: int) -> Iterator[_Made]:
        side, other = self._sides[place], self._sides[1 - place]
        own, others = side.group(key, row[0]), other.group(key, row[0])
        assert side.identity is not None
        where = own.find(row, side.identity) if own is not None else -1
        if own is None or where < 0:
            self.counters.add("taken back without having come")
            return
        self._count(key, place, own, others)
        row = side.remove(key, own, where)
        met = self._met(place, row, others) if others is not None else ()
        if others is None or not met:
            if side.plan.outer:
                yield place, row, None, kind
            return
        counts = others.met
        for number in met:
            one = others[number]
            yield place, row, one, kind
            if counts is not None:
                counts[number] -= 1
            if other.plan.outer and (len(own) if counts is None else counts[number]) == 0:
                yield 1 - place, one, None, Change.INSERT.value

    def _count(self, key: Any, place: int, own: Group | None, others: Group | None) -> None:
        """See to it that it is known how many rows those of both groups have met, where somebody asks for it.

        Of a row that is kept as it is it is found out again each time, unless there are many to look at.
        """
        for side, group, facing in ((place, own, others), (1 - place, others, own)):
            if group is not None and group.met is None and self._counts[side]:
                met = [len(self._met(side, row, facing)) for row in group] if facing is not None else None
                group.more.met = met or [0] * len(group)
                if facing is not None and len(facing) > FEW:
                    self._sides[side].keep(key, group)


_Made: TypeAlias = tuple[int, Row, Row | None, int]
"""A row of the result: number of a side, its row, the row of the other side, and what is changed."""


def _makers(plan: RegularJoinPlan) -> tuple[Callable[..., Row], Callable[..., Row], Callable[..., Row]]:
    """What makes rows of the result: of a pair, and of a row of the left and of the right alone."""
    env = Environment()
    names = []
    for side, name in ((plan.left, "a"), (plan.right, "b")):
        places = range(COLUMNS, side.width)
        names.append([f"{name}[{place}]" for place in places if not side.change or place != side.change])
    left, right = names
    some = ["kind"] if plan.updating else []
    functions = []
    for name, parameters, time, columns in (
        ("pair", "a, b", "a[0] if a[0] > b[0] else b[0]", [*left, *right]),
        ("left", "a", "a[0]", [*left, *["None"] * len(right)]),
        ("right", "b", "b[0]", [*["None"] * len(left), *right]),
    ):
        values = ", ".join([time, "position", *columns, *some, "origin"])
        arguments = ", ".join([parameters, "position", *some, "origin"])
        functions.append(env.function(name, f"def {name}({arguments}):\n    return ({values})"))
    pair, left_alone, right_alone = functions
    return pair, left_alone, right_alone
