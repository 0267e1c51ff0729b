"""Left discords: how little the last values look like anything before them.

The distance of the last m values to the most similar m values before them, Yeh et al.: "Matrix Profile I", ICDM 2016,
looking back only, and Zimmerman et al.: "Matrix Profile XIV", SoCC 2019, for the recurrence of the covariances. Two
subsequences are compared without their means and divided by their standard deviations, as is usual, but never by less
than that of the whole series: noise around a constant is not blown up to a pattern.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

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

    Of several series each is a row.

    Example:
        >>> window_sums(np.array([1.0, 2.0, 3.0, 4.0]), 3)
        array([6., 9.])
    """
    starts = values.shape[-1] - length + 1
    total, done = np.zeros((*values.shape[:-1], starts)), 0
    power, size = values, 1  # sums of ``size`` values
    while True:
        if length & size:
            total += power[..., done : done + starts]
            done += size
        if done == length:
            return total
        power = power[..., :-size] + power[..., size:]
        size *= 2


def rebuilt(row: int) -> int:
    """The last row, up to this one, before which a series is rebuilt; 0 if there was none.

    Example:
        >>> rebuilt(63), rebuilt(200), rebuilt(1024), rebuilt(2000)
        (0, 192, 1024, 1792)
    """
    return row - row % lasts(row)


def lasts(row: int) -> int:
    """Rows from a rebuild to the next.

    Example:
        >>> lasts(0), lasts(1023), lasts(1024)
        (64, 64, 256)
    """
    return YOUNG if row < GROWN else OLD


def step_means(values: Floats, step: int) -> Floats:
    """Means of every ``step`` values, the last ones complete; of each row.

    Example:
        >>> step_means(np.array([[9.0, 1.0, 2.0, 3.0, 4.0]]), 2)
        array([[1.5, 3.5]])
    """
    first = values.shape[-1] % step
    total = values[..., first::step].copy()
    for place in range(first + 1, first + step):
        total += values[..., place::step]
    return total / step


class Compared(NamedTuple):
    """What is known of the subsequences of some series, one in a row.

    Args:
        center: subtracted from the values.
        values: the last ones.
        mean, squares: of the last subsequence, and the sum of the squares of its distances to the mean.
        rises, falls: changes of a covariance when both subsequences move on by one value.
        inverse, norm: by what each subsequence is multiplied, and the sum of its squares then.
        covariance: of the last subsequence and each earlier one that it does not overlap.
    """

    center: Floats
    values: Floats
    mean: Floats
    squares: Floats
    rises: Floats
    falls: Floats
    inverse: Floats
    norm: Floats
    covariance: Floats


def compare(values: Floats, floor: Floats, length: int) -> Compared:
    """Compare the last subsequence of each of some series with all before.

    Args:
        values: one series in a row, finite; at least twice the length of a subsequence.
        floor: of each, the smallest standard deviation that a subsequence is divided by.
        length: values in a subsequence.
    """
    m, (rows, count) = length, values.shape
    center = np.median(values, axis=1)
    known = values - center[:, None]
    starts = count - m + 1
    mean = window_sums(known, m) / m
    squares = np.maximum(window_sums(np.square(known), m) - np.square(mean) * m, 0.0)
    rises, falls = np.zeros((2, rows, starts))
    rises[:, 1:] = (known[:, m:] - known[:, : starts - 1]) * 0.5
    falls[:, 1:] = (known[:, m:] - mean[:, 1:]) + (known[:, : starts - 1] - mean[:, :-1])
    deviation = np.sqrt(squares / m)
    divisor = np.maximum(deviation, floor[:, None])
    inverse = np.zeros((rows, starts))
    np.divide(1.0, divisor, out=inverse, where=divisor > SMALLEST)
    norm = np.square(deviation * inverse) * m
    last = known[:, starts - 1 :]
    compared = starts - m
    covariance, scratch = np.zeros((rows, compared)), np.empty((rows, compared))
    parts = last - mean[:, -1:]
    for k in range(m):
        np.multiply(known[:, k : k + compared], parts[:, k : k + 1], out=scratch)
        covariance += scratch
    return Compared(center, last, mean[:, -1], squares[:, -1], rises, falls, inverse, norm, covariance)


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

    def rebuild(self, values: Floats, floor: float, room: int = OLD) -> None:
        """Start from the values so far.

        Args:
            values: at least twice the length of a subsequence; in time order, finite. They are copied.
            floor: the smallest standard deviation that a subsequence is divided by.
            room: values that can be added before it is rebuilt.
        """
        m = self.length
        made = compare(values[None], np.array([floor]), m)
        self.floor = floor
        self.center, self.mean, self.squares = float(made.center[0]), float(made.mean[0]), float(made.squares[0])
        self.sums = self.mean * m
        self.values = _with_room(made.values[0], room)
        self.rises, self.falls = _with_room(made.rises[0], room), _with_room(made.falls[0], room)
        self.inverse, self.norm = _with_room(made.inverse[0], room), _with_room(made.norm[0], room)
        self.covariance = made.covariance[0]
        self.scratch = np.empty(len(self.covariance))
        self.start = self.first = made.norm.shape[1] - 1

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
        unit = deviation * inverse
        norm = unit * unit * m
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


def _with_room(values: Floats, room: int) -> Floats:
    """The same numbers, and zeros for later ones."""
    made = np.zeros(len(values) + room)
    made[: len(values)] = values
    return made
