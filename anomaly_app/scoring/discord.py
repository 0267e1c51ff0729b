"""Left discords: how little the last values look like anything before them.

The distance of the last m values to the most similar m values before them, Yeh et al.: "Matrix Profile I", ICDM 2016,
looking back only, and Zimmerman et al.: "Matrix Profile XIV", SoCC 2019, for the recurrence of the covariances. Two
subsequences are compared without their means and divided by their standard deviations, as is usual, but never by less
than that of the whole series: noise around a constant is not blown up to a pattern.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

YOUNG, OLD = 64, 256
"""Rows between two rebuilds of a series: errors do not add up, and a restored series knows where to start.

Only a rebuild adds to the number of earlier subsequences, which a young series has too few of."""
GROWN = 1024
"""Rows from which on a series is old."""
FARTHEST = 2.0
"""A shape and its mirror image are that far apart; anything above comes of rounding."""
SMALLEST = 1e-75
"""Smaller standard deviations are none: dividing by them would leave the range of numbers."""


def window_sums(values: Floats, length: int) -> Floats:
    """Sums of every ``length`` values that follow each other, added in the same order everywhere: by doubling.

    Example:
        >>> window_sums(np.array([1.0, 2.0, 3.0, 4.0]), 3)
        array([6., 9.])
    """
    starts = len(values) - length + 1
    total, done = np.zeros(starts), 0
    power, size = values, 1  # sums of ``size`` values
    while True:
        if length & size:
            total += power[done : done + starts]
            done += size
        if done == length:
            return total
        power = power[:-size] + power[size:]
        size *= 2


def rebuilt(row: int) -> int:
    """The last row, up to this one, before which a series is rebuilt; 0 if there was none.

    Example:
        >>> rebuilt(63), rebuilt(200), rebuilt(1024), rebuilt(2000)
        (0, 192, 1024, 1792)
    """
    return row - row % (YOUNG if row < GROWN else OLD)


class Discord:
    """Distances of the subsequences of one series to the most similar earlier ones.

    :meth:`rebuild` sets it up on the values of a series, :meth:`add` then takes one value after the other. In between
    the number of earlier subsequences that are compared stays as it was, the oldest make room for newer ones. All
    arithmetic is by elements or on single numbers, so that its order is fixed and results are the same everywhere.

    Args:
        length: values in a subsequence.
    """

    __slots__ = (
        "center",
        "covariance",
        "falls",
        "first",
        "floor",
        "inverse",
        "length",
        "mean",
        "norm",
        "rises",
        "scratch",
        "squares",
        "start",
        "sums",
        "values",
    )

    def __init__(self, length: int) -> None:
        self.length = length

    def rebuild(self, values: Floats, floor: float) -> None:
        """Start from the values so far.

        Args:
            values: at least twice the length of a subsequence; in time order, finite. They are copied.
            floor: the smallest standard deviation that a subsequence is divided by.
        """
        m, count = self.length, len(values)
        self.floor = floor
        self.center = float(np.median(values))
        known = values - self.center
        starts = count - m + 1
        mean = window_sums(known, m) / m
        squares = np.maximum(window_sums(np.square(known), m) - np.square(mean) * m, 0.0)
        self.start = self.first = starts - 1
        self.values = np.concatenate([known[self.first :], np.zeros(OLD)])
        self.mean, self.squares = float(mean[-1]), float(squares[-1])
        self.sums = self.mean * m
        # changes of the covariance when both subsequences move on by one value
        rises, falls = np.zeros(starts + OLD), np.zeros(starts + OLD)
        rises[1:starts] = (known[m:] - known[: starts - 1]) * 0.5
        falls[1:starts] = (known[m:] - mean[1:]) + (known[: starts - 1] - mean[:-1])
        self.rises, self.falls = rises, falls
        deviation = np.sqrt(squares / m)
        divisor = np.maximum(deviation, floor)
        self.inverse, self.norm = np.zeros(starts + OLD), np.zeros(starts + OLD)
        np.divide(1.0, divisor, out=self.inverse[:starts], where=divisor > SMALLEST)
        self.norm[:starts] = np.square(deviation * self.inverse[:starts]) * m
        compared = starts - m  # they do not overlap with the last one
        self.covariance, self.scratch = np.zeros(compared), np.empty(compared)
        for k, part in enumerate((known[self.start :] - self.mean).tolist()):
            np.multiply(known[k : k + compared], part, out=self.scratch)
            self.covariance += self.scratch

    def add(self, value: float) -> float:
        """Take a value; returns the distance of the subsequence that it ends, 0 … 2 (root of the mean square)."""
        m, old = self.length, self.start
        start = self.start = old + 1
        place = old - self.first
        leaves, comes = float(self.values[place]), value - self.center
        self.values[place + m] = comes
        before = self.mean
        self.sums += comes - leaves
        mean = self.mean = self.sums / m
        rise, fall = (comes - leaves) * 0.5, (comes - mean) + (leaves - before)
        squares = self.squares = max(self.squares + 2.0 * rise * fall, 0.0)
        deviation = math.sqrt(squares / m)
        divisor = max(deviation, self.floor)
        inverse = 1.0 / divisor if divisor > SMALLEST else 0.0
        norm = (deviation * inverse) ** 2 * m
        self.rises[start], self.falls[start], self.inverse[start], self.norm[start] = rise, fall, inverse, norm
        covariance, scratch = self.covariance, self.scratch
        stop = start - m + 1
        window = slice(stop - len(covariance), stop)
        np.multiply(self.falls[window], rise, out=scratch)
        covariance += scratch
        np.multiply(self.rises[window], fall, out=scratch)
        covariance += scratch
        np.multiply(covariance, self.inverse[window], out=scratch)
        scratch *= -2.0 * inverse
        scratch += self.norm[window]
        return min(math.sqrt(max(norm + float(scratch.min()), 0.0) / m), FARTHEST)
