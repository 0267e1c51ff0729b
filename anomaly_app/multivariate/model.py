"""What the two models have in common: how the detector that owns them calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Floats, Integers

GAIN = 0.08
"""Of a bound that has to be found: a quarter of a standard deviation."""
Number = TypeVar("Number", bound=np.number[Any])


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores of points, and what they are made of.

    Args:
        scores: shape (n,).
        contributions: of the features, shape (n, features); they add up to the score.
    """

    scores: Floats
    contributions: Floats


@dataclass(frozen=True, slots=True)
class Bound:
    """What scores are usual: shape (k,) each.

    Args:
        center: score of a usual point.
        width: how far above is an anomaly.
    """

    center: Floats
    width: Floats


def tail_end(scores: Floats, alpha: float) -> Floats:
    """The score that a share ``alpha`` of points exceeds, from few of them: shape (k,) from (k, n).

    The highest tenth is taken for the tail of an exponential (Pickands 1975: that of a distribution which is not heavy
    becomes so), with the median excess as its scale: some anomalies among the points do not move it far.

    Example:
        >>> scores = np.random.default_rng(1).exponential(size=(2000, 128))
        >>> bool(abs(np.exp(-tail_end(scores, 0.01)).mean() - 0.01) < 0.005)
        True
    """
    n = scores.shape[1]
    tail = max(n // 10, int(alpha * n), 3)
    ordered = np.sort(scores, axis=1)
    corner = ordered[:, n - tail - 1]
    scale = (np.median(ordered[:, n - tail :], axis=1) - corner) / np.log(2)
    return np.asarray(corner + scale * max(np.log(tail / n / alpha), 0.0))


class Model(Protocol):
    """A model of many series that is fitted to whole blocks of points, so that points of a block are judged at once."""

    pace: int
    """Points of a series between two moves of its bound."""
    block: int
    """Points of a series between two calls of :meth:`learn`; a multiple of the pace."""
    smallest_bound: float
    """No bound is less far from the center than this; usual points are."""
    gain: float
    """What one point too many beyond the bound moves it by, relative."""
    window: int
    """The last so many points of a series have to be kept for it."""

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1."""
        ...

    def start(self, series: Integers, points: Floats) -> None:
        """Fit to points of some series, shape (k, points, features), and to nothing else; some may be anomalies."""
        ...

    def bound(self, series: Integers, points: Floats) -> Bound:
        """What scores are usual, by the points that :meth:`start` was given."""
        ...

    def score(self, series: Integers, points: Floats) -> Judgement:
        """Judge points, shape (n, features)."""
        ...

    def learn(self, series: Integers, points: Floats) -> None:
        """Learn the last points of some series that have had as many, shape (k, points, features)."""
        ...

    def usual(self, series: Integers) -> tuple[Floats, Floats]:
        """Middle and spread of the features, shape (k, features) each, for people."""
        ...

    def dump(self, series: int) -> bytes:
        """What the model holds of a series, apart from the last points."""
        ...

    def load(self, series: int, data: bytes, points: Floats) -> None:
        """Take back what :meth:`dump` gave, with the points that :meth:`start` or :meth:`learn` had last."""
        ...


def grown(array: NDArray[Number], series: int) -> NDArray[Number]:
    """The array with zeros for more series; its memory is only taken when it is written to."""
    more: NDArray[Number] = np.zeros((series, *array.shape[1:]), dtype=array.dtype)
    more[: len(array)] = array
    return more


def floored(spread: Floats, middle: Floats, smallest: Floats) -> Floats:
    """Spreads that can be divided by: at least the feature's own, and what rounding leaves of the value."""
    return np.asarray(np.maximum(spread, np.maximum(smallest, 1e-10 * np.abs(middle) + 1e-150)))
