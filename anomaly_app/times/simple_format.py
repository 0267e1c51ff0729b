"""Java's ``SimpleDateFormat`` and its lenient calendar: UNIX_TIMESTAMP, FROM_UNIXTIME, TO_DATE and CONVERT_TZ use it.

Before 15 October 1582 its calendar is the Julian one. Two-digit years lie in 1947 to 2046: Java takes the 80 years
before and the 20 after the present, but here nothing reads the clock.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable
from typing import TypeAlias

from anomaly_app.times import calendar as c, names
from anomaly_app.times.formatting import formatter
from anomaly_app.times.patterns import quoted

Item: TypeAlias = "tuple[str, int] | str"

CENTURY_START = 1947
"""First of the hundred years that two digits may mean."""

_CHANGE = c.days_of(1582, 10, 15)
_LETTERS = "GyYMLWwDdFEuaHkKhmsSzZX"
_RUN = re.compile(r"([A-Za-z])\1*")
_NAMED = {"M": (names.MONTHS, names.SHORT_MONTHS), "L": (names.MONTHS, names.SHORT_MONTHS),
          "E": (names.DAYS, names.SHORT_DAYS), "a": (names.HALVES,), "G": (names.ERAS,)}  # fmt: skip


@functools.lru_cache(maxsize=256)
def _read(pattern: str) -> tuple[Item, ...]:
    items: list[Item] = []
    place = 0
    while place < len(pattern):
        found = _RUN.match(pattern, place)
        if found is not None:
            if found[1] not in _LETTERS or (found[1] == "X" and len(found[0]) > 3):
                raise ValueError(f"{found[0]!r} in the date pattern {pattern!r} is no field; quote it if it is text")
            items.append((found[1], len(found[0])))
            place = found.end()
        elif pattern[place] == "'":
            text, place = quoted(pattern, place)
            items.append(text)
        else:
            items.append(pattern[place])
            place += 1
    return tuple(items)


# --- the calendar -------------------------------------------------------------------------------------


def mixed_days(year: int, month: int, day: int) -> int:
    """Days since 1970 of a date of the Gregorian or, before 1582-10-15, Julian calendar; month and day may roll on.

    Example:
        >>> mixed_days(1582, 10, 4) + 1 == mixed_days(1582, 10, 15)
        True
    """
    days = c.rolled_days(year, month, day)
    if days >= _CHANGE:
        return days
    years, index = divmod(month - 1, 12)
    year += years
    return _julian_year(year) + sum(_julian_months(year)[:index]) + day - 1


def _julian_year(year: int) -> int:
    """The first day of a Julian year."""
    return 365 * (year - 1) + (year - 1) // 4 - 1 - c.EPOCH_DAY


def _julian_months(year: int) -> tuple[int, ...]:
    return (31, 29 if year % 4 == 0 else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def mixed_civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day since 1970, as :func:`mixed_days` has them.

    Example:
        >>> mixed_civil(-719162)
        (1, 1, 3)
    """
    if days >= _CHANGE:
        return c.civil(days)
    cycles, rest = divmod(days - _julian_year(1), 1461)
    years = min(rest // 365, 3)
    year, rest = cycles * 4 + years + 1, rest - years * 365
    month = 0
    for length in _julian_months(year):
        if rest < length:
            break
        rest -= length
        month += 1
    return year, month + 1, rest + 1


def _first_week(year: int) -> int:
    """The Sunday of the week of the first of January."""
    first = mixed_days(year, 1, 1)
    return first - (first + 4) % 7


def _week(days: int) -> tuple[int, int]:
    """Year and week, which begins on Sunday; the first one has the first of January."""
    year = mixed_civil(days)[0]
    if days >= (following := _first_week(year + 1)):
        return year + 1, (days - following) // 7 + 1
    return year, (days - _first_week(year)) // 7 + 1


# --- to text ------------------------------------------------------------------------------------------


def write(millis: int, pattern: str) -> str:
    """A time (milliseconds since 1970) as a text in UTC.

    Raises:
        ValueError: it is no pattern.

    Example:
        >>> write(0, "yyyy-MM-dd HH:mm:ss X")
        '1970-01-01 00:00:00 Z'
    """
    days, rest = divmod(millis, c.DAY_MS)
    year, month, day = mixed_civil(days)
    seconds, milli = divmod(rest, 1000)
    hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    shown_year = year if year > 0 else 1 - year
    parts = []
    for item in _read(pattern):
        if isinstance(item, str):
            parts.append(item)
            continue
        letter, count = item
        if letter in _NAMED and (letter not in "ML" or count >= 3):
            place = {"E": (days + 4) % 7, "a": hour // 12, "G": int(year > 0)}.get(letter, month - 1)
            parts.append(_NAMED[letter][-1 if count < 4 else 0][place])
        elif letter in "zZX":
            parts.append({"z": "UTC" if count < 4 else "Coordinated Universal Time", "Z": "+0000", "X": "Z"}[letter])
        elif letter in "yY":
            number = shown_year if letter == "y" else _week(days)[0]
            parts.append(f"{number % 100:02d}" if count == 2 else f"{number:0{count}d}")
        else:
            parts.append(f"{_number(letter, days, month, day, hour, minute, second, milli):0{count}d}")
    return "".join(parts)


def _number(letter: str, days: int, month: int, day: int, hour: int, minute: int, second: int, milli: int) -> int:
    if letter in "MLdHms":
        return {"M": month, "L": month, "d": day, "H": hour, "m": minute, "s": second}[letter]
    if letter in "kKhS":
        return {"k": hour or 24, "K": hour % 12, "h": hour % 12 or 12, "S": milli}[letter]
    if letter == "D":
        year = mixed_civil(days)[0]
        return days - mixed_days(year, 1, 1) + 1
    if letter == "u":
        return (days + 3) % 7 + 1
    if letter == "F":
        return (day - 1) // 7 + 1
    return _week(days)[1] if letter == "w" else (day - 1 + (days - day + 5) % 7) // 7 + 1


@functools.lru_cache(maxsize=256)
def writer(pattern: str) -> Callable[[int], str]:
    """A function that is :func:`write` of one pattern; quick where ``DateTimeFormatter`` would write the same.

    Raises:
        ValueError: it is no pattern.
    """
    items = _read(pattern)
    fields = [item for item in items if not isinstance(item, str)]
    same = all(
        letter in "yMdHhkKmsaE" and count <= (4 if letter in "yME" else 1 if letter == "a" else 2)
        for letter, count in fields
    )
    if not same or not set(pattern).isdisjoint("[]{}#"):
        return lambda millis: write(millis, pattern)
    quick = formatter(pattern, c.DAY_MS)
    return lambda millis: quick(millis) if _FIRST_MS <= millis < _LAST_MS else write(millis, pattern)


_FIRST_MS, _LAST_MS = _CHANGE * c.DAY_MS, c.days_of(10_000, 1, 1) * c.DAY_MS


# --- from text ----------------------------------------------------------------------------------------

_DIGITS = re.compile(r"-?\d+")
_BLANKS = re.compile(r"[ \t]*")
_OFFSETS = {
    1: re.compile(r"Z|([+-])(\d\d)", re.ASCII),
    2: re.compile(r"Z|([+-])(\d\d)(\d\d)", re.ASCII),
    3: re.compile(r"Z|([+-])(\d\d):(\d\d)", re.ASCII),
}
_ZONE = re.compile(r"(?:GMT|UTC)(?:([+-])(\d{1,2}):(\d\d))?|([+-])(\d\d)(\d\d)", re.ASCII | re.IGNORECASE)

Fields: TypeAlias = "dict[str, int]"
"""Values by letter, in the order in which they were read: of two that contradict each other the later one counts."""


@functools.lru_cache(maxsize=256)
def reader(pattern: str) -> Callable[[str], tuple[int, bool] | None]:
    """A function from texts to milliseconds since 1970, and whether the text had a zone (else they are those of UTC).

    It is lenient: the 30th of February is the first or second of March, blanks before a field are skipped, what
    follows is ignored. None stands for a text that does not fit.

    Raises:
        ValueError: it is no pattern, or has a field that is not read here.

    Example:
        >>> reader("yyyy-MM-dd")("1970-01-32 and more"), reader("HH X")("2 +01")
        ((2678400000, False), (3600000, True))
    """
    items = _read(pattern)
    letters = {item[0] for item in items if not isinstance(item, str)}
    if letters & set("WwFEu") and not letters & set("dD") and not ("Y" in letters and "y" not in letters):
        raise ValueError(f"the date pattern {pattern!r} is read here only with a day of the month or year")
    if letters & set("WwF") and letters & set("Eu") and not letters & set("Y"):
        raise ValueError(f"the date pattern {pattern!r} names the day in two ways")
    numbers = [
        not isinstance(item, str) and not (item[0] in "ML" and item[1] > 2) and item[0] not in "EaGzZX"
        for item in items
    ]
    followed = [*numbers[1:], False][: len(items)]

    def read(text: str) -> tuple[int, bool] | None:
        fields: Fields = {}
        place = 0
        for item, obey in zip(items, followed, strict=True):
            if isinstance(item, str):
                if not text.startswith(item, place):
                    return None
                place += len(item)
                continue
            place = _take(item, obey, text, place, fields)
            if place < 0:
                return None
        return (_millis(fields), "zone" in fields) if place else None

    return _quick(items, followed, read)


def _quick(
    items: tuple[Item, ...], followed: list[bool], read: Callable[[str], tuple[int, bool] | None]
) -> Callable[[str], tuple[int, bool] | None]:
    """The same for a pattern of usual fields only; a text that is out of the ordinary is left to ``read``."""
    letters = [item[0] for item in items if not isinstance(item, str)]
    if not set(letters) <= set("yMdHms") or len(set(letters)) < len(letters) or not letters:
        return read
    if any(item[0] in "yM" and item[1] != {"y": 4, "M": 2}[item[0]] for item in items if not isinstance(item, str)):
        return read
    parts = []
    for item, obey in zip(items, followed, strict=True):
        if isinstance(item, str):
            parts.append(re.escape(item))
        else:
            parts.append(rf"(\d{{{item[1]}}})" if obey else r"(\d{1,9})(?!\d)")
    match = re.compile("".join(parts), re.ASCII).match
    year, month, day, hour, minute, second = (
        letters.index(letter) if letter in letters else None for letter in "yMdHms"
    )

    def quick(text: str) -> tuple[int, bool] | None:
        found = match(text)
        if found is None:
            return read(text)
        given = [*map(int, found.groups())]
        try:
            date = datetime.date(
                1970 if year is None else given[year],
                1 if month is None else given[month],
                1 if day is None else given[day],
            )
        except ValueError:
            return read(text)
        days = date.toordinal() - c.EPOCH_DAY
        if days < _CHANGE:
            return read(text)
        hours = 0 if hour is None else given[hour]
        minutes = hours * 60 + (0 if minute is None else given[minute])
        return days * c.DAY_MS + (minutes * 60 + (0 if second is None else given[second])) * 1000, False

    return quick


def _take(item: tuple[str, int], obey: bool, text: str, start: int, fields: Fields) -> int:
    """Read one field; the place behind it, or -1."""
    letter, count = item
    blanks = _BLANKS.match(text, start)
    place = blanks.end() if blanks else start
    if letter in "zZX":
        return _take_zone(letter, count, text, place, fields)
    if letter in _NAMED and (letter not in "ML" or count >= 3):
        return _take_name(letter, text, start, fields)  # blanks are not skipped before names
    end = start + count if obey else len(text)
    found = _DIGITS.match(text, place, end) if end <= len(text) else None
    if found is None:
        return -1
    value = _as_int(int(found[0]))
    if letter == "y" and count <= 2 and len(found[0]) == 2 and value >= 0:
        value += CENTURY_START // 100 * 100 + (100 if value < CENTURY_START % 100 else 0)
    if letter in "kh":
        value = {"k": 0 if value == 24 else value, "h": 0 if value == 12 else value}[letter]
    letter = {"k": "H", "h": "K", "L": "M"}.get(letter, letter)
    fields.pop(letter, None)
    fields[letter] = value
    return found.end()


def _as_int(value: int) -> int:
    """As Java's ``intValue``: the lower bits, of what fits a long."""
    if not -(1 << 63) <= value < 1 << 63:
        return (1 << 31) - 1 if value > 0 else -(1 << 31)
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def _take_name(letter: str, text: str, place: int, fields: Fields) -> int:
    best = -1
    for texts in _NAMED[letter]:
        for number, name in enumerate(texts):
            if text[place : place + len(name)].lower() == name.lower() and place + len(name) > best:
                best = place + len(name)
                fields[{"L": "M"}.get(letter, letter)] = number + (letter in "MLE")
    return best


def _take_zone(letter: str, count: int, text: str, place: int, fields: Fields) -> int:
    found = (_OFFSETS[count] if letter == "X" else _ZONE).match(text, place)
    if found is None:
        return -1
    sign, hours, minutes = found[1], found[2], found[3] if count != 1 or letter != "X" else None
    if letter != "X" and found[4]:
        sign, hours, minutes = found[4], found[5], found[6]
    offset = int(hours or 0) * 60 + int(minutes or 0)
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        return -1
    fields["zone"] = -offset if sign == "-" else offset
    return found.end()


def _millis(fields: Fields) -> int:
    order = {letter: number for number, letter in enumerate(fields)}
    year = fields.get("y", 1970)
    if "G" in fields and not fields["G"]:
        year = 1 - year
    if "Y" in fields and order["Y"] > order.get("y", -1):
        weekday = fields.get("E", fields["u"] % 7 + 1 if "u" in fields else 1)
        days = _first_week(fields["Y"]) + (fields.get("w", 1) - 1) * 7 + weekday - 1
    elif "D" in fields and order["D"] > max(order.get("d", -1), order.get("M", -1) if "d" not in fields else -1):
        days = mixed_days(year, 1, 1) + fields["D"] - 1
    else:
        days = mixed_days(year, fields.get("M", 1), fields.get("d", 1))
    hour = fields.get("H", 0)
    if "K" in fields and ("H" not in fields or ("a" in fields and max(order["K"], order["a"]) > order["H"])):
        hour = fields["K"] + 12 * fields.get("a", 0)
    elif "a" in fields and "H" not in fields:
        hour = 12 * fields["a"]
    minutes = hour * 60 + fields.get("m", 0) - fields.get("zone", 0)
    return days * c.DAY_MS + (minutes * 60 + fields.get("s", 0)) * 1000 + fields.get("S", 0)
