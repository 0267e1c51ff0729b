"""Helpers that generated source calls on values that are not NULL: arithmetic and casts as SQL defines them."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal

from anomaly_app.conversions import (
    DECIMALS as DECIMALS,
    RANGES,
    rescale as rescale,
)
from anomaly_app.errors import EvaluationError
from anomaly_app.floats import to_single, widened
from anomaly_app.schema import Kind

_QUOTIENTS = decimal.Context(prec=38, rounding=decimal.ROUND_HALF_UP, Emin=-999_999, Emax=999_999)
"""Flink divides to 38 digits, and then rounds to the scale of the result."""


def wrapped(value: int, kind: Kind) -> int:
    """A whole number in the bits of its type, as Java keeps it.

    Example:
        >>> wrapped(2147483648, Kind.INT), wrapped(-129, Kind.TINYINT)
        (-2147483648, 127)
    """
    low, high = RANGES[kind]
    return ((value - low) & (high - low)) + low


def in_type(value: int, kind: Kind) -> int:
    """The value if it fits its type; an error if not, as the standard has it."""
    if wrapped(value, kind) != value:
        raise EvaluationError(f"{value} does not fit {kind.value}: CAST a side to {_WIDER.get(kind, 'DECIMAL')} before")
    return value


_WIDER = {Kind.TINYINT: "INT", Kind.SMALLINT: "INT", Kind.INT: "BIGINT"}


def quotient(a: int, b: int) -> int:
    """Whole-number division, truncated towards zero.

    Example:
        >>> quotient(7, 2), quotient(-7, 2)
        (3, -3)
    """
    if b == 0:
        raise EvaluationError("division by zero")
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


def remainder(a: int, b: int) -> int:
    """Remainder with the sign of the dividend."""
    if b == 0:
        raise EvaluationError("division by zero")
    return a - b * quotient(a, b)


def float_quotient(a: float, b: float) -> float:
    """Division of doubles: Infinity and NaN instead of an error."""
    if b:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def float_remainder(a: float, b: float) -> float:
    """Remainder of doubles, NaN by zero."""
    return math.fmod(a, b) if b and math.isfinite(a) else math.nan


def decimal_quotient(a: Decimal, b: Decimal) -> Decimal:
    """To 38 digits."""
    if not b:
        raise EvaluationError("division by zero")
    return _QUOTIENTS.divide(a, b)


def decimal_remainder(a: Decimal, b: Decimal) -> Decimal:
    """Remainder with the sign of the dividend."""
    if not b:
        raise EvaluationError("division by zero")
    return DECIMALS.remainder(a, b)


def decimal_product(a: Decimal, b: Decimal) -> Decimal:
    """Exact product."""
    return DECIMALS.multiply(a, b)


def decimal_sum(a: Decimal, b: Decimal) -> Decimal:
    """Exact sum."""
    return DECIMALS.add(a, b)


def decimal_negative(a: Decimal) -> Decimal:
    """Exact, without a negative zero."""
    return DECIMALS.minus(a)


def single_sum(a: float, b: float) -> float:
    """Of FLOATs."""
    return to_single(widened(a) + widened(b))


def single_difference(a: float, b: float) -> float:
    """Of FLOATs."""
    return to_single(widened(a) - widened(b))


def single_product(a: float, b: float) -> float:
    """Of FLOATs."""
    return to_single(widened(a) * widened(b))


def single_quotient(a: float, b: float) -> float:
    """Of FLOATs: Infinity and NaN instead of an error.

    Example:
        >>> single_quotient(1.5, 13), single_quotient(1.0, 0.0)
        (0.115384616, inf)
    """
    return to_single(float_quotient(widened(a), widened(b)))


def single_remainder(a: float, b: float) -> float:
    """Of FLOATs, NaN by zero."""
    return to_single(float_remainder(widened(a), widened(b)))


def decimal_difference(a: Decimal, b: Decimal) -> Decimal:
    """Exact difference."""
    return DECIMALS.subtract(a, b)
