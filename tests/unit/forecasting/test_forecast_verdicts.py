"""What users see: results, outliers, level shifts, gaps, seasons, forecasts ahead."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from anomaly_app.detectors import Detector, Verdicts, check_options
from anomaly_app.errors import OptionError, StateError
from anomaly_app.forecasting import FUNCTIONS
from anomaly_app.forecasting.functions import FORECAST_RESULT, RESULT

BY_NAME = {function.name: function for function in FUNCTIONS}
HOUR, DAY = 3_600_000, 86_400_000


def create(options: dict[str, Any], name: str = "ML_DETECT_ANOMALIES", values: tuple[str, ...] = ("x",)) -> Detector:
    function = BY_NAME[name]
    detector = function.create(check_options(function, options), values)
    detector.grow(1)
    return detector


def feed(detector: Detector, values: Any, start: int = 0, step: int = HOUR) -> Verdicts:
    points = np.asarray(values, dtype=np.float64)
    rows = len(points)
    times = start + step * np.arange(rows, dtype=np.int64)
    return detector.update(np.zeros(rows, dtype=np.int64), times, points.reshape(rows, -1))


def test_the_row_has_the_fields_of_the_function_in_its_order() -> None:
    names = [name for name, _ in RESULT.fields]
    assert names == [
        "timestamp", "actual_value", "forecast_value", "lower_bound", "upper_bound", "is_anomaly", "rmse", "aic",
    ]  # fmt: skip
    assert FORECAST_RESULT.element is not None
    assert [name for name, _ in FORECAST_RESULT.element.fields] == [
        "timestamp", "forecast_value", "lower_bound", "upper_bound", "rmse", "aic",
    ]  # fmt: skip


def test_rows_of_the_training_have_their_value_only() -> None:
    values = np.random.default_rng(1).normal(50, 2, 20)
    rows = feed(create({"minTrainingSize": 16}), values).values()
    assert rows[15] == (15 * HOUR, values[15], None, None, None, None, None, None)
    assert rows[16][:2] == (16 * HOUR, values[16])
    assert all(isinstance(field, float) for field in rows[16][2:5]) and isinstance(rows[16][5], bool)


def test_missing_values_do_not_count_as_training() -> None:
    rows = feed(create({"minTrainingSize": 16}), [*([math.nan] * 30), *range(17)]).values()
    assert rows[45][2] is None and rows[46][2] is not None
    assert rows[0] == (0, None, None, None, None, None, None, None)


def test_rmse_and_aic_are_those_of_the_errors() -> None:
    values = np.random.default_rng(1).normal(50, 2, 400)
    rows = feed(create({"model": "ewma", "evalWindowSize": 7, "maxTrainingSize": 1_000}), values).values()
    errors = [row[1] - row[2] for row in rows[200:207]]
    assert math.isclose(rows[207][6], math.sqrt(sum(error * error for error in errors) / 7))
    before = values[:207]
    expected = 207 * (math.log(2 * math.pi * before.var(ddof=1)) + 1) + 2 * 2
    assert math.isclose(rows[207][7], expected, rel_tol=1e-3)


@pytest.mark.parametrize("options", [{"p": 1, "d": 1, "q": 1}, {"p": 1, "d": 0, "q": 0}, {}, {"model": "ewma"}])
def test_a_spike_is_flagged_once_and_not_learnt(options: dict[str, Any]) -> None:
    values = np.random.default_rng(3).normal(0, 1, 400)
    values[300] += 30
    verdicts = feed(create({**options, "confidencePercentage": 99.9}), values)
    flags, rows = verdicts.flags(), verdicts.values()
    assert flags[300] and not any(flags[301:310])
    assert abs(rows[301][2]) < 1.5
    assert rows[301][4] - rows[301][3] < 1.2 * (rows[299][4] - rows[299][3])


@pytest.mark.parametrize(
    "options", [{"p": 1, "d": 1, "q": 1}, {"p": 1, "d": 0, "q": 0}, {}, {"model": "ewma"}, {"enableStl": True, "m": 24}]
)
def test_a_level_shift_is_accepted_after_five_points(options: dict[str, Any]) -> None:
    values = np.random.default_rng(3).normal(0, 1, 400)
    values[300:] += 30
    verdicts = feed(create({**options, "confidencePercentage": 99.9}), values)
    flags = verdicts.flags()
    assert all(flags[300:305])
    assert sum(flag is True for flag in flags[306:]) <= 2
    assert abs(verdicts.values()[310][2] - 30) < 2


def test_noise_that_grows_is_accepted_too() -> None:
    random = np.random.default_rng(3)
    values = np.concatenate([random.normal(0, 1, 300), random.normal(0, 40, 300)])
    flags = feed(create({}), values).flags()
    assert sum(flag is True for flag in flags[330:]) < 20


def test_a_series_that_was_constant_gets_used_to_noise() -> None:
    random = np.random.default_rng(3)
    values = np.concatenate([np.full(300, 7.0), random.normal(7, 1, 300)])
    flags = feed(create({}), values).flags()
    assert not any(flags[128:300]) and flags[300]
    assert sum(flag is True for flag in flags[340:]) < 20


def test_missing_values_widen_the_bounds_of_a_walk() -> None:
    values = np.cumsum(np.random.default_rng(3).normal(0, 1, 300))
    detector = create({"p": 0, "d": 1, "q": 0})
    feed(detector, values)
    rows = feed(detector, [math.nan] * 5 + [values[-1]]).values()
    widths = [row[4] - row[3] for row in rows]
    assert widths == sorted(widths) and widths[5] > 2 * widths[0]
    assert rows[2][1] is None and rows[2][5] is None and rows[2][2] is not None


def test_bounds_close_again_behind_a_gap() -> None:
    values = np.cumsum(np.random.default_rng(3).normal(0, 1, 320))
    detector = create({"p": 0, "d": 1, "q": 0})
    before = feed(detector, values[:300]).values()[-1]
    after = feed(detector, [*([math.nan] * 5), *values[300:]]).values()[-1]
    assert after[4] - after[3] < 1.2 * (before[4] - before[3])


def test_bounds_of_a_season_close_as_its_places_become_known() -> None:
    values = np.random.default_rng(3).normal(0, 1, (48 * 14, 40))
    detector = create({"model": "holt-winters", "m": 48, "interval": "normal"})
    detector.grow(40)
    widths = []
    for row, points in enumerate(values):
        results = detector.update(np.arange(40), np.full(40, row * HOUR), points[:, None]).values()
        widths.append(np.mean([result[4] - result[3] for result in results if result[2] is not None] or [0]))
    # a place is the mean of 2.7 points at first: 1 + 1/2.7 of the variance; later of about 20
    assert 0.83 < widths[-1] / widths[128] < 0.92


def test_coefficients_of_a_series_at_rest_do_not_blow_up() -> None:
    random = np.random.default_rng(3)
    detector = create({"p": 1, "d": 1, "q": 1})
    feed(detector, random.normal(0, 1, 200))
    feed(detector, np.full(60_000, 5.0))
    candidate = detector.candidates[0]  # type: ignore[attr-defined]
    state = detector.storage.state[4:, 0]  # type: ignore[attr-defined]
    assert state[candidate.index["P0_0"]] < 1.1e8
    flags = feed(detector, random.normal(5, 1, 300)).flags()
    assert sum(flag is True for flag in flags[100:]) < 20


@pytest.mark.parametrize("options", [{}, {"model": "holt-winters", "m": 24}, {"model": "ewma"}])
def test_the_unit_of_the_values_does_not_matter(options: dict[str, Any]) -> None:
    values = np.random.default_rng(9).standard_t(3, 600) + 10
    expected = feed(create(options), values).flags()
    for power in (-40, 40):
        assert feed(create(options), values * 2.0**power).flags() == expected


def test_few_points_are_not_fitted_with_many_coefficients() -> None:
    names = [each.model.name for each in create({"minTrainingSize": 8}).candidates]  # type: ignore[attr-defined]
    assert names == ["arima(0,0,0)", "arima(1,0,0)"]
    given = create({"minTrainingSize": 8, "p": 2, "d": 0})
    assert [each.model.name for each in given.candidates] == ["arima(2,0,0)"]  # type: ignore[attr-defined]


def test_an_infinite_value_is_an_anomaly_and_not_learnt() -> None:
    detector = create({"minTrainingSize": 32})
    feed(detector, np.random.default_rng(3).normal(0, 1, 64))
    assert feed(detector, [math.inf]).flags() == [True]
    assert abs(feed(detector, [0.0]).values()[0][2]) < 2


def test_bounds_may_have_confidences_of_their_own() -> None:
    values = np.random.default_rng(4).normal(0, 1, 3_000)
    options = {"upperBoundConfidencePercentage": 80.0, "lowerBoundConfidencePercentage": 99.9}
    rows = feed(create(options), values).values()[500:]
    above = sum(row[1] > row[4] for row in rows) / len(rows)
    below = sum(row[1] < row[3] for row in rows) / len(rows)
    assert 0.09 < above < 0.11 and below < 0.003


def test_a_season_goes_by_the_clock() -> None:
    """After a gap of a day and a half the forecast is in phase."""
    hours = np.arange(24 * 20)
    values = 10 * np.sin(hours * 2 * np.pi / 24) + np.random.default_rng(5).normal(0, 0.3, len(hours))
    for options in (
        {"model": "holt-winters", "m": 24},
        {"model": "holt-winters", "m": 24, "seasonMs": DAY},
        {"enableStl": True, "m": 24, "p": 1, "d": 0, "q": 0},
        {"enableStl": True, "p": 1, "d": 0, "q": 0},
    ):
        detector = create(options)
        feed(detector, values)
        hour = len(hours) + 36
        row = feed(detector, [10 * math.sin(hour * 2 * math.pi / 24)], start=hour * HOUR).values()[0]
        assert abs(row[2] - row[1]) < 1.2, options
        assert row[5] is False, options


def test_the_horizon_judges_by_forecasts_made_so_many_rows_before() -> None:
    values = np.cumsum(np.random.default_rng(6).normal(0, 1, 500))
    one, four = (feed(create({"p": 0, "d": 1, "q": 0, "horizon": h}), values).values() for h in (1, 4))
    for number in range(300, 500):
        assert abs(four[number][2] - values[number - 4]) < 1.0  # the drift is all that the model adds
        assert abs(one[number][2] - values[number - 1]) < 0.4
    assert four[400][4] - four[400][3] > 1.6 * (one[400][4] - one[400][3])


def test_forecasts_ahead() -> None:
    hours = np.arange(24 * 20)
    values = 10 * np.sin(hours * 2 * np.pi / 24) + np.random.default_rng(5).normal(0, 0.3, len(hours))
    options = {"model": "holt-winters", "m": 24, "horizon": 12}
    results = feed(create(options, "ML_FORECAST"), values).values()
    assert results[127] is None and len(results[128]) == 12
    path = results[-1]
    assert [time for time, *_ in path] == [(len(hours) + step) * HOUR for step in range(12)]
    assert [abs(row[1] - 10 * math.sin((len(hours) + n) * 2 * math.pi / 24)) < 1 for n, row in enumerate(path)] == [
        True
    ] * 12
    assert all(row[2] < row[1] < row[3] for row in path)
    widths = [row[3] - row[2] for row in path]
    assert widths == sorted(widths)


def test_coefficients_may_be_updated_now_and_then() -> None:
    values = np.zeros(400)
    for row, noise in enumerate(np.random.default_rng(7).normal(0, 1, 399), 1):
        values[row] = 0.8 * values[row - 1] + noise
    always, seldom = (create({"p": 1, "d": 0, "q": 0, "updateInterval": each}) for each in (1, 1_000))
    field = 4 + always.candidates[0].index["c0"]  # type: ignore[attr-defined]
    for detector, moves in ((always, True), (seldom, False)):
        feed(detector, values[:200])
        before = float(detector.storage.state[field, 0])  # type: ignore[attr-defined]
        assert 0.6 < before < 0.95
        feed(detector, values[200:])
        assert (before != float(detector.storage.state[field, 0])) is moves  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["ML_DETECT_ANOMALIES", "ML_FORECAST"])
@pytest.mark.parametrize(
    "options", [{"horizon": 2, "updateInterval": 3}, {"horizon": 2, "model": "holt-winters", "m": 9}]
)
def test_many_series_trained_at_once_are_as_if_trained_alone(name: str, options: dict[str, Any]) -> None:
    many, rows = 130, 45
    values = np.random.default_rng(8).normal(0, 1, (rows, many)).cumsum(axis=0)
    options = {"minTrainingSize": 32, **options}
    together, alone = create(options, name), create(options, name)
    together.grow(many)
    results = [
        together.update(np.arange(many), np.full(many, row * HOUR), values[row][:, None]).values()
        for row in range(rows)
    ]
    assert feed(alone, values[:, 77]).values() == [row[77] for row in results]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"minTrainingSize": 600}, "'minTrainingSize' is 600, more than maxTrainingSize, 512"),
        ({"confidencePercentage": 100.0}, "expected a number above 0 and below 100"),
        ({"upperBoundConfidencePercentage": 0}, "expected a number above 0 and below 100"),
        ({"p": 4, "q": 3}, "'p' and 'q' are 7 together, expected 6 or less"),
        ({"p": 3, "d": 1, "q": 1, "minTrainingSize": 7}, "the orders p, d and q need 8 or more"),
        ({"d": 3}, "expected a whole number from 0 to 2"),
        ({"m": 24}, "'m' needs 'enableStl' VALUE TRUE or 'model' VALUE 'holt-winters'"),
        (
            {"enableStl": True, "m": 100, "maxTrainingSize": 199},
            "'maxTrainingSize' is 199: with option 'm' 100 it must be two seasons, 200, or more",
        ),
        ({"model": "holt-winters"}, "needs option 'm'"),
        ({"model": "holt-winters", "m": 24, "enableStl": True}, "enableStl must be FALSE"),
        ({"model": "ewma", "p": 1}, "'p' is one of model 'arima', but the model is 'ewma'"),
        ({"model": "ewma", "updateInterval": 2}, "updateInterval must be 1"),
        ({"model": "prophet"}, "expected one of arima, ewma, holt-winters"),
        ({"enableStl": True, "seasonMs": DAY}, "'seasonMs' needs option 'm'"),
        ({"enableStl": True, "m": 24, "seasonMs": 10}, "less than a ms for each of 24 points"),
        ({"horizon": 0}, "expected a whole number from 1 to 100"),
        ({"seasonality": 7}, "has no option 'seasonality'; its options are confidencePercentage, "),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], told: str) -> None:
    for name in ("ML_DETECT_ANOMALIES", "ML_FORECAST"):
        with pytest.raises(OptionError) as caught:
            create(options, name)
        assert told in str(caught.value)
        assert caught.value.option in {*options, "m", "minTrainingSize"}


def test_state_of_other_options_is_refused() -> None:
    detector = create({"minTrainingSize": 32, "p": 1, "d": 0, "q": 0})
    feed(detector, np.random.default_rng(1).normal(size=40))
    entries = [(key, value) for key, value in detector.changes(0) if value is not None]
    with pytest.raises(StateError):
        create({"minTrainingSize": 32, "p": 3, "d": 0, "q": 2}).restore(0, entries)


def test_an_alert_says_what_was_expected() -> None:
    values = np.random.default_rng(3).normal(50, 1, 200)
    values[150], values[151] = 90, 10
    verdicts = feed(create({"model": "ewma"}), values)
    assert verdicts.explain(150).startswith("90 is above 5")
    assert "the ewma forecast is 50." in verdicts.explain(150) or "49." in verdicts.explain(150)
    assert verdicts.explain(151).startswith("10 is below 4")
    assert verdicts.explain(3).startswith("no verdict")
