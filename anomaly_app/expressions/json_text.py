"""JSON texts to values and back, as Flink reads and writes them.

Values are None, ``bool``, ``int``, ``Decimal`` (numbers with a point or exponent keep their digits), ``str``, ``list``
and ``dict``. A reader looks at the first value of a text and leaves what follows.
"""

from __future__ import annotations

import functools
import json
import re
from decimal import Decimal
from typing import Any

from anomaly_app.expressions.text_values import whole

BLANKS = " \t\n\r"


class NoJsonError(ValueError):
    """The text is no JSON."""


def _constant(name: str) -> Any:
    raise NoJsonError(name)


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_constant)


@functools.lru_cache(maxsize=16)
def read(text: str) -> Any:
    """The first value of a text. It is shared between calls: nobody may change it.

    Raises:
        NoJsonError: the text is no JSON.

    Example:
        >>> read(' {"a": [1.50, 1e3, null]} and more')
        {'a': [Decimal('1.50'), Decimal('1E+3'), None]}
    """
    start = len(text) - len(text.lstrip(BLANKS))
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise NoJsonError(str(error)) from None
    if end < len(text) and not isinstance(value, (str, list, dict)) and text[end] not in BLANKS:
        raise NoJsonError("something stands right behind a number or word")
    return value


_ESCAPED = re.compile(r'[\x00-\x1f"\\]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return _SHORT.get(character) or f"\\u{ord(character):04X}"


def quoted(text: str) -> str:
    """A text as a JSON string; only quotes, backslashes and control characters are escaped."""
    return f'"{_ESCAPED.sub(_escape, text)}"'


def write(value: Any) -> str:
    """A value as JSON without blanks; the keys of objects are sorted.

    Example:
        >>> write({"b": [True, None, Decimal("1.50")], "a": "x"})
        '{"a":"x","b":[true,null,1.50]}'
    """
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(key)}:{write(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return str(value or value.copy_abs() if isinstance(value, Decimal) else value)


def scalar_text(value: Any) -> str:
    """A text, number or boolean as SQL text."""
    return value if isinstance(value, str) else write(value)


def is_json(text: str | None, kind: str) -> bool:
    """Whether a text is JSON of a kind: VALUE, OBJECT, ARRAY or SCALAR; NULL is none.

    Example:
        >>> is_json("[1]", "ARRAY"), is_json("1", "SCALAR"), is_json("{a:1}", "VALUE"), is_json(None, "VALUE")
        (True, True, False, False)
    """
    if text is None:
        return False
    try:
        value = read(text)
    except NoJsonError:
        return False
    if kind == "OBJECT":
        return isinstance(value, dict)
    if kind == "ARRAY":
        return isinstance(value, list)
    return kind == "VALUE" or not isinstance(value, (dict, list))


_QUOTED = re.compile('["\\\\/\b\f\n\r\t]|[^\x00-\x7f]')
_QUOTED_SHORT = _SHORT | {"/": "\\/"}


def _quote(found: re.Match[str]) -> str:
    character = found[0]
    if character <= "\uffff":
        return _QUOTED_SHORT.get(character) or f"\\u{ord(character):04x}"
    low = 0xDC00 + (ord(character) - 0x10000) % 0x400
    return f"\\u{ord(character):04x}\\u{low:04x}"


def json_quote(text: str) -> str:
    r"""JSON_QUOTE: a JSON string in ASCII. A character of two UTF-16 units gets two escapes, the first is too long.

    Example:
        >>> json_quote("a/b \u00e4")
        '"a\\/b \\u00e4"'
    """
    return f'"{_QUOTED.sub(_quote, text)}"'


_UNQUOTED = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_BACKSLASH = re.compile(r'(?:[^\\]|\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt]))*', re.DOTALL)
_PLAIN = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _unquote(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else _PLAIN[found[2]]


def json_unquote(text: str) -> str:
    r"""JSON_UNQUOTE: what a JSON string says; other texts stay as they are.

    Example:
        >>> json_unquote('"a\\nb"'), json_unquote("[1]"), json_unquote('"bad')
        ('a\nb', '[1]', '"bad')
    """
    if len(text) < 2 or text[0] != '"' or text[-1] != '"' or not _BACKSLASH.fullmatch(text, 1, len(text) - 1):
        return text
    return whole(_UNQUOTED.sub(_unquote, text[1:-1]))
