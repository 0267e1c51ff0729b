"""What a model of a series is: a recursion for its mean, to be traced (:mod:`anomaly_app.forecasting.symbols`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from anomaly_app.forecasting.symbols import Number, Symbol, choose, largest

State: TypeAlias = Mapping[str, Symbol]
Changes: TypeAlias = dict[str, Number]


@dataclass(frozen=True, slots=True)
class Memory:
    """How fast the past is forgotten, from ``maxTrainingSize``.

    With the default of 512 points the variance follows with .003 and the coefficients with .9995 a point.

    Args:
        points: of history that count.
    """

    points: int

    @property
    def variance(self) -> float:
        """Least weight of the newest point in the variance."""
        return 1.5 / self.points

    @property
    def level(self) -> float:
        """Least weight of the newest point in the mean of EWMA."""
        return 5.0 / self.points

    @property
    def keeping(self) -> float:
        """Factor per point by which least squares forgets."""
        return 1 - 0.25 / self.points


@dataclass(frozen=True, slots=True)
class Forecast:
    """One step ahead, in units of the series' scale.

    Args:
        mean: the value expected.
        doubt: what is not known of the mean, as a multiple of the variance of a point.
        growth: what one missing point adds to the variance, as a multiple of it.
    """

    mean: Symbol
    doubt: Symbol
    growth: Number


@dataclass(frozen=True, slots=True)
class Surprise:
    """What a point told.

    Args:
        value: the point.
        error: the point less its forecast; 0 if it is an outlier, because it is replaced by its forecast then.
        clipped: the error, not beyond the bound of an outlier.
        outlier: whether the error is beyond that bound.
        imputed: whether the point is replaced by its forecast: an outlier that is not accepted.
        accepted: whether so many outliers came in a row that they are the new level.
        learns: whether coefficients are to be updated now; None for always.
    """

    value: Symbol
    error: Symbol
    clipped: Symbol
    outlier: Symbol
    imputed: Symbol
    accepted: Symbol
    learns: Symbol | None


class Model(Protocol):
    """A recursion for the mean of a series."""

    name: str
    fields: tuple[str, ...]
    """Of its state."""
    start: Mapping[str, float]
    """Values of fields that do not start at 0."""
    differences: int
    """How often the series is differenced."""
    parameters: int
    """Numbers that it estimates, the variance not counted."""
    lost: int
    """Degrees of freedom that the variance has less than points."""

    def forecast(self, state: State) -> Forecast:
        """The next point."""
        ...

    def learn(self, state: State, forecast: Forecast, point: Surprise) -> Changes:
        """The state behind a point."""
        ...

    def skip(self, state: State, forecast: Forecast, limit: Symbol) -> Changes:
        """The state behind a missing point; the limit is that of an outlier's error."""
        ...

    def ahead(self, state: Mapping[str, Number], steps: int) -> tuple[Number, Number]:
        """Mean of the point some steps on, and its variance as a multiple of that of the next one."""
        ...


class Ewma:
    """Exponentially weighted mean and variance: points around a level that moves slowly.

    The first points weigh alike, so that mean and variance are those of the sample.

    Args:
        memory: how fast it forgets.

    Source: Roberts, "Control chart tests based on geometric moving averages", Technometrics 1 (1959).
    """

    name = "ewma"
    fields: tuple[str, ...] = ("level",)
    start: Mapping[str, float] = {}
    differences = 0
    parameters = 1
    lost = 1

    def __init__(self, memory: Memory) -> None:
        self.alpha = memory.level

    def forecast(self, state: State) -> Forecast:
        """The level; its own variance is that of a mean."""
        doubt = largest(1.0 / state["n"], self.alpha / (2 - self.alpha))
        return Forecast(state["level"], doubt, self.alpha * self.alpha)

    def learn(self, state: State, forecast: Forecast, point: Surprise) -> Changes:
        """Move the level a little."""
        weight = largest(1.0 / (state["n"] + 1.0), self.alpha)
        return {"level": choose(point.accepted, state["level"], state["level"] + weight * point.clipped)}

    def skip(self, state: State, forecast: Forecast, limit: Symbol) -> Changes:
        """Nothing happens."""
        return {}

    def ahead(self, state: Mapping[str, Number], steps: int) -> tuple[Number, Number]:
        """The level, whatever the step."""
        return state["level"], 1.0 + (steps - 1) * self.alpha * self.alpha


class Holt:
    """Level and damped trend, by exponential smoothing; with a season beside it, it is Holt-Winters' additive method.

    Args:
        points: of the season; 1 without.

    Source: Winters, Management Science 6 (1960); damping: Gardner and McKenzie, Management Science 31 (1985).
    """

    name = "holt-winters"
    fields: tuple[str, ...] = ("level", "trend")
    start: Mapping[str, float] = {}
    differences = 0
    alpha, beta, damping = 0.1, 0.01, 0.98

    def __init__(self, points: int) -> None:
        self.parameters = points + 2
        self.lost = 2

    def forecast(self, state: State) -> Forecast:
        """The level and what the trend adds."""
        mean = state["level"] + self.damping * state["trend"]
        return Forecast(mean, 0.0 * mean, (self.alpha * (1 + self.beta)) ** 2)

    def learn(self, state: State, forecast: Forecast, point: Surprise) -> Changes:
        """Error correction of level and trend."""
        return {
            "level": forecast.mean + self.alpha * point.error,
            "trend": self.damping * state["trend"] + (self.alpha * self.beta) * point.error,
        }

    def skip(self, state: State, forecast: Forecast, limit: Symbol) -> Changes:
        """The trend goes on."""
        return {"level": forecast.mean, "trend": self.damping * state["trend"]}

    def ahead(self, state: Mapping[str, Number], steps: int) -> tuple[Number, Number]:
        """The trend goes on; each step adds what level and trend will have learnt by then."""
        damped, variance = 0.0, 1.0
        for step in range(1, steps + 1):
            damped = self.damping * (1 + damped)
            if step < steps:
                variance += (self.alpha * (1 + self.beta * damped)) ** 2
        return state["level"] + damped * state["trend"], variance
