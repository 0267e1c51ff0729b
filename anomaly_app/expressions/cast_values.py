"""Helpers of casts on values that are not NULL, as CAST has them: stricter with text than the formats are."""

from __future__ import annotations

import math
from decimal import Decimal

from anomaly_app.conversions import (
    RANGES,
    boolean_to_text as boolean_to_text,
    decimal_to_text as decimal_to_text,
    float_to_decimal as float_to_decimal,
    rescale as rescale,
    text_to_decimal as text_to_decimal,
    text_to_float as text_to_float,
    text_to_int,
    text_to_whole as text_to_whole,
)
from anomaly_app.errors import EvaluationError
from anomaly_app.expressions.values import wrapped
from anomaly_app.floats import (
    float_to_text as float_to_text,
    single_to_text as single_to_text,
    to_single as to_single,
    widened as widened,
)
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


def float_to_whole(value: float, kind: Kind) -> int:
    """A double as a whole number as in Java: the fraction is cut off, NaN is 0, the greatest number stands for more.

    Example:
        >>> float_to_whole(-2.9, Kind.INT), float_to_whole(1e300, Kind.INT), float_to_whole(1e300, Kind.TINYINT)
        (-2, 2147483647, -1)
    """
    if math.isnan(value):
        return 0
    low, high = RANGES[Kind.BIGINT if kind is Kind.BIGINT else Kind.INT]
    number = low if value <= low else high if value >= high else int(value)
    return number if kind in (Kind.INT, Kind.BIGINT) else wrapped(number, kind)


_BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "0"), False)


def text_to_boolean(value: str) -> bool:
    """A text as a boolean, without blanks around it."""
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise EvaluationError(f"CAST: {value!r} is not a BOOLEAN, such as true or false") from None


def bytes_of_length(value: bytes, length: int) -> bytes:
    r"""BINARY(n): cut off, or filled with zeros.

    Example:
        >>> bytes_of_length(b"abc", 2), bytes_of_length(b"a", 3)
        (b'ab', b'a\x00\x00')
    """
    return value[:length].ljust(length, b"\0")


def decimal_to_whole(value: Decimal, kind: Kind) -> int:
    """A decimal as a whole number: the fraction is cut off, what does not fit wraps."""
    return wrapped(int(value), kind)
