"""Helpers of the functions with regular expressions. A bad expression gives NULL, or false."""

from __future__ import annotations

import re
from typing import TypeAlias

from anomaly_app.errors import EvaluationError
from anomaly_app.expressions.regexp import compiled

Expression: TypeAlias = "str | re.Pattern[str]"
"""An expression of Java, or what became of one that is constant."""


def _known(pattern: Expression) -> re.Pattern[str] | None:
    return compiled(pattern) if isinstance(pattern, str) else pattern


def _whole_characters(value: str, pattern: re.Pattern[str]) -> None:
    """Java finds an empty match in the middle of a character of two units, too; nobody means that."""
    if not value.isascii() and max(value) > "\uffff" and pattern.search("") is not None:
        raise EvaluationError(f"an expression that fits nothing at all would cut a character of {value!r} in two")


def regexp(value: str, pattern: Expression) -> bool:
    """Whether some place fits; nothing fits an empty expression.

    Example:
        >>> regexp("foobar", "o+"), regexp("foobar", ""), regexp("foobar", "[")
        (True, False, False)
    """
    known = _known(pattern)
    return bool(pattern) and known is not None and known.search(value) is not None


def regexp_replace(value: str, pattern: Expression, replacement: str) -> str | None:
    """Every place that fits replaced; the replacement is taken as it stands.

    Example:
        >>> regexp_replace("foobar", "(o)o", "$1")
        'f$1bar'
    """
    known = _known(pattern)
    if known is None:
        return None
    _whole_characters(value, known)
    return known.sub(lambda _: replacement, value)


def regexp_extract(value: str, pattern: Expression, group: int = 0) -> str | None:
    """The group of the first place that fits; NULL without one."""
    known = _known(pattern)
    if known is None or not 0 <= group <= known.groups:
        return None
    found = known.search(value)
    text: str | None = found[group] if found else None
    return text


def regexp_extract_all(value: str, pattern: Expression, group: int = 1) -> list[str | None] | None:
    r"""The group of every place that fits; NULL if there is no such group.

    Example:
        >>> regexp_extract_all("100-200, 300-400", r"(\d+)-(\d+)", 2), regexp_extract_all("foo", "o")
        (['200', '400'], None)
    """
    known = _known(pattern)
    if known is None or not 0 <= group <= known.groups:
        return None
    _whole_characters(value, known)
    return [found[group] for found in known.finditer(value)]


def regexp_count(value: str, pattern: Expression) -> int | None:
    """How many places fit."""
    known = _known(pattern)
    if known is None:
        return None
    _whole_characters(value, known)
    return sum(1 for _ in known.finditer(value))


def regexp_instr(value: str, pattern: Expression) -> int | None:
    """The first place that fits, counted in UTF-16 units from 1; 0 without one."""
    known = _known(pattern)
    if known is None:
        return None
    found = known.search(value)
    if found is None:
        return 0
    before = value[: found.start()]
    return len(before) + sum(character > "\uffff" for character in before) + 1


def regexp_substr(value: str, pattern: Expression) -> str | None:
    """The first place that fits."""
    return regexp_extract(value, pattern)


def _parts(value: str, pattern: re.Pattern[str], most: int = 0) -> list[str]:
    """Split as Java does: no empty part before a match of nothing at the start, none at the end without ``most``."""
    parts: list[str] = []
    place = 0
    for found in pattern.finditer(value):
        if most and len(parts) == most - 1:
            break
        if found.end() == 0:
            continue
        parts.append(value[place : found.start()])
        place = found.end()
    parts.append(value[place:])
    while not most and len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


def str_to_map(value: str, between: Expression = ",", inside: Expression = "=") -> dict[str, str | None]:
    """Pairs of a text; the separators are regular expressions, a key without a value has NULL.

    Example:
        >>> str_to_map("a=1,b,c=")
        {'a': '1', 'b': None, 'c': ''}
    """
    outer, inner = _known(between), _known(inside)
    if outer is None or inner is None:
        raise EvaluationError(f"{between if outer is None else inside!r} is not a regular expression")
    result: dict[str, str | None] = {}
    if not value:
        return result
    for part in _parts(value, outer):
        pair = _parts(part, inner, 2)
        result[pair[0]] = pair[1] if len(pair) > 1 else None
    return result
