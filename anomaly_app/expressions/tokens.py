"""SQL text to tokens with their places."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from anomaly_app.errors import SqlSyntaxError, SqlValidationError


class Span(NamedTuple):
    """Offsets of a piece of text: first character, and behind the last."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Token:
    """A token.

    Args:
        kind: ``word``, ``quoted`` (a quoted identifier), ``text``, ``bytes``, ``number``, ``sign``, ``parameter`` or
            ``end``.
        value: identifiers without quotes, texts unescaped, bytes as
            hexadecimal digits, words and signs as written.
        span: its place.
    """

    kind: str
    value: str
    span: Span
    word: str = field(init=False)
    """What it is as a keyword or sign; "" for everything that is neither."""

    def __post_init__(self) -> None:
        kind, value = self.kind, self.value
        object.__setattr__(self, "word", value.upper() if kind == "word" else value if kind == "sign" else "")

    @property
    def upper(self) -> str:
        """The word as a keyword; "" for everything that cannot be one."""
        return self.word if self.kind == "word" else ""


_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*|/\*.*?\*/)
    | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
    | (?P<prefixed>(?:[uU]&|[nN]|_[A-Za-z][A-Za-z0-9]*)'(?:[^']|'')*')
    | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<bytes>[xX]'[0-9a-fA-F]*')
    | (?P<word>[^\W\d]\w*(?:\$(?:\d+|all)\b)?|\$\w+)
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>`(?:[^`]|``)*`|"(?:[^"]|"")*")
    | (?P<sign>\{-|-\}|<>|!=|<=|>=|\|\||=>|[-+*/%(){}\[\],.;=<>?|^$:&])
    """,
    re.VERBOSE | re.DOTALL,
)


_PARAMETER = re.compile(r"\$\{\s*([A-Za-z_][\w.-]*)\s*\}")


def tokenize(text: str, *, parameters: bool = False) -> list[Token]:
    """All tokens of a text, closed by one of kind ``end``.

    Args:
        text: of SQL.
        parameters: ``${name}`` is a token of kind ``parameter``, whose value is the name.

    Raises:
        SqlSyntaxError: a character that begins no token, or a quote or comment that is not closed.
        SqlValidationError: a hint asks for other rows.

    Example:
        >>> [token.value for token in tokenize("a.`b c` >= 'it''s' -- remark")]
        ['a', '.', 'b c', '>=', "it's", '']
    """
    tokens: list[Token] = []
    place, length = 0, len(text)
    while place < length:
        if parameters and text.startswith("${", place):
            place = _take_parameter(text, place, tokens)
            continue
        found = _TOKEN.match(text, place)
        if found is None:
            raise _unreadable(text, place)
        kind, value, end = found.lastgroup or "", found.group(), found.end()
        if kind == "word" and text.startswith("$", place) and place and text[place - 1].isalnum():
            raise _unreadable(text, place)
        if kind == "bytes":
            value = value[2:-1]
        elif kind == "text" or kind == "quoted":
            value = value[1:-1].replace(value[0] * 2, value[0])
        elif kind in ("prefixed", "escaped"):
            kind, value = "text", _text_of(kind, value)
        if kind == "space" and value.startswith("/*+"):
            _check_hints(text, place, value)
        if kind != "space":
            tokens.append(Token(kind, value, Span(place, end)))
        place = end
    tokens.append(Token("end", "", Span(length, length)))
    return tokens


def _take_parameter(text: str, place: int, tokens: list[Token]) -> int:
    found = _PARAMETER.match(text, place)
    if found is None:
        raise SqlSyntaxError("expected a parameter such as ${retail.amount}", text, place, place + 2)
    tokens.append(Token("parameter", found[1], Span(place, found.end())))
    return found.end()


HINTS = {
    "EARLY_FIRE": "a row of an outer join that finds nothing comes once it is certain that it finds nothing",
    "OPTIONS": "ALTER TABLE … SET ('key' = 'value') first",
    "STATE_TTL": "SET 'table.exec.state.ttl' holds for the whole query",
}
"""Hints of Flink that change rows, and what there is in their place; the others only tell its planner how to work."""


def _check_hints(text: str, place: int, comment: str) -> None:
    for found in re.finditer(r"\b([A-Za-z_]+)\s*\(", comment):
        name = found[1].upper()
        if name in HINTS:
            problem = f"the hint {name} is not supported: {HINTS[name]}"
            raise SqlValidationError(problem, text, place + found.start(1), place + found.end(1))


_UNICODE = re.compile(r"\\(?:(\\)|\+([0-9a-fA-F]{6})|([0-9a-fA-F]{4}))")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _text_of(kind: str, literal: str) -> str:
    r"""What a literal with a prefix says: U&'\00e4', e'a\n', n'a' or _UTF8'a'."""
    prefix, _, inner = literal[:-1].partition("'")
    inner = inner.replace("''", "'")
    if kind == "escaped":
        return _ESCAPE.sub(_escape, inner)
    if prefix.upper() == "U&":
        return _UNICODE.sub(lambda found: found[1] or chr(int(found[2] or found[3], 16)), inner)
    return inner


def _escape(found: re.Match[str]) -> str:
    short, long, octal, hexadecimal, other = found.groups()
    if other:
        return _SHORT.get(other, other)
    return chr(int(octal, 8) if octal else int(short or long or hexadecimal, 16))


def _unreadable(text: str, place: int) -> SqlSyntaxError:
    character = text[place]
    unclosed = {"'": "the text is", "`": "the quoted name is", '"': "the quoted name is"}
    if character in unclosed:
        return SqlSyntaxError(f"{unclosed[character]} not closed: expected another {character}", text, place)
    if text.startswith("/*", place):
        return SqlSyntaxError("the comment is not closed: expected */", text, place, place + 2)
    return SqlSyntaxError(f"unexpected character {character!r}", text, place)
