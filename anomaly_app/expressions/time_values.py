"""Helpers of the functions that read and write dates and times, on values that are not NULL.

Those that take a pattern are made from it: once for a pattern that is written out, else by a cache.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from anomaly_app.errors import EvaluationError
from anomaly_app.times import calendar as c, simple_format, texts, zones
from anomaly_app.times.formatting import formatter
from anomaly_app.times.parsing import parser
from anomaly_app.times.resolving import ImpossibleDate

T = TypeVar("T")

NO_TIME = -(1 << 63)
"""UNIX_TIMESTAMP of a text that is no time, as in Flink."""


@functools.cache
def by_pattern(make: Callable[[str], Callable[..., T]]) -> Callable[..., T]:
    """A function that takes its pattern, behind its other arguments, from each row."""

    @functools.wraps(make)
    def apply(*args: Any) -> T:
        *values, pattern = args
        try:
            function = make(pattern)
        except ValueError as error:
            raise EvaluationError(str(error)) from None
        return function(*values)

    return apply


# --- TO_TIMESTAMP and TO_DATE -------------------------------------------------------------------------

_DATE = r"(\d{4})-(\d{1,2})-(\d{1,2})"
_JDBC_DATE = re.compile(_DATE, re.ASCII)
_JDBC_TIMESTAMP = re.compile(_DATE + r" +(\d{1,9}):(\d{1,9}):(\d{1,9})(?:\.(\d{1,9}))?", re.ASCII)


def to_timestamp(text: str) -> int | None:
    """A text as a timestamp in ms; NULL if it is none."""
    try:
        return texts.text_to_timestamp(text, 3)
    except EvaluationError:
        return None


@functools.lru_cache(maxsize=256)
def to_timestamp_by(pattern: str) -> Callable[[str], int | None]:
    """From texts to timestamps in ms; a text that does not fit is tried as a plain timestamp or date, then NULL.

    Example:
        >>> read = to_timestamp_by("M/d/yyyy h:mm a")
        >>> read("1/2/1970 1:00 AM"), read("1970-01-02 1:0:0"), read("soon")
        (90000000, 90000000, None)
    """
    parse = parser(pattern)

    def read(text: str) -> int | None:
        try:
            found = parse(text)
        except ImpossibleDate:
            return None
        return _plain(text) if found is None else texts.from_fields(*found, 3)

    return read


def _plain(text: str) -> int | None:
    """As ``java.sql.Timestamp`` and ``Date`` read it: a day or an hour too many rolls on."""
    stripped = text.strip()
    found = (_JDBC_TIMESTAMP if " " in stripped else _JDBC_DATE).fullmatch(stripped)
    if found is None:
        return None
    year, month, day, *rest = found.groups()
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    hour, minute, second = (int(part) for part in (rest or "000")[:3])
    fraction = int((rest[3] if rest and rest[3] else "").ljust(9, "0"))
    nanos = ((hour * 60 + minute) * 60 + second) * 1_000_000_000 + fraction
    return texts.from_fields(c.rolled_days(int(year), int(month), int(day)), nanos, 3)


def to_timestamp_ltz(text: str) -> int:
    """A text as a timestamp in ms.

    Raises:
        EvaluationError: it is none.
    """
    found = to_timestamp(text)
    if found is None:
        raise EvaluationError(f"TO_TIMESTAMP_LTZ: {text[:80]!r} is not a timestamp; with a pattern it would be NULL")
    return found


@functools.lru_cache(maxsize=256)
def to_local_timestamp_by(pattern: str) -> Callable[[str, str], int | None]:
    """The same for texts of a zone, which is the second argument."""
    read = to_timestamp_by(pattern)

    def local(text: str, zone: str) -> int | None:
        found = read(text)
        return None if found is None else found - zones.offset_of_local(found // 1000, zones.zone(zone)) * 1000

    return local


_HUGE = re.compile(r"(?:^|-)0*(\d{10,})(?=-|$| )", re.ASCII)


def to_date(text: str) -> int | None:
    """A text as days since 1970; NULL if it is none.

    Raises:
        EvaluationError: a number in it does not fit INT, as in Flink.
    """
    try:
        return texts.text_to_date(text)
    except EvaluationError:
        if any(int(number) > 2_147_483_647 for number in _HUGE.findall(text)):
            raise EvaluationError(f"TO_DATE: a number in {text[:80]!r} does not fit INT") from None
        return None


@functools.lru_cache(maxsize=256)
def to_date_by(pattern: str) -> Callable[[str], int | None]:
    """From texts to days since 1970, by a pattern of ``SimpleDateFormat``; NULL for a text that does not fit."""
    parse = simple_format.reader(pattern)

    def read(text: str) -> int | None:
        found = parse(text)
        return None if found is None else found[0] // c.DAY_MS

    return read


# --- UNIX_TIMESTAMP and the like ----------------------------------------------------------------------

PLAIN = "yyyy-MM-dd HH:mm:ss"
"""The pattern where none is given."""


@functools.lru_cache(maxsize=256)
def unix_timestamp_by(pattern: str) -> Callable[[str], int]:
    """From texts (in UTC) to seconds since 1970, cut towards 1970."""
    parse = simple_format.reader(pattern)

    def read(text: str) -> int:
        found = parse(text)
        if found is None:
            return NO_TIME
        millis = found[0]
        return millis // 1000 if millis >= 0 else -(-millis // 1000)

    return read


@functools.lru_cache(maxsize=256)
def from_unixtime_by(pattern: str) -> Callable[[int], str]:
    """From seconds since 1970 to texts (in UTC); milliseconds beyond a BIGINT wrap, as in Flink.

    Example:
        >>> from_unixtime_by("HH:mm:ss")(44)
        '00:00:44'
    """
    write = simple_format.writer(pattern)
    return lambda seconds: write((seconds * 1000 - NO_TIME) % (1 << 64) + NO_TIME)


@functools.lru_cache(maxsize=256)
def reformat_by(pattern: str) -> Callable[[str], str | None]:
    """DATE_FORMAT of a text: from one like ``2024-02-29 12:34:56`` to the pattern; NULL for another."""
    parse = simple_format.reader(PLAIN)
    write = simple_format.writer(pattern)

    def convert(text: str) -> str | None:
        found = parse(text)
        return None if found is None else write(found[0])

    return convert


def date_format(value: int, per_day: int, pattern: str) -> str:
    """A timestamp by a pattern of ``DateTimeFormatter``."""
    try:
        return formatter(pattern, per_day)(value)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def convert_tz(text: str, before: str, after: str) -> str | None:
    """A local time of one zone as that of another; NULL for a text that is none.

    Example:
        >>> convert_tz("1970-01-01 00:00:00", "UTC", "Asia/Shanghai")
        '1970-01-01 08:00:00'
    """
    found = simple_format.reader(PLAIN)(text)
    if found is None:
        return None
    millis = found[0] - zones.old_offset(found[0] // 1000, zones.old_zone(before)) * 1000
    return simple_format.writer(PLAIN)(millis + zones.offset_at(millis // 1000, zones.old_zone(after)) * 1000)


# --- numbers as times ---------------------------------------------------------------------------------

_FIRST_MS, _LAST_MS = c.days_of(0, 1, 1) * c.DAY_MS, c.days_of(10_000, 1, 1) * c.DAY_MS - 1


def timestamp_of_whole(value: int | Decimal, digits: int) -> int | None:
    """A number of units with some digits behind the second as a timestamp in ms (digits up to 3), µs or ns.

    NULL beyond the years 0 to 9999.

    Example:
        >>> timestamp_of_whole(-1, 0), timestamp_of_whole(1, 9), timestamp_of_whole(1 << 62, 0)
        (-1000, 1, None)
    """
    scaled = int(value) * 10 ** (9 - digits)
    return scaled // texts.nanos_per_unit(digits) if _FIRST_MS <= scaled // 1_000_000 <= _LAST_MS else None


def timestamp_of_float(value: float, digits: int) -> int | None:
    """The same for a double; its fraction counts."""
    if not abs(value) < 1e30:
        return None
    nanos = int(value * 10 ** (9 - digits))
    return nanos // texts.nanos_per_unit(digits) if _FIRST_MS <= nanos // 1_000_000 <= _LAST_MS else None
