"""What an AnomalyScorer tells of series whose anomalies are known."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

import anomaly_app
from anomaly_app import AnomalyScorer
from anomaly_app.errors import OptionError, StateError
from anomaly_app.scoring.novelty import Novelty
from anomaly_app.scoring.options import checked

ALERT = 0.5


MINUTE = 60_000
DAY = 1440


def scores(values, step_ms=MINUTE, **options):
    scorer = AnomalyScorer(**options)
    return np.array([scorer.score(step_ms * k, float(value)) for k, value in enumerate(values)])


def noise(rows, seed=1):
    return np.random.default_rng(seed).normal(100, 5, rows)


def days(rows, seed=1, a_day=96):
    phase = np.arange(rows) % a_day
    return np.where((phase > 30) & (phase < 70), 80.0, 20.0) + np.random.default_rng(seed).normal(0, 1, rows)


def test_it_is_part_of_the_public_api():
    assert "AnomalyScorer" in anomaly_app.__all__
    assert anomaly_app.AnomalyScorer is AnomalyScorer


def test_a_spike_is_told_in_its_row():
    values = noise(1500)
    values[1200] = 160
    told = scores(values)
    assert told[1200] >= 0.8
    assert told[1200] == told.max()


def test_a_drop_is_told_in_its_row():
    values = noise(1500)
    values[1200] = 40
    assert scores(values)[1200] >= 0.8


def test_a_small_shift_of_the_level_is_told_soon_and_once():
    values = noise(2000)
    values[1200:] += 9  # no single value of it need be unusual
    told = scores(values)
    assert told[1200:1240].max() >= ALERT
    assert (told[1300:] >= ALERT).sum() <= 2


def test_a_pattern_that_breaks_is_told_though_all_its_values_are_usual():
    values = days(1920)
    values[1536:1600] = days(1920)[1536:1600][::-1] * 0 + 50 + 30 * np.sin(np.arange(64))
    told = scores(values)
    assert told[1536:1620].max() >= ALERT
    assert told[500:1536].max() < ALERT


def test_a_day_without_its_usual_rise_is_told():
    values = days(4000, a_day=288)
    day = slice(10 * 288, 11 * 288)
    values[day] = np.minimum(values[day], 22.0)  # no value and no short shape of it is new
    told = scores(values)
    assert told[day].max() >= ALERT
    assert told[5 * 288 : 10 * 288].max() < ALERT


def test_a_fast_change_between_known_levels_is_told():
    slow = 30 * np.sin(np.arange(3000) * 2 * np.pi / 1300) + noise(3000)
    values = slow.copy()
    values[2925:2955] -= 45  # from the crest into the middle of what is known, and back
    told = np.flatnonzero(scores(values)[2500:] >= ALERT) + 2500
    assert 2925 <= told[0] < 2935
    assert scores(slow)[2500:].max() < ALERT


def test_what_happens_every_day_at_its_time_is_told_twice_at_most_and_its_absence_is_told():
    """A job at four in the morning: neither its start nor its end is an event, once it is known."""
    minute = np.arange(6 * DAY) % DAY
    values = np.where((minute >= 240) & (minute < 280), 60.0, 20.0) + noise(6 * DAY) / 5 - 20
    told = np.flatnonzero(scores(values, history=0)[2 * DAY :] >= ALERT)
    assert len(told) <= 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [-6.0, 5.0])
def test_a_slow_trend_of_which_no_value_is_unusual_is_told_once(seed, size):
    """Five standard deviations in three hours, on a course that swings by thirty every day: no value is new or far."""
    rows, first = 7 * DAY, 5 * DAY + 300
    values = noise(rows, seed) / 5 + 15 * np.sin(np.arange(rows) * 2 * np.pi / DAY)
    values[first:] += size * np.minimum(np.arange(rows - first) / 180, 1.0)
    scorer, told = AnomalyScorer(history=0), []
    for row, value in enumerate(values):
        if scorer.score(MINUTE * row, value) >= ALERT and first <= row < first + DAY:
            told.append((row, scorer.reason()))
            assert scorer.out
    assert told[0][0] < first + 240
    assert told[0][1].startswith("the last values together have drifted away from what is usual at this time, ")
    assert len(told) <= 4


def drifts_of(values, step_ms=MINUTE):
    """Rows in which a scorer without a memory of what is new tells a drift, and all rows that it tells."""
    scorer, drifts, told = AnomalyScorer(history=0), [], []
    for row, value in enumerate(values.tolist()):
        if scorer.score(step_ms * row, value) >= 0.5:
            told.append(row)
            if scorer.reason().startswith("the last values together have drifted"):
                drifts.append(row)
    return drifts, told


@pytest.mark.parametrize("seed", range(3))
def test_growth_that_is_the_same_every_day_is_told_once(seed):
    rows = np.arange(9 * DAY)
    values = 20 * np.sin(2 * np.pi * rows / DAY) + 4 * rows / DAY + np.random.default_rng(seed).normal(size=len(rows))
    assert len(drifts_of(values)[0]) <= 1


def test_a_shift_far_out_is_over_when_the_series_has_arrived():
    values = np.random.default_rng(5).normal(size=5 * DAY)
    values[4000:] += 150
    _, told = drifts_of(values)
    assert 4000 in told
    assert [row for row in told if 4015 <= row < 5440] == []


def test_a_shift_of_a_few_errors_is_told_when_the_series_has_arrived():
    found = 0
    for seed in range(10):
        values = np.random.default_rng(seed).normal(size=4000)
        values[3500:] += 4
        found += any(3500 <= row <= 3560 for row in drifts_of(values)[1])
    assert found >= 9


def test_a_course_that_is_known_is_no_new_level_however_few_points_a_day_has():
    """At a point in half an hour a course of a day moves more in 15 rows than its noise."""
    rows = np.arange(1500)
    random = np.random.default_rng(6)
    values = 20 * np.sin(2 * np.pi * rows / 48) + random.normal(size=len(rows))
    drifts, told = drifts_of(values, 1_800_000)
    assert len([row for row in told if row > 500]) <= 2
    assert len(drifts) <= 1


def weekly_job(weeks, length, seed=1):
    """Noise, and on Mondays at four something that lasts some minutes; ends on a Monday evening."""
    minute = np.arange((7 * weeks - 6) * DAY)
    job = (minute % (7 * DAY) >= 240) & (minute % (7 * DAY) < 240 + length)
    return noise(len(minute), seed) / 5 + 30.0 * job, job


@pytest.mark.parametrize("options", [{"history": 0}, {}])
@pytest.mark.parametrize("length", [10, 300])
def test_what_happens_every_week_at_its_time_is_told_twice_at_most_and_its_absence_changes_nothing(options, length):
    """Nothing like it has been seen for a week, and so it is new every Monday to whom does not know weeks."""
    values, job = weekly_job(4, length)
    monday = 4 * DAY  # 1970-01-05
    scorer = AnomalyScorer(**options)
    told = [
        row for row, value in enumerate(values) if scorer.score(MINUTE * (monday + row), value) >= ALERT and job[row]
    ]
    assert told[0] == 240
    assert {row // (7 * DAY) for row in told} <= {0, 1}


@pytest.mark.parametrize("options", [{"history": 0}, {}])
def test_what_is_larger_or_at_another_time_than_every_week_is_told(options):
    values, _ = weekly_job(4, 10)
    values[3 * 7 * DAY + 240 : 3 * 7 * DAY + 250] += 40
    values[3 * 7 * DAY + 700 : 3 * 7 * DAY + 710] += 30
    told = scores(values, **options)
    assert told[3 * 7 * DAY + 240] >= ALERT
    assert told[3 * 7 * DAY + 700] >= ALERT


def test_noise_that_comes_with_the_hour_is_known():
    """The same distance is an event in a quiet night, and none at noon."""
    random = np.random.default_rng(2)
    minute = np.arange(9 * DAY)
    wide = np.where(minute % DAY < DAY // 2, 1.0, 8.0)
    values = 100 + wide * random.normal(size=len(minute))
    quiet = scores(values, history=0)
    values[8 * DAY + 400] = 109
    values[8 * DAY + 1100] = 109
    told = scores(values, history=0)
    assert told[8 * DAY + 400] >= ALERT
    assert told[8 * DAY + 1100] < ALERT
    assert (quiet[3 * DAY :] >= ALERT).sum() <= 6


def test_a_trend_that_is_always_there_is_not_told_every_day():
    values = noise(14 * DAY) / 5 + 15 * np.sin(np.arange(14 * DAY) * 2 * np.pi / DAY) + 2.0 * np.arange(14 * DAY) / DAY
    told = scores(values, history=0) >= ALERT
    assert told[4 * DAY :].sum() <= 8


@pytest.mark.parametrize("seed", range(3))
def test_extremes_of_heavy_tails_are_no_events(seed):
    """The largest of thousands of values is far above all before them, time and again."""
    told = scores(np.random.default_rng(seed).standard_t(3, 10 * DAY)) >= ALERT
    assert told.sum() <= 20


def test_a_series_with_many_alarms_is_asked_for_more():
    """Spikes every hour are no events; one that is far larger is."""
    values = noise(6 * DAY)
    places = np.arange(60, 6 * DAY, 60) + np.random.default_rng(3).integers(0, 50, 6 * DAY // 60 - 1)
    values[places] += np.random.default_rng(4).normal(60, 5, len(places))
    values[5 * DAY + 700] += 900
    told = scores(values, history=0)
    assert (told[2 * DAY : 5 * DAY] >= ALERT).sum() <= 12
    assert told[5 * DAY + 700] >= ALERT


def test_a_missing_stretch_or_a_flat_line_that_ends_is_no_alarm():
    values = noise(4 * DAY)
    held = values.copy()
    held[3 * DAY : 3 * DAY + 120] = held[3 * DAY]
    scorer = AnomalyScorer(history=0)
    rows = [k for k in range(4 * DAY) if not 3 * DAY <= k < 3 * DAY + 200]
    gap = np.array([scorer.score(MINUTE * k, values[k]) for k in rows])
    assert gap[3 * DAY : 3 * DAY + 60].max() < ALERT
    assert scores(held, history=0)[3 * DAY + 120 : 3 * DAY + 180].max() < ALERT


@pytest.mark.parametrize("length", [60, 600])
def test_a_value_that_stays_the_same_is_told_once(length):
    values = noise(3 * DAY)
    values[2 * DAY : 2 * DAY + length] = values[2 * DAY]
    scorer = AnomalyScorer(history=0)
    told = []
    for row, value in enumerate(values):
        if scorer.score(MINUTE * row, value) >= ALERT and 2 * DAY < row < 2 * DAY + length:
            told.append((row, scorer.reason()))
    ((row, reason),) = told
    assert row < 2 * DAY + 15
    assert reason.startswith("the value has been exactly ")


def test_a_value_that_is_often_the_same_is_not_told_for_it():
    random = np.random.default_rng(1)
    values = np.where(random.random(6 * DAY) < 0.9, 0.0, random.poisson(3.0, 6 * DAY))
    scorer = AnomalyScorer(history=0)
    for row, value in enumerate(values):
        if scorer.score(MINUTE * row, value) >= ALERT and row >= DAY:
            assert "exactly" not in scorer.reason()


@pytest.mark.parametrize("seed", range(4))
def test_quiet_noise_is_hardly_ever_told(seed):
    for values in (noise(3000, seed), days(3000, seed)):
        told = scores(values)
        assert (told[1000:] >= ALERT).sum() <= 6
        assert told.max() < 0.85


def test_what_repeats_exactly_scores_next_to_nothing():
    assert scores(20.0 + np.arange(2000) % 7).max() < 0.3
    assert scores(np.tile(days(96), 12), step_ms=15 * MINUTE)[500:].max() < 0.3


@pytest.mark.parametrize("constant", [0.0, 0.1, -273.15, 1e70, 1e-70])
def test_a_constant_scores_nothing_and_the_first_other_value_all(constant):
    told = scores([constant] * 700 + [constant * 1.5 + 1.0])
    assert told[:700].max() == 0
    assert told[700] == pytest.approx(1)


def test_rounding_is_no_anomaly():
    values = np.full(800, 0.3)
    values[600] = 0.1 + 0.2
    assert scores(values).max() < 0.1


def test_an_event_is_told_once_unless_it_gets_worse():
    values = noise(1500)
    values[[1200, 1210, 1220]] = 150, 151, 200
    values[1480] = 230
    told = scores(values)
    assert told[1200] >= ALERT
    assert told[1201:1220].max() < ALERT
    assert told[1220] > told[1200]
    assert told[1221:1480].max() < ALERT
    assert told[1480] >= ALERT


def test_within_the_refractory_time_the_share_grows_with_the_rows():
    values = np.tile([0.0, 1.0], 300)
    values[400] = 40
    told = {}
    for gap in (20, 50, 80, 120):
        later = values.copy()
        later[400 + gap] = 50
        told[gap] = scores(later, refractory=100)[400 + gap]
    assert told[20] < told[50] < told[80] < told[120]


def test_the_scale_and_the_level_of_a_series_do_not_matter():
    values = noise(1500)
    values[900] = 160
    told = scores(values)
    assert scores(values * 1024 - 4096) == pytest.approx(told, abs=1e-6)
    assert scores(-values)[900] == pytest.approx(told[900])


def test_values_are_scored_before_they_are_learnt_and_the_first_score_nothing():
    values = noise(200)
    values[[10, 48]] = 1000, 3000
    told = scores(values)
    assert told[:50].max() == 0
    values[100] = 9000
    assert scores(values)[100] > ALERT


def test_a_missing_value_scores_nothing_an_infinite_one_all_and_neither_changes_nothing():
    values = noise(900)
    values[700] = 150
    scorer, told = AnomalyScorer(), []
    for k, value in enumerate(values):
        if k % 7 == 0 or k > 690:
            state = scorer.snapshot()
            assert scorer.score(1_000 * k, math.nan) == 0
            for infinite in (math.inf, -math.inf, 1e76, -1e300):
                assert scorer.score(1_000 * k, infinite) == 1
                assert "infinite" in scorer.reason()
            assert scorer.snapshot() == state
        told.append(scorer.score(1_000 * k, value))
    assert told == scores(values, step_ms=1_000).tolist()


def test_an_old_extreme_is_forgotten():
    values = noise(1800)
    values[[1000, 1700]] = 170, 165
    for history, lowest, highest in ((400, 0.8, 1.0), (1600, 0.0, ALERT)):
        novelty = Novelty(checked({"history": history, "recent": history}))
        told = [novelty.score(value) for value in values]
        assert lowest <= told[1700] <= highest


def test_what_it_holds_is_bounded():
    scorer = AnomalyScorer(history=400, recent=300, subsequence=16)
    sizes = []
    for k, value in enumerate(np.random.default_rng(2).exponential(1, 3000)):
        scorer.score(k, value - k)  # every value is a new low
        if k >= 1000:
            sizes.append(len(scorer.snapshot()))
    assert max(sizes) < 40 * (400 + 256) + 16 * 201 + 13_000
    novelty = scorer.novelty
    norms = [discord.norm for discord in novelty.discords]
    assert sum(array.nbytes for array in (novelty.signals, *norms)) < 50 * (400 + 512)
    assert sys.getsizeof(novelty._heard) < 5_000


def test_it_says_what_was_new():
    values = noise(1500)
    values[1200] = 160
    scorer = AnomalyScorer()
    for value in values[:1201]:
        scorer.score(0, value)
    assert scorer.reason().startswith("the value is above the forecast of 100")
    novelty = Novelty(checked({}))
    for value in values[:1201]:
        novelty.score(value)
    assert novelty.reason().startswith("the value is a new high of the last 1200, by ")
    constant = Novelty(checked({}))
    for value in [5.0] * 100 + [4.0]:
        constant.score(value)
    assert constant.reason() == "the value is a new low of the last 100, after values that were all the same"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"histori": 5}, "AnomalyScorer has no option 'histori'; its options are history, recent, refractory"),
        ({"history": 49}, "option 'history' is 49, expected 0, or a whole number from 50 to 100000"),
        ({"warmup": 1.5}, "option 'warmup' is 1.5, expected a whole number from 2"),
        ({"history": 900}, "option 'history' is 900, expected at least 1000, that of 'recent'"),
        ({"history": 1200, "subsequence": 250}, "expected at least 1250, five times that of 'subsequence'"),
        ({"history": 900, "recent": 300, "smoothing": 250}, "expected at least 1000, four times that of 'smoothing'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        AnomalyScorer(**options)


def test_the_state_of_another_scorer_is_refused():
    scorer = AnomalyScorer()
    for k in range(400):
        scorer.score(k, k % 5)
    state = scorer.snapshot()
    with pytest.raises(StateError, match=r"a scorer with .*'recent': 1000.* but this one has .*'recent': 500"):
        AnomalyScorer(recent=500).restore(state)
    for damaged in (b"", b"x", state[:-8], state + b"x" * 8, state[:60], b"\0" * 300):
        with pytest.raises(StateError):
            AnomalyScorer().restore(damaged)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gap", [3, 30, 120, 190])
@pytest.mark.parametrize(("first", "step"), [(50, -25), (150, 50), (150, -50), (-150, -50)])
def test_a_shift_that_lasts_is_told_though_a_spike_was_told_just_before(seed, gap, first, step):
    """Attenuated like everything after a spike, and then never a new extreme again: it was hidden for good."""
    values = noise(1800, seed)
    values[1200] += first
    values[1200 + gap :] += step
    told = scores(values)
    assert told[1200] >= 0.7
    assert told[1200 + gap : 1401].max() >= ALERT


def test_a_second_shift_in_the_same_direction_is_told_too():
    values = noise(1800)
    values[1200:] += 60
    values[1230:] += 50
    assert scores(values)[1390:1410].max() >= ALERT


def test_what_does_not_last_stays_attenuated():
    values = noise(1800)
    values[1200] += 150
    values[1230] += 50
    values[1240:1260] -= 25
    assert scores(values)[1261:1500].max() < ALERT


@pytest.mark.parametrize("cut", [1205, 1300, 1399])
def test_what_is_held_back_is_part_of_the_state(cut):
    values = noise(1800)
    values[1200] += 150
    values[1210:] -= 25
    one, other, third = AnomalyScorer(), AnomalyScorer(), AnomalyScorer()
    for k, value in enumerate(values[:cut]):
        one.score(k, value)
    other.restore(one.snapshot())
    third.load([(name, entry) for name, entry in one.changes() if entry is not None])
    told = [one.score(k, value) for k, value in enumerate(values[cut:], cut)]
    assert max(told) >= ALERT
    assert [other.score(k, value) for k, value in enumerate(values[cut:], cut)] == told
    assert [third.score(k, value) for k, value in enumerate(values[cut:], cut)] == told
