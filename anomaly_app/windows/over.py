"""Detector functions over the rows of a key, as an operator: ``ML_DETECT_ANOMALIES(…) OVER (PARTITION BY …)``.

The rows of a call are taken together: their keys become numbers of series, their values one array, and each detector
sees all of them in one update. A row is judged by the rows before it, and of rows with equal times by those that came
before; RANGE and ROWS mean the same here, since a judgement of its own peers would not be one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from anomaly_app.detectors import Detector, DetectorFunction, Verdicts
from anomaly_app.errors import AnomalyError, EvaluationError, LimitError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK, TIME, Arrivals, Counters, Finding, Layout, Problem, Row
from anomaly_app.schema import Column
from anomaly_app.windows.series import KeyedSeries, Retention
from anomaly_app.words import duration

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class DetectorCall:
    """A detector in a query.

    Args:
        function: which.
        options: checked, with the defaults of those that are not given.
        given: names of those that are.
        names: of the values.
        text: of the values, as written.
    """

    function: DetectorFunction
    options: Mapping[str, Any]
    given: tuple[str, ...]
    names: tuple[str, ...]
    text: str

    def create(self) -> Detector:
        """A fresh detector."""
        return self.function.create(self.options, self.names)


@dataclass(frozen=True, slots=True)
class CompiledOver:
    """A query with detectors for rows of one layout. All functions raise what :data:`FAILURES` says.

    Args:
        before: a source row to one of the subquery that the detectors read, None if that leaves it out; None if they
            read the table.
        point: such a row to the values of all calls, one behind the other; None if WHERE does not hold.
        project: such a row, and the result of each call, to a row of the SELECT list.
        after: that to an output row, None if the queries around leave it out; None without such.
    """

    before: Callable[[Row], Values | None] | None
    point: Callable[[Values], tuple[float, ...] | None]
    project: Callable[..., Values]
    after: Callable[[Values], Values | None] | None


class OverRule:
    """A bound query with detectors: an :class:`~anomaly_app.operators.OperatorFactory`.

    Args:
        calls: its detectors.
        partition_by: columns of the table that key them.
        output: columns of the query.
        reads: names of the columns of the table that it reads.
        compile: the query for rows of a layout.
        filters: texts of WHERE below and around the detectors.
        retention: how long state of keys is kept, and of how many.
    """

    alert_type = "anomaly"
    needs_order = True
    detects = True

    def __init__(
        self,
        calls: Sequence[DetectorCall],
        partition_by: Sequence[Column],
        output: Sequence[Column],
        reads: Sequence[str],
        compile: Callable[[Layout], CompiledOver],
        filters: tuple[Sequence[str], Sequence[str]],
        retention: Retention,
    ) -> None:
        self.calls, self.keys, self.output, self.reads = tuple(calls), tuple(partition_by), output, reads
        self.filters, self.retention = filters, retention
        self._compile = compile

    @property
    def partition_by(self) -> Sequence[str]:
        """Names of the columns that key the detectors."""
        return tuple(column.name for column in self.keys)

    @property
    def description(self) -> str:
        """One line about the query."""
        calls = " and ".join(f"{call.function.name}({call.text})" for call in self.calls)
        return calls + (f" for each {', '.join(self.partition_by)}" if self.keys else " over all rows")

    @property
    def words(self) -> list[str]:
        """What the query does, for people: phrases in the order in which things happen."""
        below, around = self.filters
        before = f"the earlier rows of the same {', '.join(self.partition_by)}" if self.keys else "all earlier rows"
        words = ["takes each row" + (f" where {' and '.join(below)}" if below else "")]
        for call in self.calls:
            options = ", ".join(f"{name} {call.options[name]}" for name in call.given)
            words.append(
                f"judges {call.text} by {call.function.name} ({options or 'no options: the defaults'}) "
                f"from {before}, then learns from it"
            )
        words.append("gives one row for each" + (f" where {' and '.join(around)}" if around else ""))
        return [*words, "alerts for rows that a detector flags"]

    @property
    def state(self) -> str:
        """What is kept, for people."""
        kept = "a model for each key" if self.keys else "one model"
        ttl_ms = self.retention.ttl_ms
        if ttl_ms is not None:
            return f"{kept}, written with the rows that change it, dropped after {duration(ttl_ms)} without rows"
        return f"{kept}, written with the rows that change it, kept for ever"

    def create(self, layout: Layout) -> OverOperator:
        """A fresh operator for rows of that layout."""
        return OverOperator(self._compile(layout), self.calls, self.keys, layout, self.retention)

    def order_key(self, layout: Layout) -> None:
        """Rows of equal event time are taken as they came."""

    def sort_key(self, layout: Layout) -> None:
        """Rows are taken as the watermark releases them."""


class OverOperator:
    """One partition of one query.

    Args:
        compiled: the query.
        calls: its detectors.
        keys: columns that key them.
        layout: of the rows.
        retention: how long keys are kept, and how many.
    """

    keeps_rows = True

    def __init__(
        self,
        compiled: CompiledOver,
        calls: Sequence[DetectorCall],
        keys: Sequence[Column],
        layout: Layout,
        retention: Retention,
    ) -> None:
        self.problems: list[Problem] = []
        self.late: list[Row] = []
        self.counters = Counters()
        self._compiled, self._retention = compiled, retention
        self._calls = calls
        self._detectors = [call.create() for call in calls]
        ends = np.cumsum([detector.width for detector in self._detectors])
        self._columns = [slice(end - d.width, end) for end, d in zip(ends, self._detectors, strict=True)]
        self._state = KeyedSeries(self._detectors, keys, retention)
        indexes = [layout.index(column.name) for column in keys]
        self._key_of: Callable[[Row], Any] = itemgetter(*indexes) if indexes else _no_key
        self._single_key = len(indexes) == 1

    # --- the operator contract ----------------------------------------------------------------------

    def process(self, rows: Sequence[Row], watermark: int, arrivals: Arrivals | None = None) -> list[Finding]:
        """Judge rows, learn from them, and give a finding for each."""
        rows, inputs, points = self._gather(rows)
        findings = self._judge(rows, inputs, points) if rows else []
        self._expire(watermark)
        return findings

    def advance(self, watermark: int) -> list[Finding]:
        """Keys that have been silent for too long are dropped."""
        self._expire(watermark)
        return []

    def due_ms(self) -> None:
        """A key that expires gives nothing."""

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """State entries of the keys that rows came for, or that were dropped, since the last call."""
        return self._state.changes()

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the entries that ``changes`` has given."""
        self._state.restore(state)

    def oldest_time(self) -> int | None:
        """No row is needed again."""
        return None

    # --- rows in --------------------------------------------------------------------------------------

    def _gather(self, rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Values], Sequence[tuple[float, ...]]]:
        """Rows that WHERE lets pass, as the detectors' query sees them, and their values."""
        before, point = self._compiled.before, self._compiled.point
        try:
            inputs: Sequence[Any] = rows if before is None else [before(row) for row in rows]
            points: Sequence[Any] = [None if values is None else point(values) for values in inputs]
        except FAILURES:
            good: list[Row] = []
            inputs, points = [], []
            for row in rows:
                try:
                    values = row if before is None else before(row)
                    taken = None if values is None else point(values)
                except FAILURES as error:
                    self._problem(error, row)
                else:
                    good.append(row)
                    inputs.append(values)
                    points.append(taken)
            rows = good
        if None in points:
            places = [place for place, taken in enumerate(points) if taken is not None]
            rows, inputs, points = ([part[place] for place in places] for part in (rows, inputs, points))
        return rows, inputs, points

    def _judge(
        self, rows: Sequence[Row], inputs: Sequence[Values], points: Sequence[tuple[float, ...]]
    ) -> list[Finding]:
        keys = list(map(self._key_of, rows))
        times = [row[TIME] for row in rows]
        series, over = self._state.numbers(keys, times)
        if None in series:
            self._refuse([row for row, number in zip(rows, series, strict=True) if number is None])
            places = [place for place, number in enumerate(series) if number is not None]
            rows, inputs, points = ([part[place] for place in places] for part in (rows, inputs, points))
            keys, times, series = ([part[place] for place in places] for part in (keys, times, series))
            if not rows:
                return []
        numbers, moments = np.array(series, dtype=np.int64), np.array(times, dtype=np.int64)
        values = np.array(points, dtype=np.float64)
        judged = [
            detector.update(numbers, moments, values[:, columns])
            for detector, columns in zip(self._detectors, self._columns, strict=True)
        ]
        self._state.free(over)
        return self._findings(rows, inputs, keys, judged)

    # --- output ---------------------------------------------------------------------------------------

    def _findings(
        self, rows: Sequence[Row], inputs: Sequence[Values], keys: Sequence[Any], judged: Sequence[Verdicts]
    ) -> list[Finding]:
        project, after, single = self._compiled.project, self._compiled.after, self._single_key
        flags = [verdicts.flags() for verdicts in judged]
        anywhere = flags[0] if len(flags) == 1 else list(map(any, zip(*flags, strict=True)))
        results = zip(*[verdicts.values() for verdicts in judged], strict=True)
        findings: list[Finding] = []
        flagged: list[tuple[int, Finding]] = []
        for place, (row, taken, key, result) in enumerate(zip(rows, inputs, keys, results, strict=True)):
            key = (key,) if single else key
            try:
                values: Values | None = project(taken, *result)
                if after is not None and values is not None:
                    values = after(values)
            except FAILURES as error:
                self._problem(error, row, key)
                continue
            if values is None:
                continue
            finding = Finding(key, row[TIME], values, row, alert=False)
            if anywhere[place]:
                flagged.append((place, finding))
            findings.append(finding)
        if flagged:
            scores = [verdicts.scores() for verdicts in judged]
            for place, finding in flagged:
                by = [number for number, flag in enumerate(flags) if flag[place]]
                finding.alert = True
                finding.score = _greatest([scores[number][place] for number in by])
                finding.explanation = "; ".join([self._explain(number, judged[number], place) for number in by])
        return findings

    def _explain(self, number: int, verdicts: Verdicts, place: int) -> str:
        """What a detector says; one that has a single value may leave its name out."""
        text, names = verdicts.explain(place), self._calls[number].names
        return text if len(names) > 1 or names[0] in text.split() else f"{names[0]} {text}"

    def _problem(self, error: Exception, row: Row, key: Values = ()) -> None:
        problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
        self.problems.append(Problem(problem, [row], key))

    def _expire(self, watermark: int) -> None:
        if self._retention.ttl_ms is not None and MIN_WATERMARK < watermark < MAX_WATERMARK:
            dropped = self._state.expire(watermark)
            if dropped:
                self.counters.add("expired_keys", dropped)

    def _refuse(self, rows: Sequence[Row]) -> None:
        most = self._retention.keys
        self.counters.add("detector_key_limit", len(rows))
        problem = f"models of {most} keys are held (limits.keys): there is no room for another one"
        self.problems += [Problem(LimitError(problem), [row]) for row in rows]


def _no_key(row: Row) -> tuple[()]:
    return ()


def _greatest(scores: Sequence[float | None]) -> float | None:
    return max((score for score in scores if score is not None and math.isfinite(score)), default=None)
