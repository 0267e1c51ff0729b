"""A bank of scorers against one scorer for each series: the same scores, reasons and state, to the last bit."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app import AnomalyScorer
from anomaly_app.detectors import check_options
from anomaly_app.scoring import bank as banks, discords, slabs
from anomaly_app.scoring.functions import ANOMALY_SCORE

SMALL = {"warmup": 5, "recent": 20, "history": 60, "subsequence": 8, "smoothing": 3, "refractory": 10}
OTHER = {"warmup": 12, "recent": 50, "history": 150, "subsequence": 12, "smoothing": 11, "refractory": 40}
THRESHOLD = 0.4
KINDS = ("noise", "walk", "count", "constant", "shifts", "wild", "days", "zero", "weekly")


def course(kind, rows, random):
    """Values of a series: what is usual, and what can happen to it."""
    if kind == "walk":
        values = random.normal(size=rows).cumsum() * 10.0 ** random.integers(-60, 60)
    elif kind == "count":
        values = random.poisson(0.5, rows).astype(float)
    elif kind == "constant":
        values = np.full(rows, 7.25)
        values[rows // 2 :] += random.integers(2)
    elif kind == "shifts":
        values = random.normal(size=rows) + 8.0 * random.integers(0, 3, rows // 37 + 1).repeat(37)[:rows]
    elif kind == "wild":
        values = 10.0 ** random.uniform(-70, 70, rows) * random.choice([-1, 1], rows)
    elif kind == "days":
        values = np.sin(np.arange(rows) * 2 * np.pi / 24) * 5 + random.normal(size=rows)
    elif kind == "zero":
        values = np.where(random.random(rows) < 0.03, random.normal(size=rows), 0.0)
    elif kind == "weekly":  # at a point an hour a week has 168
        week, hour = np.divmod(np.arange(rows), 168)
        values = random.normal(size=rows) + np.where((hour > 50) & (hour < 56), 6.0 + 3.0 * week, 0.0)
    else:
        values = random.normal(size=rows)
    if kind in {"noise", "days", "walk"}:
        spikes = random.random(rows) < 0.01
        values[spikes] += 20.0 * np.std(values)
    values[random.random(rows) < 0.03] = math.nan
    values[random.random(rows) < 0.01] = random.choice([math.inf, -1e80])
    return values


class Alone:
    """What a bank has to be like: a scorer for each series."""

    def __init__(self, options, count):
        self.options = options
        self.scorers = [AnomalyScorer(**options) for _ in range(count)]

    def update(self, series, times, values):
        told = []
        for number, time, value in zip(series.tolist(), times.tolist(), values.tolist(), strict=True):
            if value != value:
                told.append((None, None, False, "the value is missing"))
                continue
            scorer, infinite = self.scorers[number], abs(value) > 1e75
            score = scorer.score(time, value)
            out = infinite or scorer.out
            reason = scorer.reason() if score >= THRESHOLD or out else "nothing that is worth an alert"
            told.append((score, None if infinite else scorer.expected, out, f"score {score:.2f}: {reason}"))
        return told

    def fresh(self, number, entries=()):
        self.scorers[number] = AnomalyScorer(**self.options)
        if entries:
            self.scorers[number].load(entries)


def told_by(verdicts, count):
    expected = [None if each != each else each for each in verdicts.expected()]
    assert verdicts.flags() == [None if score is None else score >= THRESHOLD for score in verdicts.scores()]
    explained = [verdicts.explain(number) for number in range(count)]
    return list(zip(verdicts.scores(), expected, verdicts.out(), explained, strict=True))


class Both:
    """A bank and scorers that are given the same; each has a store."""

    def __init__(self, options, count):
        self.bank = ANOMALY_SCORE.create(check_options(ANOMALY_SCORE, options | {"threshold": THRESHOLD}), ["value"])
        self.alone, self.count = Alone(options, count), count
        self.stores = [{} for _ in range(count)]

    def update(self, series, times, values):
        self.bank.grow(int(series.max()) + 1)  # room is made as series come
        verdicts = self.bank.update(series, times, values[:, None])
        assert told_by(verdicts, len(series)) == self.alone.update(series, times, values)

    def store(self, number):
        entries = dict(self.bank.changes(number))
        assert entries == dict(self.alone.scorers[number].changes())
        assert not dict(self.bank.changes(number))
        self.stores[number] = {
            name: entry for name, entry in (self.stores[number] | entries).items() if entry is not None
        }

    def restore(self, number):
        """Into a fresh series what is stored of it."""
        self.store(number)
        self.forget(number, keep=True)
        if self.stores[number]:
            self.bank.restore(number, list(self.stores[number].items()))
            self.alone.fresh(number, list(self.stores[number].items()))

    def forget(self, number, keep=False):
        self.bank.forget(number)
        self.alone.fresh(number)
        if not keep:
            self.stores[number] = {}


def batches(random, left, style):
    """Whose points come next, each call of a series' points in order; until all have come."""
    while left.any():
        alive = np.flatnonzero(left)
        if style == "step":
            own = alive
        elif style == "some":
            own = alive[random.random(len(alive)) < 0.8]
        elif style == "few":
            own = random.choice(alive, 1).repeat(random.integers(1, 9))
        elif random.random() < 0.7:
            own = alive[random.random(len(alive)) < 0.9].repeat(random.integers(1, 4))
        else:
            own = random.choice(alive, random.integers(1, 40))
        if style != "step":
            own = random.permutation(own)
        if not len(own):
            continue
        seen = np.zeros(len(left), dtype=int)
        keep = []
        for number in own.tolist():
            seen[number] += 1
            keep.append(seen[number] <= left[number])
        own = own[np.array(keep)]
        left = left - np.bincount(own, minlength=len(left))
        yield own


