"""Rows of which each is given once, or as often as both sides of INTERSECT and EXCEPT say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.plan.aggregate_calls import checked_aggregate, unfit_key
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.nodes import Aggregate, AggregateCall, Calc, Copies, Node, Union
from anomaly_app.plan.scope import Exact, Expression, Scope, free_name, names_of
from anomaly_app.schema import Column, DataType, Kind
from anomaly_app.sql.queries import SetOperation


def distinct_rows(node: Node, span: Span, text: str) -> Aggregate:
    """Each row of a node once."""
    _check_columns("DISTINCT", node.columns, span, text)
    return Aggregate(
        columns=node.columns, updating=node.updating, span=span, text=text, input=node, keys=node.names,
        key_names=node.names, aggregates=(),
    )  # fmt: skip


def _side_counts(
    context: Context, union: Node, columns: Sequence[Column], side: Column, tree: SetOperation
) -> Aggregate:
    """Each row once, and behind its columns how often it is there on either side."""
    _check_columns(tree.kind, columns, tree.span, tree.text)
    scope = Scope(tree.text, names_of(union.columns), context.dialect)
    calls: list[AggregateCall] = []
    counts: list[Column] = []
    for number in range(2):
        of_side = n.Binary(tree.span, "=", Exact.to(tree.span, side), n.Literal(tree.span, number, side.type))
        call = n.Call(tree.span, "COUNT", filter=of_side)
        one, type_ = checked_aggregate(call, scope, free_name(f"$count{number}", union.names))
        calls.append(one)
        counts.append(Column(one.name, type_))
    names = tuple(column.name for column in columns)
    return Aggregate(
        columns=(*columns, *counts), updating=f"{tree.kind} takes rows back as others come", span=tree.span,
        text=tree.text, input=union, keys=names, key_names=names, aggregates=tuple(calls),
    )  # fmt: skip


def _check_columns(what: str, columns: Sequence[Column], span: Span, text: str) -> None:
    for column in columns:
        problem = unfit_key(column.type)
        if problem:
            raise SqlValidationError(f"{what} of column {column.name}: {problem}", text, *span)


def counted(context: Context, sides: Sequence[Node], tree: SetOperation) -> Node:
    """INTERSECT and EXCEPT, also with ALL: how often a row is there on either side says how often it is given."""
    text, span, names = tree.text, tree.span, sides[0].names
    whole = DataType(Kind.INT, nullable=False)
    side = Column(free_name("$side", names), whole)
    marked: list[Node] = []
    for number, node in enumerate(sides):
        items = (
            *_identity(node, context),
            Scope(text, (), context.dialect).expression(n.Literal(span, number, whole)),
        )
        marked.append(
            Calc(
                columns=(*node.columns, side), updating=node.updating, span=span, text=text, input=node,
                condition=None, items=items,
            )
        )  # fmt: skip
    columns = tuple(
        replace(column, type=column.type.with_nullable(column.type.nullable or other.type.nullable))
        for column, other in zip(*(one.columns for one in sides), strict=True)
    )
    union = Union(
        columns=(*columns, side), updating=next((one.updating for one in sides if one.updating), ""), span=span,
        text=text, branches=tuple(marked),
    )  # fmt: skip
    groups = _side_counts(context, union, columns, side, tree)
    first, second = (Exact.to(span, column) for column in groups.columns[len(columns) :])
    zero = n.Literal(span, 0, whole)
    scope = Scope(text, names_of(groups.columns), context.dialect)
    if not tree.all:
        other = n.Binary(span, ">" if tree.kind == "INTERSECT" else "=", second, zero)
        condition = scope.expression(n.Binary(span, "AND", n.Binary(span, ">", first, zero), other))
        return _picked(context, groups, columns, condition)
    less = n.Binary(span, "<", first, second)
    if tree.kind == "INTERSECT":
        often = scope.expression(n.Case(span, None, ((less, first),), second))
    else:
        often = scope.expression(n.Case(span, None, ((less, zero),), n.Binary(span, "-", first, second)))
    count = Column(free_name("$often", names), often.type)
    calc = Calc(
        columns=(*columns, count), updating=groups.updating, span=span, text=text, input=groups, condition=None,
        items=(*_identity(groups, context)[: len(columns)], often),
    )  # fmt: skip
    copies = Copies(
        columns=calc.columns, updating=groups.updating, span=span, text=text, input=calc, count=count.name
    )  # fmt: skip
    return _picked(context, copies, columns, None)


def _picked(context: Context, node: Node, columns: tuple[Column, ...], condition: Expression | None) -> Node:
    """The first columns of a node."""
    return Calc(
        columns=columns, updating=node.updating, span=node.span, text=node.text, input=node, condition=condition,
        items=_identity(node, context)[: len(columns)],
    )  # fmt: skip


def _identity(node: Node, context: Context) -> tuple[Expression, ...]:
    """The columns of a node as expressions over it."""
    scope = Scope(node.text, names_of(node.columns), context.dialect)
    return tuple(scope.expression(Exact.to(node.span, column)) for column in node.columns)
