"""What is said of the points that a forecasting model has judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Floats, Integers
from anomaly_app.forecasting.fitting import Candidate, akaike
from anomaly_app.forecasting.step import OUTPUTS, PATH
from anomaly_app.words import figure

FORECAST, LOWER, UPPER, SQUARES, VARIANCE, UNIT, COUNT = range(len(OUTPUTS))
RMSE, AIC = 6, 7
"""Places in a result row."""


@dataclass(frozen=True, slots=True)
class SeasonNote:
    """How far a season is that is taken up behind the training.

    Args:
        points: of the season.
        needed: points that are seen before it is taken up.
        waiting: how many of them were seen before each point that was judged; 0 where the season counts.
    """

    points: int
    needed: int
    waiting: Floats

    def words(self, number: int) -> str:
        """What an explanation says of the season when a point was judged."""
        waiting = int(self.waiting[number])
        if not waiting:
            return f" with its season of {self.points} points"
        return f" without its season of {self.points} points, for which {waiting} of {self.needed} have been seen,"


@dataclass(slots=True)
class ForecastVerdicts:
    """What a forecasting model says of some points.

    Args:
        candidates: models that a series may have.
        times: of the points, in ms.
        points: their values.
        results: the outputs of :mod:`anomaly_app.forecasting.step`, shape (outputs, n); NaN in the training.
        models: which candidate each series has now, counted from 1.
        steps: usual distance of the points of each series, in ms.
        season: of models that take a season up behind the training.
        note: ends an explanation.
    """

    candidates: Sequence[Candidate]
    times: Integers
    points: Floats
    results: Floats
    models: Floats
    steps: Floats
    season: SeasonNote | None = None
    note: str = ""

    def values(self) -> list[Any]:
        """ROW(timestamp, actual_value, forecast_value, lower_bound, upper_bound, is_anomaly, rmse, aic).

        With a path, an array of ROW(timestamp, forecast_value, lower_bound, upper_bound, rmse, aic), one a step.
        """
        rows, steps = self._rows(), self.candidates[0].plan.path
        if not steps:
            return rows
        ahead = self.results[len(OUTPUTS) :].reshape(steps, len(PATH), -1).transpose(2, 0, 1).tolist()
        return [
            None
            if row[RMSE] is None
            else [(row[0] + number * ms, *lines, row[RMSE], row[AIC]) for number, lines in enumerate(path, 1)]
            for row, path, ms in zip(rows, ahead, self.steps.astype(np.int64).tolist(), strict=True)
        ]

    def _rows(self) -> list[tuple[Any, ...]]:
        forecast, lower, upper, squares, variance, unit, count = self.results[: len(OUTPUTS)].tolist()
        candidates = self.candidates
        errors = candidates[0].plan.errors
        columns = zip(
            self.times.tolist(), self.points.tolist(), forecast, lower, upper, self.flags(), squares, variance, unit,
            count, self.models.tolist(), strict=True,
        )  # fmt: skip
        return [
            (time, None if x != x else x, None, None, None, None, None, None)
            if n != n
            else (
                time,
                None if x != x else x,
                f,
                low,
                high,
                flag,
                math.sqrt(s / errors),
                akaike(n, v, u, candidates[int(model) - 1].model.parameters),
            )
            for time, x, f, low, high, flag, s, v, u, n, model in columns
        ]

    def outside(self) -> NDArray[np.bool_]:
        """Whether each point has a verdict and lies outside its bounds."""
        outside: NDArray[np.bool_] = (self.points < self.results[LOWER]) | (self.points > self.results[UPPER])
        return outside

    def judged(self) -> NDArray[np.bool_]:
        """Whether each point has a verdict."""
        judged: NDArray[np.bool_] = ~np.isnan(self.results[COUNT]) & ~np.isnan(self.points)
        return judged

    def flags(self) -> list[bool | None]:
        """Whether each point lies outside its bounds."""
        return [
            flag if judged else None
            for flag, judged in zip(self.outside().tolist(), self.judged().tolist(), strict=True)
        ]

    def scores(self) -> list[float | None]:
        """The distance from the forecast, the bound on that side being 1."""
        forecast, lower, upper = self.results[:3].tolist()
        columns = zip(self.points.tolist(), forecast, lower, upper, self.flags(), strict=True)
        return [_score(*each) for each in columns]

    def expected(self) -> list[float]:
        """The forecasts."""
        forecasts: list[float] = self.results[FORECAST].tolist()
        return forecasts

    def out(self) -> list[bool]:
        """Whether each point has a verdict and lies outside its bounds."""
        return [flag is True for flag in self.flags()]

    def explain(self, number: int) -> str:
        """The value, the bound that it passed, and what was expected."""
        x = float(self.points[number])
        forecast, lower, upper = self.results[:3, number].tolist()
        if not self.judged()[number]:
            return "no verdict: the value is missing, or the model has too few points yet"
        shown, middle, least, most = (figure(each, 6) for each in (x, forecast, lower, upper))
        name = self.candidates[int(self.models[number]) - 1].model.name
        season = self.season.words(number) if self.season else ""
        expected = f"the {name} forecast{season} is {middle}, expected were {least} to {most}{self.note}"
        if x > upper:
            return f"{shown} is above {most}: {expected}"
        if x < lower:
            return f"{shown} is below {least}: {expected}"
        return f"{shown} is within bounds: {expected}"


def _score(x: float, forecast: float, lower: float, upper: float, flag: bool | None) -> float | None:
    if flag is None:
        return None
    away, room = (x - forecast, upper - forecast) if x >= forecast else (forecast - x, forecast - lower)
    score = away / room if room > 0 else (math.inf if away > 0 else 0.0)
    return max(score, math.nextafter(1.0, 2.0)) if flag else min(score, 1.0)
