"""New extremes: how far a value is above all that its series has shown before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Moments: TypeAlias = tuple[int, float, float]


class Spread:
    """Mean and variance of the values so far, the old ones forgotten exponentially.

    Args:
        memory: values after which the weight of a value has fallen to 1/e.

    Example:
        >>> spread = Spread(5000)
        >>> for value in (1.0, 2.0, 3.0):
        ...     spread.add(value)
        >>> spread.count, spread.mean, round(spread.variance, 6)
        (3, 2.0, 0.666667)
    """

    __slots__ = ("count", "mean", "memory", "variance")

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.count, self.mean, self.variance = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        """Learn a value."""
        self.count += 1
        weight = 1.0 / min(self.count, self.memory)
        apart = value - self.mean
        self.mean += weight * apart
        self.variance = (1.0 - weight) * (self.variance + weight * apart * apart)

    @property
    def deviation(self) -> float:
        """The standard deviation (of the population) in the unit of the values."""
        return math.sqrt(self.variance)


class Peak:
    """The largest of the last values of a signal, and in which row it stands.

    Rows are found again in the array of the signal when the largest has become too old: rarely, unless a series falls
    all the time, so that this is faster than a queue of candidates and has no state but the signal.

    Args:
        horizon: rows that count.
        sign: 1 for the largest value, -1 for the smallest one with its sign turned.
    """

    __slots__ = ("horizon", "row", "sign", "value")

    def __init__(self, horizon: int, sign: int) -> None:
        self.horizon, self.sign = horizon, sign
        self.value, self.row = -math.inf, -1

    def before(self, row: int, signal: Floats, base: int) -> float:
        """The largest of the values in the ``horizon`` rows before ``row``; minus infinity without any.

        Args:
            row: number of the row to come.
            signal: the signal; it holds at least the last ``horizon`` rows; NaN where it had no value.
            base: number of the first row of ``signal``.
        """
        if self.row < row - self.horizon and self.row >= 0:
            self.find(row, signal, base)
        return self.value

    def find(self, row: int, signal: Floats, base: int) -> None:
        """Look for the largest of the ``horizon`` values before ``row`` in the signal."""
        start = max(row - self.horizon, base)
        values = signal[start - base : row - base]
        values = values if self.sign > 0 else -values
        values = np.where(np.isnan(values), -np.inf, values)
        self.value, self.row = -math.inf, -1
        if len(values):
            place = len(values) - 1 - int(np.argmax(values[::-1]))
            if values[place] > -math.inf:
                self.value, self.row = float(values[place]), start + place

    def add(self, row: int, value: float) -> None:
        """Learn the value of a row."""
        if value >= self.value:
            self.value, self.row = value, row


class Records:
    """How much the values of a signal exceed the largest before, in several horizons.

    A value exceeds the largest of a horizon by a *margin*, measured in standard deviations of the signal;
    ``margin / (margin + halfway)`` is between 0 and 1, and 0 if it does not exceed it. The score is the sum of that
    over the horizons, each with its weight: the longer nothing like it has been seen, the higher. On a signal that has
    been constant any other value is infinitely far out.

    Args:
        horizons: rows and weight of each horizon, the shortest first; the weights are 1 together.
        sign: 1 for new highs, -1 for new lows.
        halfway: margin in standard deviations that gives a half.
    """

    __slots__ = ("halfway", "horizon", "limits", "margin", "peaks", "sign")

    def __init__(self, horizons: Sequence[tuple[int, float]], sign: int, halfway: float) -> None:
        self.sign, self.halfway = sign, halfway
        self.peaks = tuple((Peak(rows, sign), weight) for rows, weight in horizons)
        self.horizon, self.margin = 0, 0.0
        """Rows of the longest horizon that the value last scored exceeded, and by how many standard deviations it did;
        infinite if they were one."""
        self.limits: tuple[float, ...] = ()
        """For each horizon, the largest before the value that last scored."""

    def hold(self, row: int, value: float) -> bool:
        """Whether the shortest horizon holds something farther out: then the value scores 0, and teaches nothing."""
        signed = value if self.sign > 0 else -value
        shortest = self.peaks[0][0]
        return signed < shortest.value and shortest.row >= row - shortest.horizon

    def score(
        self,
        row: int,
        value: float,
        deviation: float,
        signal: Floats,
        base: int,
        usual: float = 0.0,
        excess: float = 0.0,
        times: float = 1.0,
    ) -> float:
        """Score a value, then learn it.

        Args:
            row: its number.
            value: not NaN.
            deviation: standard deviation of the signal before it; negative while it is too early for a score.
            signal: see :meth:`Peak.before`.
            base: see :meth:`Peak.before`.
            usual: the mean of the signal.
            excess: a margin of that part of the distance from there to the largest one gives a half, if that is more
                than the standard deviations that do: where a tail is heavy the next extreme is far out by itself.
            times: how many times farther out than usual it has to be.
        """
        signed = value if self.sign > 0 else -value
        shortest = self.peaks[0][0]
        if signed <= shortest.before(row, signal, base):
            shortest.add(row, signed)
            return 0.0  # the longer horizons hold something at least as large, and need not learn it
        limits = tuple(peak.before(row, signal, base) for peak, _ in self.peaks)
        least = excess * (limits[-1] - self.sign * usual) if excess else 0.0
        score = self.beyond(value, deviation, limits, least, times)
        if score > 0.0:
            self.limits = limits
        for peak, _ in self.peaks:
            peak.add(row, signed)
        return score

    def beyond(
        self, value: float, deviation: float, limits: Sequence[float], least: float = 0.0, times: float = 1.0
    ) -> float:
        """The score of a value against limits that were the largest of the horizons; nothing is learnt.

        Args:
            value: not NaN.
            deviation: see :meth:`score`.
            limits: of each horizon, with the sign of the records.
            least: margin that gives a half at least.
            times: see :meth:`score`.
        """
        signed, score = value if self.sign > 0 else -value, 0.0
        halfway = times * max(self.halfway * deviation, least) if deviation > 0.0 else 0.0
        for (peak, weight), limit in zip(self.peaks, limits, strict=True):
            above = signed - limit
            if deviation >= 0.0 and 0.0 < above < math.inf:
                self.horizon, self.margin = peak.horizon, above / deviation if deviation > 0.0 else math.inf
                score += weight * above / (above + halfway)
        return score
