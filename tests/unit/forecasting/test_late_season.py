"""A season that is longer than the training: it is taken up when two of them have been seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from anomaly_app.detectors import Detector, Floats, check_options
from anomaly_app.forecasting import FUNCTIONS
from anomaly_app.forecasting.storage import TRAINING_BLOCK

BY_NAME = {function.name: function for function in FUNCTIONS}
HOUR, DAY = 3_600_000, 86_400_000
SEASONAL: dict[str, dict[str, Any]] = {
    "arima": {"enableStl": True, "m": 24},
    "arima by the clock": {"enableStl": True, "m": 24, "seasonMs": DAY},
    "ewma": {"enableStl": True, "m": 24, "model": "ewma"},
    "holt-winters": {"model": "holt-winters", "m": 24},
}


def create(options: dict[str, Any], name: str = "ML_DETECT_ANOMALIES", series: int = 1) -> Any:
    detector = BY_NAME[name].create(check_options(BY_NAME[name], options), ["x"])
    detector.grow(series)
    return detector


def feed(detector: Detector, values: Floats, first: int = 0, step: int = HOUR) -> Any:
    """Verdicts on points of series 0, the first of them number ``first`` since 1970."""
    times = step * np.arange(first, first + len(values), dtype=np.int64)
    return detector.update(np.zeros(len(values), dtype=np.int64), times, values[:, None])


def peaks(rows: int, seed: int = 1) -> Floats:
    """An hourly series with a peak at six in the morning."""
    noise: Floats = np.random.default_rng(seed).normal(size=rows)
    return noise + 20.0 * (np.arange(rows) % 24 == 6)


def waves(rows: int) -> Floats:
    """An hourly series with a course of the day in which nothing stands out."""
    wave: Floats = 5.0 * np.sin(np.arange(rows) * 2 * np.pi / 24)
    return wave + np.random.default_rng(1).normal(size=rows)


@pytest.mark.parametrize("name", SEASONAL)
def test_from_two_seasons_on_all_is_as_if_they_had_been_the_training(name: str) -> None:
    values, options = waves(24 * 8), SEASONAL[name]
    late = feed(create({**options, "minTrainingSize": 20}), values).values()
    whole = feed(create({**options, "minTrainingSize": 48}), values).values()
    assert late[48:] == whole[48:]
    assert all(row[2] is None for row in late[:20]) and all(row[2] is not None for row in late[20:48])


@pytest.mark.parametrize("name", ["arima", "ewma"])
def test_before_them_all_is_as_without_a_season(name: str) -> None:
    values, options = peaks(60), SEASONAL[name]
    late = feed(create({**options, "minTrainingSize": 20}), values).values()
    plain = {key: value for key, value in options.items() if key not in ("enableStl", "m")}
    assert late[:48] == feed(create({**plain, "minTrainingSize": 20}), values).values()[:48]
    assert late[48:] != feed(create({**plain, "minTrainingSize": 20}), values).values()[48:]


def test_a_day_of_minutes_needs_a_short_training_only() -> None:
    rows, peak = 3 * 1440, 9 * 60
    values = np.random.default_rng(3).normal(size=rows) + 20.0 * (np.arange(rows) % 1440 == peak)
    options = {"enableStl": True, "m": 1440, "minTrainingSize": 64, "interval": "t"}
    flags = feed(create(options), values, step=60_000).flags()
    assert flags[63] is None and flags[64] is not None
    assert [flags[day * 1440 + peak] for day in range(3)] == [True, True, False], "the same each day is no anomaly"
    values[2 * 1440 + peak] = 0.0
    assert feed(create(options), values, step=60_000).flags()[2 * 1440 + peak] is True, "its absence is one"


def test_one_visit_that_stands_out_is_no_season() -> None:
    values = np.random.default_rng(3).normal(size=96)
    values[30] = 40.0
    flags = feed(create({"enableStl": True, "m": 24, "minTrainingSize": 16, "interval": "t"}), values).flags()
    assert flags[30] is True and flags[54] is False and flags[78] is False


def test_two_seasons_are_the_history_that_counts_if_nothing_else_is_said() -> None:
    values = peaks(1300)
    given = {"enableStl": True, "m": 300, "minTrainingSize": 600, "p": 1, "d": 0, "q": 0}
    said = feed(create({**given, "maxTrainingSize": 600}), values).values()
    assert feed(create(given), values).values() == said


@pytest.mark.parametrize("name", ["ML_DETECT_ANOMALIES", "ML_FORECAST"])
@pytest.mark.parametrize("cut", [5, 20, 31, 47, 48, 49, 90])
def test_a_restart_in_between_changes_nothing(name: str, cut: int) -> None:
    values, options = peaks(120), {"enableStl": True, "m": 24, "minTrainingSize": 20}
    wanted = feed(create(options, name), values)
    detector, entries = create(options, name), {}
    for row in range(cut):
        feed(detector, values[row : row + 1], row)
        for key, value in detector.changes(0):
            if value is None:
                del entries[key]
            else:
                entries[key] = value
    again = create(options, name)
    again.restore(0, entries.items())
    rest = feed(again, values[cut:], cut)
    assert rest.values() == wanted.values()[cut:]
    assert [rest.explain(row) for row in range(120 - cut)] == [wanted.explain(row) for row in range(cut, 120)]


def test_what_a_point_writes_does_not_grow_with_the_points_that_wait() -> None:
    detector, values = create({"enableStl": True, "m": 1440, "minTrainingSize": 64}), peaks(3_000)
    sizes = []
    for row in range(3_000):
        feed(detector, values[row : row + 1], row, 60_000)
        sizes.append(sum(len(value or b"") for _, value in detector.changes(0)))
    waiting = sizes[65:2879]
    assert max(waiting) <= min(waiting) + 16 * TRAINING_BLOCK
    assert sizes[2879] > 8 * 1440 and max(sizes[2880:]) < max(waiting) + 1_000


def test_the_points_that_waited_are_deleted_when_the_season_is_in() -> None:
    detector, entries = create({"enableStl": True, "m": 24, "minTrainingSize": 16}), {}
    for row in range(60):
        feed(detector, peaks(60)[row : row + 1], row)
        entries |= dict(detector.changes(0))
        waiting = [key for key, value in entries.items() if key[:1] == b"w" and value is not None]
        assert bool(waiting) is (row < 47)


@pytest.mark.parametrize("several", [1, 6])
def test_of_points_that_fall_in_one_place_one_a_visit_waits(several: int) -> None:
    """With more points than places a season is two seasons of time, not so many points."""
    hours, step = np.repeat(peaks(24 * 5), several), HOUR // several
    options = {"enableStl": True, "m": 24, "seasonMs": DAY, "minTrainingSize": 16, "model": "ewma"}
    detector = create(options)
    verdicts = feed(detector, hours, step=step)
    without = [place for place in range(16, len(hours)) if "without its season" in verdicts.explain(place)]
    assert without == list(range(16, 47 * several + 1))
    entries: dict[bytes, bytes | None] = {}
    detector = create(options)
    for row in range(47 * several):
        feed(detector, hours[row : row + 1], row, step)
        entries |= dict(detector.changes(0))
        if row == 20:
            again = create(options)
            again.restore(0, [(key, value) for key, value in entries.items() if value is not None])
            detector = again
    assert feed(detector, hours[47 * several :], 47 * several, step).values() == verdicts.values()[47 * several :]


def test_an_explanation_says_whether_the_season_counts() -> None:
    verdicts = feed(create({"enableStl": True, "m": 24, "minTrainingSize": 16}), peaks(60))
    assert "forecast without its season of 24 points, for which 40 of 48 have been seen, is" in verdicts.explain(40)
    assert "forecast with its season of 24 points is" in verdicts.explain(48)
    assert "season" not in feed(create({"enableStl": True, "m": 24}), peaks(160)).explain(150)


@pytest.mark.parametrize("rows", [120, 400])
def test_many_series_take_it_up_each_in_its_time(rows: int) -> None:
    """Half of the series begin later, and some values are missing."""
    random = np.random.default_rng(4)
    many = 130
    values = random.normal(size=(rows, many)) + 20.0 * (np.arange(rows) % 24 == 6)[:, None]
    values[random.random((rows, many)) < 0.03] = math.nan
    options = {"enableStl": True, "m": 24, "minTrainingSize": 16}
    together = create(options, series=many)
    begin = np.arange(many) % 2 * 30
    told: list[list[Any]] = [[] for _ in range(many)]
    for row in range(rows):
        here = np.flatnonzero(begin <= row)
        verdicts = together.update(here, np.full(len(here), row * HOUR), values[row, here][:, None])
        for number, value in zip(here.tolist(), verdicts.values(), strict=True):
            told[number].append(value)
    for number in (0, 1, 77):
        own = values[begin[number] :, number]
        assert feed(create(options), own, int(begin[number])).values() == told[number]


@pytest.mark.parametrize("kind", ["gauss", "AR(1)"])
def test_the_bounds_hold_behind_the_switch(kind: str) -> None:
    random = np.random.default_rng(11)
    rows, many, m = 600, 130, 96
    noise = random.normal(size=(rows, many))
    if kind == "AR(1)":
        for row in range(1, rows):
            noise[row] += 0.8 * noise[row - 1]
    values = noise + 15.0 * (np.arange(rows) % m >= 60)[:, None]
    detector = create({"enableStl": True, "m": m, "minTrainingSize": 64}, series=many)
    outside = np.zeros((rows, many))
    for row in range(rows):
        verdicts = detector.update(np.arange(many), np.full(many, row * 900_000), values[row][:, None])
        outside[row] = verdicts.outside()
    judged = outside[2 * m :]
    assert 0.4 < 100 * judged.mean() < 1.3
    assert 100 * judged[:24].mean() < 1.7, "just behind the switch"
    assert 100 * judged[60 - 2 :: m].mean() < 3, "at the jump"
