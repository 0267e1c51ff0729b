"""Helpers of casts on values that are not NULL, as CAST has them: stricter with text than the formats are."""

from __future__ import annotations

import datetime
import math
import re
from decimal import Decimal

from anomaly_app.conversions import (
    DAY_MS as DAY_MS,
    EPOCH_DAY,
    RANGES,
    boolean_to_text as boolean_to_text,
    date_to_text as date_to_text,
    decimal_to_text as decimal_to_text,
    float_to_decimal as float_to_decimal,
    rescale as rescale,
    text_to_decimal as text_to_decimal,
    text_to_float as text_to_float,
    text_to_int,
    text_to_whole as text_to_whole,
    time_to_text as time_to_text,
    timestamp_to_text as timestamp_to_text,
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


_TIMESTAMP = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?: (\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{0,9}))?)?\Z",
    re.ASCII,
)
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (SQL's TIMESTAMP has no zone)
_SECOND = datetime.timedelta(seconds=1)


def text_to_timestamp(value: str, precision: int) -> int:
    """A text as milliseconds (precision up to 3) or microseconds since 1970; digits beyond the precision are cut off.

    Example:
        >>> text_to_timestamp("1970-1-2 0:00:01.59", 1), text_to_timestamp("1970-01-01 00:00:00.0000009", 6)
        (86401500, 0)
    """
    found = _TIMESTAMP.match(value)
    problem = f"CAST: {value!r} is not a TIMESTAMP, such as 2024-02-29 or 2024-02-29 12:34:56.789"
    if found is None:
        raise EvaluationError(problem)
    *parts, fraction = found.groups()
    try:
        when = datetime.datetime(*(int(part or 0) for part in parts))  # type: ignore[arg-type]  # noqa: DTZ001 (no zone; six parts)
    except ValueError:
        raise EvaluationError(problem) from None
    digits = (fraction or "")[:precision].ljust(9, "0")
    if digits[6:] != "000":
        raise EvaluationError(
            f"CAST: {value!r} has nanoseconds, but microseconds are all that is kept: cast to TIMESTAMP(6)"
        )
    seconds = (when - _EPOCH) // _SECOND
    return seconds * 1_000 + int(digits[:3]) if precision <= 3 else seconds * 1_000_000 + int(digits[:6])


def text_to_date(value: str) -> int:
    """A text as days since 1970: year, month and day, or the first two, or the year; what follows a blank is ignored.

    Example:
        >>> text_to_date("1970-1-2"), text_to_date("1970-02 10:00"), text_to_date("1970")
        (1, 31, 0)
    """
    blank = value.find(" ")
    parts = (value[:blank] if blank > 0 else value).split("-", 2)
    try:
        if all(part.strip().isdecimal() and part.isascii() for part in parts):
            year, month, day = (*(int(part) for part in parts), 1, 1)[:3]
            return datetime.date(year, month, day).toordinal() - EPOCH_DAY
    except ValueError:
        pass
    raise EvaluationError(f"CAST: {value!r} is not a DATE, such as 2024-02-29")


_TIME = re.compile(r"\s*(\d{1,2})\s*(?::\s*(\d{1,2})\s*(?::\s*(\d{1,2})\s*(?:\.(\d{1,9})\s*)?)?)?\Z", re.ASCII)


def text_to_time(value: str, precision: int) -> int:
    """A text as milliseconds since midnight, cut off behind the digits of the precision.

    Example:
        >>> text_to_time("10:00", 0), text_to_time("00:00:01.789", 1)
        (36000000, 1700)
    """
    found = _TIME.match(value)
    if found is None or int(found[1]) > 23 or int(found[2] or 0) > 59 or int(found[3] or 0) > 59:
        raise EvaluationError(f"CAST: {value!r} is not a TIME, such as 12:34:56.789")
    millis = int((found[4] or "")[: min(precision, 3)].ljust(3, "0"))
    return ((int(found[1]) * 60 + int(found[2] or 0)) * 60 + int(found[3] or 0)) * 1000 + millis


def cut_timestamp(value: int, from_precision: int, precision: int) -> int:
    """A timestamp with fewer digits of the second.

    Below milliseconds Flink cuts towards 1970, else towards the past.

    Example:
        >>> cut_timestamp(-1, 3, 0), cut_timestamp(-1001, 6, 3), cut_timestamp(1234567, 6, 4)
        (0, -2, 1234500)
    """
    if precision > 3:
        if from_precision <= 3:
            return value * 1000
        step = int(10 ** max(6 - precision, 0))
        return value // step * step
    millis = value if from_precision <= 3 else value // 1000
    step = int(10 ** (3 - precision))
    return millis // step * step if millis >= 0 else -(-millis // step * step)


def timestamp_to_time(value: int, from_precision: int, precision: int) -> int:
    """The time of day of a timestamp."""
    return cut_time((value if from_precision <= 3 else value // 1000) % DAY_MS, precision)


def cut_time(value: int, precision: int) -> int:
    """A time of day with fewer digits of the second."""
    step = int(10 ** max(3 - precision, 0))
    return value // step * step


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
