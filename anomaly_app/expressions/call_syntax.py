"""What stands between the brackets of a call: most functions have arguments with commas between, some have words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.literals import LiteralParser

DIFFERENCE, OVERLAPS = "- INTERVAL", "OVERLAPS ROW"
"""Names of the calls that ``(a - b) DAY`` and ``(a, b) OVERLAPS (c, d)`` become; nobody can write them as a call."""


class Inside(NamedTuple):
    """The inside of a call.

    Args:
        args: the arguments.
        words: keywords, such as the unit of EXTRACT, in upper case.
        distinct: DISTINCT was given.
        json: words of a JSON function.
    """

    args: list[n.Node]
    words: tuple[str, ...] = ()
    distinct: bool = False
    json: n.JsonClauses | None = None


class CallParser(LiteralParser, ABC):
    """Insides of calls, whose arguments are expressions: :class:`~anomaly_app.expressions.parser.ExpressionParser`."""

    @abstractmethod
    def expression(self) -> n.Node:
        """Take an expression."""

    @abstractmethod
    def term(self) -> n.Node:
        """Take a sum, or anything that binds closer."""

    def inside_of(self, name: str) -> Inside:
        """Take the inside of a call of the function ``name`` (upper case), up to the closing bracket."""
        return SYNTAX.get(name, _plain)(self)


Syntax = Callable[[CallParser], Inside]


def _plain(parser: CallParser) -> Inside:
    if parser.at(")"):
        return Inside([])
    distinct = parser.accept("DISTINCT")
    if not distinct:
        parser.accept("ALL")
    return Inside(list(parser.listed(parser.expression)), distinct=distinct)


def _extract(parser: CallParser) -> Inside:
    words = (parser.take().upper,)
    parser.expect("FROM")
    return Inside([parser.expression()], words)


def _unit_first(parser: CallParser) -> Inside:
    words = (parser.take().upper,)
    parser.expect(",")
    return Inside(list(parser.listed(parser.expression)), words)


def _trim(parser: CallParser) -> Inside:
    words = (parser.accept_any(("LEADING", "TRAILING", "BOTH")),)
    args: list[n.Node] = []
    if not parser.at("FROM"):
        args.append(parser.expression())
    if parser.accept("FROM"):
        args.insert(0, parser.expression())
    return Inside(args, words)


def _position(parser: CallParser) -> Inside:
    args = [parser.term()]
    if parser.accept("IN"):
        args.append(parser.expression())
    while parser.accept(","):
        args.append(parser.expression())
    return Inside(args)


def _from_for(parser: CallParser) -> Inside:
    args = [parser.expression()]
    if parser.accept("PLACING"):
        args.append(parser.expression())
    if parser.accept("FROM"):
        args.append(parser.expression())
        if parser.accept("FOR"):
            args.append(parser.expression())
    while parser.accept(","):
        args.append(parser.expression())
    return Inside(args)


def _to_unit(parser: CallParser) -> Inside:
    args = [parser.expression()]
    words = (parser.take().upper,) if parser.accept("TO") else ()
    while parser.accept(","):
        args.append(parser.expression())
    return Inside(args, words)


def _on_null(parser: CallParser) -> str:
    for word in ("NULL", "ABSENT"):
        if parser.accept(word, "ON", "NULL"):
            return word
    return ""


def _json_members(parser: CallParser) -> Inside:
    start = parser.token.span.start
    args: list[n.Node] = []
    while not parser.at(")"):
        if parser.ahead().upper != "VALUE" and parser.ahead().value != ":":
            parser.accept("KEY")
        args.append(parser.expression())
        if not (parser.accept("VALUE") or parser.accept(":")):
            raise parser.expected("VALUE")
        args.append(parser.expression())
        if not parser.accept(","):
            break
    on_null = _on_null(parser)
    return Inside(args, json=n.JsonClauses(parser.span_from(start), on_null=on_null))


def _json_items(parser: CallParser) -> Inside:
    start = parser.token.span.start
    nothing = parser.at(")") or parser.at("NULL", "ON", "NULL") or parser.at("ABSENT", "ON", "NULL")
    args = [] if nothing else list(parser.listed(parser.expression))
    on_null = _on_null(parser)
    return Inside(args, json=n.JsonClauses(parser.span_from(start), on_null=on_null))


_WRAPPERS = {
    ("WITHOUT",): "WITHOUT",
    ("WITH", "CONDITIONAL"): "CONDITIONAL",
    ("WITH", "UNCONDITIONAL"): "UNCONDITIONAL",
    ("WITH",): "UNCONDITIONAL",
}
_BEHAVIOURS = (("NULL",), ("ERROR",), ("TRUE",), ("FALSE",), ("UNKNOWN",), ("EMPTY", "ARRAY"), ("EMPTY", "OBJECT"))


def _json_path(parser: CallParser) -> Inside:
    args = list(parser.listed(parser.expression)) if not parser.at(")") else []
    start = parser.token.span.start
    returning = parser.data_type() if parser.accept("RETURNING") else None
    wrapper = ""
    for words, kind in _WRAPPERS.items():
        if not wrapper and parser.accept(*words):
            wrapper = kind
            parser.accept("ARRAY")
            parser.expect("WRAPPER")
    words_on: dict[str, str] = {}
    defaults: dict[str, n.Node | None] = {}
    while not parser.at(")"):
        default = parser.expression() if parser.accept("DEFAULT") else None
        behaviour = "DEFAULT" if default is not None else ""
        for words in _BEHAVIOURS:
            if not behaviour and parser.accept(*words):
                behaviour = " ".join(words)
        if not behaviour:
            raise parser.expected("NULL", "ERROR", "DEFAULT", ")")
        parser.expect("ON")
        when = parser.accept_any(("EMPTY", "ERROR"))
        if not when or when in words_on:
            raise parser.expected("EMPTY", "ERROR")
        words_on[when], defaults[when] = behaviour, default
    clauses = n.JsonClauses(
        parser.span_from(start),
        returning,
        wrapper or "WITHOUT",
        words_on.get("EMPTY", ""),
        words_on.get("ERROR", ""),
        defaults.get("EMPTY"),
        defaults.get("ERROR"),
    )
    return Inside(args, json=clauses)


SYNTAX: dict[str, Syntax] = {
    "EXTRACT": _extract,
    "TIMESTAMPDIFF": _unit_first,
    "TIMESTAMPADD": _unit_first,
    "TRIM": _trim,
    "POSITION": _position,
    "SUBSTRING": _from_for,
    "OVERLAY": _from_for,
    "FLOOR": _to_unit,
    "CEIL": _to_unit,
    "CEILING": _to_unit,
    "JSON_OBJECT": _json_members,
    "JSON_ARRAY": _json_items,
    "JSON_VALUE": _json_path,
    "JSON_QUERY": _json_path,
    "JSON_EXISTS": _json_path,
}
"""Functions with a syntax of their own."""
