"""How far out a field is alone, and how far all are together: the larger of the two, each with half of the alarms.

Alone: the feature that is farthest from its mean, in standard deviations that its rare modes and its tails count in; to
a robust spread they would be outliers for good. Together: the distance by the robust correlations, to which no feature
gives more than :data:`_USUAL` standard deviations, because what one feature does is judged alone. Both are put as the
distance that normal points exceed as often, so that scores of all series, and of both reasons, mean the same.
"""

from __future__ import annotations

import numpy as np

from anomaly_app.detectors import Floats, Integers
from anomaly_app.multivariate.mahalanobis import Mahalanobis, middle_and_spread, standardised
from anomaly_app.multivariate.model import Bound, Judgement, floored, grown

_USUAL = 3.5
"""Standard deviations beyond which a feature counts no more in the distance."""
_START_CUT, _CUT = 4.0, 6.0
"""Standard deviations beyond which a value is pulled in for the spread of its feature: robust ones in the first points,
a quarter of which may be anomalies; later those known so far."""
_LONGEST = 37.0
"""Standard deviations up to which a normal distribution has a tail that is a number."""


class Combined(Mahalanobis):
    """The robust distance with means and spreads of the features beside it; arguments as there."""

    def __init__(self, spreads: Floats, alpha: float, memory: int, warm_up: int, block: int) -> None:
        from scipy import special

        super().__init__(spreads, alpha, memory, warm_up, block)
        d = len(spreads)
        self._middle, self._variance, self._scale = np.zeros((0, d)), np.zeros((0, d)), np.zeros((0, d))
        # Half of the alarms are shared out among the features, both tails of each.
        self._alone = np.linspace(0.0, _LONGEST, 2_000)
        tails = np.exp(np.minimum(np.log(2 * d) + special.log_ndtr(-self._alone), 0.0))
        self._nominal = float(np.sqrt(special.chdtri(d, alpha)))
        self._as_distance = np.sqrt(special.chdtri(d, tails))

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1."""
        super().grow(series)
        self._middle, self._variance = grown(self._middle, series), grown(self._variance, series)
        self._scale = grown(self._scale, series)

    def start(self, series: Integers, points: Floats) -> None:
        """Fit robustly to points."""
        super().start(series, points)
        middle, spread = middle_and_spread(points, self._spreads)
        z = np.clip(standardised(points, middle[:, None, :], spread[:, None, :]), -_START_CUT, _START_CUT)
        self._middle[series] = middle + np.mean(z, axis=1) * spread
        self._variance[series] = np.var(z, axis=1) * spread * spread
        self._measure(series)

    def bound(self, series: Integers, points: Floats) -> Bound:
        """Between what the first points say, which may have anomalies among them, and what normal points would."""
        told = super().bound(series, points)
        return Bound(told.center, np.sqrt(told.width * self._nominal))

    def learn(self, series: Integers, points: Floats) -> None:
        """Let all follow a block of points, pulled in."""
        n = points.shape[1]
        weight = (n / np.minimum(self._count[series] + n, max(self._memory, n)))[:, None]
        super().learn(series, points)
        scale = self._scale[series]
        z = np.clip(standardised(points, self._middle[series][:, None, :], scale[:, None, :]), -_CUT, _CUT)
        mean = np.mean(z, axis=1)
        seen = np.var(z, axis=1) + (1 - weight) * mean * mean
        self._variance[series] += weight * (seen * scale * scale - self._variance[series])
        self._middle[series] += weight * mean * scale
        self._measure(series)

    def score(self, series: Integers, points: Floats) -> Judgement:
        """Distances, and how much of each is due to which feature.

        Where a feature alone is the reason, each has its share of the sum of the squares of all.
        """
        z = standardised(points, self._middle[series], self._scale[series])
        parts, distance = self.apart(series, z)
        size = np.abs(z)
        farthest = np.max(size, axis=1, initial=0.0)
        beyond = np.flatnonzero(farthest > _USUAL)
        if len(beyond):
            limited, less = self.apart(series[beyond], np.clip(z[beyond], -_USUAL, _USUAL))
            closer = less < distance[beyond]
            parts[beyond[closer]], distance[beyond[closer]] = limited[closer], less[closer]
        alone = np.interp(farthest, self._alone, self._as_distance) + np.maximum(farthest - _LONGEST, 0.0)
        shares = parts / np.where(distance > 0, distance, 1.0)[:, None]
        single = np.flatnonzero(alone > distance)
        squares = (size[single] / np.maximum(farthest[single], 1e-300)[:, None]) ** 2
        total = np.zeros(len(single))
        for feature in range(squares.shape[1]):
            total += squares[:, feature]
        shares[single] = squares * (alone[single] / np.maximum(total, 1.0))[:, None]
        return Judgement(np.maximum(distance, alone), shares)

    def usual(self, series: Integers) -> tuple[Floats, Floats]:
        """Means and standard deviations."""
        return self._middle[series], self._scale[series]

    def dump(self, series: int) -> bytes:
        """What the distance holds, then mean and variance of each feature."""
        return b"".join((super().dump(series), self._middle[series].tobytes(), self._variance[series].tobytes()))

    def load(self, series: int, data: bytes, points: Floats) -> None:
        """Take back what :meth:`dump` gave; raises ``ValueError`` if it is of another size."""
        d = len(self._spreads)
        own = 2 * 8 * d
        self._middle[series], self._variance[series] = np.frombuffer(data[-own:]).reshape(2, d)
        super().load(series, data[:-own], points)
        self._measure(np.array([series]))

    def _measure(self, series: Integers) -> None:
        spread = np.sqrt(self._variance[series])
        self._scale[series] = floored(spread, self._middle[series], self._spreads)
