"""What stands between the brackets of a call: most functions have arguments with commas between, some have words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from anomaly_app.expressions import nodes as n

if TYPE_CHECKING:
    from anomaly_app.expressions.parser import ExpressionParser


DIFFERENCE, OVERLAPS = "- INTERVAL", "OVERLAPS ROW"
"""Names of the calls that ``(a - b) DAY`` and ``(a, b) OVERLAPS (c, d)`` become; nobody can write them as a call."""


class Inside(NamedTuple):
    """The inside of a call.

    Args:
        args: the arguments.
        words: keywords, such as the unit of EXTRACT, in upper case.
        distinct: DISTINCT was given.
    """

    args: list[n.Node]
    words: tuple[str, ...] = ()
    distinct: bool = False


Syntax = Callable[["ExpressionParser"], Inside]


def inside_of(name: str, parser: ExpressionParser) -> Inside:
    """Take the inside of a call of the function ``name`` (upper case), up to the closing bracket."""
    return SYNTAX.get(name, _plain)(parser)


def _plain(parser: ExpressionParser) -> Inside:
    if parser.at(")"):
        return Inside([])
    distinct = parser.accept("DISTINCT")
    if not distinct:
        parser.accept("ALL")
    return Inside(list(parser.listed(parser.expression)), distinct=distinct)


def _extract(parser: ExpressionParser) -> Inside:
    words = (parser.take().upper,)
    parser.expect("FROM")
    return Inside([parser.expression()], words)


def _unit_first(parser: ExpressionParser) -> Inside:
    words = (parser.take().upper,)
    parser.expect(",")
    return Inside(list(parser.listed(parser.expression)), words)


def _trim(parser: ExpressionParser) -> Inside:
    words = (parser.accept_any(("LEADING", "TRAILING", "BOTH")),)
    args: list[n.Node] = []
    if not parser.at("FROM"):
        args.append(parser.expression())
    if parser.accept("FROM"):
        args.insert(0, parser.expression())
    return Inside(args, words)


def _position(parser: ExpressionParser) -> Inside:
    args = [parser.term()]
    if parser.accept("IN"):
        args.append(parser.expression())
    while parser.accept(","):
        args.append(parser.expression())
    return Inside(args)


def _from_for(parser: ExpressionParser) -> Inside:
    args = [parser.expression()]
    if parser.accept("FROM"):
        args.append(parser.expression())
        if parser.accept("FOR"):
            args.append(parser.expression())
    while parser.accept(","):
        args.append(parser.expression())
    return Inside(args)


def _to_unit(parser: ExpressionParser) -> Inside:
    args = [parser.expression()]
    words = (parser.take().upper,) if parser.accept("TO") else ()
    while parser.accept(","):
        args.append(parser.expression())
    return Inside(args, words)


def _json_members(parser: ExpressionParser) -> Inside:
    args: list[n.Node] = []
    while not parser.at(")"):
        parser.accept("KEY")
        args.append(parser.expression())
        if not (parser.accept("VALUE") or parser.accept(":")):
            raise parser.expected("VALUE")
        args.append(parser.expression())
        if parser.accept_any(("NULL", "ABSENT")):
            parser.expect("ON", "NULL")
        if not parser.accept(","):
            break
    return Inside(args)


def _json_path(parser: ExpressionParser) -> Inside:
    args = list(parser.listed(parser.expression)) if not parser.at(")") else []
    words = []
    while not parser.at(")"):
        if parser.token.kind == "end":
            raise parser.expected(")")
        words.append(parser.take().value.upper())
    return Inside(args, tuple(words))


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
    "JSON_VALUE": _json_path,
    "JSON_QUERY": _json_path,
    "JSON_EXISTS": _json_path,
}
"""Functions with a syntax of their own."""
