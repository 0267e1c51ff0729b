"""The benchmark on card payments: what is planted, how it is counted, and that the baselines do not look ahead."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import outliers as benchmark, outliers_corpora as corpora


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


@pytest.mark.parametrize("margin", corpora.MARGINS)
def test_streams_have_the_anomalies_that_they_say(margin):
    stream = corpora.streams([margin] * 3, (0.5, 0.5), 1)
    assert stream.kinds == ["one", "all", "broken"] * (2 * corpora.SERIES)
    assert sorted(stream.number[stream.number >= 0].tolist()) == list(range(len(stream.kinds)))
    assert stream.counted[stream.number >= 0].all()
    assert np.isfinite(stream.points).all()


def test_broken_anomalies_are_usual_alone():
    stream = corpora.streams(["normal"] * 3, (0.8, 0.8), 2)
    broken = np.isin(stream.number, [n for n, kind in enumerate(stream.kinds) if kind == "broken"])
    z = np.abs(corpora.z_scores(stream)[broken])
    assert np.quantile(z, 0.9) < 2.5


def test_other_cards_have_the_same_kinds_of_fraud():
    payments = benchmark.make(2), corpora.other_cards(2, 1)
    for one in payments:
        corpus = corpora.of_cards(one, logarithm=True)
        assert len(corpus.kinds) == 10 and corpus.counted[corpus.number >= 0].all()
        assert np.allclose(corpus.points[:, 0], np.log(one.amount))


def test_baselines_of_the_corpora_do_not_look_ahead_and_find_what_is_far_out():
    stream = corpora.streams(["normal"] * 3, (0, 0), 3)
    half = len(stream.points) // 2
    changed = stream._replace(fields=np.where(np.arange(len(stream.points))[:, None] < half, 1.0, 7.0) * stream.fields)
    one, other = corpora.z_scores(stream), corpora.z_scores(changed)
    assert (one[:half] == other[:half]).all() and (one[half:] != other[half:]).any()
    assert corpora.found(stream, np.abs(one).max(axis=1), 10.0) > 100
    assert corpora.found(stream, (stream.number >= 0).astype(float), 1000.0) == len(stream.kinds)
