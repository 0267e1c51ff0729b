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
    """A query with detectors for rows of one layout. Both functions raise what :data:`FAILURES` says.

    Args:
        point: a row to the values of all calls, one behind the other.
        project: such a row, and the result of each call, to an output row; None if what is around leaves it out.
    """

    point: Callable[[Row], tuple[float, ...]]
    project: Callable[..., Values | None]


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
        rows, points = self._gather(rows)
        findings = self._judge(rows, points) if rows else []
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

    def _gather(self, rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[tuple[float, ...]]]:
        """Rows, and their values; those on which an expression fails are reported."""
        point = self._compiled.point
        try:
            return rows, [point(row) for row in rows]
        except FAILURES:
            good: list[Row] = []
            points: list[tuple[float, ...]] = []
            for row in rows:
                try:
                    taken = point(row)
                except FAILURES as error:
                    self._problem(error, row)
                else:
                    good.append(row)
                    points.append(taken)
            return good, points

    def _judge(self, rows: Sequence[Row], points: Sequence[tuple[float, ...]]) -> list[Finding]:
        keys = list(map(self._key_of, rows))
        times = [row[TIME] for row in rows]
        series, over = self._state.numbers(keys, times)
        if None in series:
            self._refuse([row for row, number in zip(rows, series, strict=True) if number is None])
            places = [place for place, number in enumerate(series) if number is not None]
            rows, points = [rows[place] for place in places], [points[place] for place in places]
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
        return self._findings(rows, keys, judged)

    # --- output ---------------------------------------------------------------------------------------

    def _findings(self, rows: Sequence[Row], keys: Sequence[Any], judged: Sequence[Verdicts]) -> list[Finding]:
        project, single = self._compiled.project, self._single_key
        flags = [verdicts.flags() for verdicts in judged]
        anywhere = flags[0] if len(flags) == 1 else list(map(any, zip(*flags, strict=True)))
        results = zip(*[verdicts.values() for verdicts in judged], strict=True)
        findings: list[Finding] = []
        flagged: list[tuple[int, Finding]] = []
        for place, (row, key, result) in enumerate(zip(rows, keys, results, strict=True)):
            key = (key,) if single else key
            try:
                values = project(row, *result)
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
