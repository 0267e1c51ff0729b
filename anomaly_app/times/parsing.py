"""Text to timestamps by a pattern of Java's ``DateTimeFormatter``."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.times import names
from anomaly_app.times.calendar import EPOCH_DAY
from anomaly_app.times.patterns import Field, Item, Option, read
from anomaly_app.times.resolving import resolve

_MINUS = "-(?=0*[1-9])"
"""There is no minus zero."""


@dataclass(slots=True)
class _Number:
    """A number in a pattern: how many digits it has at least and at most, and what signs it may have."""

    least: int
    most: int
    signs: str
    behind: int = 0
    """Digits of the numbers behind it that have a fixed width and no sign between."""

    @property
    def fixed(self) -> bool:
        return self.least == self.most and not self.signs

    def regex(self) -> str:
        digits = f"\\d{{{self.least},{self.most}}}"
        if self.signs == "year":
            end = "" if self.behind else r"(?!\d)"
            return rf"({_MINUS}{digits}|\+\d{{{self.least + 1},{self.most}}}|\d{{{self.least}}}{end})"
        return f"({f'(?:{_MINUS})?' if self.signs else ''}{digits}{'' if self.behind else '+'})"


@dataclass(frozen=True, slots=True)
class _Run:
    """Items without an optional section between: one expression, and field and reader of each of its groups."""

    regex: re.Pattern[str]
    readers: tuple[tuple[str, Callable[[str], int]], ...]
    plain: bool
    """No field stands in it twice."""


_Step: TypeAlias = "_Run | tuple[_Step, ...]"

_FIELDS = {"y": "era_year", "u": "year", "M": "month", "L": "month", "d": "day", "m": "minute", "s": "second",
           "S": "nano", "n": "nano", "E": "dow", "e": "dow", "c": "dow", "q": "Q", "G": "era"}  # fmt: skip
_ZONES = {
    "X": (r"Z|[+-]\d\d(?:\d\d)?", r"Z|[+-]\d{4}", r"Z|[+-]\d\d:\d\d", r"Z|[+-]\d{4}(?:\d\d)?",
          r"Z|[+-]\d\d:\d\d(?::\d\d)?"),
    "x": (r"[+-]\d\d(?:\d\d)?", r"[+-]\d{4}", r"[+-]\d\d:\d\d", r"[+-]\d{4}(?:\d\d)?", r"[+-]\d\d:\d\d(?::\d\d)?"),
    "Z": (*[r"[+-]\d{4}"] * 3, r"GMT(?:[+-]\d\d:\d\d)?", r"Z|[+-]\d\d:\d\d(?::\d\d)?"),
    "O": (r"GMT(?:[+-]\d{1,2}(?::\d\d)?)?", "", "", r"GMT(?:[+-]\d\d:\d\d)?"),
}  # fmt: skip
"""Zones that are read and then ignored, as the wall clock counts; by the number of letters."""


def _number(field: Field) -> _Number | None:
    letter, count = field.letter, field.count
    if field.text or letter in _ZONES:
        return None
    if letter in "yuY":
        return _Number(2, 2, "") if count == 2 else _Number(count, 19, "minus" if count < 4 else "year")
    if letter == "S":
        return _Number(count, count, "")
    if letter == "D":
        return _Number(count, 3 if count > 1 else 19, "" if count > 1 else "minus")
    if letter in "wec":
        return _Number(count, 2 if letter == "w" else count, "")
    if letter in "AnN":
        return _Number(count, 19, "")
    return _Number(1, 19, "minus") if count == 1 else _Number(count, count, "")


def _texts(field: Field) -> tuple[tuple[str, ...], int]:
    """Names of a field, and the number of the first one."""
    letter, count = field.letter, field.count
    if letter in "ML":
        return (names.SHORT_MONTHS if count == 3 else names.MONTHS), 1
    if letter in "Qq":
        return (names.SHORT_QUARTERS if count == 3 else names.QUARTERS), 1
    if letter in "Eec":
        return (names.SHORT_DAYS if count <= 3 else names.DAYS), 1
    if letter == "G":
        return (names.ERAS if count <= 3 else names.LONG_ERAS), 0
    return names.HALVES, 0


def _two_digits(text: str) -> int:
    return 2000 + int(text)


def _fraction(text: str) -> int:
    return int(text.ljust(9, "0"))


def _run(items: list[Field | str], pattern: str) -> _Run:
    numbers = [_number(item) if isinstance(item, Field) else None for item in items]
    base: _Number | None = None
    heads: list[_Number | None] = []
    for number in numbers:
        if number is not None and base is not None and number.fixed:
            base.behind += number.most
            heads.append(base)
            continue
        if base is not None and number is not None:
            base.behind = 0  # a number of no fixed width follows: Java then takes all digits for the first one
        base = number
        heads.append(None)
    parts: list[str] = []
    readers: list[tuple[str, Callable[[str], int]]] = []
    open_head: _Number | None = None
    for item, number, head in zip(items, numbers, heads, strict=True):
        inside = head is not None and head is open_head and head.behind > 0
        if not inside and open_head is not None:
            parts.append("(?!\\d))" if open_head.signs == "year" else ")")
            open_head = None
        if isinstance(item, str):
            parts.append(re.escape(item))
            continue
        if number is None:
            parts.append(_text_regex(item, readers))
            continue
        if number.behind:
            parts.append("(?>")
            open_head = number
        parts.append(number.regex())
        name = _FIELDS.get(item.letter, item.letter)
        reader = _two_digits if item.letter in "yuY" and item.count == 2 else _fraction if item.letter == "S" else int
        readers.append((name, reader))
    if open_head is not None:
        parts.append("(?!\\d))" if open_head.signs == "year" else ")")
    fields = [name for name, _ in readers]
    return _Run(re.compile("".join(parts), re.ASCII), tuple(readers), len(set(fields)) == len(fields))


def _text_regex(field: Field, readers: list[tuple[str, Callable[[str], int]]]) -> str:
    if field.letter in _ZONES:
        return f"(?>{_ZONES[field.letter][field.count - 1]})"
    texts, first = _texts(field)
    readers.append((_FIELDS.get(field.letter, field.letter), {t: n for n, t in enumerate(texts, first)}.__getitem__))
    return f"(?>({'|'.join(sorted(map(re.escape, texts), key=len, reverse=True))}))"


def _steps(items: tuple[Item, ...], pattern: str) -> tuple[_Step, ...]:
    steps: list[_Step] = []
    waiting: list[Field | str] = []
    for item in items:
        if isinstance(item, Option):
            if waiting:
                steps.append(_run(waiting, pattern))
                waiting = []
            steps.append(_steps(item.items, pattern))
            continue
        if isinstance(item, Field):
            _check(item, pattern)
        waiting.append(item)
    if waiting:
        steps.append(_run(waiting, pattern))
    return tuple(steps)


def _check(field: Field, pattern: str) -> None:
    if field.letter in "BWFgzvV" or field.width or (field.count == 5 and field.text):
        shown = "p" * field.width + field.letter * field.count
        raise ValueError(
            f"{shown!r} in the date pattern {pattern!r} can be written but not read here; for a zone use X or Z"
        )


def _take(steps: tuple[_Step, ...], text: str, place: int, fields: dict[str, int]) -> int:
    """The place behind what the steps took; -1 if they do not fit."""
    for step in steps:
        if isinstance(step, tuple):
            tried = dict(fields)
            end = _take(step, text, place, tried)
            if end >= 0:
                place = end
                fields.update(tried)
            continue
        found = step.regex.match(text, place)
        if found is None:
            return -1
        for (name, reader), given in zip(step.readers, found.groups(), strict=True):
            value = reader(given)
            if fields.setdefault(name, value) != value:
                return -1
        place = found.end()
    return place


@functools.lru_cache(maxsize=256)
def parser(pattern: str) -> Callable[[str], tuple[int, int] | None]:
    """A function from texts to a day since 1970 and nanoseconds of that day; None for a text that does not fit.

    Raises:
        ValueError: it is no pattern, or has a field that is not read here.

    Example:
        >>> parser("d MMM yyyy h:mm a")("2 Jan 1970 1:00 AM")
        (1, 3600000000000)
        >>> parser("yyyyMMddHH")("1970010201"), parser("yyyy-MM-dd")("1970-1-2")
        ((1, 3600000000000), None)
    """
    steps = _steps(read(pattern), pattern)

    def parse(text: str) -> tuple[int, int] | None:
        fields: dict[str, int] = {}
        return resolve(fields) if _take(steps, text, 0, fields) == len(text) else None

    only = steps[0] if len(steps) == 1 else None
    return _quick(only, parse) if isinstance(only, _Run) and {n for n, _ in only.readers} <= _USUAL.keys() else parse


_USUAL = {"era_year": 1970, "year": 1970, "month": 1, "day": 1, "H": 0, "minute": 0, "second": 0, "nano": 0}


def _quick(run: _Run, parse: Callable[[str], tuple[int, int] | None]) -> Callable[[str], tuple[int, int] | None]:
    """The same for a pattern of usual fields only; what is out of the ordinary is left to ``parse``."""
    names_of = [name for name, _ in run.readers]
    if not run.plain or {"year", "era_year"} <= set(names_of) or not names_of:
        return parse
    source = "def quick(text):\n    found = match(text)\n    if found is None:\n        return None\n"
    source += "    g = found.groups()\n"
    values = {
        name: f"{'int' if reader is int else f'read[{place}]'}(g[{place}])"
        for place, (name, reader) in enumerate(run.readers)
    }
    year = values.get("era_year") or values.get("year") or "1970"
    month, day, hour, minute, second, nano = (values.get(name, str(_USUAL[name])) for name in list(_USUAL)[2:])
    source += (
        f"    hour, minute, second = {hour}, {minute}, {second}\n"
        "    if 0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60:\n"
        "        try:\n"
        f"            days = date({year}, {month}, {day}).toordinal() - {EPOCH_DAY}\n"
        f"            return days, ((hour * 60 + minute) * 60 + second) * 1000000000 + {nano}\n"
        "        except (OverflowError, ValueError):\n"
        "            pass\n"
        "    return parse(text)\n"
    )
    scope: dict[str, Any] = {
        "match": run.regex.fullmatch,
        "date": datetime.date,
        "parse": parse,
        "read": [r for _, r in run.readers],
    }
    exec(compile(source, "<date pattern>", "exec"), scope)
    quick: Callable[[str], tuple[int, int] | None] = scope["quick"]
    return quick
