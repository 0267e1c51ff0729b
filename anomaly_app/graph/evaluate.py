"""ML_EVALUATE at work: what is true and what versions of a model say, judged when all rows have come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.vertices import Flow, Vertex
from anomaly_app.models.judge import classification, regression
from anomaly_app.operators import MAX_WATERMARK, POSITION, Row


@dataclass(frozen=True, slots=True)
class Judged:
    """A version of a model.

    Args:
        version: its number.
        answer: where what it says stands in a row.
        score: where it says how sure it is; None if it does not.
    """

    version: int
    answer: int
    score: int | None


@dataclass(frozen=True, slots=True)
class EvaluatePlan:
    """What is judged.

    Args:
        label_of: from a row to what is true.
        versions: of the model.
        numbers: it is a regression.
        width: of a row.
    """

    label_of: Callable[[Row], Any]
    versions: tuple[Judged, ...]
    numbers: bool
    width: int


class EvaluateRows(Vertex):
    """Gives a row for each version at the end of the input; for inputs that end.

    Args:
        plan: what is judged.
    """

    def __init__(self, plan: EvaluatePlan) -> None:
        super().__init__(plan.width)
        self._plan = plan
        self._labels: list[list[Any]] = [[] for _ in plan.versions]
        self._answers: list[list[Any]] = [[] for _ in plan.versions]
        self._scores: list[list[float]] = [[] for _ in plan.versions]
        self._failed = [0] * len(plan.versions)
        self._last = 0

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows; at the end of time there is a row for each version."""
        ((rows, watermark),) = flows
        for row in rows:
            try:
                label = _plain(self._plan.label_of(row))
            except FAILURES as error:
                self.fail(error, row)
                continue
            self._last = max(self._last, row[POSITION])
            if label is not None:  # of what nobody knows nothing can be said
                self._take(row, label)
        if watermark != MAX_WATERMARK:
            return Flow((), watermark)
        found = [self._judge(number) for number in range(len(self._plan.versions))]
        return Flow(found, watermark)

    def _take(self, row: Row, label: Any) -> None:
        for number, version in enumerate(self._plan.versions):
            answer, score = _plain(row[version.answer]), None
            if version.score is not None:
                score = row[version.score]
                score = score[-1] if isinstance(score, list) and score else score
            if answer is None:
                self._failed[number] += 1
                continue
            if version.score == version.answer and not self._plan.numbers:
                answer = 1 if (score or 0.0) >= 0.5 else 0  # nothing but a score: the greater class from a half on
            if isinstance(label, str) != isinstance(answer, str):
                label, answer = str(label), str(answer)
            self._labels[number].append(label)
            self._answers[number].append(answer)
            if isinstance(score, float):
                self._scores[number].append(score)

    def _judge(self, number: int) -> Row:
        labels, answers, scores = self._labels[number], self._answers[number], self._scores[number]
        if self._plan.numbers:
            judged = regression([float(label) for label in labels], [float(answer) for answer in answers])
        else:
            judged = classification(labels, answers, scores if len(scores) == len(labels) else None)
        version = self._plan.versions[number].version
        return (0, self._last, version, len(labels), self._failed[number], *judged, ((number,), self._last))


def _plain(value: Any) -> Any:
    """A value that can be compared with one of another type."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return value[-1] if value else None
    return float(value) if isinstance(value, Decimal) else value