def play(both, random, rows, styles, step_ms=60_000):
    """All rows of all series, and between the calls what can happen to series."""
    count = both.count
    kinds = random.choice(KINDS, count)
    values = [course(kind, rows, random) for kind in kinds]
    place = np.zeros(count, dtype=int)
    shares = rng_split(random, rows, len(styles))
    for style, share in zip(styles, shares, strict=True):
        for own in batches(random, np.full(count, share), style):
            times, points = [], []
            for number in own.tolist():
                times.append(int(place[number]) * step_ms)
                points.append(values[number][place[number]])
                place[number] += 1
            both.update(own, np.array(times), np.array(points))
            for number in own.tolist():
                chance = random.random()
                if chance < 0.002:
                    both.forget(number)
                elif chance < 0.006:
                    both.restore(number)
                elif chance < 0.03:
                    both.store(number)
    both.bank.grow(count)
    for number in range(count):
        both.store(number)


def rng_split(random, rows, parts):
    cuts = np.sort(random.integers(0, rows + 1, parts - 1))
    return np.diff([0, *cuts, rows]).tolist()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(4, 12),
    st.sampled_from([SMALL, OTHER]),
    st.lists(st.sampled_from(["step", "some", "ragged", "few"]), min_size=1, max_size=4),
    st.integers(30, 700),
    st.sampled_from([60_000, 3_600_000]),
)
def test_a_bank_gives_what_scorers_give(seed, count, options, styles, rows, step_ms):
    random = np.random.default_rng(seed)
    with (
        patch.object(banks, "FEW_SCORERS", 3),
        patch.object(slabs, "LEAST", 2),
        patch.object(discords, "BY_ITSELF", 20),
        patch.object(discords, "TOGETHER", 64),
    ):
        play(Both(options, count), random, rows, styles, step_ms)


@pytest.mark.parametrize("style", ["step", "some"])
def test_with_the_defaults_a_bank_gives_what_scorers_give(style):
    """Far enough for the rebuilds of old series, shapes of both lengths, and values that are not new any more."""
    with patch.object(banks, "FEW_SCORERS", 2):
        play(Both({"history": 1100}, 5), np.random.default_rng(7), 2_000, [style, "few", style])
