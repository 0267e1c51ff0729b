"""Helpers of the functions of numbers, on values that are not NULL. Doubles give Infinity or NaN, as in Java."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal

from anomaly_app.conversions import DECIMALS, rescale
from anomaly_app.errors import EvaluationError
from anomaly_app.expressions.values import float_quotient, wrapped
from anomaly_app.floats import float_to_text, to_single, widened
from anomaly_app.schema import Kind

_LARGEST_FRACTION_SINGLE = 1 << 23
"""From here on a 32-bit float is whole."""


def power(a: float, b: float) -> float:
    """A double to a power.

    Example:
        >>> power(2, -1), power(-0.0, -1), power(-8, 0.5), power(1, math.inf), power(-10, 309)
        (0.5, -inf, nan, nan, -inf)
    """
    if b == 0:
        return 1.0
    if math.isnan(a) or math.isnan(b) or (abs(a) == 1 and math.isinf(b)):
        return math.nan
    odd = math.fmod(b, 2) != 0 and b % 1 == 0
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0 and odd else math.inf
    except ValueError:
        if a:
            return math.nan
        return math.copysign(math.inf, a) if odd else math.inf


def square_root(a: float) -> float:
    """NaN below zero."""
    return math.sqrt(a) if a >= 0 else math.nan


def sign_of_decimal(value: Decimal) -> Decimal:
    """-1, 0 or 1 with the digits of the value."""
    return Decimal((value > 0) - (value < 0)).quantize(value, context=DECIMALS)


def sign_of_float(value: float) -> float:
    """-1.0, 1.0, or the value if it is zero or NaN."""
    return value if not value or math.isnan(value) else math.copysign(1.0, value)


def to_digits_whole(value: int, digits: int, kind: Kind, up: bool) -> int:
    """A whole number rounded (or cut) before the point.

    Example:
        >>> to_digits_whole(-155, -1, Kind.INT, True), to_digits_whole(-155, -1, Kind.INT, False)
        (-160, -150)
    """
    if digits >= 0:
        return value
    if digits < -20:
        return 0
    unit = 10**-digits
    whole, rest = divmod(abs(value), unit)
    size = (whole + (up and 2 * rest >= unit)) * unit
    return wrapped(size if value >= 0 else -size, kind)


def to_digits_float(value: float, digits: int, up: bool) -> float:
    """A double rounded half away from zero (or cut) behind some of the digits that it prints as.

    Example:
        >>> to_digits_float(2.675, 2, True), to_digits_float(-2.675, 2, False), to_digits_float(15.0, -1, True)
        (2.68, -2.67, 20.0)
    """
    if not math.isfinite(value):
        raise EvaluationError(f"{value} has no digits to round: leave it out by a condition before")
    return float(_to_digits(Decimal(float_to_text(value)), digits, up))


def to_digits_single(value: float, digits: int, up: bool) -> float:
    """The same for FLOAT."""
    return to_single(to_digits_float(widened(value), digits, up))


def to_digits_decimal(value: Decimal, digits: int, up: bool, precision: int, scale: int) -> Decimal | None:
    """A decimal rounded half up (or cut) behind some digits; NULL if it does not fit the type of the result.

    Example:
        >>> to_digits_decimal(Decimal("9.95"), 1, True, 3, 1), to_digits_decimal(Decimal("9.95"), 0, True, 3, 2)
        (Decimal('10.0'), None)
    """
    return rescale(_to_digits(value, digits, up), scale, precision)


def _to_digits(value: Decimal, digits: int, up: bool) -> Decimal:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent <= digits:
        return value
    if value.adjusted() + 1 < -digits:
        return Decimal(0)
    rounding = decimal.ROUND_HALF_UP if up else decimal.ROUND_DOWN
    return value.quantize(Decimal(1).scaleb(-digits), rounding=rounding, context=_ROOM)


_ROOM = decimal.Context(prec=1_200, Emin=-999_999, Emax=999_999)
"""For the digits of every double."""


def floor_of_decimal(value: Decimal) -> Decimal:
    """The next whole number below."""
    return value.quantize(Decimal(1), rounding=decimal.ROUND_FLOOR, context=DECIMALS) + 0


def ceiling_of_decimal(value: Decimal) -> Decimal:
    """The next whole number above."""
    result = value.quantize(Decimal(1), rounding=decimal.ROUND_CEILING, context=DECIMALS)
    return result or Decimal(0)


def floor_of_float(value: float) -> float:
    """The next whole number below."""
    return math.copysign(math.floor(value), value) if math.isfinite(value) else value


def ceiling_of_float(value: float) -> float:
    """The next whole number above.

    Example:
        >>> ceiling_of_float(-0.5), ceiling_of_float(2.1)
        (-0.0, 3.0)
    """
    return math.copysign(math.ceil(value), value) if math.isfinite(value) else value


def floor_of_single(value: float) -> float:
    """The same for FLOAT."""
    return floor_of_float(widened(value)) if abs(value) < _LARGEST_FRACTION_SINGLE else value


def ceiling_of_single(value: float) -> float:
    """The same for FLOAT."""
    return ceiling_of_float(widened(value)) if abs(value) < _LARGEST_FRACTION_SINGLE else value


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


def logarithm_to(base: float, value: float) -> float:
    """Logarithm to a base.

    Example:
        >>> logarithm_to(2, 8), logarithm_to(1, 10)
        (3.0, inf)
    """
    return float_quotient(logarithm(value), logarithm(base))


def sine(value: float) -> float:
    """Of radians."""
    return math.sin(value) if math.isfinite(value) else math.nan


def cosine(value: float) -> float:
    """Of radians."""
    return math.cos(value) if math.isfinite(value) else math.nan


def tangent(value: float) -> float:
    """Of radians."""
    return math.tan(value) if math.isfinite(value) else math.nan


def cotangent(value: float) -> float:
    """Of radians; Infinity of zero."""
    return float_quotient(1.0, tangent(value))


def arc_sine(value: float) -> float:
    """In radians; NaN outside of -1 to 1."""
    return math.asin(value) if -1 <= value <= 1 else math.nan


def arc_cosine(value: float) -> float:
    """In radians; NaN outside of -1 to 1."""
    return math.acos(value) if -1 <= value <= 1 else math.nan


def hyperbolic_sine(value: float) -> float:
    """Infinity where it is too large."""
    try:
        return math.sinh(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def hyperbolic_cosine(value: float) -> float:
    """Infinity where it is too large."""
    try:
        return math.cosh(value)
    except OverflowError:
        return math.inf


def binary(value: int) -> str:
    """Bits of a whole number, of 64 if it is negative.

    Example:
        >>> binary(5), len(binary(-1))
        ('101', 64)
    """
    return format(value & _BITS_64, "b")


def hexadecimal(value: int) -> str:
    """Digits of a whole number, of 64 bits if it is negative."""
    return format(value & _BITS_64, "X")


_BITS_64 = (1 << 64) - 1


def hexadecimal_of_text(value: str) -> str:
    """Of each byte in UTF-8.

    Example:
        >>> hexadecimal_of_text("é1")
        'C3A931'
    """
    return value.encode().hex().upper()


_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


def unhexadecimal(value: str) -> bytes | None:
    r"""Bytes of hexadecimal digits; NULL of anything else. As in Flink, an odd digit at the start becomes a zero byte.

    Example:
        >>> unhexadecimal("4a4B"), unhexadecimal("255"), unhexadecimal("4x")
        (b'JK', b'\x00U', None)
    """
    if not _HEX_DIGITS.issuperset(value):
        return None
    odd = len(value) % 2
    return b"\0" * odd + bytes.fromhex(value[odd:])
