"""Exact medians against numpy, and the suite of all detectors with any batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app.detectors import check_options
from anomaly_app.forecasting import FUNCTIONS
from anomaly_app.forecasting.robust import NORMAL, RobustDetector, deviation, median
from anomaly_app.testing.detectors import Subject, check_batches, check_restore

NUMBERS = st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6))


@given(st.lists(NUMBERS, min_size=1, max_size=40))
def test_median_and_deviation_are_those_of_numpy(values: list[float]) -> None:
    ordered = sorted(values)
    centre = median(ordered)
    assert math.isclose(centre, float(np.median(values)), abs_tol=1e-9)
    assert math.isclose(deviation(ordered, centre), float(np.median(np.abs(np.array(values) - centre))), abs_tol=1e-9)


@given(st.lists(NUMBERS, min_size=41, max_size=120), st.integers(4, 50))
def test_bounds_are_those_of_the_last_points(values: list[float], window: int) -> None:
    detector = RobustDetector(["x"], window=window, threshold=2.5)
    detector.grow(1)
    rows = len(values)
    verdicts = detector.update(np.zeros(rows, dtype=np.int64), np.arange(rows), np.array(values)[:, None])
    for number, row in enumerate(verdicts.values()):
        if number < detector.fewest:
            assert row[2] is None
            continue
        last = np.array(values[max(0, number - window) : number])
        centre = float(np.median(last))
        room = 2.5 * NORMAL * float(np.median(np.abs(last - centre)))
        expected = (centre, centre - room, centre + room)
        assert all(math.isclose(found, right, abs_tol=1e-6) for found, right in zip(row[2:5], expected, strict=True))


OPTIONS: dict[str, dict[str, Any]] = {
    "arima": {"minTrainingSize": 20},
    "seasonal": {"minTrainingSize": 24, "model": "holt-winters", "m": 12, "horizon": 2},
}


@pytest.mark.parametrize("case", OPTIONS)
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1_000), st.sets(st.integers(1, 599), max_size=20))
def test_batches_do_not_matter(case: str, seed: int, cuts: set[int]) -> None:
    subject = Subject(lambda: FUNCTIONS[0].create(check_options(FUNCTIONS[0], OPTIONS[case]), ["x"]))
    check_batches(subject, seed, sorted(cuts))


@pytest.mark.parametrize("case", OPTIONS)
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1_000), st.sets(st.integers(1, 500), min_size=1, max_size=4))
def test_restored_series_go_on(case: str, seed: int, cuts: set[int]) -> None:
    subject = Subject(lambda: FUNCTIONS[0].create(check_options(FUNCTIONS[0], OPTIONS[case]), ["x"]))
    check_restore(subject, seed, sorted(cuts))
