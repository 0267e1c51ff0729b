"""Parameters of a job file: ``SET 'name' = 'value'`` and ``${name}`` in the statements behind it."""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from anomaly_app.errors import SqlError, SqlValidationError
from anomaly_app.expressions.tokens import Span, Token, tokenize
from anomaly_app.words import parse_duration

SETTING = "parameters"
"""The section of the settings whose values come before those of SET."""


class ParameterType(Enum):
    """What a value is."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    INTERVAL = "interval"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that a text uses.

    Args:
        name: as it is written within ``${…}``.
        type: of its value.
        literal: the value as SQL has it.
        usual: the value that SET gives it; "" where nothing does.
        given: whether the value is one from outside of the text.
    """

    name: str
    type: ParameterType
    literal: str
    usual: str
    given: bool


@dataclass(frozen=True, slots=True)
class Substituted:
    """A text whose parameters have values.

    Args:
        text: with a literal in place of each parameter.
        original: as it was written.
        parameters: that it uses, by first use.
        places: of each literal in ``text``, and of its parameter in ``original``; in order.
    """

    text: str
    original: str
    parameters: tuple[Parameter, ...] = ()
    places: tuple[tuple[Span, Span], ...] = ()

    @contextmanager
    def located(self) -> Iterator[str]:
        """Errors about the text point at the same place of the original."""
        try:
            yield self.text
        except SqlError as error:
            if not self.places or error.text != self.text:
                raise
            start, end = self._place(error.start)[0], self._place(error.end - 1)[1]
            raise type(error)(error.problem, self.original, start, end) from None

    def _place(self, offset: int) -> Span:
        """Where in the original the character stands; of a literal that of the whole parameter."""
        before = bisect_right([new.start for new, _ in self.places], offset) - 1
        if before < 0:
            return Span(offset, offset + 1)
        new, old = self.places[before]
        if offset < new.end:
            return old
        moved = offset - new.end + old.end
        return Span(moved, moved + 1)


def substitute(text: str, given: Mapping[str, str] | None = None, said: Mapping[str, str] | None = None) -> Substituted:
    """Put literals in place of the parameters of a text.

    A value is a number, ``TRUE`` or ``FALSE``, ``INTERVAL '…' UNIT``, a text in quotes, or else a text without them;
    it is one literal whatever it says. A value from outside has the type of the one that SET gives. Nothing within
    quotes is replaced.

    Args:
        text: statements.
        given: values that come before those of SET, by name.
        said: what SET has said before this text.

    Raises:
        SqlSyntaxError: ``${`` without a name.
        SqlValidationError: a parameter has no value, or one of another type.

    Example:
        >>> made = substitute("SET 'a' = '100'; SELECT x FROM t WHERE x > ${a}")
        >>> made.text
        "SET 'a' = '100'; SELECT x FROM t WHERE x > 100"
        >>> substitute("SET 'a' = 'it'; SELECT ${a}", {"a": "x'; DROP TABLE t"}).text
        "SET 'a' = 'it'; SELECT 'x''; DROP TABLE t'"
    """
    if "${" not in text:
        return Substituted(text, text)
    given, values, spans = given or {}, dict(said or {}), dict[str, Span]()
    parts: list[str] = []
    places: list[tuple[Span, Span]] = []
    used: dict[str, Parameter] = {}
    copied, length = 0, 0
    tokens = tokenize(text, parameters=True)
    begins = True
    for number, token in enumerate(tokens):
        if begins:
            _note(tokens[number : number + 5], values, spans)
        begins = token.word == ";" or (begins and token.upper == "EXECUTE")
        if token.kind != "parameter":
            continue
        made = _made(token, given, values, spans, text)
        used.setdefault(made.name, made)
        literal = _apart(text, token.span, made.literal)
        parts += [text[copied : token.span.start], literal]
        length += len(parts[-2]) + len(literal)
        places.append((Span(length - len(literal), length), token.span))
        copied = token.span.end
    return Substituted("".join([*parts, text[copied:]]), text, tuple(used.values()), tuple(places))


_SEPARATE = frozenset("(),;{}[]")


