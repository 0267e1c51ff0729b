"""Helpers of the text functions, on values that are not NULL.

Most functions count characters. Those named so below count UTF-16 units, as Java does: a character beyond the basic
plane is two of them, and a half that is left alone becomes a question mark, as it does when Java writes it.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections.abc import Callable

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


def units(value: str) -> str:
    """A text with each UTF-16 unit as a character of its own.

    Example:
        >>> len(units("a\U0001f600"))
        3
    """
    if value.isascii() or max(value) <= "\uffff":
        return value
    return "".join(map(chr, array("H", value.encode("utf-16-le", "surrogatepass"))))


_HALF = re.compile("[\ud800-\udfff]")


def characters(value: str) -> str:
    """The text of UTF-16 units; halves that are alone become question marks.

    Example:
        >>> characters(units("a\U0001f600")[:2])
        'a?'
    """
    if value.isascii() or not _HALF.search(value):
        return value
    return _HALF.sub("?", value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass"))


def whole(value: str) -> str:
    """A text made of units, if no character was cut in two.

    Raises:
        EvaluationError: a half is left alone, which no text can hold when it is written.
    """
    if value.isascii() or not _HALF.search(value):
        return value
    joined = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    if _HALF.search(joined):
        raise EvaluationError(f"a character of {joined!r} was cut in two: it has two UTF-16 units")
    return joined


def substring(value: str, start: int, length: int | None = None) -> str | None:
    """From a place counted from 1, or from the end if negative; NULL for a negative length.

    Example:
        >>> substring("hello", 2, 3), substring("hello", -3, 2), substring("hello", -9, 2), substring("hello", 1, -1)
        ('ell', 'll', '', None)
    """
    if length is not None and length < 0:
        return None
    first = start - 1 if start > 0 else 0 if start == 0 else len(value) + start
    if first < 0:
        return ""
    return value[first:] if length is None else value[first : first + length]


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


def position(part: str, value: str) -> int:
    """First place of a part, counted from 1; 0 without."""
    return value.find(part) + 1


def locate(part: str, value: str, start: int = 1) -> int:
    """First place of a part at or behind ``start``; 1 for an empty part."""
    return value.find(part, max(start - 1, 0)) + 1 if part else 1


def instr(value: str, part: str, start: int = 1, number: int = 1) -> int:
    """Place of the ``number``-th occurrence of a part, from ``start`` on; backwards, ending there, if it is negative.

    Example:
        >>> instr("hello world", "o", 1, 2), instr("hello world", "o", -5), instr("hello", "l", 0)
        (8, 5, 0)
    """
    if start == 1 and number == 1:
        return value.find(part) + 1
    if number <= 0:
        raise EvaluationError("the number of the occurrence that INSTR looks for must be 1 or more")
    if start == 0:
        return 0
    if start > 0:
        if not part:
            return 1
        place = start - 2
        for _ in range(number):
            place = value.find(part, place + 1)
            if place < 0:
                return 0
        return place + 1
    place = len(value) + start
    if not part:
        return max(place + 2, 0)
    for _ in range(number):
        found = value.rfind(part, 0, max(place + 1, 0))
        if found < 0:
            return 0
        place = found + len(part) - 2
    return found + 1


def left(value: str, count: int) -> str:
    """The first characters."""
    return value[: max(count, 0)]


def right(value: str, count: int) -> str:
    """The last characters."""
    return value[-count:] if count > 0 else ""


def _missing(value: str, length: int, pad: str) -> str:
    missing = length - len(value)
    if missing <= 0:
        return ""
    _check_length(length)
    return (pad * (missing // len(pad) + 1))[:missing]


def lpad(value: str, length: int, pad: str) -> str | None:
    """Filled at the left to so many UTF-16 units, or cut; NULL without anything to fill with.

    Example:
        >>> lpad("7", 3, "0"), lpad("hello", 2, "0"), lpad("7", 3, ""), lpad("\U0001f600", 4, "-")
        ('007', 'he', None, '--\U0001f600')
    """
    if length < 0 or not pad:
        return None
    if value.isascii() and pad.isascii():
        return (_missing(value, length, pad) + value)[:length]
    text = units(value)
    return characters((_missing(text, length, units(pad)) + text)[:length])


def rpad(value: str, length: int, pad: str) -> str | None:
    """Filled at the right to so many UTF-16 units, or cut; NULL without anything to fill with."""
    if length < 0 or not pad:
        return None
    if value.isascii() and pad.isascii():
        return (value + _missing(value, length, pad))[:length]
    text = units(value)
    return characters((text + _missing(text, length, units(pad)))[:length])


def overlay(value: str, replacement: str, start: int, length: int | None = None) -> str:
    """Replaces ``length`` UTF-16 units (as many as the replacement has) at ``start``; all behind it for 0 or less.

    Example:
        >>> overlay("hello", "XX", 2), overlay("hello", "XX", 2, 1), overlay("hello", "XX", 2, 0)
        ('hXXlo', 'hXXllo', 'hXX')
    """
    text, new = units(value), units(replacement)
    if not 0 < start <= len(text):
        return value
    count = len(new) if length is None else length
    rest = text[start - 1 + count :] if count > 0 else ""
    return characters(text[: start - 1] + new + rest)


def translate(value: str, source: str | None, target: str | None) -> str:
    """Each character of ``source`` becomes the one of ``target`` at its place, or goes if there is none.

    Example:
        >>> translate("abcabc", "abc", "xy"), translate("abc", None, "x"), translate("abc", "b", None)
        ('xyxy', 'abc', 'ac')
    """
    if not source:
        return value
    return value.translate(_table(source, target or ""))


@functools.lru_cache(maxsize=256)
def _table(source: str, target: str) -> dict[int, str | None]:
    table: dict[int, str | None] = {}
    for place, character in enumerate(source):
        table.setdefault(ord(character), target[place] if place < len(target) else None)
    return table


MAX_TEXT = 1 << 20
"""Longest text that REPEAT, LPAD and RPAD make."""


def _check_length(length: int) -> None:
    if length > MAX_TEXT:
        raise EvaluationError(f"this would make a text of more than {MAX_TEXT} characters")


def repeat(value: str, count: int) -> str:
    """Several times."""
    _check_length(len(value) * count)
    return value * count


def reverse(value: str) -> str:
    """Backwards."""
    return value[::-1]


_WORD = re.compile("[A-Za-z0-9]+")


def initcap(value: str) -> str:
    """The first letter of each word upper case, the others lower case; only A to Z are letters.

    Example:
        >>> initcap("the qUICK-brown_fox 2ND")
        'The Quick-Brown_Fox 2nd'
    """
    return _WORD.sub(lambda found: found[0].capitalize(), value)


def replace(value: str, old: str, new: str) -> str:
    """Every place of a part replaced; an empty part stands before each UTF-16 unit and at the end."""
    return value.replace(old, new) if old else whole(units(value).replace("", new))


_BLANK = re.compile("[\t-\r\x1c-\x20\u1680\u2000-\u2006\u2008-\u200a\u2028\u2029\u205f\u3000]")


def split_index(value: str, separator: str | int, index: int) -> str | None:
    """The part with this number, counted from 0; the separator may be the number of a character.

    An empty separator stands for every blank character.

    Example:
        >>> split_index("a,b", ",", 1), split_index("a,b", 44, 0), split_index("a b", "", 1), split_index("", ",", 0)
        ('b', 'a', 'b', None)
    """
    if isinstance(separator, int):
        if not 0 < separator < 256:
            return None
        separator = chr(separator)
    if not value or index < 0:
        return None
    parts = value.split(separator) if separator else _BLANK.split(value)
    return parts[index] if index < len(parts) else None


def split(value: str, separator: str) -> list[str]:
    """The parts between separators; without a separator each UTF-16 unit is one."""
    if not value:
        return []
    return value.split(separator) if separator else [characters(unit) for unit in units(value)]


def elt(index: int, *values: str | None) -> str | None:
    """The text with this number, counted from 1."""
    return values[index - 1] if 0 < index <= len(values) else None


def ascii_code(value: str) -> int:
    """The first byte of the text in UTF-8, as a signed number; 0 for an empty text.

    Example:
        >>> ascii_code("a"), ascii_code("\u00e4"), ascii_code("")
        (97, -61, 0)
    """
    if not value:
        return 0
    byte = value[0].encode("utf-8", "surrogatepass")[0]
    return byte if byte < 128 else byte - 256


def character(code: int) -> str:
    """The character with this code, of which only the lowest byte counts; none for a negative one."""
    return chr(code & 255) if code >= 0 else ""


def is_alpha(value: str) -> bool:
    """Whether there are only letters, of any alphabet."""
    return value.isalpha()


def is_digit(value: str) -> bool:
    """Whether there are only digits."""
    return value.isdecimal()


_DOUBLE = re.compile(
    r"[+-]?(?:NaN|Infinity|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
    r"|0[xX](?:[0-9a-fA-F]+\.?|[0-9a-fA-F]*\.[0-9a-fA-F]+)[pP][+-]?[0-9]+)[fFdD]?)"
)
_CONTROLS = "".join(map(chr, range(33)))


def is_decimal(value: str) -> bool:
    """Whether Java reads the text as a number.

    Example:
        >>> is_decimal(" 1e3"), is_decimal("NaN"), is_decimal("1,5")
        (True, True, False)
    """
    return value.isdecimal() or _DOUBLE.fullmatch(value.strip(_CONTROLS)) is not None


_DIGITS = re.compile("[0-9]{1,3}")


def inet_aton(value: str) -> int | None:
    """The number of an IPv4 address of one to four parts; the last part stands at the end.

    Example:
        >>> inet_aton("127.0.0.1"), inet_aton("1.2"), inet_aton("256.0.0.1")
        (2130706433, 16777218, None)
    """
    parts = value.split(".")
    if len(parts) > 4 or not all(_DIGITS.fullmatch(part) and int(part) < 256 for part in parts):
        return None
    numbers = [int(part) for part in parts]
    number = numbers.pop()
    return number + sum(part << (24 - 8 * place) for place, part in enumerate(numbers))


def inet_ntoa(value: int) -> str | None:
    """The IPv4 address of a number."""
    if not 0 <= value < 1 << 32:
        return None
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))
