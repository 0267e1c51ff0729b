"""Units of time: parts of a value, starts of units, sums and differences."""

from __future__ import annotations

from anomaly_app.errors import EvaluationError
from anomaly_app.times import calendar as c

NANOS = {"NANOSECOND": 1, "MICROSECOND": 1_000, "MILLISECOND": 1_000_000, "SECOND": 1_000_000_000}
NANOS |= {"MINUTE": 60 * NANOS["SECOND"], "HOUR": 3600 * NANOS["SECOND"], "DAY": c.DAY_NANOS, "WEEK": 7 * c.DAY_NANOS}
"""Units of a fixed length."""

MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12, "DECADE": 120, "CENTURY": 1_200, "MILLENNIUM": 12_000}
"""Units of some months."""

PARTS = (*NANOS, *MONTHS, "ISOYEAR", "DOW", "ISODOW", "DOY", "EPOCH")
"""What EXTRACT knows."""

TIME_PARTS = ("NANOSECOND", "MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR")

STEPS = ("MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", *MONTHS)
"""What TIMESTAMPADD counts in, and FLOOR and CEIL go to."""

CLOCK_STEPS = ("SECOND", "MINUTE", "HOUR", "DAY", "WEEK", *MONTHS)
"""What TIMESTAMPADD counts in for a TIME."""

CLOCK_FLOORS = ("MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY")
"""What FLOOR and CEIL go to for a TIME."""

DIFFERENCES = ("NANOSECOND", "MICROSECOND", *STEPS[: STEPS.index("YEAR") + 1])
"""What TIMESTAMPDIFF counts in."""


def unit_of(word: str, known: tuple[str, ...]) -> str | None:
    """The unit that a word in upper case means: ``DAYS`` and ``SQL_TSI_DAY`` are ``DAY``; None without one.

    Example:
        >>> unit_of("SQL_TSI_DAY", STEPS), unit_of("HOURS", STEPS), unit_of("DOW", STEPS)
        ('DAY', 'HOUR', None)
    """
    name = word.removeprefix("SQL_TSI_")
    for unit in (name, name.removesuffix("S")):
        if unit in known:
            return unit
    return None


