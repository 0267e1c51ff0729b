"""Recurring times in which routes are mute or active, in the forms of Alertmanager."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from anomaly_app.settings.delivery import TimeRange
from anomaly_app.settings.loading import LoadedSettings

Span: TypeAlias = tuple[int, int]
"""First and last value, both included."""

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = tuple(name.lower() for name in calendar.month_name)
DAY = 24 * 60
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_NUMBER = re.compile(r"-?\d{1,4}")


@dataclass(frozen=True, slots=True)
class Range:
    """Times of which all that is said must hold.

    Args:
        times: spans of minutes of the day, the last one not included.
        weekdays: from 0 for Sunday.
        days: of the month; negative ones are counted from its end.
        months: from 1.
        years: as they are.
        zone: of the location; None for that of this machine.
    """

    times: tuple[Span, ...]
    weekdays: tuple[Span, ...]
    days: tuple[Span, ...]
    months: tuple[Span, ...]
    years: tuple[Span, ...]
    zone: tzinfo | None

    def contains(self, now_ms: int) -> bool:
        """Whether a time is in it.

        Args:
            now_ms: in ms since 1970.
        """
        now = datetime.fromtimestamp(now_ms // 1000, UTC).astimezone(self.zone)
        minute = now.hour * 60 + now.minute
        return (
            (not self.times or any(start <= minute < end for start, end in self.times))
            and _within(self.weekdays, now.isoweekday() % 7)
            and (not self.days or self._has_day(now))
            and _within(self.months, now.month)
            and _within(self.years, now.year)
        )

    def _has_day(self, now: datetime) -> bool:
        length = calendar.monthrange(now.year, now.month)[1]
        for first, last in self.days:
            start = first if first > 0 else length + first + 1
            end = last if last > 0 else length + last + 1
            if start <= now.day <= end:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Interval:
    """Ranges with a name, any of which counts."""

    name: str
    ranges: tuple[Range, ...]

    def contains(self, now_ms: int) -> bool:
        """Whether a time is in any of them; the time in ms since 1970."""
        return any(each.contains(now_ms) for each in self.ranges)


def compile_intervals(loaded: LoadedSettings) -> Mapping[str, Interval]:
    """The intervals of the settings by name.

    Raises:
        SettingsError: a name is there twice, or a range cannot be read.
    """
    found: dict[str, Interval] = {}
    for number, interval in enumerate(loaded.settings.delivery.time_intervals):
        place = f"delivery.time_intervals[{number}]"
        if interval.name in found:
            raise loaded.error(f"{place}.name", f"there are two intervals that are named {interval.name}")
        ranges = []
        for index, each in enumerate(interval.time_intervals):
            try:
                ranges.append(compile_range(each))
            except RangeError as error:
                raise loaded.error(f"{place}.time_intervals[{index}].{error.key}", str(error)) from None
        found[interval.name] = Interval(interval.name, tuple(ranges))
    return found


class RangeError(ValueError):
    """A range cannot be read.

    Args:
        key: where, within the range.
        problem: what is wrong, and what would be right.
    """

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        super().__init__(problem)


def compile_range(given: TimeRange) -> Range:
    """Read a range.

    Raises:
        RangeError: it cannot be read.

    Example:
        >>> office = compile_range(TimeRange(weekdays=("monday:friday",), times=({"start_time": "09:00",
        ...     "end_time": "17:00"},), location="Europe/Berlin"))
        >>> office.contains(1_767_600_000_000), office.contains(1_767_600_000_000 - 9 * 3_600_000)
        (True, False)
    """
    times = []
    for index, each in enumerate(given.times):
        start = _minute(each.start_time, f"times[{index}].start_time")
        end = _minute(each.end_time, f"times[{index}].end_time")
        if start >= end:
            problem = (
                f"{each.end_time} is not after {each.start_time}; hours over midnight are two: to 24:00, from 00:00"
            )
            raise RangeError(f"times[{index}].end_time", problem)
        times.append((start, end))
    return Range(
        tuple(times),
        _spans("weekdays", given.weekdays, WEEKDAYS, 0, 6),
        _days(given.days_of_month),
        _spans("months", given.months, MONTHS, 1, 12),
        _spans("years", given.years, (), 1, 9999),
        _zone(given.location),
    )


def _within(spans: Sequence[Span], value: int) -> bool:
    return not spans or any(first <= value <= last for first, last in spans)


def _minute(text: str, key: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise RangeError(key, f"{text!r} should be a time of day, from 00:00 to 24:00")
    return DAY if found[1] is None else int(found[1]) * 60 + int(found[2])


def _spans(key: str, texts: Sequence[str], names: Sequence[str], least: int, most: int) -> tuple[Span, ...]:
    spans = []
    for index, text in enumerate(texts):
        place = f"{key}[{index}]"
        bounds = [_value(part.strip(), place, names, least, most) for part in text.split(":")]
        if len(bounds) > 2:
            raise RangeError(place, f"{text!r} should be one of {key}, or two with a colon between them")
        if bounds[0] > bounds[-1]:
            raise RangeError(place, f"{text!r} ends before it begins; write it as two")
        spans.append((bounds[0], bounds[-1]))
    return tuple(spans)


def _value(text: str, place: str, names: Sequence[str], least: int, most: int) -> int:
    if text and text.lower() in names:
        return names.index(text.lower())
    # Alertmanager takes weekdays by name only: whether a week begins with 0 or 1, people do not agree.
    if names != WEEKDAYS and _NUMBER.fullmatch(text) and least <= int(text) <= most:
        return int(text)
    if names:
        given = f", or {least} to {most}" if names != WEEKDAYS else ""
        raise RangeError(place, f"{text!r} should be one of {', '.join(name for name in names if name)}{given}")
    raise RangeError(place, f"{text!r} should be a number from {least} to {most}")


def _days(texts: Sequence[str]) -> tuple[Span, ...]:
    spans = []
    for index, text in enumerate(texts):
        place = f"days_of_month[{index}]"
        parts = [part.strip() for part in text.split(":")]
        bounds = [int(part) for part in parts if _NUMBER.fullmatch(part)]
        if len(bounds) != len(parts) or len(parts) > 2 or not all(1 <= abs(bound) <= 31 for bound in bounds):
            raise RangeError(place, f"{text!r} should be a day from 1 to 31, or -1 to -31 from the end, or first:last")
        first, last = bounds[0], bounds[-1]
        if first < 0 < last:
            raise RangeError(place, f"{text!r}: what begins from the end of a month must end from it, too")
        if (first > 0) == (last > 0) and first > last:
            raise RangeError(place, f"{text!r} ends before it begins; write it as two")
        spans.append((first, last))
    return tuple(spans)


def _zone(name: str) -> tzinfo | None:
    if name == "Local":
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RangeError("location", f"{name!r} is no time zone; name one such as Europe/Berlin, or Local") from None
