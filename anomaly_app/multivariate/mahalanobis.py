"""A robust Mahalanobis distance over the features of many series at once.

The mean and covariance start from the half of the first points that lie closest together (the minimum covariance
determinant of Rousseeuw and Van Driessen 1999, from a fixed start) and then follow the series with points that are
pulled in to the 99.9 % ellipsoid, so that an outlier moves them little. The covariance is shrunk towards its diagonal:
fields that are functions of each other do not make it singular.
"""

from __future__ import annotations

import numpy as np

from anomaly_app.detectors import Floats, Integers
from anomaly_app.multivariate.model import GAIN, Bound, Judgement, floored, grown, tail_end

_SHRINKAGE = 1e-3
"""Of the correlations. Two fields of which one is a multiple of the other may differ by 3 % of their spread."""
_CORE = 0.75
"""Share of the first points that the start is fitted to; a quarter of them may be anomalies."""
_STEPS = 6
_TYPICAL = 1.1
"""A bound is at least this many times the typical distance, the root of how many features there are."""
_FAR = 1e9
"""Standard deviations beyond which all is the same: squares of it stay finite."""


class Mahalanobis:
    """Means and covariances of many series.

    Args:
        spreads: smallest standard deviation of each feature.
        alpha: share of usual points that may be flagged.
        memory: points after which one has faded to 1/e.
        warm_up: points that :meth:`start` is given.
        block: points that :meth:`learn` is given.
    """

    gain = GAIN

    def __init__(self, spreads: Floats, alpha: float, memory: int, warm_up: int, block: int) -> None:
        from scipy import special

        self._spreads, self._memory = spreads, memory
        self._alpha, d = alpha, len(spreads)
        self.pace, self.block, self.window = block, block, max(warm_up, block)
        self.smallest_bound = _TYPICAL * float(np.sqrt(d))
        # Quantiles of the chi-square, by the probability beyond them.
        self._median, self._inner = special.chdtri(d, 0.5), special.chdtri(d, 0.025)
        self._inner_scale = special.chdtr(d + 2, self._inner) / 0.975
        self._reach = float(np.sqrt(special.chdtri(d, 0.001)))
        self._count, self._mean = np.zeros(0), np.zeros((0, d))
        self._covariance, self._precision, self._spread = np.zeros((0, d, d)), np.zeros((0, d, d)), np.zeros((0, d))

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1."""
        self._count, self._mean = grown(self._count, series), grown(self._mean, series)
        self._covariance, self._precision = grown(self._covariance, series), grown(self._precision, series)
        self._spread = grown(self._spread, series)

    def start(self, series: Integers, points: Floats) -> None:
        """Fit robustly to points."""
        self._count[series] = points.shape[1]
        self._mean[series], self._covariance[series] = self._fit(points)
        self._prepare(series)

    def bound(self, series: Integers, points: Floats) -> Bound:
        """The end of the tail of the distances of the points that :meth:`start` was given.

        A new point is farther out than one that was fitted to: by the ratio of Hotelling's T² to the chi-square.
        """
        from scipy import special

        k, n, d = points.shape
        scores = self.score(np.repeat(series, n), points.reshape(k * n, d)).scores.reshape(k, n)
        square = d * (n * n - 1) / (n * (n - d)) * special.fdtri(d, n - d, 1 - self._alpha)
        farther = np.sqrt(square / special.chdtri(d, self._alpha))
        return Bound(np.zeros(k), farther * tail_end(scores, self._alpha))

    def score(self, series: Integers, points: Floats) -> Judgement:
        """Distances in standard deviations, and how much of each is due to which feature.

        The distance is the square root of z'Pz with the standardised point z and the inverse P of the correlations.
        Feature i has z_i (Pz)_i of the square; it is below 0 if the feature speaks for the point.
        """
        parts, distance = self.apart(series, standardised(points, self._mean[series], self._spread[series]))
        return Judgement(distance, parts / np.where(distance > 0, distance, 1.0)[:, None])

    def apart(self, series: Integers, z: Floats) -> tuple[Floats, Floats]:
        """The parts that features have in the squared distances of standardised points, and the distances."""
        precision, features = self._precision[series], z.shape[1]
        pulled = np.zeros_like(z)
        for j in range(features):  # not a matrix product: its rounding may depend on how many points there are
            pulled += precision[:, :, j] * z[:, j : j + 1]
        parts = z * pulled
        square = np.zeros(len(z))
        for i in range(features):
            square += parts[:, i]
        return parts, np.sqrt(np.maximum(square, 0.0))

    def learn(self, series: Integers, points: Floats) -> None:
        """Let the mean and covariance follow a block of points, pulled in to the ellipsoid."""
        self.follow(series, np.ascontiguousarray(points.transpose(0, 2, 1)))

    def follow(self, series: Integers, points: Floats) -> Floats:
        """Learn a block of points, shape (k, d, n); gives their distances by what was known before, shape (k, n)."""
        d, n = points.shape[1:]
        old_mean, spread, precision = self._mean[series], self._spread[series], self._precision[series]
        own = standardised(points, old_mean[:, :, None], spread[:, :, None])
        pulled = np.zeros_like(own)
        for j in range(d):
            pulled += precision[:, :, j, None] * own[:, None, j]
        pulled *= own
        square = np.zeros((len(own), n))
        for i in range(d):
            square += pulled[:, i]
        distance: Floats = np.sqrt(np.maximum(square, 0.0))
        own *= np.minimum(1.0, self._reach / np.maximum(distance, 1e-300))[:, None, :]
        mean = np.add.reduce(own, axis=2) / n
        own -= mean[:, :, None]
        covariance = np.matmul(own, own.transpose(0, 2, 1)) / n
        count = np.minimum(self._count[series] + n, max(self._memory, n))
        weight = (n / count)[:, None]
        self._mean[series] = old_mean + weight * mean * spread
        between = (1 - weight)[:, :, None] * mean[:, :, None] * mean[:, None, :]
        scale = spread[:, :, None] * spread[:, None, :]
        old = self._covariance[series]
        self._covariance[series] = old + weight[:, :, None] * ((covariance + between) * scale - old)
        self._count[series] = count
        self._prepare(series)
        return distance

    def usual(self, series: Integers) -> tuple[Floats, Floats]:
        """Means and standard deviations."""
        return self._mean[series], self._spread[series]

    def dump(self, series: int) -> bytes:
        """Count, mean and covariance."""
        parts = (self._count[series : series + 1], self._mean[series], self._covariance[series])
        return b"".join(part.tobytes() for part in parts)

    def load(self, series: int, data: bytes, points: Floats) -> None:
        """Take back what :meth:`dump` gave; raises ``ValueError`` if it is of another size."""
        d = len(self._spreads)
        numbers = np.frombuffer(data)
        covariance = numbers[1 + d :].reshape(d, d)
        self._count[series], self._mean[series], self._covariance[series] = numbers[0], numbers[1 : 1 + d], covariance
        self._prepare(np.array([series]))

    def _prepare(self, series: Integers) -> None:
        """What scoring needs, computed once a block."""
        covariance = self._covariance[series]
        spread = floored(np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)), self._mean[series], self._spreads)
        self._spread[series] = spread
        self._precision[series] = _inverse(covariance, spread)

    def _fit(self, points: Floats) -> tuple[Floats, Floats]:
        """Robust mean and covariance of points, shape (k, n, d)."""
        middle, spread = middle_and_spread(points, self._spreads)
        z = standardised(points, middle[:, None, :], spread[:, None, :])
        z = np.ascontiguousarray(z.transpose(0, 2, 1))
        core = max(int(_CORE * z.shape[2]), z.shape[1] + 1)
        square = np.sum(z * z, axis=1)
        ones = np.ones((len(z), core))
        for _ in range(_STEPS):
            near = np.argsort(square, axis=1, kind="stable")[:, :core]
            mean, covariance = moments(np.take_along_axis(z, near[:, None, :], axis=2), ones)
            square = squares(z, mean, covariance)
        # Where more than half of the points are alike, the median tells nothing of the others.
        square *= (self._median / np.maximum(np.median(square, axis=1), 0.1 * self._median))[:, None]
        mean, covariance = moments(z, (square <= self._inner).astype(np.float64))
        covariance /= self._inner_scale
        return middle + mean * spread, covariance * spread[:, :, None] * spread[:, None, :]


def standardised(points: Floats, middle: Floats, spread: Floats) -> Floats:
    """Points in spreads from the middle; shapes that fit."""
    with np.errstate(over="ignore"):
        z = (points - middle) / spread
    return np.asarray(np.clip(z, -_FAR, _FAR))


def middle_and_spread(points: Floats, smallest: Floats) -> tuple[Floats, Floats]:
    """Medians and robust standard deviations, at least the smallest, of points (k, n, d): shape (k, d) each."""
    middle = np.median(points, axis=1)
    distance = np.abs(points - middle[:, None, :])
    spread = 1.4826 * np.median(distance, axis=1)
    # A field that is mostly one value has no median deviation; what the rest of it does is usual all the same.
    spread = np.where(spread > 0, spread, np.quantile(distance, 0.9, axis=1, method="lower") / 1.645)
    return middle, floored(spread, middle, smallest)


def moments(z: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Means and covariances of points, shape (k, d, n), with a weight each, shape (k, n)."""
    total = weights.sum(axis=1)
    mean = np.sum(z * weights[:, None, :], axis=2) / total[:, None]
    away = z - mean[:, :, None]
    weighted = away * weights[:, None, :]
    covariance = np.empty((len(z), z.shape[1], z.shape[1]))
    for i in range(z.shape[1]):
        for j in range(i + 1):
            covariance[:, i, j] = covariance[:, j, i] = np.sum(away[:, i] * weighted[:, j], axis=1)
    return mean, covariance / total[:, None, None]


def _inverse(covariance: Floats, spread: Floats) -> Floats:
    """Inverse of the shrunk correlations, shape (k, d, d)."""
    correlation = (1 - _SHRINKAGE) * covariance / (spread[:, :, None] * spread[:, None, :])
    places = np.arange(spread.shape[1])
    correlation[:, places, places] = 1.0
    return np.asarray(np.linalg.inv(correlation))


def squares(z: Floats, mean: Floats, covariance: Floats) -> Floats:
    """Squared distances of points, shape (k, d, n)."""
    # The near points may all have the same value of a feature that is mostly this one: others are usual too.
    spread = np.maximum(np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)), 0.5)
    precision = _inverse(covariance, spread)
    away = (z - mean[:, :, None]) / spread[:, :, None]
    return np.asarray(np.sum(away * np.sum(precision[:, :, :, None] * away[:, None, :, :], axis=2), axis=1))
