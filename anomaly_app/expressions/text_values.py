"""Helpers of the text functions, on values that are not NULL."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from anomaly_app.errors import EvaluationError


@functools.lru_cache(maxsize=256)
def like_matcher(pattern: str, escape: str, similar: bool) -> Callable[[str], bool]:
    """A test for LIKE (or SIMILAR TO).

    Raises:
        ValueError: the escape character is not one character, or escapes nothing.

    Example:
        >>> like_matcher("10!%_", "!", False)("10%x")
        True
    """
    if len(escape) > 1:
        raise ValueError(f"ESCAPE must be one character, not {escape!r}")
    parts: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if escape and character == escape:
            following = next(characters, None)
            if following is None:
                raise ValueError("the pattern ends with the escape character")
            parts.append(re.escape(following))
        elif character in "%_":
            parts.append(".*" if character == "%" else ".")
        elif similar and character in "|*+?{}()[]^-":
            parts.append(character)
        else:
            parts.append(re.escape(character))
    try:
        compiled = re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a pattern: {error}") from None
    return lambda value: compiled.fullmatch(value) is not None


def substring(value: str, start: int, length: int | None = None) -> str:
    """From a place counted from 1 (from the end if negative)."""
    first = start - 1 if start > 0 else 0 if start == 0 else max(len(value) + start, 0)
    if length is None:
        return value[first:]
    return value[first : first + max(length, 0)]


def concat_ws(separator: str, *values: str | None) -> str:
    """Join; NULLs are left out."""
    return separator.join(value for value in values if value is not None)


def trim_both(value: str, characters: str = " ") -> str:
    """Without these characters at both ends."""
    return value.strip(characters)


def trim_leading(value: str, characters: str = " ") -> str:
    """Without these characters at the start."""
    return value.lstrip(characters)


def trim_trailing(value: str, characters: str = " ") -> str:
    """Without these characters at the end."""
    return value.rstrip(characters)


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise EvaluationError(f"{pattern!r} is not a regular expression: {error}") from None


def regexp_replace(value: str, pattern: str, replacement: str) -> str:
    """Every place that fits replaced; ``$1`` is the first group."""
    template = re.sub(r"\$(\d)", r"\\g<\1>", replacement.replace("\\", "\\\\"))
    return _compiled(pattern).sub(template, value)


def regexp_extract(value: str, pattern: str, group: int = 0) -> str | None:
    """The group of the first place that fits; NULL without one."""
    found = _compiled(pattern).search(value)
    return found[group] if found and group <= found.re.groups else None


def regexp(value: str, pattern: str) -> bool:
    """Whether some place fits."""
    return _compiled(pattern).search(value) is not None


def position(part: str, value: str) -> int:
    """First place of a part, counted from 1; 0 without."""
    return value.find(part) + 1


def locate(part: str, value: str, start: int = 1) -> int:
    """First place of a part at or behind ``start``."""
    return value.find(part, max(start - 1, 0)) + 1


def instr(value: str, part: str) -> int:
    """First place of a part."""
    return value.find(part) + 1


def left(value: str, count: int) -> str:
    """The first characters."""
    return value[: max(count, 0)]


def right(value: str, count: int) -> str:
    """The last characters."""
    return value[-count:] if count > 0 else ""


def lpad(value: str, length: int, pad: str) -> str | None:
    """Filled at the left, or cut."""
    if length < 0 or not pad:
        return None
    missing = max(length - len(value), 0)
    return ((pad * missing)[:missing] + value)[:length]


def rpad(value: str, length: int, pad: str) -> str | None:
    """Filled at the right, or cut."""
    if length < 0 or not pad:
        return None
    return (value + pad * max(length - len(value), 0))[:length]


MAX_TEXT = 1 << 20
"""Longest text that REPEAT makes."""


def repeat(value: str, count: int) -> str:
    """Several times."""
    if len(value) * count > MAX_TEXT:
        raise EvaluationError(f"REPEAT would make a text of more than {MAX_TEXT} characters")
    return value * count


def reverse(value: str) -> str:
    """Backwards."""
    return value[::-1]


def initcap(value: str) -> str:
    """The first letter of each word upper case, the others lower case."""
    return re.sub(r"[^\W_]+", lambda found: found[0].capitalize(), value)


def split_index(value: str, separator: str, index: int) -> str | None:
    """The part with this number, counted from 0."""
    parts = value.split(separator) if separator else [value]
    return parts[index] if 0 <= index < len(parts) else None


def md5(value: str) -> str:
    """Hexadecimal digest."""
    return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()


def sha256(value: str) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(value.encode()).hexdigest()


_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")


def json_path(path: str) -> tuple[str | int, ...]:
    """The steps of a JSON path of names and indexes.

    Raises:
        ValueError: another kind of path.

    Example:
        >>> json_path("$.user['first name'][0]")
        ('user', 'first name', 0)
    """
    text = path.strip()
    text = text.removeprefix("lax ").removeprefix("strict ").strip()
    steps: list[str | int] = []
    place = 1
    while text.startswith("$") and place < len(text):
        found = _STEP.match(text, place)
        if found is None:
            break
        steps.append(int(found[2]) if found[2] is not None else (found[1] or found[3] or found[4] or ""))
        place = found.end()
    if not text.startswith("$") or place < len(text):
        raise ValueError(f"{path!r} is not a path of names and indexes such as $.items[0].price")
    return tuple(steps)


_MISSING = object()


def _walk(text: str, steps: tuple[str | int, ...]) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return _MISSING
    for step in steps:
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        elif isinstance(step, str) and isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return _MISSING
    return value


def json_value(text: str, steps: tuple[str | int, ...]) -> str | None:
    """A scalar in a JSON text, as text; NULL if there is none or the text is not JSON."""
    value = _walk(text, steps)
    if value is _MISSING or value is None or isinstance(value, (list, dict)):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def json_exists(text: str, steps: tuple[str | int, ...]) -> bool:
    """Whether the path leads anywhere."""
    return _walk(text, steps) is not _MISSING
