"""Fields that were read from a text to a day and a time, as ``java.time`` resolves them (SMART)."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.times import calendar as c

_RANGES = {
    "month": (1, 12), "day": (1, 31), "H": (0, 24),
    "k": (0, 24), "K": (0, 11), "h": (0, 12), "minute": (0, 59), "second": (0, 59), "nano": (0, 999_999_999),
    "A": (0, c.DAY_MS - 1), "N": (0, c.DAY_NANOS - 1), "era_year": (1, 999_999_999),
    "year": (-999_999_999, 999_999_999),
}  # fmt: skip
_PARTS = ("minute", "second", "nano")
_HOUR, _MINUTE = 3_600_000_000_000, 60_000_000_000


class ImpossibleDate(ValueError):
    """The text fits the pattern, but 1970, the year that it does not name, has no such day."""


def resolve(fields: Mapping[str, int]) -> tuple[int, int] | None:
    """Day since 1970 and nanoseconds of the day (a whole day for 24:00); None if the fields contradict each other.

    Parts that are missing are those of 1970-01-01 00:00. A day beyond the end of its month is the last one.

    Args:
        fields: by name: ``year``, ``era_year``, ``era``, ``month``, ``day``, ``dow``, ``minute``, ``second``,
            ``nano``, and others by their letter.

    Raises:
        ImpossibleDate: see there.

    Example:
        >>> resolve({"year": 1970, "month": 1, "day": 2, "h": 1, "a": 1}) == (1, 13 * 3_600_000_000_000)
        True
    """
    for name, value in fields.items():
        low, high = _RANGES.get(name, (value, value))
        if not low <= value <= high:
            return None
    nanos = _time(fields)
    days = None if nanos is None else _date(fields)
    return None if days is None or nanos is None else (days, nanos)


def _time(fields: Mapping[str, int]) -> int | None:
    """Nanoseconds of the day; None for a contradiction."""
    hour = fields.get("H", fields["k"] % 24 if "k" in fields else None)
    half = fields.get("K", fields["h"] % 12 if "h" in fields else None)
    if hour is None and "a" in fields and half is not None:
        hour = fields["a"] * 12 + half
    if fields.get("k", hour) not in (hour, 24 if hour == 0 else hour) or fields.get("h", half) not in (
        half,
        half or 12,
    ):
        return None
    minute, second, nano = (fields.get(name, 0) for name in _PARTS)
    if "A" in fields or "N" in fields:
        nanos = fields["N"] if "N" in fields else fields["A"] * 1_000_000
    elif hour is None and "a" in fields and not any(name in fields for name in _PARTS):
        nanos = (18 if fields["a"] else 6) * _HOUR  # the middle of the half
    else:
        nanos = (((hour or 0) * 60 + minute) * 60 + second) * 1_000_000_000 + nano
        if hour is None:
            return nanos
        if _has_gap(fields):
            return nanos if hour < 24 else None  # Java makes no time of these, and so compares nothing with it
    if hour == 24:
        return None if nanos > 24 * _HOUR else nanos
    hours, rest = divmod(nanos, _HOUR)
    facts = {"H": hours, "k": hours or 24, "K": hours % 12, "h": hours % 12 or 12, "a": hours // 12}
    facts |= {"minute": rest // _MINUTE, "second": rest % _MINUTE // 1_000_000_000, "nano": rest % 1_000_000_000}
    facts |= {"A": nanos // 1_000_000, "N": nanos}
    facts |= {letter: 0 for letter, whole in (("k", 24), ("h", 12)) if fields.get(letter) == 0 == facts[letter] % whole}
    return nanos if all(fact == fields.get(name, fact) for name, fact in facts.items()) else None


def _has_gap(fields: Mapping[str, int]) -> bool:
    """Whether a part of the time is missing between others."""
    given = [name in fields for name in _PARTS]
    return given != sorted(given, reverse=True)


def _date(fields: Mapping[str, int]) -> int | None:
    """The day; None for a contradiction."""
    year = fields.get("year")
    if "era_year" in fields:
        found = fields["era_year"] if fields.get("era", 1) else 1 - fields["era_year"]
        if year not in (None, found):
            return None
        year = found
    month, day = fields.get("month"), fields.get("day")
    if year is None and "Y" in fields and "w" in fields and "dow" in fields:
        if not (1 <= fields["w"] <= 53 and 1 <= fields["dow"] <= 7):
            return None
        return _checked(c.first_week(fields["Y"]) + (fields["w"] - 1) * 7 + fields["dow"] - 1, fields)
    if year is not None and month is not None and day is not None:
        return _checked(c.days_of(year, month, min(day, c.last_day(year, month))), fields)
    if year is not None and "D" in fields:
        days = c.days_of(year, 1, 1) + fields["D"] - 1
        if day not in (None, c.civil(days)[2]):
            return None
        return _checked(days, fields) if 1 <= fields["D"] <= 366 and c.civil(days)[0] == year else None
    try:
        return c.days_of(1970 if year is None else year, month or 1, day or 1)
    except ValueError:
        raise ImpossibleDate from None


def _checked(days: int, fields: Mapping[str, int]) -> int | None:
    """The day, if all fields agree with it."""
    month = c.civil(days)[1]
    facts = {"month": month, "Q": (month + 2) // 3, "dow": c.day_of_week(days), "D": c.day_of_year(days)}
    facts["Y"], facts["w"] = c.week_of(days)
    return days if all(fields.get(name, fact) == fact for name, fact in facts.items()) else None
