"""How rare a value is by the tail of what came before: of many columns of many series, followed block by block.

Beyond its reach, which a tenth of the values pass, a column falls off exponentially, by the mean excess of those that
did (Pickands 1975: the tail of any distribution that is not heavy becomes so). What the excesses have not told yet is
part of the answer: with a gamma prior of the rate, n excesses of mean e leave a tail of ``-n log(1 + y / (n e))``. If
the excesses are much alike, because a rare mode of the values is among them, the tail is steeper (Weibull's). A
column that looks normal, by reach and mean excess, is taken for nearly so, because two numbers more of each column cost
more in chance than they tell; how nearly is the odds of that against any other tail (Kass and Raftery 1995).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Floats, Integers
from anomaly_app.multivariate.model import grown

Mask: TypeAlias = NDArray[np.bool_]

BEYOND = 0.1
"""Share of values that are beyond the reach of a column."""
NORMAL_REACH, NORMAL_EXCESS = 1.2816, 0.4735
"""Of a standard normal distribution: the reach, and the mean excess over it."""
_PRIOR = 5.0
"""Excesses that the prior mean excess counts for."""
_FARTHEST = 8.0
"""Mean excesses beyond which an excess is pulled in: an anomaly makes the tail longer by a tenth of that at most."""
_FIRST_FARTHEST = 5.0
"""The same for the first values, a part of which may be anomalies, in mean excesses by their median."""
_FASTEST = 3.0
"""The reach moves by so many times the expected share at most."""
_VAGUE = 0.25
"""Variance of the logarithms of reach and mean excess under any other tail than the nominal one."""
_EVEN, _STEEPEST = 0.6, 3.0
"""Square of the coefficient of variation of the excesses below which they say that the tail ends: that of a normal
tail is .75, of an exponential 1, of an even one a third. The power of the tail (Weibull's) goes up to the other."""
_FAR = 1e9
"""Mean excesses beyond which all is the same: squares of it stay finite."""
_LINEAR, _SQUARE = 0.832, 0.112
"""The tail of the normal distribution: minus its logarithm over that of the reach, per mean excess and its square."""


@dataclass(frozen=True, slots=True)
class Nominal:
    """What columns are if they are normal, shape (k, columns) each.

    Args:
        reach: distance that a tenth is beyond.
        excess: mean excess over it.
        prior: mean excess of a column without any, or few.
    """

    reach: Floats
    excess: Floats
    prior: Floats


class Tails:
    """Upper tails of the columns of many series.

    Args:
        pairs: the first columns are so many features' upper tails, then as many lower ones.
        smallest: reach of each column at least; what is nearer is no news, however much alike the values were.
        trust: for each column, the largest weight of the nominal tail.
    """

    def __init__(self, pairs: int, smallest: Floats, trust: Floats) -> None:
        columns = len(smallest)
        self._pairs, self._smallest, self._trust = pairs, smallest, trust
        self.reach, self._beyond, self._excess, self._squares = (np.zeros((0, columns)) for _ in range(4))
        self._total = np.zeros(0)
        self.edge, self.log_share, self._inverse = (np.zeros((0, columns)) for _ in range(3))
        self._few, self._normal, self._power = (np.zeros((0, columns)) for _ in range(3))

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1."""
        for name in _ARRAYS:
            setattr(self, name, grown(getattr(self, name), series))

    def start(self, series: Integers, values: Floats, reach: Floats) -> None:
        """Count values, shape (k, columns, n), over a reach that is given, shape (k, columns)."""
        reach = np.maximum(reach, self._smallest)
        self.reach[series], self._total[series] = reach, values.shape[2]
        over = np.maximum(values - reach[:, :, None], 0.0)
        count = np.sum(over > 0, axis=2)
        # Half of the excesses may be of anomalies: pulled in by the median, that of an exponential tail is its mean.
        half = over.shape[2] - 1 - np.maximum(count - 1, 0) // 2
        median = np.take_along_axis(np.sort(over, axis=2), half[:, :, None], axis=2)
        self._beyond[series] = count
        over = np.minimum(over, _FIRST_FARTHEST / np.log(2) * median)
        self._excess[series], self._squares[series] = np.sum(over, axis=2), np.sum(over * over, axis=2)

    def learn(self, series: Integers, values: Floats, weight: Floats) -> None:
        """Let the tails follow a block of values.

        Args:
            series: shape (k,).
            values: shape (k, columns, n).
            weight: of the block, shape (k, 1).
        """
        n = values.shape[2]
        reach, mean = self.reach[series], 1.0 / self._inverse[series]
        over = values - reach[:, :, None]
        beyond = over > 0
        count = np.add.reduce(beyond, axis=2)
        # A Newton step to the quantile. Not below what is not beyond: a value that many points have is never passed.
        move = weight * np.minimum(count / (BEYOND * n) - 1.0, _FASTEST) * mean
        inside = np.maximum.reduce(np.where(beyond, -np.inf, over), axis=2)
        self.reach[series] = np.maximum(reach + np.maximum(move, np.minimum(inside, 0.0)), self._smallest)
        np.maximum(over, 0.0, out=over)
        np.minimum(over, (_FARTHEST * mean)[:, :, None], out=over)
        kept = 1.0 - weight
        self._beyond[series] = self._beyond[series] * kept + count
        self._excess[series] = self._excess[series] * kept + np.add.reduce(over, axis=2)
        over *= over
        self._squares[series] = self._squares[series] * kept + np.add.reduce(over, axis=2)
        self._total[series] = self._total[series] * kept[:, 0] + n

    def shift(self, series: Integers, move: Floats) -> None:
        """The origin of the pairs has moved up, shape (k, pairs)."""
        pairs = self._pairs
        reach = self.reach[series]
        reach[:, :pairs] -= move
        reach[:, pairs : 2 * pairs] += move
        self.reach[series] = np.maximum(reach, self._smallest)

    def pooled(self, series: Integers, usual: Floats) -> Floats:
        """Mean excess over both reaches of each pair, of which some are ``usual``; shape (k, pairs)."""
        pairs = self._pairs
        beyond, excess = self._beyond[series], self._excess[series]
        count = beyond[:, :pairs] + beyond[:, pairs : 2 * pairs] + 3.0
        return np.asarray((excess[:, :pairs] + excess[:, pairs : 2 * pairs] + 3.0 * usual) / count)

    def prepare(self, series: Integers, nominal: Nominal) -> None:
        """What rating needs, computed once a block."""
        pairs = self._pairs
        beyond, reach, total = self._beyond[series], self.reach[series], self._total[series][:, None]
        known = beyond + _PRIOR
        mean = (self._excess[series] + _PRIOR * nominal.prior) / known
        # Variance of the logarithm of the reach, by the density there.
        spread = (1 / BEYOND - 1) / total * np.clip(mean / nominal.reach, 1e-6, 2.0) ** 2
        odds = np.log(mean / nominal.excess) ** 2 / (1.0 / known + 0.5 * spread)
        odds += np.log(np.maximum(reach / nominal.reach, 1e-9)) ** 2 / (0.5 * spread)
        odds[:, :pairs] += odds[:, pairs : 2 * pairs]
        odds[:, pairs : 2 * pairs] = odds[:, :pairs]
        normal = self._trust / (1.0 + np.exp(np.minimum(0.5 * odds - 1.5 * np.log1p(_VAGUE * known), 500.0)))
        mean += normal * (nominal.excess - mean)
        self._inverse[series] = 1.0 / mean
        self.edge[series] = reach + normal * (nominal.reach - reach)
        self.log_share[series] = np.log((beyond + 0.5) / (total + 1.0))
        self._few[series], self._normal[series] = known + 1.0, normal
        own = np.maximum(self._excess[series], 1e-140) ** 2
        varied = np.minimum(self._squares[series] * beyond / own - 1.0, 1.0) * beyond + _PRIOR
        self._power[series] = np.minimum(np.maximum(varied / (_EVEN * known), 0.05) ** -0.543, _STEEPEST)
        self._power[series] = np.maximum(self._power[series], 1.0)

    def rarity(self, places: Integers, over: Floats) -> Floats:
        """Minus the logarithm of the share that is farther out, of values beyond their edge.

        Args:
            places: of the columns in the flattened ``edge``.
            over: how far beyond.
        """
        t = np.minimum(over * self._inverse.reshape(-1)[places], _FAR)
        few, normal = self._few.reshape(-1)[places], self._normal.reshape(-1)[places]
        any_tail = few * np.log1p(t ** self._power.reshape(-1)[places] / few)
        return np.asarray(
            any_tail + normal * (t * (_LINEAR + _SQUARE * t) - any_tail) - self.log_share.reshape(-1)[places]
        )

    def dump(self, series: int) -> bytes:
        """Reaches, counts and sums of excesses, and the total; as :meth:`load` takes them."""
        parts = (self.reach[series], self._beyond[series], self._excess[series], self._squares[series])
        return b"".join(part.tobytes() for part in (*parts, self._total[series : series + 1]))

    def load(self, series: int, numbers: Floats) -> None:
        """Take back what :meth:`dump` gave; raises ``ValueError`` if it is of another size."""
        self.reach[series], self._beyond[series], self._excess[series], self._squares[series] = numbers[:-1].reshape(
            4, -1
        )
        self._total[series] = numbers[-1]


_ARRAYS = (
    "reach",
    "_beyond",
    "_excess",
    "_squares",
    "_total",
    "edge",
    "log_share",
    "_inverse",
    "_few",
    "_normal",
    "_power",
)
"""Numbers of which each series has one, or one a column."""
