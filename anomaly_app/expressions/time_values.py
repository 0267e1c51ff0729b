"""Helpers of the date and time functions, on values that are not NULL."""

from __future__ import annotations

import datetime
import functools
import re

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions import values as v

UNITS = ("MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "DOW", "DOY", "EPOCH")
"""Units of EXTRACT; all but the last three are units of TIMESTAMPADD and TIMESTAMPDIFF too."""

_MILLIS = {"MILLISECOND": 1, "SECOND": 1_000, "MINUTE": 60_000, "HOUR": 3_600_000}
_MILLIS |= {"DAY": v.DAY_MS, "WEEK": 7 * v.DAY_MS}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
CALENDAR_MS = (-62_167_219_200_000, 253_402_300_799_999)
"""The first and the last millisecond of the years 0 to 9999."""


def _date(days: int) -> datetime.date:
    try:
        return datetime.date.fromordinal(days + _EPOCH_DAY)
    except (OverflowError, ValueError):
        raise EvaluationError("the date is beyond the years 1 to 9999") from None


def extract(value: int, part: str, per_day: int) -> int:
    """A part of a date or timestamp with ``per_day`` units a day.

    Example:
        >>> extract(86_400_000 + 3_600_000, "HOUR", 86_400_000), extract(1, "DAY", 1)
        (1, 2)
    """
    days, rest = divmod(value, per_day)
    if part in ("HOUR", "MINUTE", "SECOND", "MILLISECOND"):
        millis = rest * v.DAY_MS // per_day
        if part == "MILLISECOND":
            return millis % 1000
        seconds = millis // 1000
        return seconds // 3600 if part == "HOUR" else seconds // 60 % 60 if part == "MINUTE" else seconds % 60
    if part == "EPOCH":
        return value * 86_400 // per_day
    date = _date(days)
    if part == "WEEK":
        return date.isocalendar()[1]
    if part == "DOW":
        return date.isoweekday() % 7 + 1
    if part == "DOY":
        return date.timetuple().tm_yday
    if part == "QUARTER":
        return (date.month + 2) // 3
    return {"YEAR": date.year, "MONTH": date.month, "DAY": date.day}[part]


def floor_time(value: int, unit: str, per_day: int) -> int:
    """The start of the unit that a date or timestamp lies in."""
    if unit in _MONTHS:
        date = _date(value // per_day)
        month = (date.month - 1) // _MONTHS[unit] * _MONTHS[unit] + 1
        return (datetime.date(date.year, month, 1).toordinal() - _EPOCH_DAY) * per_day
    if unit == "WEEK":
        days = value // per_day
        return (days - (days + 4) % 7) * per_day  # weeks begin on Sunday
    step = max(_MILLIS.get(unit, 1) * per_day // v.DAY_MS, 1)
    return value // step * step


def ceil_time(value: int, unit: str, per_day: int) -> int:
    """The start of the next unit, or the value if it is the start of one."""
    start = floor_time(value, unit, per_day)
    return value if start == value else add(start, 1, unit, per_day)


def add(value: int, count: int, unit: str, per_day: int) -> int:
    """A date or timestamp some units on."""
    if unit in _MONTHS:
        return v.add_months(value, count * _MONTHS[unit], per_day)
    return value + count * _MILLIS.get(unit, 1) * per_day // v.DAY_MS


def difference(start: int, end: int, unit: str) -> int:
    """Whole units from one timestamp (in ms) to another, truncated towards zero."""
    if unit in _MILLIS:
        return v.quotient(end - start, _MILLIS[unit])
    if start > end:
        return -difference(end, start, unit)
    first, last = _date(start // v.DAY_MS), _date(end // v.DAY_MS)
    months = (last.year - first.year) * 12 + last.month - first.month
    if months and v.add_months(start, months, v.DAY_MS) > end:
        months -= 1
    return months // _MONTHS[unit]


_LETTERS = {
    "yyyy": "%Y", "yy": "%y", "MM": "%m", "MMM": "%b", "MMMM": "%B", "dd": "%d", "HH": "%H", "hh": "%I", "mm": "%M",
    "ss": "%S", "SSS": "%f", "a": "%p", "EEE": "%a", "EEEE": "%A", "D": "%j", "DDD": "%j", "uuuu": "%Y",
}  # fmt: skip
_RUN = re.compile(r"'([^']*)'|([A-Za-z])\2*|[^A-Za-z']+")


@functools.lru_cache(maxsize=64)
def _pattern(text: str) -> str:
    """A Java date pattern as one of strftime; ``%f`` stands for milliseconds."""
    parts = []
    for found in _RUN.finditer(text):
        run = found[0]
        if found[1] is not None:
            parts.append((found[1] or "'").replace("%", "%%"))
        elif found[2] is not None:
            if run not in _LETTERS:
                raise ValueError(f"{run!r} in the date pattern {text!r} is not supported")
            parts.append(_LETTERS[run])
        else:
            parts.append(run.replace("%", "%%"))
    return "".join(parts)


def date_format(value: int, pattern: str) -> str:
    """A timestamp (in ms) by a Java date pattern.

    Example:
        >>> date_format(0, "yyyy-MM-dd HH:mm:ss.SSS")
        '1970-01-01 00:00:00.000'
    """
    form = _pattern(pattern).replace("%f", f"{value % 1000:03d}")
    seconds, millis = divmod(value, 1000)
    moment = datetime.datetime.combine(_date(seconds // 86_400), datetime.time()) + datetime.timedelta(
        seconds=seconds % 86_400, milliseconds=millis
    )
    return moment.strftime(form.replace("%Y", f"{moment.year:04d}"))


def to_timestamp(text: str, pattern: str = "") -> int | None:
    """A text as a timestamp in ms; NULL if it is none."""
    try:
        if not pattern:
            return v.text_to_timestamp(text, 3)
        moment = datetime.datetime.strptime(text, _pattern(pattern))  # noqa: DTZ007 (a TIMESTAMP has no zone)
    except (EvaluationError, ValueError):
        return None
    return (moment - datetime.datetime(1970, 1, 1)) // datetime.timedelta(milliseconds=1)  # noqa: DTZ001 (no zone)


def to_date(text: str, pattern: str = "") -> int | None:
    """A text as days since 1970; NULL if it is none."""
    millis = to_timestamp(text, pattern)
    return None if millis is None else millis // v.DAY_MS


def unix_timestamp(text: str, pattern: str = "") -> int | None:
    """A text (in UTC) as seconds since 1970."""
    millis = to_timestamp(text, pattern)
    return None if millis is None else millis // 1000


def from_unixtime(seconds: int, pattern: str = "yyyy-MM-dd HH:mm:ss") -> str:
    """Seconds since 1970 as a text (in UTC)."""
    return date_format(seconds * 1000, pattern)
