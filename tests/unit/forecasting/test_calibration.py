"""How often series without anomalies are flagged at 99 %: a small simulation of ``benchmarks/calibration.py``.

The bands are the goals of the project, widened by three standard deviations of what so few points can show.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly_app.detectors import check_options
from anomaly_app.forecasting import FUNCTIONS
from anomaly_app.forecasting.detector import ForecastDetector

SERIES, ROWS, SEASON, HALF_HOUR = 100, 700, 48, 1_800_000
Values = NDArray[np.float64]


def walk(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    return np.cumsum(random.normal(size=shape), axis=0)


def ar1(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    noise = random.normal(size=shape)
    for row in range(1, shape[0]):
        noise[row] += 0.8 * noise[row - 1]
    return noise


def seasonal(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    return 5 * np.sin(np.arange(shape[0]) * 2 * np.pi / SEASON)[:, None] + random.normal(size=shape)


FAMILIES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Values]] = {
    "gauss": lambda random, shape: random.normal(size=shape),
    "AR(1)": ar1,
    "random walk": walk,
    "seasonal": seasonal,
    "t3": lambda random, shape: random.standard_t(3, shape),
    "lognormal": lambda random, shape: random.lognormal(size=shape),
}
ARIMA, HOLT = {"p": 1, "d": 1, "q": 1, "interval": "t"}, {"model": "holt-winters", "m": SEASON, "interval": "t"}


def percent_flagged(options: dict[str, Any], values: Values, skipped: int = 0) -> float:
    """Of the points with a verdict, the first ``skipped`` not counted."""
    detector = FUNCTIONS[0].create(check_options(FUNCTIONS[0], options), ["x"])
    assert isinstance(detector, ForecastDetector)
    rows, series = values.shape
    detector.grow(series)
    flagged = judged = 0
    for row in range(rows):
        verdicts = detector.update(np.arange(series), np.full(series, row * HALF_HOUR), values[row][:, None])
        if row >= skipped:
            flagged += int(verdicts.outside().sum())
            judged += int(verdicts.judged().sum())
    return 100 * flagged / judged


def slack(points: int) -> float:
    """Three standard deviations of the percentage of so many points, if 1 % of them is flagged."""
    return 300 * math.sqrt(0.01 * 0.99 / points)


@pytest.mark.parametrize(
    ("options", "family"),
    [
        *((ARIMA, family) for family in ("gauss", "AR(1)", "random walk", "seasonal")),
        *((HOLT, family) for family in ("gauss", "AR(1)", "seasonal")),
        ({"interval": "t"}, "AR(1)"),
        ({"interval": "t", "enableStl": True, "m": SEASON}, "seasonal"),
    ],
    ids=str,
)
def test_model_intervals_hold_what_they_promise(options: dict[str, Any], family: str) -> None:
    rate = percent_flagged(options, FAMILIES[family](np.random.default_rng(21), (ROWS, SERIES)))
    room = slack(SERIES * (ROWS - 128))
    assert 0.85 - room < rate < 1.20 + room


@pytest.mark.parametrize("family", ["random walk", "t3", "lognormal"])
def test_conformal_bounds_hold_whatever_the_distribution(family: str) -> None:
    """Tails that are not normal are learnt by being passed: what the first thousand points cost is not counted."""
    values = FAMILIES[family](np.random.default_rng(22), (1_800, 60))
    rate = percent_flagged({"p": 1, "d": 1, "q": 1}, values, skipped=1_000)
    room = slack(800 * 60)
    assert 0.90 - room < rate < 1.15 + room


def test_normal_bounds_do_not_hold_for_heavy_tails() -> None:
    """The simulation is able to fail."""
    values = FAMILIES["t3"](np.random.default_rng(22), (ROWS, SERIES))
    assert percent_flagged({**ARIMA, "interval": "normal"}, values) > 2


@pytest.mark.parametrize("size", [8, 32])
def test_short_history_needs_student(size: int) -> None:
    values = np.random.default_rng(size).normal(size=(size + 1, 40_000))
    rate = percent_flagged({"model": "ewma", "interval": "t", "minTrainingSize": size}, values)
    assert 0.9 - slack(40_000) < rate < 1.1 + slack(40_000)
    if size == 8:
        assert percent_flagged({"model": "ewma", "interval": "normal", "minTrainingSize": 8}, values) > 3


def zero_inflated(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    return random.choice([0.0, 1.0, 2.0, 3.0], shape, p=[0.86, 0.11, 0.025, 0.005])


def mostly_full(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    return np.where(random.random(shape) < 0.9, 100.0, np.round(100 - random.exponential(size=shape), 2))


def rounded_prices(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    return np.round(100 + np.cumsum(random.normal(scale=0.01, size=shape), axis=0), 2)


MODELS: list[dict[str, Any]] = [{}, {"model": "ewma"}, {"p": 1, "d": 1, "q": 1}, {"model": "holt-winters", "m": 24}]


@pytest.mark.parametrize("options", MODELS, ids=str)
@pytest.mark.parametrize(
    ("make", "usual"),
    [
        (zero_inflated, [0.0]),
        (mostly_full, [100.0]),
        (lambda random, shape: random.choice([0.0, 1.0], shape, p=[0.55, 0.45]), [0.0, 1.0]),
        (lambda random, shape: random.choice([0.1, 0.2, 0.3], shape, p=[0.3, 0.4, 0.3]), [0.1, 0.2, 0.3]),
    ],
    ids=["errors", "availability", "binary", "three"],
)
def test_a_value_that_many_rows_have_is_not_flagged(options: dict[str, Any], make: Any, usual: list[float]) -> None:
    """Its bound was moved in until it was excluded, every two hundred rows."""
    values = make(np.random.default_rng(4), (2_500, 4))
    detector = FUNCTIONS[0].create(check_options(FUNCTIONS[0], options), ["x"])
    detector.grow(4)
    for row in range(len(values)):
        flags = detector.update(np.arange(4), np.full(4, row * HALF_HOUR), values[row][:, None]).flags()
        for value, flag in zip(values[row].tolist(), flags, strict=True):
            assert not (flag and value in usual), f"{value} is flagged in row {row}"


@pytest.mark.parametrize(
    ("make", "least"),
    [
        (lambda random, shape: random.poisson(2.0, shape).astype(np.float64), 0.2),
        (mostly_full, 0.2),
        (rounded_prices, 0.9),
    ],
    ids=["counts", "mostly one value", "rounded prices"],
)
def test_conformal_bounds_of_discrete_values_flag_no_more_than_they_should(make: Any, least: float) -> None:
    """A heavy tail beside a value that most rows have takes thousands of rows to be learnt: these are not counted."""
    values = make(np.random.default_rng(22), (4_000, 40))
    rate = percent_flagged({"p": 1, "d": 1, "q": 1}, values, skipped=3_000)
    room = slack(1_000 * 40)
    assert least - room < rate < 1.15 + room


def test_zero_by_night_is_an_anomaly_by_day() -> None:
    """What many rows have is usual only where the bound would exclude it and it comes all the same."""
    hours = np.arange(24 * 40)
    values = np.where(hours % 24 < 10, 0.0, 100 + np.random.default_rng(1).normal(size=len(hours)) * 3)
    values[24 * 38 + 17] = 0.0
    options = {"model": "holt-winters", "m": 24, "seasonMs": 24 * HALF_HOUR}
    detector = FUNCTIONS[0].create(check_options(FUNCTIONS[0], options), ["x"])
    detector.grow(1)
    told = detector.update(np.zeros(len(hours), dtype=np.int64), hours * HALF_HOUR, values[:, None])
    assert told.flags()[24 * 38 + 17]
