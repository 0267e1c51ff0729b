"""Operators joined to a graph: the rows of one or more inputs through all nodes of a query.

A graph is itself an operator. Its vertices stand in topological order; each takes the rows and the watermark of those
that it reads, once per step. In a step no row but the first may be behind the watermark that the step began with, so
that results do not hang on how the input was cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_app.errors import AnomalyError, EvaluationError, StateError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.asked import WAITING, Asking, Question, Step, Waits
from anomaly_app.graph.found import DerivedFinding, Made, Role, source_row
from anomaly_app.graph.order import Retime
from anomaly_app.graph.predict import ScoreRows
from anomaly_app.graph.vertices import Expand, Flow, Inner, Merge, Stamp, Transform, Vertex, digest_of, row_number
from anomaly_app.keyed import KeyedState
from anomaly_app.operators import (
    COLUMNS,
    MIN_WATERMARK,
    POSITION,
    TIME,
    Arrivals,
    Counters,
    Finding,
    InnerRow,
    Layout,
    Problem,
    Row,
)

PASSING = (Transform, Expand, Stamp, Merge, Retime, ScoreRows)
"""Vertices that hold no row back."""
KEYED = b"\x7f"
"""Begins the names of the entries of stores: behind those of vertices, which begin with small numbers. The number of
the vertex follows, and the place of the store in it."""
_OF_STORE = 4


@dataclass(frozen=True, slots=True)
class VertexPlan:
    """A vertex to be.

    Args:
        make: makes a fresh one.
        inputs: numbers of the vertices that it reads; negative ones are inputs of the graph: -1, -2, …
        name: for people and for metrics.
        layouts: columns of the rows of each input; None where nobody knows.
        reads: names of those that somebody needs, for each input.
    """

    make: Callable[[], Vertex]
    inputs: tuple[int, ...]
    name: str
    layouts: tuple[Layout | None, ...] = ()
    reads: tuple[Collection[str], ...] = ()


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """A graph to be.

    Args:
        vertices: in topological order; the last one gives the result.
        width: columns of a row of the only input: findings on rows of the result are told by the last source row.
        result: columns of the result.
        splits_at: a row this many milliseconds ahead of the watermark, or less, begins a step.
        one_by_one: each row begins a step.
        updating: rows of the result carry behind the columns what they change.
        by_path: rows of the result are told apart by the way that they came, and not by their values too: these may be
            others in a replay. Only where each row comes its own way.
        unsteady: numbers of columns of the result whose values may be others in a replay: rows are not told apart by
            them.
        roles: rows that stand behind the columns of the result, since it is made of them; None for one that is missing.
    """

    vertices: tuple[VertexPlan, ...]
    width: int
    result: Layout
    splits_at: int = 0
    one_by_one: bool = False
    updating: bool = False
    by_path: bool = False
    roles: tuple[Role, ...] = ()
    unsteady: frozenset[int] = frozenset()


class GraphOperator:
    """A graph over one input: an :class:`~anomaly_app.operators.Operator`.

    Args:
        plan: what it is made of.
        into: from the values of the result to those of a finding, such as the row of a sink; None if they are the same.
    """

    def __init__(self, plan: GraphPlan, into: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None) -> None:
        self.plan, self._into = plan, into
        self._unknown = (None,) * plan.width
        end = COLUMNS + len(plan.result.columns)
        width = end + bool(plan.updating) + len(plan.roles)
        steady = tuple(COLUMNS + k for k in range(len(plan.result.columns)) if k not in plan.unsteady)
        self._made = Made(end, width, self._unknown, plan.by_path, plan.roles, steady if plan.unsteady else None)
        self.vertices = [vertex.make() for vertex in plan.vertices]
        self.problems: list[Problem] = []
        self.late: list[Row] = []
        self.late_inside: list[InnerRow] = []
        self.counters = Counters()
        for vertex in self.vertices:
            vertex.count_in(self.counters)
        self._last = self.vertices[-1]
        self._stores = {
            KEYED + number.to_bytes(2, "big") + bytes([place]): store
            for number, vertex in enumerate(self.vertices)
            for place, store in enumerate(vertex.stores)
        }
        self._stamps = [vertex for vertex in self.vertices if isinstance(vertex, Stamp)]
        self._waits: Waits | None = None
        if any(isinstance(vertex, Asking) for vertex in self.vertices):
            self._waits = Waits(
                [one.inputs for one in plan.vertices], [_known(one) for one in plan.vertices], self.vertices
            )
        logs = [vertex for vertex in self.vertices if not vertex.keeps_rows]
        assert len(logs) <= 1, "at most one vertex takes the source as its log"
        self._log = logs[0] if logs else None
        self._replays = self._restored = False
        self.reached = MIN_WATERMARK
        """The watermark behind the results so far."""
        self._passing: list[bool] = []
        """By vertex, whether it gives the rows of a step in that step: what it makes of them are the same rows."""
        for one, vertex in zip(plan.vertices, self.vertices, strict=True):
            passes = isinstance(vertex, PASSING)
            self._passing.append(passes and all(self._passes(one, place) for place in range(len(one.inputs))))

    # --- the operator contract ----------------------------------------------------------------------

    def process(self, rows: Sequence[Row], watermark: int, arrivals: Arrivals | None = None) -> list[Finding]:
        """Take rows, and move time."""
        if self._replays:
            return self._replay(rows, watermark)
        found: list[Finding] = []
        first = 0
        if self._restored:
            self.resume(arrivals.begin if arrivals is not None else MIN_WATERMARK)
        fronts: Sequence[int] = ()
        if self._stamps:
            fronts = list(arrivals.watermarks()) if arrivals is not None else [watermark] * len(rows)
        for number, reached in self._cuts(rows, arrivals):
            if number or arrivals is None:
                self._stamp(fronts[first:number])
                found += self.step([Flow(rows[first:number], reached)])
                first = number
        self._stamp(fronts[first:])
        return found + self.step([Flow(rows[first:] if first else rows, watermark)])

    def _cuts(self, rows: Sequence[Row], arrivals: Arrivals | None) -> Iterable[tuple[int, int]]:
        """Numbers of the rows that begin a step, and the watermark in front of each."""
        if self.crowded(len(rows)):
            return enumerate(arrivals.watermarks() if arrivals is not None else [row[TIME] - 1 for row in rows])
        if arrivals is None:
            return ()
        if self.plan.one_by_one:
            return enumerate(arrivals.watermarks())
        ahead = self.plan.splits_at
        if ahead > 1:
            return [(n, reached) for n, reached in enumerate(arrivals.watermarks()) if rows[n][TIME] <= reached + ahead]
        return [(number, reached) for number, reached in arrivals.behind if rows[number][TIME] <= reached + ahead]

    @property
    def is_stamped(self) -> bool:
        """Whether somebody asks for the watermark in front of each row."""
        return bool(self._stamps)

    def stamp_inputs(self, fronts: Sequence[Sequence[int]]) -> None:
        """Tell those who ask for it the watermark in front of each row of the next step, for each input."""
        for plan, vertex in zip(self.plan.vertices, self.vertices, strict=True):
            if isinstance(vertex, Stamp):
                vertex.fronts = fronts[-1 - plan.inputs[0]]

    def crowded(self, rows: int) -> bool:
        """Whether so many more rows may not find room: then each begins a step."""
        return any(vertex.crowded(rows) for vertex in self.vertices)

    def _stamp(self, fronts: Sequence[int]) -> None:
        """Tell those who ask for it the watermark in front of each row of the next step."""
        for stamp in self._stamps:
            stamp.fronts = fronts

    def advance(self, watermark: int) -> list[Finding]:
        """Move time without rows."""
        if self._replays:
            self._replay((), watermark)
        self._stamp(())
        return self.step([Flow((), watermark)])

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Entries of all vertices, under their numbers."""
        for number, vertex in enumerate(self.vertices):
            prefix = number.to_bytes(2, "big")
            for key, value in vertex.changes():
                yield prefix + key, value
        if self._waits is not None:
            yield from self._waits.changes()
        for prefix, store in self._stores.items():
            for key, value in store.changes():
                yield prefix + key, value

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Give the entries back to their vertices, and to their stores."""
        own: dict[int, list[tuple[bytes, bytes]]] = {}
        stored: dict[bytes, list[tuple[bytes, bytes]]] = {}
        waiting: list[tuple[bytes, bytes]] = []
        for key, value in state:
            if key.startswith(KEYED):
                stored.setdefault(key[:_OF_STORE], []).append((key[_OF_STORE:], value))
                continue
            if key.startswith(WAITING) and self._waits is not None:
                waiting.append((key, value))
                continue
            number = int.from_bytes(key[:2], "big")
            if number >= len(self.vertices):
                raise StateError(f"an entry of another kind of state: {key!r}")
            own.setdefault(number, []).append((key[2:], value))
        for number, vertex in enumerate(self.vertices):
            vertex.restore(own.get(number, []))
        for prefix, entries in stored.items():
            if prefix not in self._stores:
                raise StateError(f"entries of another kind of state: {entries[0][0]!r}")
            self._stores[prefix].restore(entries)
        if self._waits is not None:
            self._waits.restore(waiting)
        self._replays = self._log is not None
        self._restored = not self._replays

    @property
    def stores(self) -> Mapping[bytes, KeyedState[Any]]:
        """The stores of all vertices, by what the names of their entries begin with."""
        return self._stores

    def keep_nothing(self) -> None:
        """Nobody will ask for :meth:`changes`: stores need not note them."""
        for store in self._stores.values():
            store.is_stored = False

    def resume(self, watermark: int) -> None:
        """Tell the vertices how far time had come: it is the task that stores that."""
        self.resume_inputs([watermark])

    def resume_inputs(self, watermarks: Sequence[int]) -> None:
        """The same, for each input of the graph."""
        self._restored = False
        reached: list[int] = []
        for number, (plan, vertex) in enumerate(zip(self.plan.vertices, self.vertices, strict=True)):
            given = [reached[below] if below >= 0 else watermarks[-1 - below] for below in plan.inputs]
            if self._waits is not None and self._waits.levels[number]:  # it is behind steps that wait
                given = self._waits.reached(number) or [MIN_WATERMARK] * len(given)
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
        if self._waits is not None:
            step = self._waits.begin(inputs)
            self._run_level(self._waits, step, 0)
            self._waits.wait(step, 1)
            return self.released()
        plans, last = self.plan.vertices, self._last
        flows: list[Flow] = []
        found: list[Finding] = []
        for plan, vertex in zip(plans, self.vertices, strict=True):
            given = [flows[number] if number >= 0 else inputs[-number - 1] for number in plan.inputs]
            if vertex is last and isinstance(vertex, Inner):
                found, self.reached = vertex.find(given)
                vertex.rows_out += len(found)
                # Rows of another fragment are made of others, too: they end with their origin.
                if plan.inputs != (-1,) or (found and len(found[0].last) == vertex.width + 1):
                    self._of_source(found, vertex.width)
            else:
                flow = vertex.run(given)
                vertex.watermark = flow.watermark
                vertex.rows_out += len(flow.rows)
                flows.append(flow)
                if vertex is last:
                    found, self.reached = self._findings(flow.rows), flow.watermark
            if vertex.problems or vertex.late or vertex.late_others:
                self._report(plan, vertex, inputs)
        return found if self._into is None or not found else self._converted(found, self._into)

    # --- steps that wait for answers ------------------------------------------------------------------

    def questions(self) -> list[Question]:
        """What is to be asked since the last call; :meth:`released` gives what comes of the answers."""
        return self._waits.questions() if self._waits is not None else []

    @property
    def waiting(self) -> int | None:
        """How many rows are in steps that wait for an answer; None if none waits."""
        return self._waits.rows if self._waits is not None and self._waits.any else None

    def drop_questions(self) -> None:
        """Nobody wants answers any more."""
        if self._waits is not None:
            self._waits.drop()

    def released(self) -> list[Finding]:
        """What comes of the steps all of whose answers are there."""
        waits, found = self._waits, list[Finding]()
        if waits is None:
            return found
        for level in range(1, waits.last + 1):
            while (step := waits.ready(level)) is not None:
                found += self._run_level(waits, step, level)
                if level < waits.last:
                    waits.wait(step, level + 1)
        return found

    def _run_level(self, waits: Waits, step: Step, level: int) -> list[Finding]:
        """The vertices of a step that are behind so many that ask."""
        found: list[Finding] = []
        for number, (plan, vertex) in enumerate(zip(self.plan.vertices, self.vertices, strict=True)):
            if waits.levels[number] != level:
                continue
            given = [waits.flow(step, source) for source in plan.inputs]
            waits.note(number, given)
            if vertex is self._last and isinstance(vertex, Inner):
                found, self.reached = vertex.find(given)
                vertex.rows_out += len(found)
                self._of_source(found, vertex.width)
            else:
                if isinstance(vertex, Asking):
                    flow = vertex.answered(given[0], step.questions.pop(number))
                else:
                    flow = vertex.run(given)
                vertex.watermark = flow.watermark
                vertex.rows_out += len(flow.rows)
                step.flows[number] = flow
                if vertex is self._last:
                    found, self.reached = self._findings(flow.rows), flow.watermark
            if vertex.problems or vertex.late or vertex.late_others:
                self._report(plan, vertex, [one for one in step.inputs if one is not None])
        return found if self._into is None or not found else self._converted(found, self._into)

    def _converted(self, found: Sequence[Finding], into: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> list[Finding]:
        """Findings with the values that somebody else wants; one that cannot have them is reported."""
        converted: list[Finding] = []
        for finding in found:
            try:
                finding.values = into(finding.values)
            except FAILURES as error:
                problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
                row = (*finding.last[:COLUMNS], *finding.values, *finding.last[COLUMNS + self.plan.width :])
                self.problems.append(Problem(problem, [row], finding.key, "result", self.plan.result))
            else:
                converted.append(finding)
        return converted

    def _of_source(self, found: Sequence[Finding], width: int) -> None:
        """Findings on rows that are not those of the source: they stand where its last row did."""
        for finding in found:
            last = finding.last
            if len(last) - width == 1:
                finding.number = digest_of(((*last[width][0], finding.number), finding.values))
            finding.last = self._source_row(last, width)

    def _report(self, plan: VertexPlan, vertex: Vertex, inputs: Sequence[Flow]) -> None:
        """Rows that a vertex failed on or that were late: those of the source as they came, others as they are."""
        sources = {row[POSITION]: row for flow in inputs for row in flow.rows}

        def source(place: int, row: Row) -> Row:
            if plan.inputs[place] < 0:
                return row
            return sources.get(row[POSITION]) or self._source_row(row, vertex.width)

        for problem in vertex.problems:
            layout = _layout(plan, problem.side)
            # A vertex that holds rows may fail on those of earlier steps: whether it did must not count.
            if plan.inputs[problem.side] < 0 or (isinstance(vertex, PASSING) and self._passes(plan, problem.side)):
                rows = [source(problem.side, row) for row in problem.rows]
                self.problems.append(Problem(problem.error, rows, problem.key))
            elif layout is not None:
                self.problems.append(Problem(problem.error, problem.rows, problem.key, plan.name, layout))
            else:
                rows = [self._source_row(row, vertex.width) for row in problem.rows]
                self.problems.append(Problem(problem.error, rows, problem.key))
        vertex.problems.clear()
        vertex.rows_late += len(vertex.late) + len(vertex.late_others)
        for place, row in [*((0, row) for row in vertex.late), *vertex.late_others]:
            layout = _layout(plan, place)
            if self._passes(plan, place):
                found = source(place, row)
                if all(found is not other for other in self.late):
                    self.late.append(found)
            elif layout is not None:
                number = digest_of((plan.name, row_number(row, COLUMNS + len(layout.columns))))
                self.late_inside.append(InnerRow(plan.name, layout, row, number))
            else:
                self.late.append(self._source_row(row, vertex.width))
        vertex.late.clear()
        vertex.late_others.clear()

    def _passes(self, plan: VertexPlan, place: int) -> bool:
        """Whether the rows of an input of a vertex are, each in its step, rows of the source."""
        below = plan.inputs[place]
        return below < 0 or self._passing[below]

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
        made = self._made
        if self.plan.updating:
            end = made.end
            return [DerivedFinding(row, made, row[end]) for row in rows]
        return [DerivedFinding(row, made) for row in rows]

    def _source_row(self, row: Row, end: int) -> Row:
        return source_row(row, end, self._unknown)


def _known(plan: VertexPlan) -> list[tuple[Layout, Collection[str]] | None]:
    """Columns of the rows of each input, and those that somebody needs."""
    return [None if layout is None else (layout, reads) for layout, reads in zip(plan.layouts, plan.reads, strict=True)]


def _layout(plan: VertexPlan, place: int) -> Layout | None:
    return plan.layouts[place] if place < len(plan.layouts) else None
