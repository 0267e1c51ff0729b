"""How rare a field is alone, and how rare all are together, each by tails of its own; the rarer of the two.

Alone: each tail of each field has a reach and a mean excess (:mod:`anomaly_app.multivariate.tails`), so a field that is
heavy on one side, has modes, or is mostly one value is judged by what it did so far; the tails of all fields share half
of the alarms. Together: the distance by the correlations of the fields' normal scores, which has a tail of its own and
the other half. What one field does beyond :data:`_USUAL` standard deviations is judged alone. The score is the distance
that normal points exceed as often, so that scores of all series, and of both reasons, mean the same.

The time of day is one field here, the angle from the usual direction: of sine and cosine, which lie on a circle, each
hour away from the mean looks like a broken correlation.
"""

from __future__ import annotations

import numpy as np

from anomaly_app.detectors import Floats, Integers
from anomaly_app.multivariate.mahalanobis import Mahalanobis, middle_and_spread, moments, squares
from anomaly_app.multivariate.model import Bound, Judgement, floored, grown, tail_end
from anomaly_app.multivariate.tails import BEYOND, NORMAL_EXCESS, NORMAL_REACH, Nominal, Tails

_USUAL = 4.0
"""Standard deviations beyond which a field counts no more in the distance."""
_START_CUT = 10.0
"""Robust standard deviations beyond which one of the first values is pulled in."""
_TRUST_ALONE, _TRUST_TOGETHER = 0.5, 0.9
"""Largest weight of a normal tail."""
_SMALLEST = 0.22
"""Standard deviation of normal scores at least; a field that is mostly one value has few of them."""
_RAREST = 700.0
"""Minus the logarithm of the smallest share that is computed as such."""
_BY_FIRST_POINTS = 0.25
"""How far the first bound goes by the first points, in terms of its logarithm."""


