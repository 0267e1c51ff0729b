"""Syntax tree of expressions. Every node knows its place in the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from anomaly_app.expressions.tokens import Span
from anomaly_app.schema import DataType


@dataclass(frozen=True, slots=True)
class Node:
    """Base of all nodes."""

    span: Span


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
    """``IS [NOT] NULL | TRUE | FALSE | UNKNOWN``."""

    operand: Node
    what: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Between(Node):
    """``x [NOT] BETWEEN low AND high``."""

    operand: Node
    low: Node
    high: Node
    negated: bool


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
class Window(Node):
    """``OVER (PARTITION BY … ORDER BY … RANGE|ROWS BETWEEN … AND …)``."""

    partition_by: tuple[Node, ...]
    order_by: tuple[Node, ...]
    frame: str


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
    """

    name: str
    args: tuple[Node, ...] = ()
    distinct: bool = False
    semantics: str = ""
    words: tuple[str, ...] = ()
    filter: Node | None = None
    over: Window | None = None


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


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it.

    Example:
        >>> from anomaly_app.expressions.parser import parse_expression
        >>> [type(part).__name__ for part in walk(parse_expression("-(a + 1)"))]
        ['Unary', 'Binary', 'ColumnRef', 'Literal']
    """
    yield node
    for field in fields(node):
        yield from _walk_value(getattr(node, field.name))


def _walk_value(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield from walk(value)
    elif isinstance(value, tuple) and not isinstance(value, Span):
        for part in value:
            yield from _walk_value(part)
