"""Timestamps to text by a pattern of Java's ``DateTimeFormatter``."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from anomaly_app.times import calendar as c, names
from anomaly_app.times.patterns import ZONES, Field, Item, Option, read


def signed(value: int, width: int) -> str:
    """A number of at least so many digits, with a sign if it is negative."""
    return f"{value:0{width}d}" if value >= 0 else f"-{-value:0{width}d}"


def year_text(value: int, width: int) -> str:
    """A year of at least so many digits; with a sign if it is negative or has more."""
    return f"+{value}" if value >= 10**width else signed(value, width)


def _of_era(year: int) -> int:
    return year if year > 0 else 1 - year


def day_period(hour: int, minute: int) -> str:
    """The part of the day in words.

    Example:
        >>> day_period(12, 0), day_period(12, 1), day_period(5, 0)
        ('noon', 'in the afternoon', 'at night')
    """
    if minute == 0 and hour in (0, 12):
        return names.DAY_PERIODS[0 if hour == 0 else 3]
    return names.DAY_PERIODS[1 if hour < 6 or hour >= 21 else 2 if hour < 12 else 4 if hour < 18 else 5]


_SCOPE: dict[str, Any] = {
    "signed": signed,
    "year_text": year_text,
    "of_era": _of_era,
    "day_period": day_period,
    "civil": c.civil,
    "week_of": c.week_of,
    "week_of_month": c.week_of_month,
    "day_of_year": c.day_of_year,
    "MONTHS": names.MONTHS,
    "SHORT_MONTHS": names.SHORT_MONTHS,
    "DAYS": names.DAYS,
    "SHORT_DAYS": names.SHORT_DAYS,
    "QUARTERS": names.QUARTERS,
    "SHORT_QUARTERS": names.SHORT_QUARTERS,
    "ERAS": names.ERAS,
    "LONG_ERAS": names.LONG_ERAS,
    "HALVES": names.HALVES,
}

_NUMBERS = {
    "M": "month", "L": "month", "d": "day", "H": "hour", "k": "(hour or 24)", "K": "hour % 12",
    "h": "(hour % 12 or 12)", "m": "minute", "s": "second", "D": "day_of_year(days)", "F": "((day - 1) % 7 + 1)",
    "Q": "((month + 2) // 3)", "q": "((month + 2) // 3)", "e": "((days + 4) % 7 + 1)", "c": "((days + 4) % 7 + 1)",
    "w": "week_of(days)[1]", "W": "week_of_month(days)", "n": "nano", "N": "nanos", "A": "(nanos // 1000000)",
}  # fmt: skip
_PLACES = {"M": "month - 1", "L": "month - 1", "Q": "(month - 1) // 3", "E": "(days + 4) % 7", "G": "(year > 0)"}
_PLACES |= {"q": _PLACES["Q"], "e": _PLACES["E"], "c": _PLACES["E"], "a": "hour // 12"}
_TEXTS = {"M": "MONTHS", "L": "MONTHS", "Q": "QUARTERS", "q": "QUARTERS", "G": "ERAS", "a": "HALVES"}


def _source(field: Field, pattern: str) -> str:
    """A field as an expression, with its format behind a colon."""
    source = _field_source(field, pattern)
    return f"f'{{{source}}}'.rjust({field.width})" if field.width else source


def _field_source(field: Field, pattern: str) -> str:
    letter, count = field.letter, field.count
    if letter in ZONES:
        raise ValueError(
            f"{letter!r} in the date pattern {pattern!r} is a time zone, and a timestamp has none; a letter meant as "
            "text stands in quotes"
        )
    if field.text:
        return _text_source(field)
    if letter in "yuY":
        year = {"y": "of_era(year)", "u": "year", "Y": "week_of(days)[0]"}[letter]
        if count == 2:
            return f"abs({year}) % 100:02d"
        return f"{'signed' if count < 4 else 'year_text'}({year}, {count})"
    if letter == "S":
        return f"nano // {10 ** (9 - count)}:0{count}d"
    if letter == "g":
        return f"signed(days + 40587, {count})"
    return f"{_NUMBERS[letter]}:0{count}d"


def _text_source(field: Field) -> str:
    letter, count = field.letter, field.count
    if letter == "B":
        return "day_period(hour, minute)"
    short = count <= 3
    if letter == "G":
        text = f"{'ERAS' if short or count == 5 else 'LONG_ERAS'}[{_PLACES[letter]}]"
    elif letter == "a":
        text = f"HALVES[{_PLACES[letter]}]"
    elif letter in "Qq" and count == 5:
        return f"str({_NUMBERS[letter]})"
    else:
        text = f"{'SHORT_' if short else ''}{_TEXTS.get(letter, 'DAYS')}[{_PLACES[letter]}]"
    return f"{text}[0]" if count == 5 else text


def _has_zone(items: tuple[Item, ...]) -> bool:
    return any(isinstance(item, Field) and item.letter in ZONES for item in items)


def _parts(items: tuple[Item, ...], pattern: str) -> list[str]:
    parts = []
    for item in items:
        if isinstance(item, Option):
            # Java leaves out an optional section that it cannot print.
            parts += [] if _has_zone(item.items) else _parts(item.items, pattern)
        elif isinstance(item, str):
            parts.append(repr(item)[1:-1].replace("{", "{{").replace("}", "}}").replace('"', "\\x22"))
        else:
            parts.append(f"{{{_source(item, pattern)}}}")
    return parts


_YEAR = re.compile(r"year_text\((?:of_era\(year\)|year), (\d+)\)")

_LINES = (
    ("nanos", "    nanos = rest * {scale}\n"),
    ("hour|minute|second", "    hour, second = divmod(rest // {per_second}, 3600)\n"),
    ("minute|second", "    minute, second = divmod(second, 60)\n"),
    ("nano", "    nano = rest % {per_second} * {scale}\n"),
    ("year|month|day", "    year, month, day = civil(days)\n"),
)
"""Names that fields need, and the source that makes them."""


@functools.lru_cache(maxsize=256)
def formatter(pattern: str, per_day: int) -> Callable[[int], str]:
    """A function from timestamps to texts.

    Args:
        pattern: of ``DateTimeFormatter``.
        per_day: units of a day that the timestamps are held in.

    Raises:
        ValueError: it is no pattern, or needs a zone.

    Example:
        >>> formatter("yyyy-MM-dd HH:mm:ss.SSS", 86_400_000)(0)
        '1970-01-01 00:00:00.000'
        >>> formatter("EEE d MMM, h a", 86_400_000)(47_000_000)
        'Thu 1 Jan, 1 PM'
    """
    text = "".join(_parts(read(pattern), pattern))
    facts = {"per_second": max(per_day // 86_400, 1), "scale": c.DAY_NANOS // per_day}
    lines = [line.format(**facts) for words, line in _LINES if re.search(rf"\b({words})\b", text)]
    source = f"def write(value):\n    days, rest = divmod(value, {per_day})\n{''.join(lines)}"
    if _YEAR.search(text):
        common = _YEAR.sub(r"year:0\1d", text)
        source += f'    if 0 < year <= 9999:\n        return f"{common}"\n'
    source += f'    return f"{text}"\n'
    scope = dict(_SCOPE)
    exec(compile(source, "<date pattern>", "exec"), scope)
    write: Callable[[int], str] = scope["write"]
    return write
