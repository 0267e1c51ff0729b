"""Helpers that generated source calls on values that are not NULL: arithmetic and casts as SQL defines them."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal

from anomaly_app.conversions import (
    DECIMALS as DECIMALS,
    RANGES as RANGES,
    boolean_to_text as boolean_to_text,
    decimal_to_text as decimal_to_text,
    float_to_decimal as float_to_decimal,
    float_to_text as float_to_text,
    float_to_whole as float_to_whole,
    rescale as rescale,
    text_to_boolean as text_to_boolean,
    text_to_decimal as text_to_decimal,
    text_to_float as text_to_float,
    text_to_int as text_to_int,
    text_to_whole as text_to_whole,
    whole_in_range as whole_in_range,
)
from anomaly_app.errors import EvaluationError
from anomaly_app.schema import Kind


class IntOfText(dict[str, int]):
    """INT of a text by subscript; texts seen lately are remembered, as most columns hold few different ones.

    Example:
        >>> IntOfText()[" 7 "]
        7
    """

    MOST = 4_096

    def __missing__(self, text: str) -> int:
        number = text_to_int(text)
        if len(self) >= self.MOST:
            self.clear()
        self[text] = number
        return number


INT_OF_TEXT = IntOfText()
"""Of all rules: they cast the same columns."""


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
    return math.fmod(a, b) if b and not math.isinf(a) else math.nan


def decimal_quotient(a: Decimal, b: Decimal) -> Decimal:
    """Exact enough to be rescaled."""
    if not b:
        raise EvaluationError("division by zero")
    return DECIMALS.divide(a, b)


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


def decimal_difference(a: Decimal, b: Decimal) -> Decimal:
    """Exact difference."""
    return DECIMALS.subtract(a, b)


def power(a: float, b: float) -> float:
    """A double to a power, as in Java: no error."""
    try:
        result = math.pow(a, b)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.inf if a == 0 else math.nan
    return result


def square_root(a: float) -> float:
    """NaN below zero."""
    return math.sqrt(a) if a >= 0 else math.nan


# --- functions ------------------------------------------------------------------------------------


def sign(value: float | Decimal) -> float | Decimal:
    """-1, 0 or 1 in the type of the value."""
    result = (value > 0) - (value < 0)
    if isinstance(value, Decimal):
        return Decimal(result).quantize(value, context=DECIMALS)
    return float(result) if isinstance(value, float) else result


def rounded(value: float | Decimal, digits: int, kind: Kind) -> float | Decimal:
    """Half away from zero to some digits behind (or, if negative, before) the point.

    Example:
        >>> rounded(2.675, 2, Kind.DOUBLE), rounded(15, -1, Kind.INT)
        (2.68, 20)
    """
    return _to_digits(value, digits, kind, decimal.ROUND_HALF_UP)


def truncated(value: float | Decimal, digits: int, kind: Kind) -> float | Decimal:
    """Cut off behind some digits."""
    return _to_digits(value, digits, kind, decimal.ROUND_DOWN)


def _to_digits(value: float | Decimal, digits: int, kind: Kind, rounding: str) -> float | Decimal:
    if isinstance(value, float) and not math.isfinite(value):
        return value
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    exponent = exact.as_tuple().exponent
    if isinstance(exponent, int) and -exponent <= digits:
        return value
    result = exact.quantize(Decimal(1).scaleb(-digits), rounding=rounding, context=DECIMALS)
    if kind in (Kind.FLOAT, Kind.DOUBLE):
        return float(result)
    if kind is Kind.DECIMAL:
        return result.quantize(Decimal(1), context=DECIMALS) if digits < 0 else result
    return int(result)


def floor(value: float | Decimal) -> float | Decimal:
    """The next whole number below."""
    if isinstance(value, Decimal):
        return value.quantize(Decimal(1), rounding=decimal.ROUND_FLOOR, context=DECIMALS)
    return float(math.floor(value)) if math.isfinite(value) else value


def ceiling(value: float | Decimal) -> float | Decimal:
    """The next whole number above."""
    if isinstance(value, Decimal):
        return value.quantize(Decimal(1), rounding=decimal.ROUND_CEILING, context=DECIMALS)
    return float(math.ceil(value)) if math.isfinite(value) else value


def exponential(value: float) -> float:
    """E to a power."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def logarithm(value: float) -> float:
    """Natural logarithm; -Infinity of zero, NaN below."""
    return math.log(value) if value > 0 else -math.inf if value == 0 else math.nan


def logarithm_10(value: float) -> float:
    """Decimal logarithm."""
    return math.log10(value) if value > 0 else logarithm(value)


def logarithm_2(value: float) -> float:
    """Binary logarithm."""
    return math.log2(value) if value > 0 else logarithm(value)


def sine(value: float) -> float:
    """Of radians."""
    return math.sin(value) if math.isfinite(value) else math.nan


def cosine(value: float) -> float:
    """Of radians."""
    return math.cos(value) if math.isfinite(value) else math.nan
