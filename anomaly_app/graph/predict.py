"""ML_PREDICT at work: rows with what a model gives for them, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anomaly_app.errors import DataError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.asked import Answer, Asking, Failure, Question
from anomaly_app.graph.vertices import Flow, Vertex
from anomaly_app.models.model import LocalModel, Model, Values
from anomaly_app.models.options import CallOptions
from anomaly_app.operators import Row

BATCH_ROWS = 2_000
"""Rows that a model in a file is given at once."""


@dataclass(frozen=True, slots=True)
class PredictPlan:
    """What to ask.

    Args:
        model: that is asked.
        options: how it is called.
        args: from a row to what the model is given.
        width: of a row of the input.
    """

    model: Model
    options: CallOptions
    args: Callable[[Row], Values]
    width: int

    @property
    def nothing(self) -> Values:
        """What a row gets on which the model fails and ``error_handling`` is ``null``."""
        return (None,) * len(self.model.outputs)


class _Predicting(Vertex):
    """What both have in common.

    Args:
        plan: what to ask.
    """

    def __init__(self, plan: PredictPlan) -> None:
        super().__init__(plan.width)
        self.plan = plan

    def _given(self, rows: Sequence[Row]) -> tuple[Sequence[Row], list[Values], list[tuple[Exception, Row]]]:
        """Rows, what the model is given for each, and rows for which that cannot be said."""
        args = self.plan.args
        try:
            return rows, [args(row) for row in rows], []
        except FAILURES:
            kept: list[Row] = []
            values: list[Values] = []
            failed: list[tuple[Exception, Row]] = []
            for row in rows:
                try:
                    values.append(args(row))
                except FAILURES as error:
                    failed.append((error, row))
                else:
                    kept.append(row)
            return kept, values, failed

    def _answered(self, rows: Sequence[Row], answers: Sequence[Answer]) -> list[Row]:
        """Rows with their answers; those without are reported, or get NULLs."""
        plan = self.plan
        kept: list[Row] = []
        values: list[Values] = []
        for row, answer in zip(rows, answers, strict=True):
            if type(answer) is Failure:
                if not plan.options.gives_nulls:
                    self.fail(answer.error, row)
                    continue
                self.counters.add("predictions_null")
                answer = plan.nothing
            assert isinstance(answer, tuple)
            kept.append(row)
            values.append(answer)
        return self._with(kept, values)

    def _with(self, rows: Sequence[Row], values: Sequence[Values]) -> list[Row]:
        """Rows with what the model gives for them: behind their columns."""
        width = self.width
        return [
            row + own if len(row) == width else row[:width] + own + row[width:]
            for row, own in zip(rows, values, strict=True)
        ]


class ScoreRows(_Predicting):
    """Rows through a model in this process."""

    def run(self, flows: Sequence[Flow]) -> Flow:
        """All rows, in batches; a batch on which the model fails is taken row by row."""
        ((rows, watermark),) = flows
        found: list[Row] = []
        for first in range(0, len(rows), BATCH_ROWS):
            part, values, failed = self._given(rows[first : first + BATCH_ROWS])
            for error, row in failed:
                self.fail(error, row)
            found += self._scored(part, values)
        return Flow(found, watermark)

    def _scored(self, rows: Sequence[Row], values: Sequence[Values]) -> list[Row]:
        stats, model = self.plan.model.stats, self.plan.model.asked
        assert isinstance(model, LocalModel)
        if not values:
            return []
        try:
            answers = model.score(values)
        except DataError as error:
            if len(values) > 1:
                return [found for row, one in zip(rows, values, strict=True) for found in self._scored([row], [one])]
            stats.errors += 1
            stats.problem = str(error)
            return self._answered(rows, [Failure(error)])
        stats.calls += 1
        stats.rows += len(values)
        return self._with(rows, answers)


class AskRemote(_Predicting, Asking):
    """Rows that wait until a model behind an address has answered."""

    def ask(self, flow: Flow) -> Question:
        """What is to be asked for the rows of a step."""
        rows, values, failed = self._given(flow.rows)
        return Question(self.plan.model, self.plan.options, rows, values, failed)

    def answered(self, flow: Flow, question: Question) -> Flow:
        """The rows of the step with their answers."""
        for error, row in question.failed:
            self.fail(error, row)
        return Flow(self._answered(question.rows, question.answers), flow.watermark)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Never: answers come later."""
        raise AssertionError("a step waits for the answers of a remote model")
