"""The digits of doubles and of 32-bit floats as Java prints them, which is how Flink SQL casts them to text.

Java (up to 18) does not always take the fewest digits that name a number: it develops the exact digits until the rest
is smaller than half the distance to the next number, in scientific notation at least two, and prints large whole
numbers with all digits that are certain. The rules are those that ``Double.toString`` of Java 17 shows.
"""

from __future__ import annotations

import math
import struct

_SMALLEST_NORMAL_SINGLE = 2.0**-126
_SMALLEST_NORMAL = 2.0**-1022


def to_single(value: float) -> float:
    """The nearest 32-bit float, as a Python float with the digits that Java prints of it.

    This is the memory form of FLOAT. :func:`widened` gives the exact number.

    Example:
        >>> to_single(0.1), to_single(1e300), to_single(2147483647.0)
        (0.1, inf, 2147483650.0)
    """
    return printed_single(widened(value))


def printed_single(exact: float) -> float:
    """:func:`to_single` of a number that 32 bits hold exactly, as it is read from them.

    Example:
        >>> printed_single(0.10000000149011612)
        0.1
    """
    size = abs(exact)
    if size < 1 << 24 and exact.is_integer():  # all their digits are certain
        return exact
    if _SMALLEST_NORMAL_SINGLE <= size < 1 << 24 and math.frexp(size)[0] != 0.5:
        short = float(f"{exact:.6g}")  # all decimals of six digits come back from 32 bits
        if _unpack(_pack(short))[0] == exact:
            return short
    elif not size or not math.isfinite(size):
        return exact
    digits, exponent = _digits(size, 24, -149)
    return math.copysign(float(f"0.{digits}e{exponent}"), exact)


def widened(value: float) -> float:
    """The exact value of the nearest 32-bit float.

    Example:
        >>> widened(0.1)
        0.10000000149011612
    """
    try:
        exact: float = _unpack(_pack(value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return exact


_pack, _unpack = struct.Struct("<f").pack, struct.Struct("<f").unpack


def float_to_text(value: float) -> str:
    """A double as SQL and Java print it.

    Example:
        >>> float_to_text(1e10), float_to_text(0.5), float_to_text(5e-324)
        ('1.0E10', '0.5', '4.9E-324')
    """
    size = abs(value)
    if not math.isfinite(value) or not size:
        return _special(value)
    shortest = repr(size)
    plain = _SMALLEST_NORMAL <= size < 1 << 53 and (math.frexp(size)[0] != 0.5 or 1e-3 <= size)
    if plain and len(shortest.partition("e")[0]) <= 16:
        return single_to_text(value)  # all decimals of fifteen digits come back from 64 bits
    digits, exponent = _digits(size, 53, -1074)
    return ("-" if value < 0 else "") + _laid_out(digits, exponent)


def single_to_text(value: float) -> str:
    """A FLOAT in its memory form as SQL and Java print it: its digits are chosen already.

    Example:
        >>> single_to_text(2147483650.0), single_to_text(-0.0)
        ('2.14748365E9', '-0.0')
    """
    if not math.isfinite(value) or not value:
        return _special(value)
    sign = "-" if value < 0 else ""
    shortest = repr(abs(value))
    mantissa, _, tens = shortest.partition("e")
    if not tens and 1e-3 <= abs(value) < 1e7:
        return sign + shortest
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = len(digits) - len(fraction) + int(tens or 0)
    return sign + _laid_out(digits.rstrip("0"), exponent)


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return repr(value) if not value else "Infinity" if value > 0 else "-Infinity"


def _laid_out(digits: str, exponent: int) -> str:
    """``0.digits`` times ten to the exponent as Java writes it."""
    if 0 < exponent <= 7:
        return f"{digits[:exponent].ljust(exponent, '0')}.{digits[exponent:] or '0'}"
    if -3 < exponent <= 0:
        return f"0.{'0' * -exponent}{digits}"
    return f"{digits[0]}.{digits[1:] or '0'}E{exponent - 1}"


def _digits(size: float, precision: int, least: int) -> tuple[str, int]:
    """Digits, without zeros at the end, and the exponent of ten of ``0.digits``.

    Args:
        size: above zero and finite.
        precision: bits of the mantissa of a normal number.
        least: exponent of two of the smallest number.
    """
    fraction, two = math.frexp(size)
    binary = two - 1
    bits = min(precision, binary - least + 1)
    odd = int(math.ldexp(fraction, 53))
    odd >>= (odd & -odd).bit_length() - 1
    if odd.bit_length() <= binary + 1 and binary <= 62:
        return _whole_digits(int(size), binary, bits)
    # All as whole numbers over one denominator: the value, half the distance to the next one, a unit of the digit.
    gap = binary - bits - (1 if odd == 1 else 0)
    tens = math.floor(math.log10(size))
    shift = max(0, -gap, odd.bit_length() - 1 - binary)
    rest = odd << (binary - odd.bit_length() + 1 + shift)
    half, unit = 1 << (gap + shift), 1 << shift
    rest, half, unit = (rest, half, unit * 10**tens) if tens >= 0 else (rest * 10**-tens, half * 10**-tens, unit)
    while rest >= unit * 10:
        unit, tens = unit * 10, tens + 1
    while rest < unit:
        rest, half, tens = rest * 10, half * 10, tens - 1
    scientific = tens < -3 or tens >= 8
    found: list[int] = []
    while True:
        digit, rest = divmod(rest, unit)
        found.append(digit)
        low, high = rest < half, rest + half > unit
        if (low or high) and not (scientific and len(found) == 1):
            break
        rest, half = rest * 10, half * 10
    up = high and (not low or 2 * rest > unit or (2 * rest == unit and found[-1] % 2 == 1))
    number = int("".join(map(str, found))) + up
    text = str(number)
    return text.rstrip("0"), tens + 1 + len(text) - len(found)


def _whole_digits(number: int, binary: int, bits: int) -> tuple[str, int]:
    uncertain = binary - bits - 1
    dropped = len(str(1 << uncertain)) - 1 if uncertain > 1 else 0
    if dropped:
        number, rest = divmod(number, 10**dropped)
        number += rest >= 10**dropped // 2
    text = str(number)
    return text.rstrip("0"), len(text) + dropped
