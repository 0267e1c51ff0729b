"""New extremes against the definition, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomaly_app.scoring.records import Peak, Records, Spread


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("horizon", [1, 7, 40])
def test_a_peak_is_the_largest_of_the_last_values(horizon, sign):
    random = np.random.default_rng(horizon)
    signal = random.integers(0, 30, 200).astype(float) - np.arange(200) // 3
    signal[random.random(200) < 0.2] = math.nan
    peak = Peak(horizon, sign)
    for row, value in enumerate(signal):
        kept = signal[max(row - horizon, 0) : row] * sign
        expected = np.nanmax(kept) if (~np.isnan(kept)).any() else -math.inf
        assert peak.before(row, signal[max(row - 40, 0) :], max(row - 40, 0)) == expected, row
        if not math.isnan(value):
            peak.add(row, value * sign)


def test_the_more_horizons_are_exceeded_the_higher_the_score():
    signal = np.zeros(100)
    signal[:4] = 0, 10, 0, 0
    records = Records([(3, 0.5), (50, 0.5)], sign=1, halfway=1.0)
    for row in range(10):
        assert records.score(row, signal[row], -1.0, signal, 0) == 0
    signal[10] = 2
    assert records.score(10, 2.0, 2.0, signal, 0) == pytest.approx(0.25)  # half of a half: one deviation above
    assert (records.horizon, records.margin) == (3, 1)
    signal[11] = 13
    assert records.score(11, 13.0, 1.0, signal, 0) == pytest.approx((11 / 12 + 3 / 4) / 2)
    assert (records.horizon, records.margin) == (50, 3)
    signal[12] = 17
    assert records.score(12, 17.0, 1.0, signal, 0, times=3.0) == pytest.approx(4 / 7)  # four above, where three is half
    assert (records.horizon, records.margin) == (50, 4)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_score_is_that_of_the_definition(sign):
    random = np.random.default_rng(4)
    signal = random.integers(0, 40, 600) - np.abs(np.arange(600) - 300) / 10
    signal[random.random(600) < 0.3] = math.nan
    signal[200:260] = math.nan  # nothing at all in the short horizon
    records = Records([(7, 0.2), (20, 0.3), (90, 0.5)], sign, halfway=2.0)
    for row in np.flatnonzero(~np.isnan(signal)).tolist():
        expected = 0.0
        for rows, weight in ((7, 0.2), (20, 0.3), (90, 0.5)):
            kept = signal[max(row - rows, 0) : row] * sign
            above = signal[row] * sign - np.nanmax(kept) if (~np.isnan(kept)).any() else 0.0
            expected += weight * max(above, 0) / (max(above, 0) + 2.0 * 1.5)
        base = max(row - 90, 0)
        assert records.score(row, float(signal[row]), 1.5, signal[base:], base) == pytest.approx(expected), row


def test_spread_is_mean_and_variance_then_forgets():
    values = np.random.default_rng(1).normal(5, 2, 400)
    spread = Spread(10_000)
    for value in values:
        spread.add(value)
    assert (spread.mean, spread.variance) == (pytest.approx(values.mean()), pytest.approx(values.var()))
    short = Spread(20)
    for value in [*values, *[50.0] * 400]:
        short.add(value)
    assert short.mean == pytest.approx(50)
    assert short.deviation < 0.01


@pytest.mark.parametrize("sign", [1, -1])
def test_where_extremes_differ_by_much_a_new_one_has_to_be_farther_out(sign):
    signal = np.zeros(60)
    signal[:50] = sign * np.arange(50) % 10 + 20.0
    found = []
    for excess in (0.0, 0.1, 0.5):
        records = Records([(50, 1.0)], sign=sign, halfway=1.0)
        for row in range(50):
            records.score(row, signal[row], -1.0, signal, 0)
        largest = (sign * signal[:50]).max()
        found.append(records.score(50, sign * (largest + 3.0), 1.0, signal, 0, sign * (largest - 10.0), excess))
        assert records.margin == 3.0
    assert found == pytest.approx([3 / 4, 3 / 4, 3 / 8])
