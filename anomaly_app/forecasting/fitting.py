"""The first estimate of a model, from the points of its training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anomaly_app.detectors import Floats, Integers
from anomaly_app.forecasting.models import Model
from anomaly_app.forecasting.step import OUTPUTS, TINIEST, USUAL, USUAL_VALUES, Plan, fields, kernels

MANY = 64
"""Series from which on arrays are faster than floats."""
FAR = 8.0
"""Robust standard deviations beyond which a value of the training of EWMA is cut off: normal ones never are."""
FIRST_SHARE = 0.25
"""Share of a usual value behind the training at most: if a season explains it, it is soon forgotten."""
TRUST = 2.0
"""Points that the first guess of the variance counts for."""
NORMAL = 1.4826
"""Of the median absolute deviation, to be the standard deviation of a normal distribution."""


@dataclass(slots=True)
class Fitted:
    """States of some series behind their training.

    Args:
        state: shape (fields, series).
        criterion: Akaike's, shape (series,); comparable between models of the same points.
        season: shape (places, series).
    """

    state: Floats
    criterion: Floats
    season: Floats


class Candidate:
    """A model with its kernels.

    Args:
        model: the recursion for the mean.
        plan: what is around it.
    """

    def __init__(self, model: Model, plan: Plan) -> None:
        self.model, self.plan = model, plan
        self.fields = fields(model, plan)
        self.index = {name: number for number, name in enumerate(self.fields)}
        self.observe, self.miss = kernels(model, plan)
        self.has_season = bool(plan.season_weight)
        """Whether a place of a season is an input of the kernels."""
        self._train, _ = kernels(model, replace(plan, update_rows=1, path=0))

    def fit(self, values: Floats, place: Integers, points: Integers, season: Floats, runs: int = 2) -> Fitted:
        """Estimate the model from its training, twice: the first time tells the variance to start from.

        Args:
            values: without missing ones, shape (n, series), oldest first.
            place: of each value in its season, the same shape.
            points: places of the season of each series, 1 without.
            season: what each place adds, shape (places, series).
            runs: 1 where the points are so many that it hardly matters where the variance starts.
        """
        count, series = values.shape
        plain = values - season[place, np.arange(series)] if self.has_season else values
        base, unit = _scale(plain, self.model.differences)
        season = season / unit
        if self.model.name == "ewma":
            state, table, followed = self._sample(plain, base, unit), season, np.zeros(series)
            self._set_usual(state, values)
        else:
            state, table = self._runs(runs, plain, values, place, base, unit, season)
            followed = np.full(series, 2 * self.plan.season_weight)
        counted = np.full(series, float(count))
        if self.has_season:
            # The profile was made from the same c points per place: their errors have (1 - 1/c) of the variance, later
            # ones (1 + 1/c). Those of a place sum up to 0, so following one makes the next one larger.
            visits = np.maximum(count / _places(place), 1.5)
            seasonal = points > 1
            inside = (1 - 1 / visits) * (1 + followed / (visits - 1))
            state[self.index["v"]] /= np.where(seasonal, inside, 1.0)
            state[self.index["season_doubt"]] = np.where(seasonal, 1 / visits, 0.0)
            state[self.index["season_pace"]] = np.where(seasonal, 1 / points, 0.0)
            counted = np.where(seasonal, np.maximum(count - _places(place), self.model.lost + 1.0), counted)
        state[self.index["n"]] = np.minimum(counted, self.plan.memory)
        return Fitted(state, self._criterion(state), table)

    def _runs(
        self, runs: int, plain: Floats, values: Floats, place: Integers, base: Floats, unit: Floats, season: Floats
    ) -> tuple[Floats, Floats]:
        """States and seasons behind the training; a second run starts from the variance that the first has found."""
        v = np.ones(values.shape[1])
        first = self.model.differences
        for _ in range(runs):
            start = self._start(plain, base, unit)
            start[self.index["v"]] = v
            self._set_usual(start, values)
            state, table = self._run(start, values[first:], place[first:], season.copy())
            v = state[self.index["v"]]
        return state, table

    def _set_usual(self, state: Floats, values: Floats) -> None:
        """For each tail, the outermost value of the training that is usual."""
        if self.plan.interval != "conformal":
            return
        ordered, count = np.sort(values, axis=0), len(values)
        for (_, value, share), tail, last in zip(
            USUAL_VALUES, (self.plan.lower, self.plan.upper), (False, True), strict=True
        ):
            times = max(3, math.ceil(max(tail, USUAL) * count))
            alike = ordered[times - 1 :] == ordered[: count - times + 1]
            place = len(alike) - 1 - np.argmax(alike[::-1], axis=0) if last else np.argmax(alike, axis=0)
            outermost = ordered[place, np.arange(values.shape[1])]
            state[self.index[value]] = outermost
            often = np.minimum(np.mean(values == outermost, axis=0), FIRST_SHARE)
            state[self.index[share]] = np.where(alike.any(axis=0), often, 0.0)

    def _start(self, plain: Floats, base: Floats, unit: Floats) -> Floats:
        """The state before the first point, or before the first one that has a difference."""
        state = np.zeros((len(self.fields), plain.shape[1]))
        given: dict[str, Any] = {"base": base, "unit": unit, "n": self.model.lost + TRUST, **self.model.start}
        scaled = (plain[: max(self.model.differences, 8)] - base) / unit
        if self.model.differences:
            given["y"] = scaled[self.model.differences - 1]
        if self.model.differences == 2:
            given["dy"] = scaled[1] - scaled[0]
        if "level" in self.index:
            given["level"] = np.median(scaled, axis=0)
        for name, value in given.items():
            state[self.index[name]] = value
        return state

    def _run(self, state: Floats, values: Floats, place: Integers, season: Floats) -> tuple[Floats, Floats]:
        """States and seasons behind the values."""
        columns = np.arange(values.shape[1])
        if len(columns) >= MANY:
            for row, at in zip(values, place, strict=True):
                if self.has_season:
                    out = self._train.many_series(state, np.stack([row, season[at, columns]]))
                    season[at, columns] = out[len(OUTPUTS)]
                else:
                    self._train.many_series(state, row[None])
            return state, season
        for column in columns:
            inputs, table = [values[:, column].tolist()], None
            if self.has_season:
                inputs.append(place[:, column].tolist())
                table = season[:, column].tolist()
            state[:, column], _ = self._train.one_series(state[:, column].tolist(), inputs, table)
            if table is not None:
                season[:, column] = table
        return state, season

    def _sample(self, plain: Floats, base: Floats, unit: Floats) -> Floats:
        """Mean and variance of the sample."""
        count, series = plain.shape
        scaled = (plain - base) / unit
        centre = np.median(scaled, axis=0)
        far = FAR * NORMAL * np.median(np.abs(scaled - centre), axis=0)
        scaled = np.where(far > 0, np.clip(scaled, centre - far, centre + far), scaled)
        mean, squares = np.zeros(series), np.zeros(series)
        for number, row in enumerate(scaled, 1):
            error = row - mean
            mean = mean + error / number
            squares = squares + error * (row - mean)
        variance = np.maximum(squares / max(count - 1, 1), TINIEST)
        state = np.zeros((len(self.fields), series))
        given = {"base": base, "unit": unit, "v": variance, "level": mean}
        given |= {f"e{number}": variance * unit * unit for number in range(self.plan.errors)}
        for name, value in given.items():
            state[self.index[name]] = value
        return state

    def _criterion(self, state: Floats) -> Floats:
        n, v, unit = (state[self.index[name]].tolist() for name in ("n", "v", "unit"))
        return np.array([akaike(*each, self.model.parameters) for each in zip(n, v, unit, strict=True)])


def akaike(count: float, variance: float, unit: float, parameters: int) -> float:
    """Akaike's information criterion of normal errors: n (ln(2 pi s^2) + 1) + 2 (k + 1).

    Args:
        count: points.
        variance: of the errors, in units of the scale squared.
        unit: the scale.
        parameters: of the mean; the variance is one more.

    Source: Akaike, "A new look at the statistical model identification", IEEE Trans. Automatic Control 19 (1974).

    Example:
        >>> round(akaike(100, 1.0, 1.0, 1), 2)
        287.79
    """
    deviance = count * (math.log(2 * math.pi * max(variance, TINIEST)) + 2 * math.log(unit) + 1)
    return deviance + 2 * (parameters + 1)


def _places(place: Integers) -> Floats:
    """How many places of the season each series has been in."""
    ordered = np.sort(place, axis=0)
    changes: Floats = np.count_nonzero(np.diff(ordered, axis=0), axis=0).astype(np.float64)
    return 1.0 + changes


def _scale(values: Floats, differences: int) -> tuple[Floats, Floats]:
    """Origin and scale of each series: the median, and the robust standard deviation of the differences."""
    base = np.median(values, axis=0)
    moves = np.diff(values, n=differences, axis=0) if differences else values
    away = np.abs(moves - np.median(moves, axis=0))
    unit = NORMAL * np.median(away, axis=0)
    unit = np.where(unit > 0, unit, np.abs(base))  # more than half of the points are equal
    return base, np.where(unit > 0, unit, 1.0)
