"""Fields that were read from a text to a day and a time, as ``java.time`` resolves them (SMART)."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.times import calendar as c

_RANGES = {
    "month": (1, 12), "day": (1, 31), "D": (1, 366), "Q": (1, 4), "dow": (1, 7), "w": (1, 53), "H": (0, 24),
    "k": (0, 24), "K": (0, 11), "h": (0, 12), "minute": (0, 59), "second": (0, 59), "nano": (0, 999_999_999),
    "A": (0, c.DAY_MS - 1), "N": (0, c.DAY_NANOS - 1), "era_year": (1, 999_999_999),
    "year": (-999_999_999, 999_999_999), "Y": (-999_999_999, 999_999_999),
}  # fmt: skip


def resolve(fields: Mapping[str, int]) -> tuple[int, int] | None:
    """Day since 1970 and nanoseconds of the day (a whole day for 24:00); None if the fields contradict each other.

    Parts that are missing are those of 1970-01-01 00:00. A day beyond the end of its month is the last one.

    Args:
        fields: by name: ``year``, ``era_year``, ``era``, ``month``, ``day``, ``dow``, ``minute``, ``second``,
            ``nano``, and others by their letter.

    Example:
        >>> resolve({"year": 1970, "month": 1, "day": 2, "h": 1, "a": 1}) == (1, 13 * 3_600_000_000_000)
        True
    """
    for name, value in fields.items():
        low, high = _RANGES.get(name, (value, value))
        if not low <= value <= high:
            return None
    nanos = _time(fields)
    try:
        days = _date(fields)
    except ValueError:
        return None
    return None if days is None or nanos is None else (days, nanos)


def _time(fields: Mapping[str, int]) -> int | None:
    if "N" in fields:
        return fields["N"]
    if "A" in fields:
        return fields["A"] * 1_000_000
    hour = fields.get("H")
    if hour is None and "k" in fields:
        hour = fields["k"] % 24
    half = fields.get("K")
    if half is None and "h" in fields:
        half = fields["h"] % 12
    if "a" in fields and half is not None:
        found = fields["a"] * 12 + half
        if hour not in (None, found):
            return None
        hour = found
    minute, second, nano = (fields.get(name, 0) for name in ("minute", "second", "nano"))
    if hour == 24 and (minute or second or nano):
        return None
    return (((hour or 0) * 60 + minute) * 60 + second) * 1_000_000_000 + nano


def _date(fields: Mapping[str, int]) -> int | None:
    """The day; None for a contradiction, ValueError for a day that does not exist."""
    year = fields.get("year")
    if "era_year" in fields:
        found = fields["era_year"] if fields.get("era", 1) else 1 - fields["era_year"]
        if year not in (None, found):
            return None
        year = found
    month, day = fields.get("month"), fields.get("day")
    if year is None and "Y" in fields and "w" in fields and "dow" in fields:
        return _checked(c.first_week(fields["Y"]) + (fields["w"] - 1) * 7 + fields["dow"] - 1, fields)
    if year is not None and month is not None and day is not None:
        return _checked(c.days_of(year, month, min(day, c.last_day(year, month))), fields)
    if year is not None and month is None and "D" in fields:
        days = c.days_of(year, 1, 1) + fields["D"] - 1
        return _checked(days, fields) if c.civil(days)[0] == year else None
    return c.days_of(1970 if year is None else year, month or 1, day or 1)


def _checked(days: int, fields: Mapping[str, int]) -> int | None:
    """The day, if all fields agree with it."""
    _, month, _ = c.civil(days)
    facts = {"dow": c.day_of_week(days), "Q": (month + 2) // 3, "D": c.day_of_year(days)}
    facts["Y"], facts["w"] = c.week_of(days)
    return days if all(fields.get(name, fact) == fact for name, fact in facts.items()) else None
