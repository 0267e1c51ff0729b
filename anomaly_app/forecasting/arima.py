"""ARIMA(p, d, q) whose coefficients follow the series: recursive extended least squares."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.forecasting.models import Changes, Forecast, Memory, State, Surprise
from anomaly_app.forecasting.symbols import Number, Symbol, choose, clip, largest, smallest

START = 10.0
"""Variance of the coefficients before the first point, in units of the series' variance: next to nothing is known."""
MOST_DOUBT = 1e8
"""A series at rest tells nothing of its coefficients, and forgetting lets their variance grow, up to here."""


class Arima:
    """A difference of the series, regressed on its last values, on the last errors and on a constant.

    State: ``w1 …`` the last differences, ``m1 …`` the last errors, ``c0 …`` the coefficients, ``P0_0 …`` the upper
    triangle of their covariance, ``y`` and ``dy`` the last value and step where d asks for them.

    Args:
        p, d, q: the orders.
        memory: how fast it forgets.

    Sources: Box and Jenkins, *Time Series Analysis*, ch. 3 to 5, for the model; Ljung and Söderström, *Theory and
    Practice of Recursive Identification* (1983), section 2.2, for the recursion.
    """

    def __init__(self, p: int, d: int, q: int, memory: Memory) -> None:
        self.p, self.differences, self.q = p, d, q
        self.keeping = memory.keeping
        self.size = p + q + 1
        self.parameters = self.size
        self.lost = self.size
        self.name = f"arima({p},{d},{q})"
        self._lags = tuple(f"w{lag}" for lag in range(1, p + 1))
        self._errors = tuple(f"m{lag}" for lag in range(1, q + 1))
        self._coefficients = tuple(f"c{number}" for number in range(self.size))
        self._last = ("y", "dy")[:d]
        covariance = [f"P{row}_{column}" for row in range(self.size) for column in range(row, self.size)]
        self.fields = (*self._last, *self._lags, *self._errors, *self._coefficients, *covariance)
        self.start: Mapping[str, float] = {f"P{number}_{number}": START for number in range(self.size)}

    def forecast(self, state: State) -> Forecast:
        """The regression, summed up d times."""
        move, product = self._move(state), self._product(state)
        doubt = product[-1]
        for number, name in enumerate((*self._lags, *self._errors)):
            doubt = doubt + state[name] * product[number]
        mean: Symbol = move
        for name in self._last:
            mean = mean + state[name]
        growth = self._first_weight(state)
        return Forecast(mean, largest(doubt, 0.0), smallest(growth * growth, 4.0))

    def learn(self, state: State, forecast: Forecast, point: Surprise) -> Changes:
        """One step of recursive least squares, then the lags move on."""
        gain = 1.0 / (self.keeping + forecast.doubt)
        gain = choose(point.outlier, 0.0, gain)
        if point.learns is not None:
            gain = choose(point.learns, gain, 0.0)
        product = self._product(state)
        doubt = state["P0_0"]
        for number in range(1, self.size):
            doubt = doubt + state[f"P{number}_{number}"]
        grown = choose(doubt > MOST_DOUBT, 0.01 / self.keeping, 1 / self.keeping)
        changes: Changes = {}
        for row in range(self.size):
            step = product[row] * gain
            changes[f"c{row}"] = state[f"c{row}"] + step * point.error
            for column in range(row, self.size):
                name = f"P{row}_{column}"
                changes[name] = (state[name] - step * product[column]) * grown
        left = point.error * (1.0 - gain * forecast.doubt)
        changes |= self._shift(state, self._move(state) + point.error, left)
        if self.differences:
            changes["y"] = choose(point.imputed, forecast.mean, point.value)
        if self.differences == 2:
            changes["dy"] = state["dy"] + (self._move(state) + point.error)
        return changes

    def skip(self, state: State, forecast: Forecast, limit: Symbol) -> Changes:
        """The forecast takes the place of the point; nothing is learnt."""
        move = clip(self._move(state), limit)
        changes = self._shift(state, move, 0.0)
        if self.differences == 1:
            changes["y"] = state["y"] + move
        if self.differences == 2:
            changes["dy"] = state["dy"] + move
            changes["y"] = state["y"] + (state["dy"] + move)
        return changes

    def ahead(self, state: Mapping[str, Number], steps: int) -> tuple[Number, Number]:
        """The regression with forecasts for the values to come; variance by the psi weights of the model."""
        lags = [state[name] for name in self._lags]
        errors = [state[name] for name in self._errors]
        ar, ma = self._ar(state), self._ma(state)
        levels = [state[name] for name in self._last]
        weights: list[Number] = []
        summed: list[Number] = [1.0] * self.differences
        variance: Number = 1.0
        mean: Number = 0.0
        for step in range(1, steps + 1):
            move: Number = state[f"c{self.size - 1}"]
            for coefficient, value in (*zip(ar, lags, strict=True), *zip(ma, errors, strict=True)):
                move = move + coefficient * value
            lags, errors = [move, *lags][: self.p], [0.0, *errors][: self.q]
            mean = move
            for number in reversed(range(self.differences)):
                levels[number] = levels[number] + mean
                mean = levels[number]
            if step == steps:
                break
            weight: Number = ma[step - 1] if step <= self.q else 0.0
            for lag, coefficient in enumerate(ar, 1):
                if lag <= step:
                    weight = weight + coefficient * (weights[step - lag - 1] if lag < step else 1.0)
            weights.append(weight)
            total = weight
            for number in range(self.differences):
                summed[number] = summed[number] + total
                total = summed[number]
            variance = variance + total * total
        return mean, variance

    # --- parts -------------------------------------------------------------------------------------------------------

    def _ar(self, state: Mapping[str, Number]) -> list[Number]:
        return [state[name] for name in self._coefficients[: self.p]]

    def _ma(self, state: Mapping[str, Number]) -> list[Number]:
        return [state[name] for name in self._coefficients[self.p : -1]]

    def _move(self, state: State) -> Symbol:
        """The regression: the next difference."""
        move = state[self._coefficients[-1]]
        for number, name in enumerate((*self._lags, *self._errors)):
            move = move + state[f"c{number}"] * state[name]
        return move

    def _product(self, state: State) -> list[Symbol]:
        """Covariance times regressors; the last regressor is 1."""
        names = (*self._lags, *self._errors)
        result = []
        for row in range(self.size):
            total = state[f"P{min(row, self.size - 1)}_{self.size - 1}"]
            for column, name in enumerate(names):
                total = total + state[f"P{min(row, column)}_{max(row, column)}"] * state[name]
            result.append(total)
        return result

    def _first_weight(self, state: State) -> Symbol:
        """What remains of an error one step later."""
        weight: Symbol = 0.0 * state["c0"] + float(self.differences)
        if self.p:
            weight = weight + state["c0"]
        if self.q:
            weight = weight + state[f"c{self.p}"]
        return weight

    def _shift(self, state: State, move: Symbol, error: Number) -> Changes:
        """The newest difference and error, and the older ones one place on."""
        changes: Changes = {}
        for names, newest in ((self._lags, move), (self._errors, error)):
            value: Number = newest
            for name in names:
                changes[name] = value
                value = state[name]
        return changes
