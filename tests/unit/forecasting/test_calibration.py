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
