"""What a detector has to beat: five known ways to score a series, none of which looks ahead, for ``series.py``.

Each takes values and the rows of a day, and gives a score a row, 0 while it knows too little.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHORT = 30
"""Rows of the trailing median."""
LEAST = 200
"""Rows in which distances are compared at least, where a day has fewer."""
SHAPE = 64
"""Rows in a shape."""


def _over_usual(distances: Floats, memory: int) -> Floats:
    """Distances over the median of those before."""
    usual = pd.Series(distances).rolling(memory, min_periods=SHORT).median().shift(1).to_numpy()
    least = np.fmax.accumulate(np.nan_to_num(distances)) * 1e-9 + 1e-300
    return np.asarray(np.nan_to_num(distances / np.maximum(usual, least), nan=0.0, posinf=0.0))


def trailing_median(values: Floats, day: int) -> Floats:
    """The distance to the median of the last 30 values, over the median of such distances in the last day."""
    middle = pd.Series(values).rolling(SHORT, min_periods=5).median().shift(1).to_numpy()
    return _over_usual(np.abs(values - middle), max(day, LEAST))


def day_before(values: Floats, day: int) -> Floats:
    """The distance to the value of the day before, over the median of such distances in the last day."""
    return _over_usual(np.abs(values - pd.Series(values).shift(day).to_numpy()), max(day, LEAST))


def residual_esd(values: Floats, day: int) -> Floats:
    """The robust studentised deviation of residuals: without the median of the hour and that of the place in the day.

    The statistic of the seasonal hybrid ESD test (Hochenbaum, Vallis and Kejariwal, 2017), asked of the last row of a
    trailing window of two days instead of all rows of a file.
    """
    series = pd.Series(values)
    level = series.rolling(2 * day, min_periods=SHORT).median().shift(1)
    apart = series - level
    places = pd.Series(apart.to_numpy()).groupby(np.arange(len(values)) % day)
    season = places.transform(lambda each: each.shift(1).rolling(7, min_periods=1).median()).fillna(0.0)
    residual = apart - season
    memory = max(2 * day, LEAST)
    middle = residual.rolling(memory, min_periods=SHORT).median().shift(1)
    return _over_usual(np.abs(residual - middle).to_numpy(), memory)


def shape_pca(values: Floats, day: int) -> Floats:
    """What ten principal components of earlier shapes leave of the last 64 values; fitted anew twice a day."""
    shapes = np.lib.stride_tricks.sliding_window_view(values, SHAPE)
    errors = np.full(len(values), np.nan)
    step = max(day // 2, LEAST)
    for start in range(step, len(values), step):
        known = shapes[max(start - SHAPE + 1 - 10 * step, 0) : start - SHAPE + 1][::3]
        if len(known) < 2 * SHAPE // 3:
            continue
        mean = known.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov(known - mean, rowvar=False))
        new = shapes[start - SHAPE + 1 : start - SHAPE + 1 + step] - mean
        base = vectors[:, -10:]
        left = new - new @ base @ base.T
        errors[start : start + len(new)] = np.sqrt(np.square(left).mean(axis=1))
    return _over_usual(errors, max(day, LEAST))


def discord(values: Floats, day: int) -> Floats:
    """The distance of the last 64 values to the most similar ones of the last 5,000, without mean and deviation.

    That of the matrix profile (Yeh et al., ICDM 2016), looking back only.
    """
    del day
    distances = np.zeros(len(values))
    shapes = np.lib.stride_tricks.sliding_window_view(values, SHAPE)
    mean = shapes.mean(axis=1, keepdims=True)
    floor = 0.05 * pd.Series(values).expanding().std().to_numpy()[SHAPE - 1 :, None] + 1e-12
    normed = (shapes - mean) / np.maximum(shapes.std(axis=1, keepdims=True), floor)
    squares = np.square(normed).sum(axis=1)
    block = 256
    for start in range(4 * SHAPE, len(shapes), block):
        new = normed[start : start + block]
        first = max(start - 5_000, 0)
        old = slice(first, start + block - SHAPE)
        apart = squares[start : start + block, None] + squares[None, old] - 2.0 * new @ normed[old].T
        row = start + np.arange(len(new))[:, None]
        apart[np.arange(first, start + block - SHAPE)[None, : apart.shape[1]] > row - SHAPE] = np.inf
        distances[start + SHAPE - 1 : start + SHAPE - 1 + len(new)] = np.sqrt(np.maximum(apart.min(axis=1), 0) / SHAPE)
    return distances


BASELINES: dict[str, Callable[[Floats, int], Floats]] = {
    "trailing median": trailing_median,
    "value of the day before": day_before,
    "ESD on residuals": residual_esd,
    "sub-sequence PCA": shape_pca,
    "discord": discord,
}
