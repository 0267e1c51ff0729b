"""The benchmark on card payments: what is planted, how it is counted, and that the baselines do not look ahead."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import outliers as benchmark


@pytest.fixture(scope="module")
def made():
    return benchmark.make(4)


def test_every_card_has_a_fraud_of_each_kind(made):
    assert made.kinds == list(benchmark.KINDS) * 4
    for number, kind in enumerate(made.kinds):
        rows = np.flatnonzero(made.fraud == number)
        assert len(rows) == (6 if kind == "burst" else 1)
        assert set(made.card[rows]) == {number // len(benchmark.KINDS)}
        assert made.time[rows].min() > benchmark.START_MS + benchmark.FIRST * benchmark.DAY_MS
        if kind == "amount":
            assert made.amount[rows] > 3 * np.quantile(made.amount[made.card == made.card[rows[0]]], 0.9)


def test_frauds_are_found_by_the_highest_scores_behind_the_training(made):
    right = (made.fraud >= 0).astype(float)
    assert sum(benchmark.found(made, right, 1000 * right.mean() * 1.7).values()) == len(made.kinds)
    assert sum(benchmark.found(made, -right, 5.0).values()) == 0
    early = np.where(made.time < benchmark.START_MS + benchmark.FIRST * benchmark.DAY_MS, 9.0, right)
    assert benchmark.found(made, early, 5.0) == benchmark.found(made, right, 5.0)


def test_no_field_and_no_baseline_looks_ahead(made):
    half = len(made.time) // 2
    changed = made._replace(amount=np.where(np.arange(len(made.time)) < half, made.amount, 7 * made.amount))
    one, other = benchmark.features(made), benchmark.features(changed)
    assert (one[:half] == other[:half]).all()
    for score in (benchmark.largest_z, lambda *given: benchmark.outliers("mahalanobis", given[0])):
        first, second = score(made, one), score(changed, other)
        assert (first[:half] == second[:half]).all()
        assert (first[half:] != second[half:]).any()
