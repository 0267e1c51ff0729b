"""Operators joined to a graph: the rows of one or more inputs through all nodes of a query.

A graph is itself an operator. Its vertices stand in topological order; each takes the rows and the watermark of those
that it reads, once per step. In a step no row but the first may be behind the watermark that the step began with, so
that results do not hang on how the input was cut into batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from anomaly_app.errors import AnomalyError, EvaluationError, StateError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.operators import (
    COLUMNS,
    MAX_WATERMARK,
    MIN_WATERMARK,
    POSITION,
    TIME,
    Arrivals,
    Counters,
    Finding,
    Operator,
    Problem,
    Row,
)

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
        late: rows that came too late for it; the graph takes them.
    """

    keeps_rows = True

    def __init__(self, width: int = COLUMNS) -> None:
        self.width = width
        self.watermark = MIN_WATERMARK
        self.problems: list[Problem] = []
        self.counters = Counters()
        self.late: list[Row] = []

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

    def due_ms(self) -> int | None:
        """Time of the clock from which on something is complete without another row; None if nothing waits."""
        return None

    def count_in(self, counters: Counters) -> None:
        """Count what is dropped or bounded there."""
        self.counters = counters

    def fail(self, error: Exception, row: Row) -> None:
        """Report a row on which an expression failed."""
        problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
        self.problems.append(Problem(problem, [row]))


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


class Merge(Vertex):
    """UNION ALL: the watermark of all is the least of them.

    Args:
        by: index in a row of what brings the rows of a step into one order, whatever the batches were: the position,
            where all inputs give rows as they come, or the time, where all give them as the watermark passes; None
            where there is no such order.
    """

    def __init__(self, by: int | None) -> None:
        super().__init__()
        self._by = itemgetter(by) if by is not None else None

    def run(self, flows: Sequence[Flow]) -> Flow:
        """The rows of all inputs; of equal ones those of the earlier input first."""
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


@dataclass(frozen=True, slots=True)
class VertexPlan:
    """A vertex to be.

    Args:
        make: makes a fresh one.
        inputs: numbers of the vertices that it reads; negative ones are inputs of the graph: -1, -2, …
        name: for people and for metrics.
    """

    make: Callable[[], Vertex]
    inputs: tuple[int, ...]
    name: str


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """A graph to be.

    Args:
        vertices: in topological order; the last one gives the result.
        width: columns of a row of the only input: findings on rows of the result are told by the last source row.
        result_width: columns of the result.
        splits_at: a row this many milliseconds ahead of the watermark, or less, begins a step.
    """

    vertices: tuple[VertexPlan, ...]
    width: int
    result_width: int
    splits_at: int = 0


