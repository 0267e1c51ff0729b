"""[NOT] IN and [NOT] EXISTS over rows that come at any time, as semi joins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.inside import Inside, Outer, Test
from anomaly_app.plan.analysis.join_sides import Keyed, Sides, as_key, key_type, with_fields
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.nodes import SemiJoin
from anomaly_app.plan.scope import Exact, free_name
from anomaly_app.schema import Column, DataType, Kind


def tested(context: Context, relation: Relation, test: Test, negated: bool, inside: Inside, outer: Outer) -> Relation:
    """Rows of a relation for which [NOT] IN or [NOT] EXISTS is true.

    Args:
        context: whose dialect.
        relation: whose rows.
        test: what is asked.
        negated: NOT stands before it.
        inside: its query.
        outer: what its query may name of the relation.

    Raises:
        SqlValidationError: the query has not one column, or values cannot be compared.
    """
    if isinstance(test, n.InQuery):
        negated = negated != test.negated
    return _joined(context, relation, test, "ANTI" if negated else "SEMI", inside, outer)[0]


def marked(context: Context, relation: Relation, test: Test, inside: Inside, outer: Outer) -> tuple[Relation, n.Node]:
    """A relation that has the answer of [NOT] IN or [NOT] EXISTS as a column, and the answer as an expression."""
    joined, mark = _joined(context, relation, test, "MARK", inside, outer)
    assert mark is not None
    answer: n.Node = Exact.to(test.span, mark)
    if isinstance(test, n.InQuery) and test.negated:
        answer = n.Unary(test.span, "NOT", answer)
    return joined, answer


def _joined(
    context: Context, relation: Relation, test: Test, kind: str, inside: Inside, outer: Outer
) -> tuple[Relation, Column | None]:
    if inside.aggregates:
        problem = (
            "a subquery of IN or EXISTS that groups its rows cannot read columns of the query around it: put the "
            "GROUP BY into a query in its FROM"
        )
        raise SqlValidationError(problem, relation.text, *test.span)
    inner, member = inside.relation, None
    sides = Sides.of(relation.node, inner.node)
    links = [n.rewritten(link, over_pair(context, inner, sides, outer)) for link in inside.links]
    if isinstance(test, n.InQuery):
        pairs = [(_over(operand, outer), item) for operand, item in _compared(test, inside, relation.text)]
        may_be_null = any(_may_be_null(context, relation, operand, inner, item) for operand, item in pairs)
        if kind == "SEMI" or not may_be_null:
            moved = over_pair(context, inner, sides, outer)
            links += [n.Binary(test.span, "=", operand, n.rewritten(item, moved)) for operand, item in pairs]
        elif len(pairs) > 1:
            problem = (
                "NOT IN of several values that may be NULL, or as a value itself, is not supported: write NOT EXISTS "
                "(SELECT 1 … WHERE …), and what NULL is to mean there"
            )
            raise SqlValidationError(problem, relation.text, *test.span)
        else:
            relation, inner, member = _members(context, relation, *pairs[0], inner, test)
    keyed = Keyed.of(context, relation, inner, links)
    node = _node(kind, keyed, member, test)
    joined = replace(keyed.left, node=node)
    return joined, node.column(node.mark) if node.mark else None


def _compared(test: n.InQuery, inside: Inside, text: str) -> list[tuple[n.Node, n.Node]]:
    """The values that IN compares with those of the query."""
    row = isinstance(test.operand, n.Call) and test.operand.name == "ROW"
    operands = test.operand.args if isinstance(test.operand, n.Call) and row else (test.operand,)
    if len(operands) != len(inside.items):
        values = "one value" if len(operands) == 1 else f"{len(operands)} values"
        columns = f"{len(inside.items)} column{'s' * (len(inside.items) != 1)}"
        raise SqlValidationError(f"IN (SELECT …) compares {values} here; the query has {columns}", text, *test.span)
    return list(zip(operands, inside.items, strict=True))


def _over(operand: n.Node, outer: Outer) -> n.Node:
    """An expression of the query around, over its relation."""
    return n.rewritten(operand, lambda part: outer(part) if isinstance(part, n.ColumnRef) else part)


def over_pair(context: Context, inner: Relation, sides: Sides, outer: Outer) -> Callable[[n.Node], n.Node]:
    """What makes references of a query inside an expression those to columns of the pair of both queries."""
    scope = context.scope(inner)

    def moved(part: n.Node) -> n.Node:
        if not isinstance(part, n.ColumnRef):
            return part
        try:
            column, fields = scope.resolve(part)
        except SqlValidationError:
            return outer(part)
        return with_fields(Exact.to(part.span, sides.renamed[column.name]), fields)

    return moved


def _may_be_null(context: Context, relation: Relation, operand: n.Node, inner: Relation, item: n.Node) -> bool:
    mine = context.scope(relation).expression(operand).type.nullable
    return mine or context.scope(inner).expression(item).type.nullable


def _members(
    context: Context, relation: Relation, operand: n.Node, item: n.Node, inner: Relation, test: n.InQuery
) -> tuple[Relation, Relation, tuple[str, str]]:
    """Both sides with the values that IN compares as columns of one type."""
    a = context.scope(relation).expression(operand)
    b = context.scope(inner).expression(item)
    target = key_type(a.type, b.type)
    if target is None:
        problem = f"IN: {a.type.with_nullable(True)} cannot be looked for among {b.type.with_nullable(True)}"
        raise SqlValidationError(problem, relation.text, *test.span)
    name = free_name("$member", [*relation.node.names, *inner.node.names])
    relation, (mine,) = context.with_columns(relation, [as_key(operand, a.type, *target)], [name])
    inner, (theirs,) = context.with_columns(inner, [as_key(item, b.type, *target)], [name])
    return relation, inner, (mine, theirs)


def _node(kind: str, keyed: Keyed, member: tuple[str, str] | None, test: Test) -> SemiJoin:
    left, right = keyed.sides.left, keyed.sides.right
    updating = left.updating or right.updating
    columns, mark = left.columns, ""
    if kind == "ANTI":
        updating = updating or "a row that is not in another table now is taken back when it is"
    elif kind == "MARK":
        updating = updating or "whether a row is in another table may change"
        mark = free_name("$mark", left.names)
        columns = (*columns, Column(mark, DataType(Kind.BOOLEAN, nullable=member is not None)))
    return SemiJoin(
        columns=columns, updating=updating, span=test.span, text=keyed.left.text, left=left, right=right,
        keys=keyed.keys, null_equal=keyed.null_equal, condition=keyed.condition, theirs=keyed.sides.theirs, kind=kind,
        member=member, mark=mark,
    )  # fmt: skip
