"""Streaming half-space trees: how empty the neighbourhood of a point is, for many series at once.

S. C. Tan, K. M. Ting and F. T. Liu, Fast anomaly detection for streaming data, IJCAI 2011. Each tree halves the space
again and again along fields chosen at random; the points of a reference window are counted in the cells, and while it
serves, the next window fills. The trees are the same for all series: what differs is the scale that the fields are
brought to, learnt from each reference window anew, so that a range which grows or moves is followed.

The score of a point in a tree is the logarithm (base 2) of how much emptier its cell is than the cell would be if the
points were spread evenly (the logarithmic form of Ting et al., Mass estimation, 2013). It is a sum over the halvings
on the way to the cell, so what each field contributes is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Floats, Integers
from anomaly_app.multivariate.model import GAIN, Bound, Judgement, floored, grown, tail_end

_FEW = 2
"""A cell with so few points of the reference window is not halved further."""
_NEAREST, _FARTHEST = 3.0, 5.0
"""Where the space of a tree ends, in distances from the median to the 5 % or 95 % quantile; drawn for each tree."""
_EDGE = 0.05
_UNIT = 1 << 20
"""Halvings are added up as whole numbers of this fraction, which has the same sum in every order."""


class HalfSpaceTrees:
    """Reference windows of many series in trees that they share.

    Args:
        spreads: smallest spread of each feature.
        alpha: share of usual points that may be flagged.
        warm_up: points of the first reference window.
        block: points of a later one; a multiple of the pace.
        pace: points between two moves of the bound.
        trees: how many.
        depth: halvings to a smallest cell.
        seed: the same seed gives the same trees.
    """

    smallest_bound = 0.5
    """Halvings."""
    gain = GAIN

    def __init__(
        self, spreads: Floats, alpha: float, warm_up: int, block: int, pace: int, trees: int, depth: int, seed: int
    ) -> None:
        self._spreads, self._alpha, self._depth = spreads, alpha, depth
        # While a window fills, the reference window is still needed: by a detector that is restored.
        self.pace, self.block, self.window = pace, block, max(warm_up, block) + block
        self._inner = (1 << depth) - 1
        fields, cuts = _grow_trees(len(spreads), trees, depth, seed)
        self._fields, self._cuts, self._first_cut = fields.ravel(), cuts.ravel(), np.arange(trees) * self._inner
        self._log = np.round(np.log2(1.0 + np.arange(max(warm_up, block) + 1)) * _UNIT).astype(np.int64)
        self._scale = np.zeros((0, 3, len(spreads)))
        self._mass: NDArray[np.uint16] = np.zeros((0, trees, 2 * self._inner + 1), dtype=np.uint16)

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1."""
        self._scale = grown(self._scale, series)
        self._mass = grown(self._mass, series)

    def start(self, series: Integers, points: Floats) -> None:
        """Make points the reference window, as :meth:`learn` does."""
        self.learn(series, points)

    def bound(self, series: Integers, points: Floats) -> Bound:
        """The end of the tail of the scores of the reference window, of each point without itself."""
        k, n, d = points.shape
        scores = self._judge(np.repeat(series, n), points.reshape(k * n, d), own=1).scores.reshape(k, n)
        center = np.median(scores, axis=1)
        return Bound(center, tail_end(scores, self._alpha) - center)

    def score(self, series: Integers, points: Floats) -> Judgement:
        """How many times the points' cells are emptier than even, as a power of 2: mean over the trees."""
        return self._judge(series, points, own=0)

    def learn(self, series: Integers, points: Floats) -> None:
        """Make the last points the reference window."""
        k, n, d = points.shape
        ordered = np.sort(points, axis=1)
        edge = int(_EDGE * n)
        middle = ordered[:, n // 2]
        for side, quantile in ((1, ordered[:, edge]), (2, ordered[:, n - 1 - edge])):
            self._scale[series, side] = floored(np.abs(quantile - middle), middle, self._spreads)
        self._scale[series, 0] = middle
        place = self._place(np.repeat(series, n), points.reshape(k * n, d))
        trees, leaves = len(self._first_cut), self._inner + 1
        node, row = np.zeros((k * n, trees), dtype=np.int64), np.arange(k * n)[:, None] * d
        for _ in range(self._depth):
            node, _ = self._descend(node, place, row)
        cell = (np.repeat(np.arange(k), n)[:, None] * trees + np.arange(trees)) * leaves + node - self._inner
        level = np.bincount(cell.ravel(), minlength=k * trees * leaves).reshape(k, trees, leaves)
        mass = np.zeros((k, trees, 2 * self._inner + 1), dtype=np.uint16)
        while True:
            first = level.shape[2] - 1
            mass[:, :, first : 2 * first + 1] = level
            if not first:
                break
            level = level[:, :, 0::2] + level[:, :, 1::2]
        self._mass[series] = mass

    def usual(self, series: Integers) -> tuple[Floats, Floats]:
        """Medians, and the distances from them to the quantiles in terms of a normal distribution's."""
        scale = self._scale[series]
        return scale[:, 0], (scale[:, 1] + scale[:, 2]) / (2 * 1.645)

    def dump(self, series: int) -> bytes:
        """Nothing: the reference window is all."""
        return b""

    def load(self, series: int, data: bytes, points: Floats) -> None:
        """Count the points of the reference window again."""
        self.learn(np.array([series]), points[None])

    def _place(self, series: Integers, points: Floats) -> Floats:
        """Points in the space of the trees: 0 is the median, 1 and -1 the quantiles."""
        scale = self._scale[series]
        away = points - scale[:, 0]
        with np.errstate(over="ignore"):
            return np.asarray(away / np.where(away < 0, scale[:, 1], scale[:, 2]))

    def _descend(self, node: Integers, place: Floats, row: Integers) -> tuple[Integers, Integers]:
        """The halves that points are in, and where in ``place`` the numbers are that told; shape (n, trees) each."""
        cut = self._first_cut + node
        told = row + self._fields.take(cut)
        return 2 * node + 1 + (place.take(told) >= self._cuts.take(cut)), told

    def _judge(self, series: Integers, points: Floats, own: int) -> Judgement:
        """Scores; ``own`` is what a point itself counts for in the reference window, and is left out."""
        n, d = points.shape
        trees, nodes = self._mass.shape[1:]
        place = self._place(series, points)
        node = np.zeros((n, trees), dtype=np.int64)
        row = np.arange(n)[:, None] * d
        counts, first = self._mass.reshape(-1), (series[:, None] * trees + np.arange(trees)) * nodes
        mass = counts.take(first).astype(np.int64) - own
        log = self._log.take(mass)
        parts = np.zeros(n * d)
        for _ in range(self._depth):
            node, told = self._descend(node, place, row)
            half = counts.take(first + node).astype(np.int64) - own
            half_log = self._log.take(half)
            # Behind a cell with few points the counts stay: no further halving tells anything.
            open_ = mass > _FEW
            emptier = (log - half_log - _UNIT) * open_
            parts += np.bincount(told.ravel(), emptier.ravel(), minlength=n * d)
            mass, log = half * open_, half_log
        contributions = parts.reshape(n, d) / (trees * _UNIT)
        scores = parts.reshape(n, d).sum(axis=1) / (trees * _UNIT)
        return Judgement(scores, contributions)


def _grow_trees(features: int, trees: int, depth: int, seed: int) -> tuple[Integers, Floats]:
    """For each tree and inner node, which feature is halved and where; the children of node i are 2i + 1 and 2i + 2."""
    random = np.random.default_rng(seed)
    inner = (1 << depth) - 1
    fields = random.integers(0, features, (trees, inner))
    cuts = np.zeros((trees, inner))
    tree = np.arange(trees)
    low = np.zeros((trees, 2 * inner + 1, features))
    high = np.zeros_like(low)
    low[:, 0] = -random.uniform(_NEAREST, _FARTHEST, (trees, features))
    high[:, 0] = random.uniform(_NEAREST, _FARTHEST, (trees, features))
    for node in range(inner):
        field = fields[:, node]
        cuts[:, node] = (low[tree, node, field] + high[tree, node, field]) / 2
        for child in (2 * node + 1, 2 * node + 2):
            low[:, child], high[:, child] = low[:, node], high[:, node]
        high[tree, 2 * node + 1, field] = cuts[:, node]
        low[tree, 2 * node + 2, field] = cuts[:, node]
    return fields, cuts
