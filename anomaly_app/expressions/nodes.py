"""Syntax tree of expressions. Every node knows its place in the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Code
from anomaly_app.schema import DataType


@dataclass(frozen=True, slots=True)
class Node:
    """Base of all nodes."""

    span: Span


T = TypeVar("T", bound=Node)


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant in memory form; ``type`` is of kind NULL for NULL."""

    value: Any
    type: DataType


@dataclass(frozen=True, slots=True)
class ColumnRef(Node):
    """``x``, ``A.x``, ``t.A.x``."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Star(Node):
    """``*`` or ``A.*``."""

    qualifier: str | None = None


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """``NOT``, ``-`` or ``+``."""

    op: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """Arithmetic, comparison (``IS DISTINCT FROM`` too), ``AND``, ``OR`` and ``||``."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Is(Node):
    """``IS [NOT] NULL | TRUE | FALSE | UNKNOWN`` or ``IS [NOT] JSON [VALUE | OBJECT | ARRAY | SCALAR]``."""

    operand: Node
    what: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Between(Node):
    """``x [NOT] BETWEEN low AND high``; SYMMETRIC: or between high and low."""

    operand: Node
    low: Node
    high: Node
    negated: bool
    symmetric: bool = False


@dataclass(frozen=True, slots=True)
class InList(Node):
    """``x [NOT] IN (a, b, …)``."""

    operand: Node
    items: tuple[Node, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Like(Node):
    """``x [NOT] LIKE | SIMILAR TO pattern [ESCAPE e]``."""

    operand: Node
    pattern: Node
    escape: Node | None
    negated: bool
    similar: bool = False


@dataclass(frozen=True, slots=True)
class Case(Node):
    """``CASE [operand] WHEN … THEN … [ELSE …] END``."""

    operand: Node | None
    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node | None


@dataclass(frozen=True, slots=True)
class Cast(Node):
    """``CAST`` or, if ``safe``, ``TRY_CAST``."""

    operand: Node
    type: DataType
    safe: bool


@dataclass(frozen=True, slots=True)
class Ordered(Node):
    """An item of ORDER BY; ``nulls_first`` is None if not said."""

    expr: Node
    descending: bool
    nulls_first: bool | None = None


@dataclass(frozen=True, slots=True)
class Window(Node):
    """``OVER (PARTITION BY … ORDER BY … RANGE|ROWS BETWEEN … AND …)``.

    Args:
        partition_by: what keys it.
        order_by: what orders it.
        frame: words of the frame in upper case, with blanks between them; "" without.
        frame_span: place of the frame.
        name: of the window that WINDOW defines and this one completes; "" without.
    """

    partition_by: tuple[Node, ...]
    order_by: tuple[Ordered, ...]
    frame: str
    frame_span: Span
    name: str = ""


@dataclass(frozen=True, slots=True)
class JsonClauses(Node):
    """What a JSON function does with what is missing: words behind its arguments.

    Args:
        returning: type of RETURNING.
        wrapper: WITHOUT, CONDITIONAL or UNCONDITIONAL.
        on_empty: what stands before ON EMPTY: NULL, ERROR, DEFAULT, EMPTY ARRAY or EMPTY OBJECT.
        on_error: what stands before ON ERROR: the same, or TRUE, FALSE, UNKNOWN.
        default_on_empty: the value of DEFAULT … ON EMPTY.
        default_on_error: the value of DEFAULT … ON ERROR.
        on_null: NULL or ABSENT, for members that are NULL.
    """

    returning: DataType | None = None
    wrapper: str = "WITHOUT"
    on_empty: str = ""
    on_error: str = ""
    default_on_empty: Node | None = None
    default_on_error: Node | None = None
    on_null: str = ""


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function call.

    Args:
        name: upper case.
        args: arguments; keywords such as the unit of EXTRACT are texts in ``words``.
        distinct: DISTINCT was given.
        semantics: RUNNING, FINAL or "".
        words: keywords inside the call, such as the unit of EXTRACT or FLOOR … TO.
        filter: condition of ``FILTER (WHERE …)``.
        over: the window, if any.
        json: words of a JSON function.
        entry: a function of the user's own that the name means, called with the compiler and the call; None for those
            that there always are.
    """

    name: str
    args: tuple[Node, ...] = ()
    distinct: bool = False
    semantics: str = ""
    words: tuple[str, ...] = ()
    filter: Node | None = None
    over: Window | None = None
    json: JsonClauses | None = None
    entry: Callable[..., Code] | None = None


@dataclass(frozen=True, slots=True)
class Index(Node):
    """``a[6]``."""

    operand: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Field(Node):
    """``(expression).name``."""

    operand: Node
    name: str


@dataclass(frozen=True, slots=True)
class InQuery(Node):
    """``x [NOT] IN (SELECT …)``; ``query`` is a tree of :mod:`anomaly_app.sql.queries`."""

    operand: Node
    query: Any
    negated: bool


@dataclass(frozen=True, slots=True)
class Exists(Node):
    """``EXISTS (SELECT …)``."""

    query: Any


@dataclass(frozen=True, slots=True)
class ScalarQuery(Node):
    """``(SELECT …)`` as a value."""

    query: Any


def children(node: Node) -> Iterator[Node]:
    """Nodes right below a node."""
    kind = type(node)
    names = _NAMES.get(kind)
    if names is None:
        names = _NAMES[kind] = tuple(field.name for field in fields(node) if not field.name.endswith("span"))
    for name in names:
        value = getattr(node, name)
        if isinstance(value, Node):
            yield value
        elif type(value) is tuple:
            yield from _nodes(value)


_NAMES: dict[type[Node], tuple[str, ...]] = {}
"""By class, names of the fields that may hold nodes."""


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it.

    Example:
        >>> from anomaly_app.expressions.parser import parse_expression
        >>> [type(part).__name__ for part in walk(parse_expression("-(a + 1)"))]
        ['Unary', 'Binary', 'ColumnRef', 'Literal']
    """
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        below = list(children(one))
        below.reverse()
        waiting += below


def in_a_row(node: Binary) -> list[Node]:
    """What stands between operators of one kind, such as the conditions of ``a AND b AND c``.

    Example:
        >>> from anomaly_app.expressions.parser import parse_expression
        >>> [part.parts for part in in_a_row(parse_expression("a AND b AND (c AND d)"))]
        [('a',), ('b',), ('c',), ('d',)]
    """
    found: list[Node] = []
    waiting: list[Node] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Binary) and one.op == node.op:
            waiting += [one.right, one.left]
        else:
            found.append(one)
    return found


