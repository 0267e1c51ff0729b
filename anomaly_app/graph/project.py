"""Conditions and projections as an operator: what stands last over the rows of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anomaly_app.errors import AnomalyError, EvaluationError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.operators import TIME, Arrivals, Counters, Finding, Problem, Row


class Project:
    """Rows one by one; holds nothing.

    Args:
        apply: a row to the values of the result; None leaves it out.
    """

    keeps_rows = True

    def __init__(self, apply: Callable[[Row], tuple[Any, ...] | None]) -> None:
        self._apply = apply
        self.problems: list[Problem] = []
        self.late: list[Row] = []
        self.counters = Counters()

    def process(self, rows: Sequence[Row], watermark: int, arrivals: Arrivals | None = None) -> list[Finding]:
        """Output rows of the rows that the conditions let pass."""
        apply = self._apply
        try:
            given = [apply(row) for row in rows]
        except FAILURES:
            return self._one_by_one(rows)
        return [
            Finding((), row[TIME], values, row) for row, values in zip(rows, given, strict=True) if values is not None
        ]

    def _one_by_one(self, rows: Sequence[Row]) -> list[Finding]:
        findings, apply = list[Finding](), self._apply
        for row in rows:
            try:
                values = apply(row)
            except FAILURES as error:
                problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
                self.problems.append(Problem(problem, [row]))
            else:
                if values is not None:
                    findings.append(Finding((), row[TIME], values, row))
        return findings

    def advance(self, watermark: int) -> list[Finding]:
        """Time changes nothing."""
        return []

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Nothing is held."""
        return ()

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Nothing was held."""

    def oldest_time(self) -> int | None:
        """No row is needed again."""
        return None

    def due_ms(self) -> int | None:
        """Nothing waits."""
        return None
