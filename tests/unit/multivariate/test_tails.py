"""Tails of columns: what is rare by them, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly_app.multivariate.tails import BEYOND, NORMAL_EXCESS, NORMAL_REACH, Nominal, Tails

BLOCK, BLOCKS = 40, 50


def followed(upper: NDArray[np.float64]) -> Tails:
    """Tails of one pair after blocks of values, shape (series, blocks, BLOCK), from a poor start."""
    series = np.arange(len(upper))
    tails = Tails(1, np.zeros(2), np.full(2, 0.5))
    tails.grow(len(upper))
    both = np.stack([upper, -upper], axis=2)
    tails.start(series, both[:, 0], np.full((len(upper), 2), 1.0))
    one = np.ones((len(upper), 2))
    nominal = Nominal(NORMAL_REACH * one, NORMAL_EXCESS * one, NORMAL_EXCESS * one)
    tails.prepare(series, nominal)
    for number in range(1, upper.shape[1]):
        tails.learn(series, both[:, number], np.full((len(upper), 1), 1 / (number + 1)))
        tails.prepare(series, nominal)
    return tails


def rarity(tails: Tails, value: float) -> NDArray[np.float64]:
    """Of a value in the upper tail of each series."""
    places = 2 * np.arange(len(tails.edge))
    return tails.rarity(places, value - tails.edge[:, 0])


def test_the_reach_is_the_quantile_and_the_share_is_what_is_beyond() -> None:
    tails = followed(np.random.default_rng(1).exponential(size=(40, BLOCKS, BLOCK)))
    assert abs(np.mean(tails.reach[:, 0]) + np.log(BEYOND)) < 0.05
    assert abs(np.mean(np.exp(tails.log_share[:, 0])) - BEYOND) < 0.01


@pytest.mark.parametrize("share", [1e-2, 1e-3, 1e-5])
def test_the_rarity_of_exponential_and_normal_values_is_nearly_the_closed_form(share: float) -> None:
    from scipy import special

    random = np.random.default_rng(2)
    exponential = rarity(followed(random.exponential(size=(40, BLOCKS, BLOCK))), -np.log(share))
    assert abs(np.median(exponential) / -np.log(share) - 1) < 0.1
    normal = rarity(followed(random.normal(size=(40, BLOCKS, BLOCK))), -special.ndtri(share))
    assert 0.75 < np.median(normal) / -np.log(share) < 1.05


def test_few_values_say_less() -> None:
    random = np.random.default_rng(3)
    few = rarity(followed(random.exponential(size=(40, 3, BLOCK))), 12.0)
    many = rarity(followed(random.exponential(size=(40, BLOCKS, BLOCK))), 12.0)
    assert np.median(few) < np.median(many) - 0.5


def test_the_reach_stays_at_a_value_that_most_have() -> None:
    random = np.random.default_rng(4)
    rare = random.random((20, BLOCKS, BLOCK)) < 0.06
    tails = followed(np.where(rare, 5.0 + random.exponential(size=rare.shape), 0.0))
    assert (tails.reach[:, 0] < 5.0).all() and (tails.reach[:, 1] >= 0).all()
    assert (np.abs(np.exp(tails.log_share[:, 0]) - 0.06) < 0.02).all()


def test_an_anomaly_lengthens_the_tail_by_little() -> None:
    values = np.random.default_rng(5).exponential(size=(20, BLOCKS, BLOCK))
    spoilt = values.copy()
    spoilt[:, BLOCKS // 2, 0] = 1e6
    usual, after = (np.median(rarity(followed(of), 10.0)) for of in (values, spoilt))
    assert usual - 0.7 < after <= usual


def test_a_state_of_another_size_is_an_error() -> None:
    tails = followed(np.random.default_rng(6).normal(size=(1, 3, BLOCK)))
    with pytest.raises(ValueError, match="reshape"):
        tails.load(0, np.zeros(8))


def test_a_tail_that_ends_says_so() -> None:
    """Of values that are 0 or about 8, one twelfth the latter, 20 is beyond all; of exponential ones it is not."""
    random = np.random.default_rng(7)
    shape = (20, BLOCKS, BLOCK)
    modes = np.where(random.random(shape) < 1 / 12, 8.0, 0.0) + 0.3 * random.normal(size=shape)
    ends, goes_on = (
        np.median(rarity(followed(of), 20.0) - rarity(followed(of), 8.0))
        for of in (modes, 3.0 * random.exponential(size=shape))
    )
    assert ends > goes_on + 1
