"""The SQL function of this package: ``ANOMALY_SCORE(value, rowtime, JSON_OBJECT(…)) OVER (…)``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anomaly_app.detectors import Detector, DetectorFunction, Entries, Floats, Integers
from anomaly_app.schema import DOUBLE
from anomaly_app.scoring.options import OPTIONS, THRESHOLD, check_together
from anomaly_app.scoring.scorer import AnomalyScorer


class Scores:
    """What the scorers say about the points of one call.

    Args:
        scores: from 0 to 1; None for a missing value.
        threshold: score from which on a point is an anomaly.
        reasons: why, for those that are, by the number of the point.
    """

    def __init__(self, scores: list[float | None], threshold: float, reasons: Mapping[int, str]) -> None:
        self._scores, self._threshold, self._reasons = scores, threshold, reasons

    def values(self) -> list[Any]:
        """The scores."""
        return list(self._scores)

    def flags(self) -> list[bool | None]:
        """Whether the score reaches the threshold; None for a missing value."""
        return [None if score is None else score >= self._threshold for score in self._scores]

    def scores(self) -> list[float | None]:
        """The scores."""
        return list(self._scores)

    def explain(self, number: int) -> str:
        """What is new about a point."""
        score = self._scores[number]
        if score is None:
            return "the value is missing"
        return f"score {score:.2f}: {self._reasons.get(number, 'nothing that is worth an alert')}"


class ScorerBank:
    """A scorer for each of many series.

    The work of a point is in vectors as long as the history, which leaves little to share between series.

    Args:
        options: checked ones of ``ANOMALY_SCORE``.
    """

    width = 1

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._threshold: float = options["threshold"]
        self._scorers: list[AnomalyScorer | None] = []

    def grow(self, series: int) -> None:
        """Make room; a series that has seen nothing takes none."""
        self._scorers += [None] * (series - len(self._scorers))

    def update(self, series: Integers, times: Integers, points: Floats) -> Scores:
        """Score points one after the other."""
        scores: list[float | None] = []
        reasons: dict[int, str] = {}
        for number, time, value in zip(series.tolist(), times.tolist(), points[:, 0].tolist(), strict=True):
            if value != value:
                scores.append(None)
                continue
            scorer = self._scorers[number]
            if scorer is None:
                scorer = self._scorers[number] = AnomalyScorer.of_checked(self._options)
            score = scorer.score(time, value)
            if score >= self._threshold:
                reasons[len(scores)] = scorer.reason()
            scores.append(score)
        return Scores(scores, self._threshold, reasons)

    def changes(self, series: int) -> Entries:
        """State entries put since the last call."""
        scorer = self._scorers[series]
        return () if scorer is None else scorer.changes()

    def restore(self, series: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh series its entries."""
        scorer = AnomalyScorer.of_checked(self._options)
        scorer.load(entries)
        self._scorers[series] = scorer

    def forget(self, series: int) -> None:
        """Make a series fresh."""
        self._scorers[series] = None


def create_bank(options: Mapping[str, Any], names: Sequence[str]) -> Detector:
    """A detector that scores values.

    Args:
        options: checked ones of ``ANOMALY_SCORE``.
        names: of the value.

    Raises:
        OptionError: options do not go together.

    Example:
        >>> import numpy as np
        >>> from anomaly_app.detectors import check_options
        >>> detector = create_bank(check_options(ANOMALY_SCORE, {}), ["price"])
        >>> detector.grow(1)
        >>> prices = np.random.default_rng(1).normal(20, 1, 500)
        >>> prices[499] = 35
        >>> verdicts = detector.update(np.zeros(500, int), np.arange(500) * 1000, prices[:, None])
        >>> verdicts.flags()[499], verdicts.explain(499)
        (True, 'score 0.97: the value is a new high of the last 499, by 13 standard deviations')
    """
    check_together(options, ANOMALY_SCORE.name)
    return ScorerBank(options)


ANOMALY_SCORE = DetectorFunction(
    "ANOMALY_SCORE",
    (*OPTIONS, THRESHOLD),
    DOUBLE,
    create_bank,
    doc="how anomalous a value is for its series, from 0 to 1; nothing has to be known of the series",
)

FUNCTIONS: tuple[DetectorFunction, ...] = (ANOMALY_SCORE,)
"""Those of this package."""