def _apart(text: str, span: Span, literal: str) -> str:
    """A literal that stays a token of its own: two signs would begin a comment, two texts be one."""
    before, behind = text[: span.start][-1:], text[span.end : span.end + 1]
    left = "" if not before or before in _SEPARATE or before.isspace() else " "
    right = "" if not behind or behind in _SEPARATE or behind.isspace() else " "
    return left + literal + right


def _note(tokens: list[Token], values: dict[str, str], spans: dict[str, Span]) -> None:
    """A statement begins: what it says to parameters."""
    if tokens[0].upper == "SET" and len(tokens) > 3 and tokens[1].kind == tokens[3].kind == "text":
        values[tokens[1].value], spans[tokens[1].value] = tokens[3].value, tokens[3].span
    elif tokens[0].upper == "RESET" and tokens[1].kind == "text":
        values.pop(tokens[1].value, None)
    elif tokens[0].upper == "RESET":
        values.clear()


def _made(
    token: Token, given: Mapping[str, str], values: Mapping[str, str], spans: Mapping[str, Span], text: str
) -> Parameter:
    name = token.value
    if name not in given and name not in values:
        near = difflib.get_close_matches(name, sorted({*values, *given}), 1)
        ways = f": SET '{name}' = '…' before, or {SETTING}.{name} in settings"
        problem = f"parameter {name!r} has no value{f'; did you mean {near[0]}?' if near else ways}"
        raise SqlValidationError(problem, text, *token.span)
    own = _literal(values[name]) if name in values else None
    if name not in given:
        assert own is not None, "it has a value"
        return Parameter(name, *_one_line(name, own, text, spans.get(name, token.span)), values[name], False)
    found = _like(own[0], given[name]) if own is not None else _literal(given[name])
    if found is None:
        assert own is not None, "only then there is a type to be like"
        kind = "an interval such as 5 min" if own[0] is ParameterType.INTERVAL else f"a {own[0].value}"
        problem = f"{SETTING}.{name} is {given[name]!r}, and the parameter is {kind}, as SET says here"
        raise SqlValidationError(problem, text, *spans.get(name, token.span))
    return Parameter(name, *_one_line(name, found, text, token.span), values.get(name, ""), True)


def _one_line(name: str, found: tuple[ParameterType, str], text: str, place: Span) -> tuple[ParameterType, str]:
    if not found[1].isprintable():
        problem = f"the value of parameter {name!r} has a line break or another character that cannot be printed"
        raise SqlValidationError(problem, text, *place)
    return found


_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_INTERVAL = re.compile(
    r"INTERVAL\s+'([^']*)'\s+([A-Z]+(?:\s*\(\s*\d+\s*\))?(?:\s+TO\s+[A-Z]+(?:\s*\(\s*\d+\s*\))?)?)", re.IGNORECASE
)
_QUOTED = re.compile(r"'(?:[^']|'')*'")


def _literal(value: str) -> tuple[ParameterType, str]:
    """Type of a value, and how SQL writes it."""
    said = value.strip()
    if _NUMBER.fullmatch(said):
        return ParameterType.NUMBER, said
    if said.upper() in ("TRUE", "FALSE"):
        return ParameterType.BOOLEAN, said.upper()
    interval = _INTERVAL.fullmatch(said)
    if interval is not None:
        return ParameterType.INTERVAL, f"INTERVAL '{interval[1]}' {interval[2].upper()}"
    if _QUOTED.fullmatch(said):
        return ParameterType.TEXT, said
    return ParameterType.TEXT, _quoted(value)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_UNITS = ((86_400_000, "DAY"), (3_600_000, "HOUR"), (60_000, "MINUTE"), (1_000, "SECOND"))


def _like(type_: ParameterType, value: str) -> tuple[ParameterType, str] | None:
    """A value from outside where one of a type is wanted; None if it is none."""
    found = _literal(value)
    if found[0] is type_:
        return found
    if type_ is ParameterType.TEXT:
        return type_, _quoted(value)
    length = parse_duration(value) if type_ is ParameterType.INTERVAL and found[0] is ParameterType.TEXT else None
    if length is None:
        return None
    for size, unit in _UNITS:
        if length % size == 0:
            return type_, f"INTERVAL '{length // size}' {unit}"
    return type_, f"INTERVAL '{length / 1000}' SECOND"
