"""Vertices: what a graph is made of, and those that hold nothing but an operator.

A vertex takes the rows and the watermark of those that it reads, and gives rows and a watermark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from anomaly_app.errors import AnomalyError, EvaluationError, StateError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.keyed import KeyedState
from anomaly_app.operators import (
    COLUMNS,
    MAX_WATERMARK,
    MIN_WATERMARK,
    POSITION,
    Arrivals,
    Counters,
    Finding,
    Operator,
    Problem,
    Row,
)
from anomaly_app.windows.operator import WindowOperator

Entries = Iterable[tuple[bytes, "bytes | None"]]


class Flow(NamedTuple):
    """What passes along an edge of a graph in one step.

    Args:
        rows: in order of arrival, or of time where the edge is ordered.
        watermark: behind them, in ms.
    """

    rows: Sequence[Row]
    watermark: int


class Vertex:
    """A node of a graph at work.

    Args:
        width: of a row of its input, without what stands behind the columns.

    Attributes:
        watermark: behind the rows of the steps so far.
        problems: rows on which it failed; the graph takes them.
        counters: what it dropped or bounded.
        late: rows of its first input that came too late for it; the graph takes them.
        late_others: and those of further inputs, with the number of the input.
        rows_out: how many rows it has given; the graph counts them, once a step.
        rows_late: how many came too late for it.
        stores: values by key, which the graph stores and gives back; set when it is made, and not changed.
    """

    keeps_rows = True
    stores: Sequence[KeyedState[Any]] = ()

    def __init__(self, width: int = COLUMNS) -> None:
        self.width = width
        self.watermark = MIN_WATERMARK
        self.problems: list[Problem] = []
        self.counters = Counters()
        self.late: list[Row] = []
        self.late_others: list[tuple[int, Row]] = []
        self.rows_out = self.rows_late = 0

    def run(self, flows: Sequence[Flow]) -> Flow:
        """One step: a flow for each input."""
        raise NotImplementedError

    def changes(self) -> Entries:
        """State entries put (or deleted: None) since the last call."""
        return ()

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back, into a fresh vertex, all entries that stand."""
        for entry, _ in entries:
            raise StateError(f"an entry of another kind of state: {entry!r}")

    def resume(self, watermarks: Sequence[int]) -> int:
        """Go on, restored, behind these watermarks of the inputs; gives the watermark behind the rows so far."""
        self.watermark = min(watermarks)
        return self.watermark

    def crowded(self, rows: int) -> bool:
        """Whether so many more rows may not find room: then it counts what is given out between them."""
        return False

    def due_ms(self) -> int | None:
        """Time of the clock from which on something is complete without another row; None if nothing waits."""
        return None

    def count_in(self, counters: Counters) -> None:
        """Count what is dropped or bounded there."""
        self.counters = counters

    def fail(self, error: Exception, row: Row, side: int = 0) -> None:
        """Report a row of an input on which an expression failed."""
        problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
        self.problems.append(Problem(problem, [row], side=side))

    def failing(self, side: int) -> Callable[[Exception, Row], None]:
        """The same as a function, for the rows of one input."""
        return lambda error, row: self.fail(error, row, side)


class Transform(Vertex):
    """A function of one row: it gives a row, or None.

    Args:
        apply: a row to a row; None leaves it out.
        width: of a row of its input.
    """

    def __init__(self, apply: Callable[[Row], Row | None], width: int) -> None:
        super().__init__(width)
        self._apply = apply

    def run(self, flows: Sequence[Flow]) -> Flow:
        """All rows through the function."""
        ((rows, watermark),) = flows
        apply = self._apply
        try:
            return Flow([out for row in rows if (out := apply(row)) is not None], watermark)
        except FAILURES:
            found: list[Row] = []
            for row in rows:
                try:
                    result = apply(row)
                except FAILURES as error:
                    self.fail(error, row)
                else:
                    if result is not None:
                        found.append(result)
            return Flow(found, watermark)


