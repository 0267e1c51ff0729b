"""What holds of a scorer whatever the values are."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings, strategies as st

from anomaly_app import AnomalyScorer

SMALL = {"warmup": 5, "recent": 40, "history": 100, "subsequence": 12, "smoothing": 3, "refractory": 10}
"""Options under which all that happens in the long run happens soon."""


@st.composite
def series(draw):
    """Values of some kind, 1 to 700 of them, with missing ones."""
    rows, kind = draw(st.integers(1, 700)), draw(st.sampled_from(["noise", "walk", "count", "constant", "wild"]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "noise":
        values = random.normal(size=rows)
    elif kind == "walk":
        values = random.normal(size=rows).cumsum() * draw(st.sampled_from([1e-60, 1.0, 1e60]))
    elif kind == "count":
        values = random.poisson(0.3, rows).astype(float)
    elif kind == "constant":
        values = np.full(rows, draw(st.floats(-1e80, 1e80)))
    else:
        values = 10.0 ** random.uniform(-80, 80, rows) * random.choice([-1, 1], rows)
    values[random.random(rows) < draw(st.sampled_from([0.0, 0.1]))] = math.nan
    return values.tolist()


def run(scorer, values, start=0):
    return [scorer.score(1_000 * (start + k), value) for k, value in enumerate(values)]


@settings(max_examples=60, deadline=None)
@given(series())
def test_scores_are_from_0_to_1_and_the_same_again(values):
    told = run(AnomalyScorer(**SMALL), values)
    assert all(0.0 <= score <= 1.0 for score in told)
    assert told == run(AnomalyScorer(**SMALL), values)


@settings(max_examples=30, deadline=None)
@given(series(), st.integers(0, 700))
def test_no_score_depends_on_what_comes_later(values, cut):
    changed = values[:cut] + [3 * value + 1 for value in values[cut:]]
    assert run(AnomalyScorer(**SMALL), values)[:cut] == run(AnomalyScorer(**SMALL), changed)[:cut]


@settings(max_examples=60, deadline=None)
@given(series(), st.integers(0, 700), st.integers(0, 700))
def test_a_scorer_restored_after_any_row_has_the_same_future(values, first, second):
    first, second = sorted((first, second))
    scorer = AnomalyScorer(**SMALL)
    told = run(scorer, values[:first])
    for start, stop in ((first, second), (second, len(values))):
        other = AnomalyScorer(**SMALL)
        run(other, [5.0] * 20)  # what it has seen does not matter
        other.restore(scorer.snapshot())
        assert other.snapshot() == scorer.snapshot()
        scorer = other
        told += run(scorer, values[start:stop], start)
    assert told == run(AnomalyScorer(**SMALL), values)


@settings(max_examples=40, deadline=None)
@given(series(), st.lists(st.integers(0, 700), max_size=6))
def test_the_entries_of_a_store_are_the_state(values, cuts):
    scorer, store = AnomalyScorer(**SMALL), {}
    told, start = [], 0
    for cut in [*sorted({min(cut, len(values)) for cut in cuts}), len(values)]:
        told += run(scorer, values[start:cut], start)
        changed = dict(scorer.changes())
        assert len(changed) <= 12 + 2 * (cut - start) // 32  # a rebuild forgets up to 256 rows
        assert not list(scorer.changes())
        store = {name: entry for name, entry in (store | changed).items() if entry is not None}
        if store:
            scorer = AnomalyScorer(**SMALL)
            scorer.load(store.items())
        start = cut
    assert told == run(AnomalyScorer(**SMALL), values)
    assert sum(map(len, store.values())) < 40 * (100 + 256 + 64) + 13_000
