"""Seasons by the clock: in which place of a season a time lies, and what a training set says of each place."""

from __future__ import annotations

import numpy as np

from anomaly_app.detectors import Floats, Integers

LONGEST_MS = 1 << 40
"""Of a season: 35 years."""
STRONG = 0.4
"""Least autocorrelation at the length of a season, and on average at its multiples, for it to be one."""


def places(times: Integers, points: Integers | int, length: Integers | int) -> Integers:
    """In which of its ``points`` places a season of ``length`` ms is at each time; seasons start at 1970.

    Example:
        >>> places(np.array([0, 3_600_000, 86_400_000 + 7_200_000]), 24, 86_400_000).tolist()
        [0, 1, 2]
    """
    return np.asarray(times % length * points // length, dtype=np.int64)


def step_ms(times: Integers) -> Integers:
    """The usual distance of the points of each series, in ms: the median; times have shape (n, series)."""
    steps: Floats = np.maximum(np.median(np.diff(times, axis=0), axis=0), 1)
    return steps.astype(np.int64)


def period(values: Floats) -> Integers:
    """Points of the season of each series, 1 if there is none: where the autocorrelation peaks again and again.

    Args:
        values: shape (n, series); seasons of up to a third of them are found.

    Example:
        >>> wave = np.sin(np.arange(96) * 2 * np.pi / 12)
        >>> period(np.stack([wave, np.arange(96) % 7.0], axis=1)).tolist()
        [12, 7]
        >>> period(np.random.default_rng(1).normal(size=(200, 2))).tolist()
        [1, 1]
    """
    count, series = values.shape
    time = (np.arange(count) - (count - 1) / 2)[:, None]
    centred = values - _sum(values) / count
    centred = centred - time * (_sum(time * centred) / _sum(time * time))
    total = _sum(centred * centred)
    total[total == 0] = 1.0
    if count < 9:
        return np.ones(series, dtype=np.int64)
    longest = 2 * count // 3
    r = np.stack([np.ones(series)] + [_sum(centred[lag:] * centred[:-lag]) / total for lag in range(1, longest + 1)])
    r *= (count / (count - np.arange(longest + 1)))[:, None]
    score = np.full((count // 3 + 1, series), -np.inf)
    for lag in range(2, count // 3 + 1):  # three seasons show that it comes back
        peak = (r[lag] > r[lag - 1]) & (r[lag] >= r[lag + 1])
        fit = _sum(r[lag::lag]) / (longest // lag)  # a season comes back at each of its multiples
        score[lag] = np.where(peak & (r[lag] > STRONG) & (fit > STRONG), fit, -np.inf)
    best = np.max(score, axis=0)
    first = np.argmax(score >= 0.9 * best, axis=0)  # a multiple of the season fits as well as the season
    return np.where(np.isfinite(best), first, 1)


def profile(values: Floats, place: Integers, points: Integers, size: int, repeated: bool = False) -> Floats:
    """What each place of a season adds to the series, on average; shape (size, series).

    The trend, a moving average over one season, is taken off first, and values far from the rest count as far as
    four robust standard deviations: the first pass of STL with means for local regressions.

    Args:
        values: shape (n, series).
        place: of each value in its season, the same shape.
        points: of the season of each series, shape (series,).
        size: places to make room for.
        repeated: a place that is beyond the four deviations at each of its visits, two at least, counts as far as the
            least of them: what is there every night is no outlier.

    Source: Cleveland, Cleveland, McRae and Terpenning, "STL", Journal of Official Statistics 6 (1990).
    """
    count, series = values.shape
    rest = np.empty_like(values)
    for length in np.unique(points):
        chosen = points == length
        part = values[:, chosen]
        window = min(int(length), count)
        sums = np.cumsum(np.concatenate([np.zeros((1, part.shape[1])), part]), axis=0)
        means = (sums[window:] - sums[:-window]) / window
        inside = np.clip(np.arange(count) - window // 2, 0, len(means) - 1)
        rest[:, chosen] = part - means[inside]
    centre = np.median(rest, axis=0)
    spread = 1.4826 * np.median(np.abs(rest - centre), axis=0)
    beyond = _repeated(rest, place, size, centre - 4 * spread, centre + 4 * spread) if repeated else None
    rest = np.where(spread > 0, np.clip(rest, centre - 4 * spread, centre + 4 * spread), rest)
    totals, counts, columns = np.zeros((size, series)), np.zeros((size, series)), np.arange(series)
    for row in range(count):
        totals[place[row], columns] += rest[row]
        counts[place[row], columns] += 1.0
    means = np.divide(totals, counts, out=np.zeros_like(totals), where=counts > 0)
    if beyond is not None:
        means = np.where(np.isnan(beyond), means, beyond)
    level = _sum(np.where(counts > 0, means, 0.0)) / np.maximum(_sum((counts > 0).astype(np.float64)), 1.0)
    means = np.where((counts > 0) & (points > 1), means - level, 0.0)
    return means


def _repeated(rest: Floats, place: Integers, size: int, low: Floats, high: Floats) -> Floats:
    """For each place that is beyond a limit at each of two visits or more the value nearest to it, else NaN."""
    shape = size, rest.shape[1]
    least, most, counts = np.full(shape, np.inf), np.full(shape, -np.inf), np.zeros(shape)
    columns = np.arange(shape[1])
    for at, row in zip(place, rest, strict=True):
        least[at, columns] = np.minimum(least[at, columns], row)
        most[at, columns] = np.maximum(most[at, columns], row)
        counts[at, columns] += 1.0
    above, below = (counts > 1) & (least > high), (counts > 1) & (most < low)
    return np.where(above, least, np.where(below, most, np.nan))


def _sum(values: Floats) -> Floats:
    """Sums of the columns, row by row whatever their number, so that a series alone gets the same bits."""
    total = np.zeros(values.shape[1])
    for row in values:
        total = total + row
    return total
