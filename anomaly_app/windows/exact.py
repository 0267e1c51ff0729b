"""Sums of floating-point numbers that can be taken apart again without a trace.

What was added in floats and is subtracted again leaves a rest: 0.1 + 1e20 - 1e20 is 0. A float is a whole number over a
power of two, so sums, and sums of squares, are kept as such, and rounded once, when somebody asks.
"""

from __future__ import annotations

import math
from typing import Any


class ExactSum:
    """A sum of floats, exact whatever was added and taken out again.

    Infinities and NaN are counted apart, so that they can be taken out, too.

    Example:
        >>> total = ExactSum()
        >>> for value in (0.1, 1e20): total.add(value)
        >>> total.remove(1e20); total.value()
        0.1
        >>> total.add(math.inf); total.value()
        inf
        >>> total.remove(math.inf); total.value()
        0.1
    """

    __slots__ = ("odd", "scale", "total")

    def __init__(self, total: int = 0, scale: int = 0, odd: tuple[int, int, int] = (0, 0, 0)) -> None:
        self.total, self.scale = total, scale
        """The sum is ``total / 2 ** scale``."""
        self.odd = odd
        """How many NaN, infinities, and negative infinities there are."""

    def add(self, value: float) -> None:
        """Add a value."""
        self._put(value, 1)

    def remove(self, value: float) -> None:
        """Take a value out that was added."""
        self._put(value, -1)

    def _put(self, value: float, sign: int) -> None:
        if not math.isfinite(value):
            self.odd = _counted(self.odd, value, sign)
            return
        number, divisor = value.as_integer_ratio()
        scale = divisor.bit_length() - 1
        if scale > self.scale:
            self.total <<= scale - self.scale
            self.scale = scale
        self.total += sign * (number << (self.scale - scale))

    def value(self) -> float:
        """The sum, rounded once."""
        nans, more, less = self.odd
        if nans or (more and less):
            return math.nan
        if more or less:
            return math.inf if more else -math.inf
        return _quotient(self.total, 1 << self.scale)

    def state(self) -> tuple[Any, ...]:
        """What :meth:`of` takes."""
        return _bytes(self.total), self.scale, self.odd

    @classmethod
    def of(cls, state: Any) -> ExactSum:
        """From :meth:`state`.

        Example:
            >>> total = ExactSum(); total.add(-2.5)
            >>> ExactSum.of(total.state()).value()
            -2.5
        """
        total, scale, odd = state
        return cls(_whole(total), scale, tuple(odd))


class ExactMoments:
    """Number, sum and sum of squares of numbers: their variance, exact whatever was added and taken out again.

    Example:
        >>> moments = ExactMoments()
        >>> for value in (1, 3, 1e9): moments.add(value)
        >>> moments.remove(1e9); moments.spread(True, False), moments.spread(False, True)
        (2.0, 1.0)
    """

    __slots__ = ("count", "odd", "scale", "squares", "total")

    def __init__(
        self, count: int = 0, total: int = 0, squares: int = 0, scale: int = 0, odd: tuple[int, int, int] = (0, 0, 0)
    ) -> None:
        self.count, self.total, self.squares, self.scale, self.odd = count, total, squares, scale, odd

    def add(self, value: float) -> None:
        """Add a value."""
        self._put(float(value), 1)

    def remove(self, value: float) -> None:
        """Take a value out that was added."""
        self._put(float(value), -1)

    def _put(self, value: float, sign: int) -> None:
        self.count += sign
        if not math.isfinite(value):
            self.odd = _counted(self.odd, value, sign)
            return
        number, divisor = value.as_integer_ratio()
        scale = divisor.bit_length() - 1
        if scale > self.scale:
            self.total <<= scale - self.scale
            self.squares <<= 2 * (scale - self.scale)
            self.scale = scale
        number <<= self.scale - scale
        self.total += sign * number
        self.squares += sign * number * number

    def spread(self, sample: bool, root: bool) -> float | None:
        """Variance or standard deviation; NULL if there are too few values."""
        count = self.count
        divisor = count - 1 if sample else count
        if divisor < 1:
            return None
        if any(self.odd):
            return math.nan
        above = count * self.squares - self.total * self.total
        variance = _quotient(above, (count * divisor) << (2 * self.scale))
        return math.sqrt(variance) if root else variance

    def state(self) -> tuple[Any, ...]:
        """What :meth:`of` takes."""
        return self.count, _bytes(self.total), _bytes(self.squares), self.scale, self.odd

    @classmethod
    def of(cls, state: Any) -> ExactMoments:
        """From :meth:`state`."""
        count, total, squares, scale, odd = state
        return cls(count, _whole(total), _whole(squares), scale, tuple(odd))


def _counted(odd: tuple[int, int, int], value: float, sign: int) -> tuple[int, int, int]:
    nans, more, less = odd
    if math.isnan(value):
        return nans + sign, more, less
    return (nans, more + sign, less) if value > 0 else (nans, more, less + sign)


def _quotient(number: int, divisor: int) -> float:
    """A ratio of whole numbers, rounded once; infinite beyond all floats."""
    try:
        return number / divisor
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)


def _whole(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)
