"""Values as the texts that JSON and CSV records of Flink hold, and back."""

from __future__ import annotations

import base64
import binascii
import datetime
import functools
import re
from collections.abc import Callable
from typing import Any

from anomaly_app import conversions as c
from anomaly_app.errors import DecodeError, EvaluationError
from anomaly_app.floats import to_single
from anomaly_app.formats.misfit import Convert
from anomaly_app.formats.values import refuse
from anomaly_app.schema import TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind, units_per_second

_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (SQL's TIMESTAMP has no zone)


def from_text(type_: DataType) -> Convert | None:
    """A function from a text in a record to the memory form of a scalar type; None if the text is the value.

    Numbers are read as Java's ``parseInt`` and the like do: a fraction is no whole number. The function raises
    :class:`DecodeError`, or :class:`EvaluationError` of a cast.

    Example:
        >>> from anomaly_app.schema import INT
        >>> from_text(INT)(" 42 ")
        42
    """
    kind = type_.kind
    if kind in TEXTS:
        return None
    if kind in WHOLE_NUMBERS:
        return _whole(type_)
    if kind is Kind.DOUBLE:
        return c.text_to_float
    if kind is Kind.FLOAT:
        return lambda text: to_single(c.text_to_float(text))
    if kind is Kind.DECIMAL:
        return _decimal(type_)
    if kind is Kind.BOOLEAN:
        return _boolean
    if kind in TIMESTAMPS:
        precision = type_.precision or 0
        return lambda text: c.text_to_timestamp(text, precision)
    others: dict[Kind, Callable[[str], Any]] = {
        Kind.DATE: c.text_to_date,
        Kind.TIME: c.text_to_time,
        Kind.BYTES: base64_to_bytes,
    }
    if kind not in others:
        raise TypeError(f"there is no text for {type_}")
    return others[kind]


def to_text(type_: DataType, separator: str = " ", zone: str = "Z") -> Callable[[Any], str]:
    """A function from the memory form of a date, time or timestamp to its text in a record.

    Args:
        type_: DATE, TIME, TIMESTAMP or TIMESTAMP_LTZ.
        separator: between date and time.
        zone: behind a TIMESTAMP_LTZ.

    Returns:
        The function. Fractions of a second have as many digits as they need, none if they are zero, as in Java.

    Example:
        >>> from anomaly_app.schema import TIMESTAMP_3
        >>> write = to_text(TIMESTAMP_3)
        >>> write(1752156422690), write(1752156422000)
        ('2025-07-10 14:07:02.69', '2025-07-10 14:07:02')
    """
    if type_.kind is Kind.DATE:
        return c.date_to_text
    if type_.kind is Kind.TIME:
        return _time_text
    per_second = units_per_second(type_)
    digits = len(str(per_second)) - 1
    suffix = zone if type_.kind is Kind.TIMESTAMP_LTZ else ""

    def write(value: int) -> str:
        seconds, fraction = divmod(value, per_second)
        text = _second_text(seconds, separator)
        return f"{text}.{f'{fraction:0{digits}d}'.rstrip('0')}{suffix}" if fraction else text + suffix

    return write


def base64_to_bytes(text: str) -> bytes:
    """Bytes from base64; raises :class:`DecodeError`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DecodeError(f"{text[:80]!r} is not base64") from None


@functools.lru_cache(maxsize=4096)
def _second_text(seconds: int, separator: str) -> str:
    try:
        return (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat(separator)
    except OverflowError:
        raise EvaluationError(f"second {seconds} is beyond the years 1 to 9999") from None


def _time_text(value: int) -> str:
    seconds, millis = divmod(value, 1000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{millis:03d}".rstrip("0") if millis else text


def _whole(type_: DataType) -> Convert:
    low, high = c.RANGES[type_.kind]
    matches = _WHOLE.fullmatch

    def convert(text: str) -> int:
        stripped = text.strip()
        if matches(stripped) and len(stripped) <= 40 and low <= (number := int(stripped)) <= high:
            return number
        refuse(text, type_)

    return convert


def _decimal(type_: DataType) -> Convert:
    precision, scale = type_.precision or 10, type_.scale or 0

    def convert(text: str) -> Any:
        value = c.text_to_decimal(text, precision, scale)
        if value is None:
            refuse(text, type_)
        return value

    return convert


def _boolean(text: str) -> bool:
    folded = text.strip().lower()
    if folded in ("true", "false"):
        return folded == "true"
    raise DecodeError(f"{text[:80]!r} is not a BOOLEAN (true or false)")
