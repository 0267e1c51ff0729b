"""Recursions against closed forms and against statsmodels on the same data."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from anomaly_app.forecasting.arima import START, Arima
from anomaly_app.forecasting.fitting import Candidate
from anomaly_app.forecasting.functions import candidate
from anomaly_app.forecasting.models import Ewma, Holt, Memory
from anomaly_app.forecasting.season import period
from anomaly_app.forecasting.step import OUTPUTS, Plan

MEMORY = Memory(512)


def plan(**changes: Any) -> Plan:
    given: dict[str, Any] = {
        "lower": 0.005,
        "upper": 0.005,
        "interval": "normal",
        "memory": 512,
        "weight": MEMORY.variance,
        "errors": 5,
        "horizon": 1,
        "update_rows": 1,
        "season_weight": 0.0,
    }
    return Plan(**{**given, **changes})


def start(tried: Candidate, **fields: float) -> list[float]:
    """A state of unit scale that takes nothing for an outlier."""
    state = dict.fromkeys(tried.fields, 0.0)
    state |= {"unit": 1.0, "v": 1e6, "n": 100.0, **tried.model.start, **fields}
    return [state[name] for name in tried.fields]


def run(tried: Candidate, state: list[float], values: NDArray[np.float64]) -> tuple[dict[str, float], Any]:
    behind, out = tried.observe.one_series(state, [values.tolist()])
    lines = np.array(out).reshape(len(values), -1).T
    return dict(zip(tried.fields, behind, strict=True)), dict(zip(OUTPUTS, lines, strict=True))


def ar_series(phi: float, rows: int, seed: int = 1) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    values = np.zeros(rows)
    for row in range(1, rows):
        values[row] = 2.0 + phi * values[row - 1] + random.normal()
    return values


@pytest.mark.parametrize("p", [1, 2, 3])
def test_coefficients_are_those_of_discounted_least_squares(p: int) -> None:
    tried = Candidate(Arima(p, 0, 0, MEMORY), plan())
    values = ar_series(0.6, 400)
    state, _ = run(tried, start(tried), values)
    padded = np.concatenate([np.zeros(p), values])
    lags = np.stack([padded[p - lag : len(padded) - lag] for lag in range(1, p + 1)] + [np.ones(400)], axis=1)
    keeping = MEMORY.keeping
    weights = keeping ** np.arange(399, -1, -1)
    left = (lags * weights[:, None]).T @ lags + keeping**400 / START * np.eye(p + 1)
    expected = np.linalg.solve(left, (lags * weights[:, None]).T @ values)
    found = [state[f"c{number}"] for number in range(p + 1)]
    assert np.allclose(found, expected, rtol=1e-8)
    assert np.allclose([state[f"P{n}_{n}"] for n in range(p + 1)], np.diag(np.linalg.inv(left)), rtol=1e-7)


def test_differencing_is_the_same_model_of_the_differences() -> None:
    values = np.cumsum(ar_series(0.5, 300))
    once, twice = Candidate(Arima(1, 0, 0, MEMORY), plan()), Candidate(Arima(1, 1, 0, MEMORY), plan())
    state, lines = run(once, start(once), np.diff(values))
    summed, levels = run(twice, start(twice, y=values[0]), values[1:])
    assert math.isclose(state["c0"], summed["c0"], rel_tol=1e-9)
    assert np.allclose(levels["forecast"], values[:-1] + lines["forecast"], rtol=1e-9)


def test_ewma_starts_as_mean_variance_and_t_interval_of_the_sample() -> None:
    values = np.random.default_rng(2).normal(10, 3, 9)
    tried = Candidate(Ewma(MEMORY), plan(interval="t", weight=MEMORY.level))
    none = np.zeros((9, 1), dtype=np.int64)
    fitted = tried.fit(values[:, None], none, np.ones(1, dtype=np.int64), np.zeros((1, 1)))
    _, lines = run(tried, fitted.state[:, 0].tolist(), np.array([10.0]))
    mean, deviation = values.mean(), values.std(ddof=1)
    half = stats.t.isf(0.005, 8) * deviation * math.sqrt(1 + 1 / 9)
    assert math.isclose(lines["forecast"][0], mean)
    assert math.isclose(lines["upper"][0], mean + half) and math.isclose(lines["lower"][0], mean - half)


def test_ewma_goes_on_as_the_sample_grows() -> None:
    values = np.random.default_rng(2).normal(10, 3, 60)
    tried = Candidate(Ewma(MEMORY), plan(interval="t", weight=MEMORY.level))
    none = np.zeros((9, 1), dtype=np.int64)
    fitted = tried.fit(values[:9, None], none, np.ones(1, dtype=np.int64), np.zeros((1, 1)))
    state, _ = run(tried, fitted.state[:, 0].tolist(), values[9:])
    assert math.isclose(state["base"] + state["unit"] * state["level"], values.mean())
    assert math.isclose(state["v"] * state["unit"] ** 2, values.var(ddof=1), rel_tol=1e-9)


def test_holt_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.holtwinters import Holt as Reference

    values = np.cumsum(np.random.default_rng(3).normal(0.1, 1, 200))
    tried = Candidate(Holt(1), plan())
    _, lines = run(tried, start(tried, level=values[0], trend=0.2), values)
    model = Reference(
        values, damped_trend=True, initialization_method="known", initial_level=values[0], initial_trend=0.2
    )
    fitted = model.fit(
        smoothing_level=Holt.alpha, smoothing_trend=Holt.beta, damping_trend=Holt.damping, optimized=False
    )
    assert np.allclose(lines["forecast"], fitted.fittedvalues, rtol=1e-9)


@pytest.mark.parametrize(("order", "ar", "ma"), [((1, 1, 1), 0.5, 0.3), ((1, 0, 0), 0.8, 0.0), ((0, 1, 1), 0.0, -0.6)])
def test_forecasts_are_near_those_of_maximum_likelihood(order: tuple[int, int, int], ar: float, ma: float) -> None:
    """After 400 points of training: root mean square difference below a tenth of the noise."""
    from statsmodels.tsa.arima.model import ARIMA

    random = np.random.default_rng(11)
    noise, moves = random.normal(size=1_000), np.zeros(1_000)
    for row in range(1, 1_000):
        moves[row] = ar * moves[row - 1] + noise[row] + ma * noise[row - 1]
    values = np.cumsum(moves) if order[1] else moves
    tried = Candidate(Arima(*order, MEMORY), plan())
    rows = values[:400, None]
    none = np.zeros(rows.shape, dtype=np.int64)
    fitted = tried.fit(rows, none, np.ones(1, dtype=np.int64), np.zeros((1, 1)))
    _, lines = run(tried, fitted.state[:, 0].tolist(), values[400:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = ARIMA(values, order=order).fit()
    expected = reference.predict(400, 999)
    assert np.sqrt(np.mean((lines["forecast"] - expected) ** 2)) < 0.1
    ours, theirs = (np.sqrt(np.mean((line - values[400:]) ** 2)) for line in (lines["forecast"], expected))
    assert ours < 1.02 * theirs


@pytest.mark.parametrize("order", [(1, 0, 0), (1, 1, 1), (2, 1, 1), (0, 2, 1), (2, 0, 2)])
def test_paths_and_their_variance_are_those_of_the_model(order: tuple[int, int, int]) -> None:
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    p, d, q = order
    model = Arima(p, d, q, MEMORY)
    coefficients = [0.5, -0.2][:p], [0.4, 0.25][:q]
    values = np.cumsum(np.random.default_rng(5).normal(size=300))
    reference = SARIMAX(values, order=order, trend="c" if d == 0 else "n").smooth(
        [*([0.0] if d == 0 else []), *coefficients[0], *coefficients[1], 1.0]
    )
    state: dict[str, float] = dict.fromkeys(model.fields, 0.0)
    state |= {f"c{n}": c for n, c in enumerate([*coefficients[0], *coefficients[1], 0.0])}
    moves = np.diff(values, d)
    state |= {f"w{lag}": moves[-lag] for lag in range(1, p + 1)}
    state |= {f"m{lag}": reference.resid[-lag] for lag in range(1, q + 1)}
    state |= {"y": values[-1], "dy": values[-1] - values[-2]}
    expected = reference.get_forecast(6)
    for step in range(1, 7):
        mean, variance = model.ahead(state, step)
        assert math.isclose(mean, expected.predicted_mean[step - 1], rel_tol=1e-6, abs_tol=1e-6)  # type: ignore[arg-type]
        assert math.isclose(variance, expected.var_pred_mean[step - 1], rel_tol=1e-6)  # type: ignore[arg-type]


def test_candidates_are_shared() -> None:
    assert candidate("arima", (1, 1, 1), plan()) is candidate("arima", (1, 1, 1), plan())


def test_history_counts_as_long_as_the_option_says() -> None:
    assert (round(MEMORY.variance, 4), round(MEMORY.keeping, 4), round(MEMORY.level, 3)) == (0.0029, 0.9995, 0.01)
    assert Memory(1_024).variance == MEMORY.variance / 2


def test_a_season_is_found_and_none_is_made_up() -> None:
    random = np.random.default_rng(6)
    wave = np.sin(np.arange(200) * 2 * np.pi / 12)[:, None] + random.normal(0, 0.3, (200, 60))
    assert set(period(wave).tolist()) == {12}
    weekly = (np.arange(200) % 7 == 3)[:, None] * 6.0 + random.normal(size=(200, 60))
    assert set(period(weekly).tolist()) == {7}
    for without in (random.normal(size=(200, 200)), np.cumsum(random.normal(size=(200, 200)), axis=0)):
        assert np.mean(period(without) == 1) > 0.97
    assert period(np.full((200, 1), 3.0)).tolist() == [1]
