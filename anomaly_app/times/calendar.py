"""Days since 1970 to year, month and day and back, for any year (Python's own dates end at the years 1 and 9999)."""

from __future__ import annotations

import datetime

EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
DAY_MS = 86_400_000
DAY_NANOS = 86_400_000_000_000

_LAST_DAY = datetime.date.max.toordinal()
_CYCLE_DAYS = 146_097
"""Days of 400 years: after them the calendar, with its weekdays, begins anew."""


def civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day since 1970; there is a year 0, and years before it are negative.

    Example:
        >>> civil(0), civil(-719163), civil(2932897)
        ((1970, 1, 1), (0, 12, 31), (10000, 1, 1))
    """
    date, shift = _within(days)
    return date.year + shift, date.month, date.day


def _within(days: int) -> tuple[datetime.date, int]:
    """A date that has the same place in its cycle, and the years to add to it."""
    ordinal = days + EPOCH_DAY
    if 1 <= ordinal <= _LAST_DAY:
        return datetime.date.fromordinal(ordinal), 0
    cycles, rest = divmod(ordinal - 1, _CYCLE_DAYS)
    return datetime.date.fromordinal(rest + 1), 400 * cycles


def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970 of a date.

    Raises:
        ValueError: there is no such day.

    Example:
        >>> days_of(1970, 1, 2), days_of(0, 2, 29)
        (1, -719469)
    """
    if 1 <= year <= 9999:
        return datetime.date(year, month, day).toordinal() - EPOCH_DAY
    cycles, rest = divmod(year - 1, 400)
    return datetime.date(rest + 1, month, day).toordinal() + cycles * _CYCLE_DAYS - EPOCH_DAY


def rolled_days(year: int, month: int, day: int) -> int:
    """Days since 1970 of a date whose month and day may lie beyond their ends and then roll on.

    Example:
        >>> rolled_days(2023, 14, 0) == days_of(2024, 1, 31)
        True
    """
    years, index = divmod(month - 1, 12)
    return days_of(year + years, index + 1, 1) + day - 1


def last_day(year: int, month: int) -> int:
    """Number of days of a month."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def add_months(value: int, months: int, per_day: int) -> int:
    """A DATE or TIMESTAMP (``per_day`` units a day) some months on; the day is cut to the month's last.

    Example:
        >>> civil(add_months(days_of(2024, 1, 31), 1, 1))
        (2024, 2, 29)
    """
    days, rest = divmod(value, per_day)
    year, month, day = civil(days)
    years, index = divmod(month - 1 + months, 12)
    year += years
    return days_of(year, index + 1, min(day, last_day(year, index + 1))) * per_day + rest


def iso_week(days: int) -> tuple[int, int]:
    """Year and week by ISO 8601: weeks begin on Monday, and the first one has the year's first Thursday."""
    date, shift = _within(days)
    year, week, _ = date.isocalendar()
    return year + shift, week


def week_of(days: int) -> tuple[int, int]:
    """Year and week as in the USA: weeks begin on Sunday, and the first one has the first of January.

    Example:
        >>> week_of(days_of(2024, 12, 30)), week_of(days_of(2021, 1, 3))
        ((2025, 1), (2021, 2))
    """
    year = civil(days)[0]
    if days >= (following := first_week(year + 1)):
        return year + 1, (days - following) // 7 + 1
    return year, (days - first_week(year)) // 7 + 1


def first_week(year: int) -> int:
    """The Sunday on which the first week of a year begins (see :func:`week_of`)."""
    first = days_of(year, 1, 1)
    return first - (first + 4) % 7


def week_of_month(days: int) -> int:
    """Week of a month, weeks beginning on Sunday; the first one has the first day."""
    day = civil(days)[2]
    return (day - 1 + (days - day + 5) % 7) // 7 + 1


def day_of_week(days: int) -> int:
    """1 on Sunday to 7 on Saturday."""
    return (days + 4) % 7 + 1


def day_of_year(days: int) -> int:
    """1 on the first of January."""
    return days - days_of(civil(days)[0], 1, 1) + 1