class GraphOperator:
    """A graph over one input: an :class:`~anomaly_app.operators.Operator`.

    Args:
        plan: what it is made of.
        into: from the values of the result to those of a finding, such as the row of a sink; None if they are the same.
    """

    def __init__(self, plan: GraphPlan, into: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None) -> None:
        self.plan, self._into = plan, into
        self.vertices = [vertex.make() for vertex in plan.vertices]
        self.problems: list[Problem] = []
        self.late: list[Row] = []
        self.counters = Counters()
        for vertex in self.vertices:
            vertex.count_in(self.counters)
        self._last = self.vertices[-1]
        logs = [vertex for vertex in self.vertices if not vertex.keeps_rows]
        assert len(logs) <= 1, "at most one vertex takes the source as its log"
        self._log = logs[0] if logs else None
        self._replays = self._restored = False

    # --- the operator contract ----------------------------------------------------------------------

    def process(self, rows: Sequence[Row], watermark: int, arrivals: Arrivals | None = None) -> list[Finding]:
        """Take rows, and move time."""
        if self._replays:
            return self._replay(rows, watermark)
        found: list[Finding] = []
        first = 0
        if self._restored:
            self._resume(arrivals.begin if arrivals is not None else MIN_WATERMARK)
        if arrivals is not None:
            ahead = self.plan.splits_at
            for number, reached in arrivals.behind:
                if number and rows[number][TIME] <= reached + ahead:
                    found += self.step([Flow(rows[first:number], reached)])
                    first = number
        return found + self.step([Flow(rows[first:] if first else rows, watermark)])

    def advance(self, watermark: int) -> list[Finding]:
        """Move time without rows."""
        if self._replays:
            self._replay((), watermark)
        return self.step([Flow((), watermark)])

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Entries of all vertices, under their numbers."""
        for number, vertex in enumerate(self.vertices):
            prefix = number.to_bytes(2, "big")
            for key, value in vertex.changes():
                yield prefix + key, value

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Give the entries back to their vertices."""
        own: dict[int, list[tuple[bytes, bytes]]] = {}
        for key, value in state:
            number = int.from_bytes(key[:2], "big")
            if number >= len(self.vertices):
                raise StateError(f"an entry of another kind of state: {key!r}")
            own.setdefault(number, []).append((key[2:], value))
        for number, vertex in enumerate(self.vertices):
            vertex.restore(own.get(number, []))
        self._replays = self._log is not None
        self._restored = not self._replays

    def _resume(self, watermark: int) -> None:
        """Tell the vertices how far time had come: it is the task that stores that."""
        self._restored = False
        reached: list[int] = []
        for plan, vertex in zip(self.plan.vertices, self.vertices, strict=True):
            given = [reached[number] if number >= 0 else watermark for number in plan.inputs]
            reached.append(vertex.resume(given))

    @property
    def keeps_rows(self) -> bool:
        """Unless one vertex takes the source as its log."""
        return self._log is None

    def oldest_time(self) -> int | None:
        """Of the vertex that takes the source as its log."""
        return self._log.operator.oldest_time() if isinstance(self._log, Inner) else None

    def due_ms(self) -> int | None:
        """The earliest of all vertices."""
        dues = [due for vertex in self.vertices if (due := vertex.due_ms()) is not None]
        return min(dues, default=None)

    # --- steps --------------------------------------------------------------------------------------

    def step(self, inputs: Sequence[Flow]) -> list[Finding]:
        """One step of all vertices.

        Args:
            inputs: a flow for each input of the graph.
        """
        plans, last = self.plan.vertices, self._last
        flows: list[Flow] = []
        found: list[Finding] = []
        for plan, vertex in zip(plans, self.vertices, strict=True):
            given = [flows[number] if number >= 0 else inputs[-number - 1] for number in plan.inputs]
            if vertex is last and isinstance(vertex, Inner):
                found, _ = vertex.find(given)
                if plan.inputs != (-1,):
                    self._of_source(found, vertex.width)
            else:
                flow = vertex.run(given)
                vertex.watermark = flow.watermark
                flows.append(flow)
                if vertex is last:
                    found = self._findings(flow.rows)
            if vertex.problems or vertex.late:
                self._report(vertex, inputs)
        return found if self._into is None or not found else self._converted(found, self._into)

    def _converted(self, found: Sequence[Finding], into: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> list[Finding]:
        """Findings with the values that somebody else wants; one that cannot have them is reported."""
        converted: list[Finding] = []
        for finding in found:
            try:
                finding.values = into(finding.values)
            except FAILURES as error:
                problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
                self.problems.append(Problem(problem, [finding.last], finding.key))
            else:
                converted.append(finding)
        return converted

    def _of_source(self, found: Sequence[Finding], width: int) -> None:
        """Findings on rows that are not those of the source: they stand where its last row did."""
        for finding in found:
            last = finding.last
            if len(last) - width == 1:
                finding.number = _digest(((*last[width][0], finding.number), finding.values))
            finding.last = self._source_row(last, width)

    def _report(self, vertex: Vertex, inputs: Sequence[Flow]) -> None:
        """Rows of a vertex that failed or were late, as rows of the source."""
        sources = {row[POSITION]: row for flow in inputs for row in flow.rows}

        def source(row: Row) -> Row:
            return sources.get(row[POSITION]) or self._source_row(row, vertex.width)

        for problem in vertex.problems:
            self.problems.append(Problem(problem.error, [source(row) for row in problem.rows], problem.key))
        vertex.problems.clear()
        self.late += [source(row) for row in vertex.late]
        vertex.late.clear()

    def _replay(self, rows: Sequence[Row], watermark: int) -> list[Finding]:
        """Rows of the past, for the vertex that takes the source as its log; what comes of them is known already."""
        self._replays = False
        flows: list[Flow] = []
        for plan, vertex in zip(self.plan.vertices, self.vertices, strict=True):
            given = [flows[number] if number >= 0 else Flow(rows, watermark) for number in plan.inputs]
            flow = vertex.run(given)
            vertex.problems.clear()
            flows.append(flow)
            if vertex is self._log:
                break
        return []

    # --- results ------------------------------------------------------------------------------------

    def _findings(self, rows: Sequence[Row]) -> list[Finding]:
        """Rows of the result as findings."""
        end = COLUMNS + self.plan.result_width
        return [
            Finding((), row[TIME], row[COLUMNS:end], self._source_row(row, end), (), _number(row, end)) for row in rows
        ]

    def _source_row(self, row: Row, end: int) -> Row:
        """A row that stands where the last source row did that it was made of; the columns are not known any more."""
        behind = row[end:]
        if len(behind) == 1:
            _, position, *place = behind[0]
            return (row[TIME], position, *([None] * self.plan.width), *place)
        return (row[TIME], row[POSITION], *([None] * self.plan.width), *behind)


def _number(row: Row, end: int) -> int:
    """A number that tells rows of one last source row apart, and is the same in a replay."""
    behind = row[end:]
    if len(behind) != 1:
        return 0
    return _digest((behind[0][0], row[COLUMNS:end]))


def _digest(value: Any) -> int:
    digest = hashlib.blake2b(msgspec.msgpack.encode(value, enc_hook=str), digest_size=7)
    return int.from_bytes(digest.digest(), "big")


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