def rewritten(node: Node, change: Callable[[Node], Node]) -> Node:
    """A tree in which every node, after those below it, has been through ``change``.

    Example:
        >>> from anomaly_app.expressions.parser import parse_expression
        >>> tree = rewritten(parse_expression("-a"), lambda part: part.operand if isinstance(part, Unary) else part)
        >>> tree.parts
        ('a',)
    """
    return change(with_children(node, lambda child: rewritten(child, change)))


def with_children(node: T, change: Callable[[Node], Node]) -> T:
    """A node whose children are what ``change`` makes of them."""
    changed = {}
    for field in fields(node):
        value = getattr(node, field.name)
        other = _changed(value, change)
        if other is not value:
            changed[field.name] = other
    return replace(node, **changed) if changed else node


def _changed(value: Any, change: Callable[[Node], Node]) -> Any:
    if isinstance(value, Node):
        return change(value)
    if isinstance(value, tuple) and not isinstance(value, Span):
        parts = tuple(_changed(part, change) for part in value)
        return parts if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    return value


def shape(value: Any) -> Any:
    """What a tree says, without its places in the text: equal for two texts of the same expression.

    Example:
        >>> from anomaly_app.expressions.parser import parse_expression
        >>> shape(parse_expression("t.a+1")) == shape(parse_expression("T.a + 1"))
        True
    """
    if isinstance(value, ColumnRef):
        *path, name = value.parts
        return ("ColumnRef", *(part.upper() for part in path), name)
    if isinstance(value, Node):
        named = (getattr(value, field.name) for field in fields(value) if not field.name.endswith("span"))
        return (type(value).__name__, *(shape(part) for part in named))
    return tuple(shape(part) for part in value) if isinstance(value, tuple) else value


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, tuple) and not isinstance(value, Span):
        for part in value:
            yield from _nodes(part)
