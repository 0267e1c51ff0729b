"""Detectors over the groups of windows: the findings of one operator are the rows of the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anomaly_app.operators import (
    MAX_WATERMARK,
    POSITION,
    Arrivals,
    Finding,
    Layout,
    Operator,
    OperatorFactory,
    Problem,
    Row,
)
from anomaly_app.schema import Column
from anomaly_app.windows.over import OverOperator, OverRule

_FIRST, _SECOND = b"1", b"2"
"""Begin the state entries of the two operators."""


class PipedRule:
    """A bound query with detectors over a windowed GROUP BY: an :class:`~anomaly_app.operators.OperatorFactory`.

    Args:
        groups: makes the operators of the windowed query, whose findings come in order of their times.
        detectors: the query around it; its table is the output of ``groups``.
        partition_by: names of the columns of the table that the keys of the detectors are.
    """

    alert_type = "anomaly"
    needs_order = False
    detects = True

    def __init__(self, groups: OperatorFactory, detectors: OverRule, partition_by: Sequence[str]) -> None:
        self.groups, self.detectors = groups, detectors
        self.partition_by: Sequence[str] | None = partition_by
        self.output: Sequence[Column] = detectors.output
        self.reads: Sequence[str] = groups.reads

    @property
    def description(self) -> str:
        """One line about the query."""
        return f"{self.detectors.description}, of {getattr(self.groups, 'description', 'windows')}"

    @property
    def words(self) -> list[str]:
        """What the query does, for people."""
        takes, *others = self.detectors.words
        filtered = [takes.replace("each row", "those of these rows")] if " where " in takes else []
        return [*getattr(self.groups, "words", ()), *filtered, *others]

    @property
    def state(self) -> str:
        """What is kept, for people."""
        return f"{getattr(self.groups, 'state', '')}; {self.detectors.state}"

    def create(self, layout: Layout) -> PipedOperator:
        """A fresh operator for rows of that layout."""
        return PipedOperator(self.groups.create(layout), self.detectors.create(Layout(tuple(self.groups.output))))

    def order_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """As the windows want it."""
        return self.groups.order_key(layout)

    def sort_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """As the windows want it."""
        return self.groups.sort_key(layout)


class PipedOperator:
    """One partition: an operator, and another one over its findings.

    Args:
        first: takes the rows.
        second: takes the findings of the first as rows: event time, position of the last source row, output columns,
            and behind them the source row itself and the number of the finding.
    """

    keeps_rows = True

    def __init__(self, first: Operator, second: OverOperator) -> None:
        self._first, self._second = first, second
        self.problems, self.late, self.counters = first.problems, first.late, first.counters
        second.counters = first.counters

    def process(self, rows: Sequence[Row], watermark: int, arrivals: Arrivals | None = None) -> list[Finding]:
        """Take rows of the source, and move time."""
        return self._pass_on(self._first.process(rows, watermark, arrivals), watermark)

    def advance(self, watermark: int) -> list[Finding]:
        """Move time without rows."""
        return self._pass_on(self._first.advance(watermark), watermark)

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """State entries of both."""
        yield from ((_FIRST + key, value) for key, value in self._first.changes())
        yield from ((_SECOND + key, value) for key, value in self._second.changes())

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the entries of both."""
        entries = list(state)
        self._first.restore([(key[1:], value) for key, value in entries if key.startswith(_FIRST)])
        self._second.restore([(key[1:], value) for key, value in entries if key.startswith(_SECOND)])

    def due_ms(self) -> int | None:
        """Time of arrival from which on a window is complete without another row; None if none is open."""
        return self._first.due_ms()

    def oldest_time(self) -> int | None:
        """No row is needed again."""
        return None

    def _pass_on(self, findings: Sequence[Finding], watermark: int) -> list[Finding]:
        rows = [(f.time, f.last[POSITION], *f.values, f.last, f.number) for f in findings]
        # By arrival a window is given out a millisecond later than its time.
        reached = watermark if watermark == MAX_WATERMARK else watermark - 1
        found = self._second.process(rows, reached) if rows else self._second.advance(reached)
        for finding in found:
            *_, finding.last, finding.number = finding.last
        for problem in self._second.problems:
            self.problems.append(Problem(problem.error, [row[-2] for row in problem.rows], problem.key))
        self._second.problems.clear()
        return found