class Expand(Vertex):
    """A function of one row that gives any number of rows.

    Args:
        expand: a row to rows.
        width: of a row of its input.
    """

    def __init__(self, expand: Callable[[Row], Iterable[Row]], width: int) -> None:
        super().__init__(width)
        self._expand = expand

    def run(self, flows: Sequence[Flow]) -> Flow:
        """All rows through the function."""
        ((rows, watermark),) = flows
        found: list[Row] = []
        for row in rows:
            try:
                found += self._expand(row)
            except FAILURES as error:
                self.fail(error, row)
        return Flow(found, watermark)


class Stamp(Vertex):
    """Adds a column behind the others: the watermark in front of the row, NULL if there is none yet.

    Attributes:
        fronts: these watermarks, of the rows of the next step; the graph sets them.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.fronts: Sequence[int] = ()

    def run(self, flows: Sequence[Flow]) -> Flow:
        """All rows, each a column longer."""
        ((rows, watermark),) = flows
        width = self.width
        stamped = [
            (*row[:width], None if front == MIN_WATERMARK else front, *row[width:])
            for row, front in zip(rows, self.fronts, strict=True)
        ]
        return Flow(stamped, watermark)


class Merge(Vertex):
    """UNION ALL: the watermark of all is the least of them.

    Args:
        by: places in a row by which the rows of all inputs rise: the position where they pass as they come, the time
            where the watermark releases them. So their order does not hang on how the input was cut. () for none.
    """

    def __init__(self, by: tuple[int, ...] = ()) -> None:
        super().__init__()
        self._by = itemgetter(*by) if by else None

    def run(self, flows: Sequence[Flow]) -> Flow:
        """The rows of all inputs; equal ones in order of the inputs."""
        watermark = min(flow.watermark for flow in flows)
        full = [flow.rows for flow in flows if flow.rows]
        if len(full) == 1:
            return Flow(full[0], watermark)
        rows = [row for rows in full for row in rows]
        if self._by is not None:
            rows.sort(key=self._by)
        return Flow(rows, watermark)


class Constant(Vertex):
    """Rows that are there from the beginning, such as those of VALUES.

    Args:
        rows: given once.
    """

    def __init__(self, rows: Callable[[], Sequence[Row]]) -> None:
        super().__init__()
        self._rows, self._given, self._stored = rows, False, False

    def run(self, flows: Sequence[Flow]) -> Flow:
        """The rows in the first step."""
        if self._given:
            return Flow((), MAX_WATERMARK)
        self._given = True
        return Flow(self._rows(), MAX_WATERMARK)

    def changes(self) -> Entries:
        """That the rows have been given."""
        if self._given and not self._stored:
            self._stored = True
            yield b"given", b""

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """They have been given if an entry says so."""
        self._given = self._stored = any(True for _ in entries)

    def resume(self, watermarks: Sequence[int]) -> int:
        """Nothing comes behind the rows that have been given."""
        return MAX_WATERMARK if self._given else MIN_WATERMARK


class Inner(Vertex):
    """An operator of one input inside a graph, whose findings become rows.

    Args:
        operator: fresh.
        in_order: its rows come in order of time; else the operator is told which are behind the watermark.
        width: of a row of its input, without what stands behind the columns.
        by_arrival: its findings are given out a millisecond of arrival later than their time.
        order_key: orders rows of equal time; None without.
        sort_key: orders all rows of a bounded input before the first is processed; None to work as they come.
    """

    def __init__(
        self,
        operator: Operator,
        *,
        in_order: bool,
        width: int,
        by_arrival: bool = False,
        order_key: Callable[[Row], Any] | None = None,
        sort_key: Callable[[Row], Any] | None = None,
    ) -> None:
        super().__init__(width)
        self.operator, self._in_order = operator, in_order
        self._by_arrival, self._order_key, self._sort_key = by_arrival, order_key, sort_key
        self._unsorted: list[Row] = []
        self.counters = operator.counters
        self.keeps_rows = operator.keeps_rows

    def find(self, flows: Sequence[Flow]) -> tuple[list[Finding], int]:
        """One step, as findings."""
        ((rows, watermark),) = flows
        operator = self.operator
        if self._sort_key is not None:
            self._unsorted += rows
            if watermark != MAX_WATERMARK:
                return [], watermark
            rows, self._unsorted = sorted(self._unsorted, key=self._sort_key), []
        if not rows:
            found = operator.advance(watermark)
        elif self._in_order:
            if self._order_key is not None:
                rows = sorted(rows, key=self._order_key)
            found = operator.process(rows, watermark)
        else:
            arrivals = Arrivals(rows, watermark=self.watermark, highest=self.watermark, delay_ms=None)
            found = operator.process(rows, watermark, arrivals)
        self.watermark = watermark
        if operator.problems:
            self.problems += operator.problems
            operator.problems.clear()
        if operator.late:
            self.late += operator.late
            operator.late.clear()
        return found, self._reached(watermark)

    def _reached(self, watermark: int) -> int:
        """The watermark behind the findings."""
        moves = self._by_arrival and watermark not in (MIN_WATERMARK, MAX_WATERMARK)
        return watermark - 1 if moves else watermark

    def resume(self, watermarks: Sequence[int]) -> int:
        """The operator has restored itself; what is late is told by the watermark."""
        return self._reached(super().resume(watermarks))

    def run(self, flows: Sequence[Flow]) -> Flow:
        """One step; each finding is a row that remembers what it was made of."""
        found, watermark = self.find(flows)
        width = self.width
        return Flow([derived(finding, width) for finding in found], watermark)

    def changes(self) -> Entries:
        """Those of the operator."""
        return self.operator.changes()

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Into the operator."""
        self.operator.restore(entries)

    def count_in(self, counters: Counters) -> None:
        """The operator counts there, too."""
        self.counters = self.operator.counters = counters

    def crowded(self, rows: int) -> bool:
        """Groups of windows are bounded."""
        return isinstance(self.operator, WindowOperator) and self.operator.crowded(rows)

    def due_ms(self) -> int | None:
        """That of the operator."""
        return self.operator.due_ms()