def extract(value: int, part: str, per_day: int) -> int:
    """A part of a date or timestamp with ``per_day`` units a day.

    Example:
        >>> extract(86_400_000 + 3_600_000, "HOUR", 86_400_000), extract(1, "DAY", 1)
        (1, 2)
    """
    days, rest = divmod(value, per_day)
    if part in TIME_PARTS:
        return time_part(rest * (c.DAY_NANOS // per_day), part)
    if part == "EPOCH":
        return value * 86_400 // per_day
    if part == "WEEK":
        return c.iso_week(days)[1]
    if part == "ISOYEAR":
        return c.iso_week(days)[0]
    if part == "DOW":
        return c.day_of_week(days)
    if part == "ISODOW":
        return (days + 3) % 7 + 1
    if part == "DOY":
        return c.day_of_year(days)
    year, month, day = c.civil(days)
    if part == "YEAR":
        return year
    if part == "MONTH":
        return month
    if part == "DAY":
        return day
    if part == "QUARTER":
        return (month + 2) // 3
    if part == "DECADE":
        return year // 10
    years = MONTHS[part] // 12
    # The first century has the years 1 to 100.
    return (year + years - 1) // years if year > 0 else -((years - 1 - year) // years)


def extract_source(part: str, per_day: int) -> str | None:
    """Template of the source of :func:`extract` for the parts that need no call, or a cheap one; None for others."""
    if part in TIME_PARTS:
        if per_day == 1:
            return "({} % 1)"  # a date has midnight
        per_second = per_day // 86_400
        if part in ("HOUR", "MINUTE", "SECOND"):
            size, most = {"HOUR": (3600, 24), "MINUTE": (60, 60), "SECOND": (1, 60)}[part]
            return f"({{}} // {size * per_second} % {most})"
        return f"({{}} % {per_second} * {NANOS['SECOND'] // per_second} // {NANOS[part]})"
    if part == "DOW":
        return f"(({{}} // {per_day} + 4) % 7 + 1)"
    return None


CIVIL_PARTS = {"YEAR": 0, "MONTH": 1, "DAY": 2}
"""Places of parts in :func:`~anomaly_app.times.calendar.civil`."""


def floor_source(unit: str, per_day: int) -> str | None:
    """Template of the source of :func:`floor_time` for units of a fixed length but the week; None for others."""
    if unit in MONTHS or unit == "WEEK":
        return None
    step = NANOS[unit] * per_day // c.DAY_NANOS
    return f"({{}} // {step} * {step})" if step > 1 else "{}"


def time_part(nanos: int, part: str) -> int:
    """A part of a time of day in nanoseconds; parts of a second count all of its fraction."""
    if part == "HOUR":
        return nanos // NANOS["HOUR"]
    if part == "MINUTE":
        return nanos // NANOS["MINUTE"] % 60
    if part == "SECOND":
        return nanos // NANOS["SECOND"] % 60
    return nanos % NANOS["SECOND"] // NANOS[part]


INTERVAL_PARTS = ("MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY")


def interval_part(value: int, part: str) -> int:
    """A part of an interval in milliseconds; all parts have its sign.

    Example:
        >>> interval_part(-129_600_999, "HOUR"), interval_part(-129_600_999, "DAY")
        (-12, -1)
    """
    size = abs(value)
    found = size // c.DAY_MS if part == "DAY" else time_part(size % c.DAY_MS * 1_000_000, part)
    return found if value >= 0 else -found


MONTH_PARTS = ("MONTH", "QUARTER", "YEAR")


def months_part(value: int, part: str) -> int:
    """A part of an interval in months; years and months have its sign."""
    if part == "QUARTER":
        return abs(value) % 12 // 3 + 1
    found = abs(value) // 12 if part == "YEAR" else abs(value) % 12
    return found if value >= 0 else -found


def floor_time(value: int, unit: str, per_day: int) -> int:
    """The start of the unit that a date or timestamp lies in; weeks begin on Sunday."""
    if unit == "MONTH":
        days = value // per_day
        return (days - c.civil(days)[2] + 1) * per_day
    if unit in MONTHS:
        year, month, _ = c.civil(value // per_day)
        step = MONTHS[unit]
        if step <= 12:
            month = (month - 1) // step * step + 1
        else:
            years, month = step // 12, 1
            year = year // years * years if unit == "DECADE" else (year - 1) // years * years + 1
        return c.days_of(year, month, 1) * per_day
    if unit == "WEEK":
        days = value // per_day
        return (days - (days + 4) % 7) * per_day
    step = NANOS[unit] * per_day // c.DAY_NANOS
    return value // step * step if step > 1 else value


def ceil_time(value: int, unit: str, per_day: int) -> int:
    """The start of the next unit, or the value if it is the start of one."""
    start = floor_time(value, unit, per_day)
    return value if start == value else add(start, 1, unit, per_day)


def floor_clock(value: int, unit: str) -> int:
    """FLOOR of a time of day in milliseconds; it has no parts from a day on."""
    return floor_time(value, unit, c.DAY_MS) if unit in TIME_PARTS else value


def ceil_clock(value: int, unit: str) -> int:
    """CEIL of a time of day in milliseconds."""
    found = ceil_time(value, unit, c.DAY_MS) if unit in TIME_PARTS else value
    if found >= c.DAY_MS:
        raise EvaluationError(f"CEIL: the next {unit} begins on the next day, which a TIME cannot show")
    return found


def add(value: int, count: int, unit: str, per_day: int) -> int:
    """A date or timestamp some units on."""
    if unit in MONTHS:
        return c.add_months(value, count * MONTHS[unit], per_day)
    return value + count * NANOS[unit] * per_day // c.DAY_NANOS


def add_clock(value: int, count: int, unit: str) -> int:
    """A time of day in milliseconds some units on, around the clock; whole days change nothing."""
    return value if unit in MONTHS else (value + count * NANOS[unit] // 1_000_000) % c.DAY_MS


def shift_date(days: int, millis: int) -> int:
    """A date and an interval: only its whole days count."""
    return days + (millis // c.DAY_MS if millis >= 0 else -(-millis // c.DAY_MS))


_SIZES = {unit: (max(NANOS[unit] // 1_000_000, 1_000), 1) for unit in NANOS} | {u: (n, 1) for u, n in MONTHS.items()}
_SIZES |= {unit: (1_000, NANOS["SECOND"] // NANOS[unit]) for unit in ("MILLISECOND", "MICROSECOND", "NANOSECOND")}
"""Milliseconds or months of a unit, and what the quotient is multiplied by."""


def difference(start: int, end: int, unit: str) -> int:
    """Whole units from one timestamp (in ms) to another, truncated towards zero.

    As in Flink, units below a second are those of the whole seconds.

    Raises:
        EvaluationError: the result is no INT (nanoseconds are a BIGINT).

    Example:
        >>> difference(0, 90_000, "MINUTE"), difference(90_000, 0, "MINUTE")
        (1, -1)
    """
    found = whole_months(start, end) if unit in MONTHS else end - start
    size, factor = _SIZES[unit]
    number = (found // size if found >= 0 else -(-found // size)) * factor
    if not -2_147_483_648 <= number <= 2_147_483_647 and unit != "NANOSECOND":
        raise EvaluationError(f"TIMESTAMPDIFF: {number} {unit}s do not fit INT; count in a larger unit")
    return number


def whole_months(start: int, end: int) -> int:
    """Whole months from one timestamp (in ms) to another, truncated towards zero."""
    if start > end:
        return -whole_months(end, start)
    first, last = c.civil(start // c.DAY_MS), c.civil(end // c.DAY_MS)
    months = (last[0] - first[0]) * 12 + last[1] - first[1]
    return months - 1 if months and c.add_months(start, months, c.DAY_MS) > end else months
