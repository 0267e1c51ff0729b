"""Rows of several tables through one graph: event time of each table, and steps cut so that batches do not matter.

The sibling of :mod:`anomaly_app.jobs.task` for queries in memory that read several tables, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.task import Output
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK, TIME, Finding, Row

if TYPE_CHECKING:
    from anomaly_app.graph.operator import GraphOperator
    from anomaly_app.schema import Schema


class JointTask:
    """Drives a graph of several inputs.

    Args:
        operator: fresh; its input ``-1 - k`` is table ``k``.
        schemas: of the tables. A table without time attribute has no watermark before its end; over processing time it
            has reached its last row.
        timed: its rows move the time of a table; else only :meth:`advance` does.
    """

    def __init__(self, operator: GraphOperator, schemas: Sequence[Schema], *, timed: bool = True) -> None:
        self._operator = operator
        self._delays = [
            None if not timed else schema.watermark_delay_ms if schema.rowtime is not None
            else 0 if schema.proctime is not None else None
            for schema in schemas
        ]  # fmt: skip
        self._can_be_late = [schema.rowtime is not None for schema in schemas]
        plan = operator.plan
        self._ahead = 2 * MAX_WATERMARK if plan.one_by_one else plan.splits_at
        self.watermarks = [MIN_WATERMARK] * len(schemas)
        self._pending: list[list[Row]] = [[] for _ in schemas]
        self._output = Output()

    def process(self, rows: Iterable[tuple[int, Row]]) -> None:
        """Take rows in order of arrival.

        Args:
            rows: number of the table and row; positions rise over all tables.
        """
        watermarks, delays, ahead = self.watermarks, self._delays, self._ahead
        some = False
        for number, row in rows:
            time = row[TIME]
            if some and self._can_be_late[number] and time <= watermarks[number] + ahead:
                self._step()
            self._pending[number].append(row)
            some = True
            delay = delays[number]
            if delay is not None and time - delay > watermarks[number]:
                watermarks[number] = time - delay
        if some:
            self._step()

    def advance(self, watermarks: Mapping[int, int]) -> None:
        """Move the time of tables from outside: it never falls.

        Args:
            watermarks: in ms, by number of the table.
        """
        for number, watermark in watermarks.items():
            self.watermarks[number] = max(self.watermarks[number], watermark)
        self._step()

    def finish(self) -> None:
        """The end of all tables: every row is released, every window fires."""
        self.watermarks[:] = [MAX_WATERMARK] * len(self.watermarks)
        self._step()

    def take(self) -> Output:
        """Findings, late rows and problems since the last call; all under query 0."""
        output, self._output = self._output, Output()
        return output

    def _step(self) -> None:
        rows, self._pending = self._pending, [[] for _ in self._pending]
        flows = [Flow(each, watermark) for each, watermark in zip(rows, self.watermarks, strict=True)]
        self._collect(self._operator.step(flows))

    def _collect(self, found: Iterable[Finding]) -> None:
        operator, output = self._operator, self._output
        output.findings += [(0, finding) for finding in found]
        output.problems += [(0, problem) for problem in operator.problems]
        output.late += operator.late
        output.late_inside += [(0, row) for row in operator.late_inside]
        operator.problems.clear()
        operator.late.clear()
        operator.late_inside.clear()
