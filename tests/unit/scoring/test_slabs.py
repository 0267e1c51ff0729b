"""Where a bank keeps the arrays of its series, and how many of them it holds."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest

from anomaly_app import AnomalyScorer
from anomaly_app.detectors import check_options
from anomaly_app.scoring import slabs
from anomaly_app.scoring.functions import ANOMALY_SCORE
from anomaly_app.scoring.slabs import Size, Slabs

SMALL = {"warmup": 20, "recent": 60, "history": 160, "subsequence": 16, "smoothing": 3, "refractory": 10}
SIZE = Size(64, 64)


def filled(count, size=SIZE):
    """Slabs in which each series has its number as its first signal."""
    made = Slabs(4, 4, (2, 8))
    made.grow(count)
    for slab, part, free in made.take(np.arange(count), size):
        slab.signals[free, 0] = np.arange(count)[part, None]
    return made


def test_series_that_come_together_lie_next_to_each_other():
    made = filled(50)
    (group,) = made.groups(np.arange(10, 50), np.full(40, 3))
    assert (group.slots, group.phase) == (slice(10, 50), 3)
    assert group.slab.signals[group.slots, 0, 7].tolist() == list(range(10, 50))


@pytest.mark.parametrize(("series", "phase"), [([4, 3, 9], [1, 1, 1]), ([3, 4, 5], [1, 2, 1])])
def test_series_in_any_order_or_of_different_phases_are_told_one_by_one(series, phase):
    (group,) = filled(50).groups(np.array(series), np.array(phase))
    assert np.array(series)[group.which].tolist() == group.slots.tolist()
    assert group.phase.tolist() == phase
    part = group.those(np.array(phase) == 1)
    assert np.array(series)[part.which].tolist() == [
        each for each, when in zip(series, phase, strict=True) if when == 1
    ]


def test_a_slab_holds_no_more_bytes_than_it_may_and_a_call_is_told_by_slabs():
    with patch.object(slabs, "SLAB_BYTES", 100_000):
        made = filled(60)
        groups = made.groups(np.arange(60)[::-1].copy(), np.zeros(60, dtype=np.int64))
    assert len(groups) > 2
    for group in groups:
        assert group.slab.signals.nbytes < 100_000
        own = np.arange(60)[::-1][group.which]
        assert group.slab.signals[group.slots, 0, 0].tolist() == own.tolist()


def test_slabs_that_series_have_left_become_smaller_or_go():
    made = filled(64)
    slab, _ = made.where(0)
    gone = np.arange(64) % 16 > 0
    made.release(np.flatnonzero(gone))
    made.tidy(np.arange(64) == 32)
    assert made.where(16)[0] is slab  # somebody writes to it
    made.tidy(np.zeros(64, dtype=bool))
    smaller, _ = made.where(16)
    assert len(smaller.members) == 8 < len(slab.members)
    for series in (0, 16, 32, 48):
        assert made.where(series)[0] is smaller
        assert smaller.signals[made.where(series)[1], 0, 5] == series
    made.release(np.array([0, 16, 32, 48]))
    made.tidy(np.zeros(64, dtype=bool))
    ((again, _, free),) = made.take(np.array([7]), SIZE)
    assert again is not smaller
    assert math.isnan(again.signals[free[0], 0, 0])


def test_keys_that_fall_silent_keep_what_is_theirs_and_no_more():
    """Of 200 keys most stop on the way: slabs are made smaller under those that are still there."""
    random = np.random.default_rng(3)
    detector = ANOMALY_SCORE.create(check_options(ANOMALY_SCORE, SMALL), ["price"])
    detector.grow(200)
    scorers = [AnomalyScorer(**SMALL) for _ in range(200)]
    for row in range(700):
        alive = np.arange(200)[:: 1 + row // 40] if row < 320 else np.arange(200)
        if row in (70, 130, 300):
            for gone in (3, 50):
                detector.forget(gone)
                scorers[gone] = AnomalyScorer(**SMALL)
        values = random.normal(size=len(alive))
        verdicts = detector.update(alive, np.full(len(alive), 60_000 * row), values[:, None])
        told = [scorers[key].score(60_000 * row, value) for key, value in zip(alive.tolist(), values, strict=True)]
        assert verdicts.scores() == told, row
    for key in range(200):
        assert dict(detector.changes(key)) == dict(scorers[key].changes())


class Compared:
    """A bank, and a scorer for each of its keys."""

    def __init__(self, keys):
        self.detector = ANOMALY_SCORE.create(check_options(ANOMALY_SCORE, SMALL), ["price"])
        self.detector.grow(keys)
        self.scorers = {}

    def update(self, row, values):
        keys = np.array(list(values))
        verdicts = self.detector.update(
            keys, np.full(len(keys), 60_000 * row), np.array(list(values.values()))[:, None]
        )
        for key in values:
            self.scorers.setdefault(key, AnomalyScorer(**SMALL))
        told = [self.scorers[key].score(60_000 * row, value) for key, value in values.items()]
        assert verdicts.scores() == told, row

    def check(self, key):
        assert dict(self.detector.changes(key)) == dict(self.scorers[key].changes())


def test_a_key_that_comes_alone_is_not_forgotten_where_room_is_made_for_others():
    random = np.random.default_rng(5)
    both = Compared(30)
    for row in range(80):
        both.update(row, dict(enumerate(random.normal(size=30))))
    for row in range(80, 90):
        both.update(row, {3: float(row % 3)})
    both.detector.grow(90)
    both.update(90, dict(enumerate(random.normal(size=60), 30)))
    for row in range(91, 95):
        both.update(row, {3: float(row % 3)})
    both.check(3)
    both.update(95, dict(enumerate(random.normal(size=90))))
    for key in range(90):
        both.check(key)


def test_a_place_that_another_key_has_left_is_empty():
    """Of a key that has always been 0 there are no shapes."""
    random = np.random.default_rng(5)
    both = Compared(60)
    for row in range(400):
        if row == 230:
            both.detector.forget(0)
        both.update(row, {key: random.normal() for key in range(row >= 230, 30)})
        both.update(row, dict.fromkeys(range(30, 60), 0.0))
    for key in range(1, 60):
        both.check(key)