def derived(finding: Finding, width: int) -> Row:
    """A finding as a row for the next vertex: time, position, values, and the origin of what it was made of.

    Args:
        finding: of an operator.
        width: of a row of that operator's input, without what stands behind the columns.
    """
    last = finding.last
    return (finding.time, last[POSITION], *finding.values, origin_of(last, width, finding.number))


def origin_of(row: Row, width: int, number: int) -> tuple[Any, ...]:
    """What a row made of others remembers: numbers that tell it apart, and where the last source row stood.

    The last element of a derived row is such an origin itself; a source row may end with partition and offset in the
    topic in front of a repartition.
    """
    behind = row[width:]
    if len(behind) == 1:  # an origin
        path, *place = behind[0]
        return ((*path, number), *place)
    return ((number,), row[POSITION], *behind)


def place_in_source(row: Row, width: int) -> tuple[int, int | None]:
    """Where a row, or the last one that it was made of, stands in the source: offset, and partition if it is known.

    Args:
        row: of any edge of a graph.
        width: of such a row, without what stands behind the columns.

    Example:
        >>> place_in_source((1_000, 42, "ann"), 3), place_in_source((1_000, 42, "ann", 5, 77), 3)
        ((42, None), (77, 5))
        >>> place_in_source((1_000, 42, "ann", ((0,), 42)), 3)
        (42, None)
    """
    behind = row[width:]
    if len(behind) == 1:
        _, position, *behind = behind[0]
    else:
        position = row[POSITION]
    return (behind[1], behind[0]) if behind else (position, None)


def row_number(row: Row, end: int) -> int:
    """A number that tells rows of one last source row apart, and is the same in a replay."""
    behind = row[end:]
    if len(behind) != 1:
        return 0
    return digest_of((behind[0][0], row[COLUMNS:end]))


def digest_of(value: Any) -> int:
    """A number that tells values apart, and is the same in every process."""
    digest = hashlib.blake2b(msgspec.msgpack.encode(value, enc_hook=str), digest_size=7)
    return int.from_bytes(digest.digest(), "big")
