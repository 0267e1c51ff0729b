"""What people want to be told of: the options that every detector of one value has besides its own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomaly_app.detectors import check_options
from anomaly_app.errors import OptionError, StateError
from anomaly_app.forecasting.functions import FUNCTIONS
from anomaly_app.scoring.functions import ANOMALY_SCORE
from anomaly_app.testing import detectors as suite

DETECT = FUNCTIONS[0]
MINUTE, DAY = 60_000, 1440
START = 1_767_225_600_000  # 2026-01-01 00:00 UTC
OWN = {
    "ANOMALY_SCORE": {"history": 0},
    "ANOMALY_SCORE with a history": {"history": 300, "recent": 200, "subsequence": 16},
    "ML_DETECT_ANOMALIES": {"minTrainingSize": 64, "model": "ewma", "confidencePercentage": 99.9},
}


def create(name, **wishes):
    function = DETECT if name == DETECT.name else ANOMALY_SCORE
    return function.create(check_options(function, {**OWN[name], **wishes}), ["price"])


def told(name, values, start=START, **wishes):
    detector = create(name, **wishes)
    detector.grow(1)
    count = len(values)
    verdicts = detector.update(
        np.zeros(count, dtype=np.int64),
        start + MINUTE * np.arange(count),
        np.asarray(values, dtype=np.float64)[:, None],
    )
    flags = verdicts.flags()
    rows = [row for row, flag in enumerate(flags) if flag and row >= 1000]
    for row in rows:
        assert verdicts.explain(row)
    return rows, verdicts


def noise(rows=2 * DAY):
    return np.random.default_rng(5).normal(100, 1, rows)


@pytest.fixture(params=OWN)
def name(request):
    return request.param


WISHES = (
    {"direction": "up", "cooldownMs": 7_200_000},
    {"minDuration": 2, "minDeviationPercent": 5.0},
    {"minDuration": 3, "cooldownMs": 60_000, "maintenance": "02:00-03:00"},
)


@pytest.mark.parametrize("wishes", WISHES, ids=str)
@pytest.mark.parametrize(
    "check", [check for check in suite.CHECKS if check is not suite.check_infinite], ids=lambda check: check.__name__
)
def test_with_wishes_it_is_a_detector(name, wishes, check):
    """But an infinite value need not be an anomaly that somebody wants."""
    if check is suite.check_verdicts and "minDuration" in wishes:
        pytest.skip("the spikes of its stream have one row")
    score = name.startswith("ANOMALY_SCORE")
    check(suite.Subject(lambda: create(name, **wishes), settled=1535, probability=score))


def test_nothing_wished_is_nothing_around(name):
    assert type(create(name)) is not type(create(name, direction="up"))


def test_direction(name):
    values = noise()
    values[1500], values[2000] = 120, 80
    for direction, wanted in (("both", {1500, 2000}), ("up", {1500}), ("down", {2000})):
        rows, verdicts = told(name, values, direction=direction)
        assert wanted <= set(rows)
        assert not ({1500, 2000} - wanted) & set(rows)
    assert "asked for: downwards" in verdicts.explain(2000)
    scores = verdicts.scores()
    bound = 0.5 if name.startswith("ANOMALY_SCORE") else 1
    assert scores[1500] <= bound <= scores[2000]


def test_deviation(name):
    values = noise()
    values[1500], values[2000] = 110, 130
    rows, verdicts = told(name, values, minDeviation=20.0)
    assert rows == [2000]
    assert "by 20 or more" in verdicts.explain(2000)
    rows, verdicts = told(name, values, minDeviationPercent=20.0)
    assert rows == [2000]
    assert "by 20 % or more" in verdicts.explain(2000)


def test_duration(name):
    values = noise()
    values[1500] = 130
    values[2000:2003] = 130
    rows, verdicts = told(name, values, minDuration=3)
    assert rows == [2002]
    assert "3 in a row" in verdicts.explain(2002)
    row = verdicts.values()[2002]
    if name.startswith("ANOMALY_SCORE"):
        assert row >= 0.5
        assert verdicts.explain(2002).startswith(
            f"score {row:.2f} in 3 values in a row, of which the last has score 0."
        )
        assert "in a row, of which" not in verdicts.explain(2001)
    else:
        assert row[5] is True


def test_cooldown_is_of_each_key(name):
    values = noise()
    values[[1500, 1600, 2000]] = 130
    rows, verdicts = told(name, values, minDeviation=20.0, cooldownMs=200 * MINUTE)
    assert rows == [1500, 2000]
    assert "3 hours 20 minutes or more after the last one" in verdicts.explain(2000)
    detector = create(name, minDeviation=20.0, cooldownMs=200 * MINUTE)
    detector.grow(2)
    series, times = np.tile([0, 1], len(values)), START + MINUTE * np.repeat(np.arange(len(values)), 2)
    other = values.copy()
    other[1500] = 100
    points = np.stack([values, other], axis=1).reshape(-1, 1)
    flags = np.array([flag is True for flag in detector.update(series, times, points).flags()])
    assert np.flatnonzero(flags[0::2])[-2:].tolist() == [1500, 2000]
    assert np.flatnonzero(flags[1::2])[-2:].tolist() == [1600, 2000]


@pytest.mark.parametrize(
    ("maintenance", "wanted"),
    [
        ("", [1500, 2000, 2800]),
        ("00:55-01:05", [2000, 2800]),
        ("22:00-02:00", [2000]),
        ("2026-01-02 09:00/2026-01-02 10:00, 2026-01-02 22:40/2026-01-03 00:00", [1500]),
    ],
)
def test_maintenance(name, maintenance, wanted):
    values = noise()
    values[[1500, 2000, 2800]] = 130  # 01:00, 09:20 and 22:40 of the second day
    assert told(name, values, minDeviation=20.0, maintenance=maintenance)[0] == wanted


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"direction": "left"}, "option 'direction' is 'left', expected 'up', 'down' or 'both'"),
        ({"minDuration": 0}, "option 'minDuration' is 0, expected a whole number from 1"),
        ({"minDeviation": -1.0}, "option 'minDeviation' is -1.0, expected a number from 0 on"),
        ({"maintenance": "25:00-26:00"}, "option 'maintenance' has '25:00-26:00', expected times such as"),
        ({"maintenance": "02:00"}, "option 'maintenance' has '02:00'"),
        ({"maintenance": "2026-01-02/2026-01-01"}, "option 'maintenance' has"),
    ],
)
def test_wishes_that_cannot_be_are_refused(name, wishes, message):
    with pytest.raises(OptionError, match=message):
        create(name, **wishes)


def test_an_infinite_value_has_a_direction(name):
    values = noise()
    values[1500], values[2000] = math.inf, -math.inf
    assert told(name, values, direction="up", minDeviation=5.0)[0] == [1500]


def test_a_damaged_state_is_refused(name):
    detector = create(name, minDuration=2)
    detector.grow(1)
    with pytest.raises(StateError, match="damaged"):
        detector.restore(0, [(b"wish", b"x")])


def test_sensitivity_is_the_rate_of_false_alarms():
    """In per 10,000: the more, the more; within a factor of two of what is asked for, where tails are light."""
    random = np.random.default_rng(8)
    rows, series = 12_000, 20
    values = random.normal(size=(series, rows))
    times = np.tile(START + MINUTE * np.arange(rows), series)
    for sensitivity in (20.0, 60.0):
        options = {"history": 0, "sensitivity": sensitivity}
        detector = ANOMALY_SCORE.create(check_options(ANOMALY_SCORE, options), ["price"])
        detector.grow(series)
        flags = detector.update(np.repeat(np.arange(series), rows), times, values.reshape(-1, 1)).flags()
        rate = np.array(flags).reshape(series, rows)[:, 4_000:].mean() * 10_000
        assert 0.25 * sensitivity < rate < 2 * sensitivity
    options = check_options(DETECT, {"sensitivity": 200.0, "model": "ewma"})
    detector = DETECT.create(options, ["price"])
    detector.grow(1)
    flags = detector.update(np.zeros(rows, dtype=np.int64), times[:rows], values[0][:, None]).flags()
    assert 0.015 < np.mean([flag is True for flag in flags]) < 0.025


def test_maintenance_with_an_offset_is_converted():
    values = noise()
    values[1200] += 60  # 20:00 UTC
    for window in ("2026-01-01T22:00+02:00/2026-01-01T22:10+02:00", "2026-01-01T20:00Z/2026-01-01T20:10Z"):
        rows, _ = told("ML_DETECT_ANOMALIES", values, maintenance=window)
        assert 1200 not in rows
    rows, _ = told("ML_DETECT_ANOMALIES", values, maintenance="2026-01-01T20:00+02:00/2026-01-01T20:10+02:00")
    assert 1200 in rows


@pytest.mark.parametrize("window", ["02:00-02:00", "2026-01-01 02:00/2026-01-01 02:00", "2026-01-02/2026-01-01"])
def test_maintenance_that_lasts_no_time_is_refused(name, window):
    with pytest.raises(OptionError, match="later than the first"):
        create(name, maintenance=window)


def test_maintenance_may_be_all_day(name):
    values = noise()
    values[1200] += 60
    assert told(name, values, maintenance="00:00-24:00")[0] == []


def test_an_explanation_says_what_sensitivity_and_which_maintenance_was_asked_for():
    values = noise()
    values[1200] += 60
    detect = {"sensitivity": 7.0, "confidencePercentage": 99.0}
    rows, verdicts = told("ML_DETECT_ANOMALIES", values, **detect)
    assert 1200 in rows
    assert verdicts.explain(1200).endswith("(sensitivity: 7 false alarms in 10,000 values)")
    rows, verdicts = told("ML_DETECT_ANOMALIES", values, maintenance=" 02:00-03:00,05:00-06:00 ", **detect)
    assert verdicts.explain(1200).endswith(
        "10,000 values); asked for: outside of maintenance (02:00-03:00, 05:00-06:00)"
    )


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_sensitivity_and_a_bound_of_its_own_do_not_go_together(side):
    with pytest.raises(OptionError, match=f"'{side}BoundConfidencePercentage' and 'sensitivity'"):
        create("ML_DETECT_ANOMALIES", sensitivity=7.0, **{f"{side}BoundConfidencePercentage": 99.0})
