"""Distances of shapes against the definition, written out."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly_app.scoring.discord import GROWN, Discord, rebuilt, window_sums


def normalised(window, floor):
    deviation = max(window.std(), floor)
    return (window - window.mean()) / deviation if deviation > 0 else window * 0


def by_definition(values, last, length, oldest, floor):
    """The distance of the subsequence that ends with ``last`` to those from ``oldest`` on that it does not overlap."""
    own = normalised(values[last - length + 1 : last + 1], floor)
    others = range(oldest, last - 2 * length + 2)
    return min(np.sqrt(np.mean((own - normalised(values[start : start + length], floor)) ** 2)) for start in others)


@pytest.mark.parametrize("length", [4, 13, 32])
@pytest.mark.parametrize("floor", [0.1, 1.3])
def test_distances_are_those_of_the_definition(length, floor):
    values = np.random.default_rng(length).normal(50, 1, 400)
    values[200:230] += 40
    values[260:330] = 70  # constant
    discord = Discord(length)
    discord.rebuild(values[:180], floor)
    for last in range(180, 400):
        # the number of those that are compared stays: the oldest make room
        told, exact = discord.add(float(values[last])), by_definition(values, last, length, last - 179, floor)
        assert told == pytest.approx(exact, abs=1e-5), last


def test_a_rebuild_changes_nothing_but_what_is_compared():
    values = np.random.default_rng(5).normal(0, 1, 700)
    one, other = Discord(16), Discord(16)
    one.rebuild(values[:500], 1.0)
    for value in values[500:600].tolist():
        one.add(value)
    other.rebuild(values[100:600], 1.0)
    for value in values[600:].tolist():
        assert one.add(value) == pytest.approx(other.add(value), abs=1e-9)


def test_a_far_level_costs_no_digits():
    values = np.random.default_rng(6).normal(0, 1, 400)
    near, far = Discord(16), Discord(16)
    near.rebuild(values[:300], 1.0)
    far.rebuild(values[:300] + 1e7, 1.0)
    for value in values[300:].tolist():
        assert far.add(value + 1e7) == pytest.approx(near.add(value), abs=1e-5)


def test_what_never_differed_is_at_no_distance():
    discord = Discord(8)
    discord.rebuild(np.full(40, 3.5), 0.0)
    assert [discord.add(3.5) for _ in range(20)] == [0.0] * 20
    assert discord.add(4.0) == pytest.approx(1.0)


@pytest.mark.parametrize("length", range(1, 20))
def test_window_sums(length):
    values = np.arange(20.0) ** 2
    assert window_sums(values, length).tolist() == [values[k : k + length].sum() for k in range(21 - length)]


def test_a_rebuild_is_due_more_often_while_a_series_is_young():
    due = [row for row in range(1, 3000) if rebuilt(row) == row]
    assert set(np.diff([row for row in due if row <= GROWN])) == {64}
    assert set(np.diff([row for row in due if row >= GROWN])) == {256}
