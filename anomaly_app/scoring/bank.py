"""Scorers of many series."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from anomaly_app.detectors import Entries, Floats, Integers
from anomaly_app.forecasting.detector import FEW, one_each
from anomaly_app.scoring.novelties import Novelties
from anomaly_app.scoring.options import once_in
from anomaly_app.scoring.residual import AGAIN, OUTPUTS
from anomaly_app.scoring.residuals import Residuals
from anomaly_app.scoring.scorer import (
    ALERT,
    EXPLAINED,
    INFINITE,
    LARGEST,
    SINCE,
    TOP,
    WEIGHT,
    AnomalyScorer,
    improbable_reason,
)
from anomaly_app.scoring.tail import HEAVIEST

FEW_SCORERS = 24
"""Series a round from which on arrays are faster than one scorer after another."""
RATIO = OUTPUTS.index("ratio")


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


class Results:
    """What is said about the points of one call, in arrays; at first right for those that are missing or infinite.

    Args:
        values: the points.
    """

    def __init__(self, values: Floats) -> None:
        self.out = np.abs(values) > LARGEST
        self.scores = np.where(self.out, 1.0, math.nan)
        self.expected = np.full(len(values), math.nan)
        self.reasons = dict.fromkeys(np.flatnonzero(self.out).tolist(), INFINITE)

    def scores_of(self, threshold: float) -> Scores:
        """The same in lists."""
        return Scores(known_scores(self.scores), threshold, self.reasons, self.expected.tolist(), self.out.tolist())


def known_scores(scores: Floats) -> list[float | None]:
    """The scores, None for those that are missing."""
    found: list[float | None] = scores.tolist()
    for missing in np.flatnonzero(np.isnan(scores)).tolist():
        found[missing] = None
    return found


class ScorerBank:
    """Scorers of many series.

    In calls of few series each is a scorer by itself. From the first call of many on in which a series is, what changes
    with every value is kept in arrays, for all such series together, and a scorer has only what is rare. In a call of
    few series after that its scorer is lent what it needs, and keeps it until the series is in a call of many again.

    Args:
        options: checked ones of ``ANOMALY_SCORE``.
    """

    width = 1

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._threshold: float = options["threshold"]
        self._once = once_in(options)
        self._scorers: list[AnomalyScorer | None] = []
        self._residuals, self._novelties = Residuals(options), Novelties(options)
        self._kept = np.zeros(0, dtype=np.bool_)
        """Which series are in arrays."""
        self._lent: set[int] = set()
        """Those of them whose scorers are complete, and ahead of the arrays."""

    def grow(self, series: int) -> None:
        """Make room; a series that has seen nothing takes none."""
        self._scorers += [None] * (series - len(self._scorers))

    def update(self, series: Integers, times: Integers, points: Floats) -> Scores:
        """Score points one after the other."""
        values = points[:, 0]
        known = np.flatnonzero(np.abs(values) <= LARGEST) if len(values) >= FEW_SCORERS else ()
        if len(known) < FEW_SCORERS or len(known) < FEW_SCORERS * int(np.bincount(series[known]).max()):
            return self._one_by_one(series, times, values)
        results = Results(values)
        for which in one_each(series[known]):
            self._many(series[known[which]], times, values, known[which], results)
        return results.scores_of(self._threshold)

    def _one_by_one(self, series: Integers, times: Integers, values: Floats) -> Scores:
        """Score points of few series."""
        scores: list[float | None] = []
        expected, out = [math.nan] * len(series), [False] * len(series)
        reasons: dict[int, str] = {}
        for number, time, value in zip(series.tolist(), times.tolist(), values.tolist(), strict=True):
            if value != value:
                scores.append(None)
                continue
            scorer = self._scorer(number)
            if number < len(self._kept) and self._kept[number] and number not in self._lent:
                self._lend(number, scorer, scoring=True)
                self._lent.add(number)
            score = scorer.score(time, value)
            if score >= self._threshold or scorer.out:
                reasons[len(scores)] = scorer.reason()
            if abs(value) <= LARGEST:
                expected[len(scores)] = scorer.expected
            out[len(scores)] = scorer.out or abs(value) > LARGEST
            scores.append(score)
        return Scores(scores, self._threshold, reasons, expected, out)

    def _many(self, series: Integers, times: Integers, values: Floats, which: Integers, results: Results) -> None:
        """Score one point of each of some series."""
        self._keep(series)
        times, values, state = times[which], values[which], self._residuals.storage.state
        tail = np.minimum(state[WEIGHT, series], HEAVIEST)
        out = self._residuals.many(series, times, values)
        self._residuals.storage.touch(series)
        since, explained = state[SINCE, series].astype(np.int64) - 1, state[EXPLAINED, series]
        usual = (explained > 0.0) & (explained <= AGAIN + 1.0)
        hushed = np.where((out[0] < ALERT) & (since <= AGAIN), np.maximum(since, 1), 0)
        novelty, special = self._novelties.score(series, values, hushed, tail / (1.0 - tail), usual)
        scores, expected, improbable = out[0].copy(), out[1].copy(), out[3:].max(axis=0) >= 1.0
        new = special[novelty[special] > 0.0]
        reasons = {}
        for place, own, time, value, outputs, how in zip(
            new.tolist(),
            series[new].tolist(),
            times[new].tolist(),
            values[new].tolist(),
            out[:, new].T.tolist(),
            novelty[new].tolist(),
            strict=True,
        ):
            scorer = self._scorer(own)
            scores[place], told = scorer.judged(time, value, tuple(outputs), how)
            expected[place], improbable[place] = scorer.expected, scorer.out
            if told:
                state[SINCE, own], state[TOP, own] = 1.0, max(outputs[RATIO], 1.0)
            if scores[place] >= self._threshold or improbable[place]:
                reasons[place] = scorer.reason()
        for place in np.flatnonzero((scores >= self._threshold) | improbable).tolist():
            text = reasons.get(place)
            if text is None:
                forecast, limit, ratio, drifted = out[1:, place].tolist()
                text = improbable_reason(float(values[place]), forecast, limit, ratio, drifted, self._once)
            results.reasons[int(which[place])] = text
        results.scores[which], results.expected[which], results.out[which] = scores, expected, improbable

    def _scorer(self, series: int) -> AnomalyScorer:
        scorer = self._scorers[series]
        if scorer is None:
            scorer = self._scorers[series] = AnomalyScorer.of_checked(self._options)
        return scorer

    def _keep(self, series: Integers) -> None:
        """Take series into the arrays that are not there."""
        storage, count = self._residuals.storage, len(self._scorers)
        if self._lent:
            self._take_back(self._lent if len(self._kept) < count else self._lent.intersection(series.tolist()))
        if len(self._kept) < count:  # into other arrays, which nobody was lent
            storage.grow(count)
            self._novelties.grow(count)
            self._kept.resize(count, refcheck=False)
        for number in series[~self._kept[series]].tolist():
            fresh, scorer = self._scorers[number] is None, self._scorer(number)
            if not fresh:  # else all is 0, as it is there
                storage.state[:, number], storage.table[:, number] = scorer.recursion
            scorer.lend([], (), 0, False)
            assert scorer.novelty is not None
            self._novelties.put(number, scorer.novelty)
            self._kept[number] = True

    def _take_back(self, series: Iterable[int]) -> None:
        """Bring the arrays up to date."""
        for number in list(series):
            scorer = self._scorer(number)
            self._residuals.storage.state[:, number], _ = scorer.recursion
            scorer.lend([], (), 0, False)
            self._novelties.take_back(number)
            self._lent.discard(number)

    def _lend(self, series: int, scorer: AnomalyScorer, scoring: bool) -> None:
        """Make the scorer of a series complete."""
        storage = self._residuals.storage
        changed, written = storage.take_changes(series)
        scorer.lend(storage.state[:, series].tolist(), storage.table[:, series].data, written, changed)
        self._novelties.lend(series, scoring)

    def changes(self, series: int) -> Entries:
        """State entries put since the last call."""
        scorer = self._scorers[series]
        if scorer is None:
            return ()
        if series >= len(self._kept) or not self._kept[series] or series in self._lent:
            return scorer.changes()
        self._lend(series, scorer, scoring=False)
        found = list(scorer.changes())
        scorer.lend([], (), 0, False)
        self._novelties.let_be(series)
        return found

    def restore(self, series: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh series its entries."""
        scorer = AnomalyScorer.of_checked(self._options)
        scorer.load(entries)
        self._scorers[series] = scorer

    def forget(self, series: int) -> None:
        """Make a series fresh."""
        self._scorers[series] = None
        if series < len(self._kept) and self._kept[series]:
            self._kept[series] = False
            self._lent.discard(series)
            self._residuals.storage.forget(series)
            self._novelties.forget(series)


class ResidualBank:
    """Scorers that have no memory of what is new, of many series: one operation for all.

    Args:
        options: checked ones of ``ANOMALY_SCORE``; a ``history`` of 0.
    """

    width = 1

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._once = once_in(options)
        self._threshold: float = options["threshold"]
        self._residuals = Residuals(options)
        self.storage = self._residuals.storage

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
                    results[:, known[which]] = self._residuals.one(int(own[which[0]]), at[which], learnt[which])
            else:
                for which in one_each(own):
                    results[:, known[which]] = self._residuals.many(own[which], at[which], learnt[which])
            self.storage.touch(own)
        return ResidualScores(values, results, self._threshold, self._once)

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
        return known_scores(np.where(infinite, 1.0, self._results[0]))

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
            return f"score 1.00: {INFINITE}"
        score, forecast, limit, ratio, drifted = self._results[:, number].tolist()
        if score < self._threshold and max(ratio, drifted) < 1.0:
            return f"score {score:.2f}: nothing that is worth an alert"
        return f"score {score:.2f}: {improbable_reason(value, forecast, limit, ratio, drifted, self._once)}"