class Combined(Mahalanobis):
    """The distance of normal scores with the tails of the fields beside it.

    Args:
        spreads: smallest standard deviation of each feature.
        alpha: share of usual points that may be flagged.
        memory: points after which one has faded to 1/e.
        warm_up: points that :meth:`start` is given.
        block: points that :meth:`learn` is given.
        sine: place of the sine of the time of day, before that of its cosine; None if it is no field.
    """

    gain = 0.02

    def __init__(
        self, spreads: Floats, alpha: float, memory: int, warm_up: int, block: int, sine: int | None = None
    ) -> None:
        from scipy import special

        self._sine, self._features = sine, len(spreads)
        self._smallest = spreads if sine is None else np.delete(spreads, sine + 1)
        d = len(self._smallest)
        super().__init__(np.full(d, _SMALLEST), alpha, memory, warm_up, block)
        self._middle, self._direction = np.zeros((0, d)), np.zeros((0, 2))
        self._slope = np.zeros((0, 2 * d + 1))
        trust = np.full(2 * d + 1, _TRUST_ALONE)
        trust[-1] = _TRUST_TOGETHER
        self._tails = Tails(d, np.concatenate([self._smallest, self._smallest, [0.0]]), trust)
        # Distances and normal scores by minus the logarithm of a share; beyond a point their squares grow by twice it.
        rarity = np.concatenate([np.linspace(0.0, 40.0, 1_601), np.geomspace(40.2, _RAREST, 200)])
        farther = np.geomspace(1.01 * _RAREST, 1e6, 100)
        self._rarity = np.concatenate([rarity, farther])
        distance = np.sqrt(special.chdtri(d, np.exp(-rarity)))
        score = np.maximum(-special.ndtri_exp(-np.maximum(rarity, 1e-300)), 0.0)
        self._distance, self._score = (
            np.concatenate([near, np.sqrt(near[-1] ** 2 + 2.0 * (farther - _RAREST))]) for near in (distance, score)
        )
        self._nominal = self._as_distance(np.array(-np.log(alpha)))
        # The tail of the distance of normal points: the mean excess is the integral of the share beyond.
        self._reach_together = float(np.sqrt(special.chdtri(d, BEYOND)))
        beyond = self._reach_together + np.linspace(0.0, 8.0, 4_001)
        self._excess_together = float(np.mean(special.chdtrc(d, beyond**2)) * 8.0 / BEYOND)
        self._nominal_reach = np.full(2 * d + 1, NORMAL_REACH)
        self._nominal_excess = np.full(2 * d + 1, NORMAL_EXCESS)
        self._nominal_reach[-1], self._nominal_excess[-1] = self._reach_together, self._excess_together
        self._halves, self._shares = float(np.log(2.0)), float(np.log(4.0 * d))

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1."""
        super().grow(series)
        self._tails.grow(series)
        self._middle, self._direction = grown(self._middle, series), grown(self._direction, series)
        self._slope = grown(self._slope, series)

    def start(self, series: Integers, points: Floats) -> None:
        """Fit robustly to points."""
        if self._sine is not None:
            self._direction[series] = np.mean(points[:, :, self._sine : self._sine + 2], axis=1)
        values = self._straight(points, self._direction[series][:, None])
        k, n, d = values.shape
        middle, spread = middle_and_spread(values, self._smallest)
        away = values - middle[:, None, :]
        size = np.abs(away)
        # Of a field that is mostly one value, half of the others; 0 if there are none.
        others = np.sort(np.where(size > 0, size, np.inf), axis=1)
        half = np.maximum(np.count_nonzero(size, axis=1) - 1, 0) // 2
        rest = np.take_along_axis(others, half[:, None, :], axis=1)[:, 0]
        spread = np.where(np.median(size, axis=1) > 0, spread, np.maximum(spread, np.where(np.isinf(rest), 0.0, rest)))
        away = np.clip(away, -_START_CUT * spread[:, None, :], _START_CUT * spread[:, None, :])
        away = np.ascontiguousarray(away.transpose(0, 2, 1))
        last = n - 1 - int(BEYOND * n)
        ordered = np.sort(away, axis=2)
        reach = np.full((k, 2 * d + 1), self._reach_together)
        reach[:, :d], reach[:, d : 2 * d] = ordered[:, :, last], -ordered[:, :, n - 1 - last]
        self._middle[series] = middle
        both = np.concatenate([away, -away, np.zeros((k, 1, n))], axis=1)
        self._tails.start(series, both, reach)
        self._measure(series)
        scores = self._normal_scores(self._places(series)[:, :, None], away, d)[0]
        scores = np.ascontiguousarray(scores.transpose(0, 2, 1))
        super().start(series, scores)
        both[:, -1] = self._together(np.repeat(series, n), scores.reshape(k * n, d))[1].reshape(k, n)
        found = np.sort(both[:, -1], axis=1)[:, last]
        reach[:, -1] = np.sqrt(self._reach_together * np.maximum(found, 0.1 * self._reach_together))
        self._tails.start(series, both, reach)
        self._measure(series)

    def bound(self, series: Integers, points: Floats) -> Bound:
        """What normal points would say, and a little by what the first points do, which may have anomalies."""
        k, n, d = points.shape
        scores = self.score(np.repeat(series, n), points.reshape(k * n, d)).scores.reshape(k, n)
        told = np.clip(tail_end(scores, self._alpha) / self._nominal, 0.5, 2.0)
        return Bound(np.zeros(k), self._nominal * told**_BY_FIRST_POINTS)

    def learn(self, series: Integers, points: Floats) -> None:
        """Let all follow a block of points, pulled in."""
        values = self._straight(points, self._direction[series][:, None])
        n, d = values.shape[1:]
        weight = (n / np.minimum(self._count[series] + n, max(self._memory, n)))[:, None]
        away = np.ascontiguousarray(values.transpose(0, 2, 1)) - self._middle[series][:, :, None]
        scores, _, _ = self._normal_scores(self._places(series)[:, :, None], away, d)
        distance = self.follow(series, _pulled(scores))
        self._tails.learn(series, np.concatenate([away, -away, distance[:, None, :]], axis=1), weight)
        # The median goes to where the points are, by their number, and not past the next: it stays at a frequent value.
        above, below = away > 0, away < 0
        up, down = np.add.reduce(above, axis=2), np.add.reduce(below, axis=2)
        share = np.maximum(np.maximum(up, down) / n - 0.5, 0.0)
        side = np.where((up > down)[:, :, None], above, below)
        following = np.minimum.reduce(np.where(side, np.abs(away), np.inf), axis=2)
        reach = self._tails.reach[series]
        move = np.minimum(weight * share * (reach[:, :d] + reach[:, d : 2 * d]), following)
        move = np.where(up > down, move, -move)
        self._middle[series] += move
        self._tails.shift(series, move)
        if self._sine is not None:
            self._turn(series, points, weight)
        self._measure(series)

    def score(self, series: Integers, points: Floats) -> Judgement:
        """Distances, and how much of each is due to which feature.

        Where a field alone is the reason, each has its share of the sum of the squares of all normal scores.
        """
        away = self._straight(points, self._direction[series]) - self._middle[series]
        n, d = away.shape
        places = self._places(series)
        scores, beyond, rare = self._normal_scores(places, away, d)
        parts, distance = self._together(series, scores)
        shares = parts / np.where(distance > 0, distance * distance, 1.0)[:, None]
        place = places[:, 0] + 2 * d
        over = distance - self._tails.edge.take(place)
        total = distance * self._slope.take(place)
        farther = (over > 0).nonzero()[0]
        total[farther] = self._as_distance(self._tails.rarity(place[farther], over[farther]) - self._halves)
        rare_enough = (rare > self._shares).nonzero()[0]
        row = beyond[rare_enough] // d
        alone = np.zeros(n)
        np.maximum.at(alone, row, self._as_distance(rare[rare_enough] - self._shares))
        single = (alone > total).nonzero()[0]
        total[single] = alone[single]
        own = scores[single] ** 2
        of_all = np.zeros(len(single))
        for feature in range(d):
            of_all += own[:, feature]
        shares[single] = own / np.maximum(of_all, 1e-300)[:, None]
        shares *= total[:, None]
        if self._sine is not None:
            shares = np.insert(shares, self._sine + 1, 0.0, axis=1)
        return Judgement(total, shares)

    def usual(self, series: Integers) -> tuple[Floats, Floats]:
        """Medians and the standard deviations of normal points with as far a reach."""
        d = len(self._smallest)
        edge = self._tails.edge[series]
        middle, spread = self._middle[series], (edge[:, :d] + edge[:, d : 2 * d]) / (2 * NORMAL_REACH)
        if self._sine is not None:
            sine, cosine = self._direction[series].T
            angle = np.arctan2(sine, cosine) + middle[:, self._sine]
            spread = np.insert(spread, self._sine, spread[:, self._sine], axis=1)
            middle = np.insert(middle, self._sine, np.sin(angle), axis=1)
            middle[:, self._sine + 1] = np.cos(angle)
        return middle, spread

    def dump(self, series: int) -> bytes:
        """What the distance holds, then medians, the usual direction and the tails."""
        own = (self._middle[series].tobytes(), self._direction[series].tobytes(), self._tails.dump(series))
        return b"".join((super().dump(series), *own))

    def load(self, series: int, data: bytes, points: Floats) -> None:
        """Take back what :meth:`dump` gave; raises ``ValueError`` if it is of another size."""
        d = len(self._smallest)
        behind = 8 * (1 + d + d * d)
        super().load(series, data[:behind], points)
        own = np.frombuffer(data[behind:])
        self._middle[series], self._direction[series] = own[:d], own[d : d + 2]
        self._tails.load(series, own[d + 2 :])
        self._measure(np.array([series]))

    def _fit(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and covariance of normal scores, without those that are far out by both of all."""
        z = np.ascontiguousarray(points.transpose(0, 2, 1))
        mean, covariance = moments(z, np.ones((len(z), z.shape[2])))
        for _ in range(2):
            square = squares(z, mean, covariance)
            limit = self._inner * np.maximum(np.median(square, axis=1) / self._median, 0.25)
            mean, covariance = moments(z, (square <= limit[:, None]).astype(np.float64))
        return mean, covariance

    def _straight(self, points: Floats, direction: Floats) -> Floats:
        """Points with the angle from the usual direction in place of sine and cosine."""
        if self._sine is None:
            return points
        sine, cosine = points[..., self._sine], points[..., self._sine + 1]
        up, right = direction[..., 0], direction[..., 1]
        straight: Floats = np.delete(points, self._sine + 1, axis=-1)
        straight[..., self._sine] = np.arctan2(sine * right - cosine * up, cosine * right + sine * up)
        return straight

    def _turn(self, series: Integers, points: Floats, weight: Floats) -> None:
        """The usual direction follows a block; the median stays where it is on the circle."""
        old, place = self._direction[series], self._sine or 0
        new = old + weight * (np.mean(points[:, :, place : place + 2], axis=1) - old)
        self._direction[series] = new
        self._middle[series, place] -= np.arctan2(
            new[:, 0] * old[:, 1] - new[:, 1] * old[:, 0], new[:, 1] * old[:, 1] + new[:, 0] * old[:, 0]
        )

    def _places(self, series: Integers) -> Integers:
        """Where in the flattened tails the upper ones of the fields are, shape (n, d); the lower ones are d behind."""
        d = len(self._smallest)
        return series[:, None] * (2 * d + 1) + np.arange(d)

    def _normal_scores(self, places: Integers, away: Floats, lower: int) -> tuple[Floats, Integers, Floats]:
        """Values as normal ones that are exceeded as often; which are beyond their edge, and how rare these are.

        Args:
            places: of the upper tails, of the shape of ``away`` or one that is repeated.
            away: from the medians.
            lower: how far behind the lower tails are.
        """
        place = places + lower * (away < 0)
        size = np.abs(away)
        scores = size * self._slope.take(place)
        over = size - self._tails.edge.take(place)
        beyond = (over > 0).reshape(-1).nonzero()[0]
        rare = self._tails.rarity(place.reshape(-1)[beyond], over.reshape(-1)[beyond])
        scores.reshape(-1)[beyond] = np.interp(rare, self._rarity, self._score)
        return np.copysign(scores, away), beyond, rare

    def _together(self, series: Integers, scores: Floats) -> tuple[Floats, Floats]:
        """Parts of the squared distances of normal scores, and the distances."""
        z = (_pulled(scores) - self._mean[series]) / self._spread[series]
        return self.apart(series, z)

    def _as_distance(self, rarity: Floats) -> Floats:
        """The distance that normal points exceed as rarely."""
        return np.asarray(np.interp(rarity, self._rarity, self._distance))

    def _measure(self, series: Integers) -> None:
        """What scoring needs, computed once a block."""
        from scipy import special

        d, tails = len(self._smallest), self._tails
        reach = tails.reach[series]
        half = 0.5 * (reach[:, :d] + reach[:, d : 2 * d])
        least = floored(np.zeros_like(half), self._middle[series], self._smallest)
        normal = np.maximum(half / NORMAL_REACH, least)
        pooled = np.maximum(tails.pooled(series, NORMAL_EXCESS * normal), least)
        one = np.ones((len(series), 1))
        spread = np.concatenate([normal, normal, one], axis=1)
        prior = np.concatenate([pooled, pooled, self._excess_together * one], axis=1)
        tails.prepare(series, Nominal(self._nominal_reach * spread, self._nominal_excess * spread, prior))
        edge, share = tails.edge[series], tails.log_share[series]
        slope = -special.ndtri_exp(share) / np.where(edge > 1e-150, edge, np.inf)
        # Of the distance itself, not a normal score: what is within its edge is as far out as its share says there.
        slope[:, -1] = self._as_distance(-share[:, -1] - self._halves) / edge[:, -1]
        self._slope[series] = slope


def _pulled(scores: Floats) -> Floats:
    return np.asarray(np.minimum(np.maximum(scores, -_USUAL), _USUAL))
