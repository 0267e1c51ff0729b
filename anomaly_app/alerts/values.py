"""Values in memory form as JSON and as text for people."""

from __future__ import annotations

import base64
import datetime
import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

from anomaly_app.schema import APPROXIMATE, TEXTS, DataType, Kind, units_per_second

Converter: TypeAlias = Callable[[Any], Any]

LONGEST_TEXT = 80
"""Characters of one value in an explanation."""

_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (arithmetic on UTC without the cost of a zone)
_DAY_ZERO = datetime.date(1970, 1, 1).toordinal()


def iso_time(millis: int, separator: str = "T", zone: str = "Z") -> str:
    """Milliseconds since 1970 as ISO-8601 in UTC.

    Times outside the years 1 to 9999 have no such form and are given as the number.

    Example:
        >>> iso_time(1_752_156_422_697)
        '2025-07-10T14:07:02.697Z'
        >>> iso_time(1 << 62)
        '4611686018427387904'
    """
    seconds, rest = divmod(millis, 1_000)
    try:
        return f"{_second(seconds, separator)}.{rest:03d}{zone}"
    except OverflowError:
        return str(millis)


@functools.lru_cache(maxsize=4_096)
def _second(seconds: int, separator: str) -> str:
    """The rows of findings crowd into few seconds."""
    return (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat(separator)


def to_json(type_: DataType) -> Converter | None:
    """Memory form to what JSON can hold; None if values pass unchanged. NULL must not be given.

    Timestamps, dates and times become ISO-8601 (``Z`` only for TIMESTAMP_LTZ), DECIMAL exact text, bytes base64,
    a ROW an object; floats without a form in JSON become "NaN", "Infinity" and "-Infinity".

    Example:
        >>> from anomaly_app.schema import TIMESTAMP_3
        >>> to_json(TIMESTAMP_3)(1_752_156_422_697)
        '2025-07-10T14:07:02.697'
    """
    kind = type_.kind
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_LTZ):
        return _timestamp(type_, "T", "Z" if kind is Kind.TIMESTAMP_LTZ else "")
    if kind in TEXTS:
        return None
    simple: dict[Kind, Converter] = {
        Kind.DECIMAL: lambda value: format(value, "f"),
        Kind.DATE: _date,
        Kind.TIME: lambda value: iso_time(value, zone="")[11:],
        Kind.BYTES: lambda value: base64.b64encode(value).decode(),
    }
    if kind in APPROXIMATE:
        return _float
    if kind is Kind.ARRAY:
        return _array(type_)
    if kind is Kind.MAP:
        return _map(type_)
    if kind is Kind.ROW:
        return _row(type_)
    return simple.get(kind)


def to_text(type_: DataType) -> Converter:
    r"""Memory form to text for a sentence: short, on one line, without control characters. NULL must not be given.

    Example:
        >>> from anomaly_app.schema import STRING
        >>> to_text(STRING)("user-67\x1b[2J")
        'user-67�[2J'
    """
    if type_.kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_LTZ):
        return _timestamp(type_, " ", "")
    convert = to_json(type_)
    return (lambda value: plain(str(value))) if convert is None else (lambda value: plain(str(convert(value))))


def plain(text: str) -> str:
    """Text of others made safe for a terminal and a sentence: cut, and every unprintable character replaced."""
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _timestamp(type_: DataType, separator: str, zone: str) -> Converter:
    if (type_.precision or 0) <= 3:
        return lambda value: iso_time(value, separator, zone)

    per_micro = units_per_second(type_) // 1_000_000

    def micros(value: int) -> str:
        try:
            moment = _EPOCH + datetime.timedelta(microseconds=value // per_micro)
        except OverflowError:
            return str(value)
        return moment.isoformat(separator, "microseconds") + zone

    return micros


def _date(days: int) -> str:
    try:
        return datetime.date.fromordinal(days + _DAY_ZERO).isoformat()
    except (OverflowError, ValueError):
        return str(days)


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _optional(type_: DataType | None) -> Converter:
    convert = None if type_ is None else to_json(type_)
    if convert is None:
        return lambda value: value
    return lambda value: None if value is None else convert(value)


def _array(type_: DataType) -> Converter:
    element = _optional(type_.element)
    return lambda values: [element(value) for value in values]


def _map(type_: DataType) -> Converter:
    key, element = _optional(type_.key), _optional(type_.element)
    return lambda values: {str(key(name)): element(value) for name, value in values.items()}


def _row(type_: DataType) -> Converter:
    fields = [(name, _optional(field)) for name, field in type_.fields]
    return lambda values: {name: convert(value) for (name, convert), value in zip(fields, values, strict=True)}
