"""Scorers of many series."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from anomaly_app.detectors import Entries, Floats, Integers
from anomaly_app.forecasting.detector import FEW, one_each
from anomaly_app.forecasting.storage import Storage
from anomaly_app.scoring.options import once_in
from anomaly_app.scoring.places import PART, PLACES, places
from anomaly_app.scoring.residual import FIELDS, OUTPUTS, kernel
from anomaly_app.scoring.scorer import LARGEST, AnomalyScorer, improbable_reason


class Scores:
    """What the scorers say about the points of one call.

    Args:
        scores: from 0 to 1; None for a missing value.
        threshold: score from which on a point is an anomaly.
        reasons: why, for those that are, by the number of the point.
        expected, out: see the methods.
    """

    def __init__(
        self,
        scores: list[float | None],
        threshold: float,
        reasons: Mapping[int, str],
        expected: list[float],
        out: list[bool],
    ) -> None:
        self._scores, self._threshold, self._reasons = scores, threshold, reasons
        self._expected, self._out = expected, out

    def expected(self) -> list[float]:
        """What was expected of each point; NaN if it is missing or infinite."""
        return self._expected

    def out(self) -> list[bool]:
        """Whether each point is improbable or new, though its event may have been told before."""
        return self._out

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
        expected, out = [math.nan] * len(series), [False] * len(series)
        reasons: dict[int, str] = {}
        for number, time, value in zip(series.tolist(), times.tolist(), points[:, 0].tolist(), strict=True):
            if value != value:
                scores.append(None)
                continue
            scorer = self._scorers[number]
            if scorer is None:
                scorer = self._scorers[number] = AnomalyScorer.of_checked(self._options)
            score = scorer.score(time, value)
            if score >= self._threshold or scorer.out:
                reasons[len(scores)] = scorer.reason()
            if abs(value) <= LARGEST:
                expected[len(scores)] = scorer.expected
            out[len(scores)] = scorer.out or abs(value) > LARGEST
            scores.append(score)
        return Scores(scores, self._threshold, reasons, expected, out)

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


class ResidualBank:
    """Scorers that have no memory of what is new, of many series: one operation for all.

    Args:
        options: checked ones of ``ANOMALY_SCORE``; a ``history`` of 0.
    """

    width = 1

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._once = once_in(options)
        self._kernel = kernel(options["warmup"], self._once)
        self._threshold: float = options["threshold"]
        self.storage = Storage(len(FIELDS), PLACES, PART)

    def grow(self, series: int) -> None:
        """Make room."""
        self.storage.grow(series)

    def update(self, series: Integers, times: Integers, points: Floats) -> ResidualScores:
        """Score points one after the other."""
        values = np.ascontiguousarray(points[:, 0])
        results = np.full((len(OUTPUTS), len(values)), np.nan)
        known = np.flatnonzero(np.abs(values) <= LARGEST)
        if len(known):
            own, at, learnt = series[known], times[known], values[known]
            turns = int(np.bincount(own).max())
            if len(known) < FEW * turns:
                for which in _by_series(own):
                    results[:, known[which]] = self._one(int(own[which[0]]), at[which], learnt[which])
            else:
                for which in one_each(own):
                    results[:, known[which]] = self._many(own[which], at[which], learnt[which])
            self.storage.touch(own)
        return ResidualScores(values, results, self._threshold, self._once)

    def _one(self, series: int, times: Integers, values: Floats) -> Floats:
        """Outputs of some points of one series."""
        own, storage = places(times), self.storage
        at = [each.tolist() for each in own]
        state, out = self._kernel.one_series(
            storage.state[:, series].tolist(), (values.tolist(), *at, at[0], at[2]), storage.table[:, series].data
        )
        storage.state[:, series] = state
        storage.wrote(series, own.season)
        return np.array(out).reshape(len(values), -1).T[: len(OUTPUTS)]

    def _many(self, series: Integers, times: Integers, values: Floats) -> Floats:
        """Outputs of one point of each of some series."""
        own, storage = places(times), self.storage
        state = np.take(storage.state, series, axis=1)
        inputs = np.stack([values, *(storage.table[place, series] for place in own), own.season, own.low])
        out = self._kernel.many_series(state, inputs)
        storage.state[:, series] = state
        for place, result in zip(own, out[len(OUTPUTS) :], strict=True):
            storage.table[place, series] = result
        storage.wrote(series, own.season)
        return out[: len(OUTPUTS)]

    def changes(self, series: int) -> Entries:
        """State entries put since the last call."""
        return self.storage.changes(series)

    def restore(self, series: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh series its entries."""
        self.storage.restore(series, entries)

    def forget(self, series: int) -> None:
        """Make a series fresh."""
        self.storage.forget(series)


def _by_series(series: Integers) -> list[Integers]:
    """Indices of the points of each series, in the order in which they came."""
    order = np.argsort(series, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(series[order])) + 1)


class ResidualScores:
    """What a :class:`ResidualBank` says about the points of one call.

    Args:
        values: the points.
        results: :data:`~anomaly_app.scoring.residual.OUTPUTS` of each; NaN where it is missing or infinite.
        threshold: score from which on a point is an anomaly.
        once: values in which one is an alarm.
    """

    def __init__(self, values: Floats, results: Floats, threshold: float, once: float) -> None:
        self._values, self._results, self._threshold, self._once = values, results, threshold, once

    def expected(self) -> list[float]:
        """The forecasts; NaN for a missing or infinite point."""
        forecasts: list[float] = self._results[1].tolist()
        return forecasts

    def out(self) -> list[bool]:
        """Whether each point is improbable, though its event may have been told before."""
        out: list[bool] = ((self._results[3:5].max(axis=0) >= 1.0) | (np.abs(self._values) > LARGEST)).tolist()
        return out

    def scores(self) -> list[float | None]:
        """The scores."""
        infinite = np.abs(self._values) > LARGEST
        told = np.where(infinite, 1.0, self._results[0])
        found: list[float | None] = told.tolist()
        for missing in np.flatnonzero(np.isnan(told)).tolist():
            found[missing] = None
        return found

    def values(self) -> list[Any]:
        """The scores."""
        return self.scores()

    def flags(self) -> list[bool | None]:
        """Whether the score reaches the threshold; None for a missing value."""
        return [None if score is None else score >= self._threshold for score in self.scores()]

    def explain(self, number: int) -> str:
        """Why a point is improbable."""
        value = float(self._values[number])
        if value != value:
            return "the value is missing"
        if abs(value) > LARGEST:
            return "score 1.00: the value is infinite, or as good as that"
        score, forecast, limit, ratio, drifted = self._results[:, number].tolist()
        if score < self._threshold and max(ratio, drifted) < 1.0:
            return f"score {score:.2f}: nothing that is worth an alert"
        return f"score {score:.2f}: {improbable_reason(value, forecast, limit, ratio, drifted, self._once)}"
