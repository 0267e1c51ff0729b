"""ANOMALY_SCORE: the function, and the contract that all detectors keep."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomaly_app import AnomalyScorer
from anomaly_app.detectors import check_options
from anomaly_app.errors import OptionError, StateError
from anomaly_app.schema import DOUBLE
from anomaly_app.scoring.functions import ANOMALY_SCORE, FUNCTIONS

suite = pytest.importorskip("anomaly_app.testing.detectors")

SMALL = {"warmup": 20, "recent": 60, "history": 160, "subsequence": 16, "smoothing": 3, "refractory": 10}


def bank(**options):
    made = ANOMALY_SCORE.create(check_options(ANOMALY_SCORE, options), ["price"])
    made.grow(2)
    return made


def update(detector, values, series=0):
    count = len(values)
    return detector.update(
        np.full(count, series), 1_000 * np.arange(count), np.asarray(values, dtype=np.float64)[:, None]
    )


@pytest.mark.parametrize("check", suite.CHECKS, ids=lambda check: check.__name__)
def test_it_is_a_detector(check):
    check(suite.Subject(lambda: bank(**SMALL), settled=1535, probability=True))


@pytest.mark.parametrize("check", suite.CHECKS, ids=lambda check: check.__name__)
def test_without_a_history_it_is_a_detector(check):
    check(suite.Subject(lambda: bank(warmup=20, history=0), settled=1535, probability=True))


def test_without_a_history_many_series_at_once_get_the_scores_of_a_scorer():
    random = np.random.default_rng(1)
    values = random.normal(size=(400, 150))
    values[350, 7], values[351, 7], values[352, 7] = 30, math.nan, -math.inf
    detector = ANOMALY_SCORE.create(check_options(ANOMALY_SCORE, {"history": 0}), ["price"])
    detector.grow(150)
    scorer, told = AnomalyScorer(history=0), []
    for row, each in enumerate(values):
        at = np.full(150, 60_000 * row)
        verdicts = detector.update(np.arange(150), at, each[:, None])
        alone = scorer.score(60_000 * row, each[7])
        told.append((verdicts.values()[7], None if math.isnan(each[7]) else alone))
        if row == 350:
            assert verdicts.flags()[7] is True
            assert verdicts.explain(7).endswith(scorer.reason())
            assert "nothing" in verdicts.explain(3)
        if row == 351:
            assert "missing" in verdicts.explain(7)
    assert all(one == other for one, other in told)


@pytest.mark.parametrize("shape", ["normal", "ar"])
def test_young_series_have_no_more_false_alarms_than_old_ones(shape):
    """One in 1440 values, within a factor of two; those within 30 rows are one."""
    values = np.random.default_rng(3).normal(size=(1000, 200))
    if shape == "ar":
        for row in range(1, len(values)):
            values[row] += 0.8 * values[row - 1]
    detector = ANOMALY_SCORE.create(check_options(ANOMALY_SCORE, {}), ["price"])
    detector.grow(200)
    last, alarms = np.full(200, -100), np.zeros(len(values))
    for row, each in enumerate(values):
        flags = np.array(detector.update(np.arange(200), np.full(200, 60_000 * row), each[:, None]).flags())
        alarms[row] = (flags & (last < row - 30)).sum()
        last[flags] = row
    for part in (alarms[50:400], alarms[400:]):
        assert part.mean() / 200 < 2 / 1440


def test_a_drift_is_the_same_for_many_series_at_once():
    """At a point in half an hour a day has 48 places, so a drift is soon known."""
    random = np.random.default_rng(1)
    values = random.normal(size=(1200, 120)) + 20 * np.sin(np.arange(1200) * 2 * np.pi / 48)[:, None]
    values[900:, 5] += np.minimum(np.arange(300) / 60, 1.0) * 6
    detector = ANOMALY_SCORE.create(check_options(ANOMALY_SCORE, {"history": 0}), ["price"])
    detector.grow(120)
    scorers, drifts = {number: AnomalyScorer(history=0) for number in (5, 77)}, 0
    for row, each in enumerate(values):
        verdicts = detector.update(np.arange(120), np.full(120, 1_800_000 * row), each[:, None])
        for number, scorer in scorers.items():
            assert verdicts.values()[number] == scorer.score(1_800_000 * row, each[number])
            assert verdicts.out()[number] == scorer.out
            if verdicts.flags()[number] and "drifted" in verdicts.explain(number):
                drifts += number == 5 and row >= 900
                assert verdicts.explain(number).endswith(scorer.reason())
    assert drifts


def test_what_it_is_in_sql():
    assert (ANOMALY_SCORE.name, ANOMALY_SCORE.result, ANOMALY_SCORE.multivariate) == ("ANOMALY_SCORE", DOUBLE, False)
    assert ANOMALY_SCORE in FUNCTIONS


def test_it_gives_the_scores_of_a_scorer():
    values = np.random.default_rng(1).normal(size=700)
    values[600], values[650] = 30, math.nan
    scorer = AnomalyScorer()
    told = [scorer.score(1_000 * number, value) for number, value in enumerate(values)]
    verdicts = update(bank(), values)
    assert verdicts.values()[:650] == told[:650]
    assert verdicts.values()[650] is None
    assert verdicts.flags()[600] is True
    assert verdicts.flags()[650] is None
    assert "the value is above the forecast" in verdicts.explain(600)
    assert "missing" in verdicts.explain(650)


def test_the_threshold_is_for_flags_only():
    values = np.random.default_rng(1).normal(size=700)
    low, high = update(bank(threshold=0.1), values), update(bank(threshold=1), values)
    assert low.values() == high.values()
    assert low.flags().count(True) > high.flags().count(True) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"window": 5},
            "ANOMALY_SCORE has no option 'window'; its options are cooldownMs, direction, .*, warmup",
        ),
        ({"threshold": 0}, "option 'threshold' is 0.0, expected a number above 0, at most 1"),
        ({"recent": 6000}, "ANOMALY_SCORE: option 'history' is 5000, expected at least 6000"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        bank(**options)


def test_entries_that_are_not_the_state_are_refused():
    detector = bank(**SMALL)
    update(detector, range(400))
    entries = dict(detector.changes(0))
    other = bank(**SMALL)
    for name in entries:
        with pytest.raises(StateError):
            other.restore(1, [entry for entry in entries.items() if entry[0] != name])
        with pytest.raises(StateError):
            other.restore(1, (entries | {name: entries[name][:-5]}).items())
    with pytest.raises(StateError, match="a scorer with"):
        bank(**{**SMALL, "recent": 61}).restore(1, entries.items())
